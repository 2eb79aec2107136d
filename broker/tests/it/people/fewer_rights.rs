//! The operator wants more than people granted before: who sees that, and how it heals.

use serde_json::json;

use super::{deployment::Deployment, forge::ForgeOptions};
use crate::{
    application::{Application, Tokens},
    browser::{Browser, Page},
    harness::with_timeout,
};

/// Ada let the broker read her issues once; it is set up for `read:user`.
async fn with_an_earlier_consent() -> Deployment {
    let deployment = Deployment::at_forge(ForgeOptions::default(), "", "").await;
    {
        let mut state = deployment.forge().state();
        let app = state.app("broker").expect("it is registered").id;
        state.add_grant(7, app, "read:issue");
    }
    deployment
}

/// The way of a new sign-in up to the page that says what is missing.
async fn stopped(deployment: &Deployment, browser: &mut Browser) -> (Application, Page) {
    let application = deployment.application("/mcp").await;
    let consent = browser.open(&application.question(&[])).await;
    let page = browser.press(&consent, ("choice", "approve"), &[]).await;
    let page = at_the_forge(deployment, browser, page).await;
    (application, page)
}

/// Answers what the forge asks.
async fn at_the_forge(deployment: &Deployment, browser: &mut Browser, mut page: Page) -> Page {
    while page.has_form("user_name", "") || page.has_form("granted", "true") {
        page = deployment.credentials(browser, &page, "ada").await;
    }
    page
}

#[test]
fn a_silently_narrower_grant_is_shown_with_the_page_where_it_is_withdrawn() {
    with_timeout(async {
        let deployment = with_an_earlier_consent().await;
        let mut browser = Browser::default();
        let (application, page) = stopped(&deployment, &mut browser).await;
        let text = page.answer.text();
        assert!(text.contains("read:user"), "{}", page.seen());
        let place = format!("{}/user/settings/applications", deployment.forge().root());
        assert!(text.contains(&place), "{}", page.seen());
        // Withdrawn there, the next try asks anew and gets everything.
        deployment.forge().state().revoke(7, None);
        let page = browser.press(&page, ("step", "begin"), &[]).await;
        let page = at_the_forge(&deployment, &mut browser, page).await;
        let tokens = Tokens::of(&application.redeem(&page.code()).await);
        let session = application.with(&tokens).open().await;
        let who = session.call("who", json!({})).await.json();
        assert_eq!(who["result"], json!({ "status": "200", "login": "ada" }));
        let account = browser.open(&format!("{}/account", deployment.root())).await;
        assert!(!account.answer.text().contains("fewer rights"), "{}", account.seen());
    });
}

#[test]
fn going_on_with_fewer_rights_is_remembered_and_stands_on_the_account_page() {
    with_timeout(async {
        let deployment = with_an_earlier_consent().await;
        let mut browser = Browser::default();
        let (application, page) = stopped(&deployment, &mut browser).await;
        let page = browser.press(&page, ("step", "accept"), &[]).await;
        Tokens::of(&application.redeem(&page.code()).await);
        deployment.sign_in(&application, "ada").await;
        let account = browser.open(&format!("{}/account", deployment.root())).await;
        let text = account.answer.text();
        assert!(text.contains("fewer rights") && text.contains("read:user"), "{}", account.seen());
        let metric = "mcp_broker_upstream_narrow_grants_total{provider=\"forgejo\"} 2";
        let page = deployment.client().at("/metrics").ask("GET", "").await;
        assert!(page.text().contains(metric), "{}", page.text());
    });
}

#[test]
fn a_public_application_whose_scope_was_widened_gets_a_page_instead_of_a_fault() {
    with_timeout(async {
        let deployment = with_an_earlier_consent().await;
        deployment.forge().set_confidential("broker", false);
        let mut browser = Browser::default();
        let (application, page) = stopped(&deployment, &mut browser).await;
        assert_eq!(page.answer.status, 200, "{}", page.seen());
        assert!(page.answer.text().contains("/user/settings/applications"), "{}", page.seen());
        deployment.forge().state().revoke(7, None);
        let page = browser.press(&page, ("step", "begin"), &[]).await;
        let page = at_the_forge(&deployment, &mut browser, page).await;
        Tokens::of(&application.redeem(&page.code()).await);
    });
}
