//! With accounts of the broker's own.

use serde_json::json;

use super::deployment::Deployment;
use crate::{
    application::{Application, Tokens, refusal},
    browser::Browser,
    harness::{until, until_so, with_timeout},
    wire::{PING, call, initialize},
};

#[test]
fn a_set_up_link_an_account_a_sign_in_and_a_consent_lead_to_a_tool_call() {
    with_timeout(async {
        let deployment = Deployment::local("", "").await;
        let mut browser = Browser::default();
        let link = deployment.setup.clone().expect("a link");
        let form = browser.open(&link).await;
        let fields = [("name", "ada"), ("password", "ada-password"), ("again", "ada-password")];
        let done = browser.press(&form, ("name", ""), &fields).await;
        assert_eq!(done.answer.status, 200, "{}", done.seen());
        assert!(done.answer.text().contains("ada"), "{}", done.seen());
        let again = browser.open(&link).await;
        assert_eq!(again.answer.status, 410, "the link works once: {}", again.seen());

        let application = Application::connect(deployment.client(), "/mcp").await;
        assert_eq!(application.resource, format!("{}/mcp", deployment.root()));
        let consent = browser.open(&application.question(&[])).await;
        assert!(consent.answer.text().contains("A tool"), "{}", consent.seen());
        let page = deployment.approve(&mut browser, &consent, "ada").await;
        assert_eq!(page.query("state").as_deref(), Some("its-state"), "{}", page.seen());
        assert_eq!(page.query("iss"), Some(deployment.root()), "{}", page.seen());
        let tokens = Tokens::of(&application.redeem(&page.code()).await);
        assert_eq!(tokens.scope, "mcp");

        let session = application.with(&tokens).open().await;
        let answer = session.call("echo", json!({ "a": 1 })).await.json();
        assert_eq!(answer["result"]["arguments"], json!({ "a": 1 }));
        let account = deployment.account_page(&mut browser, "ada").await;
        let text = account.answer.text();
        assert!(text.contains("A tool") && text.contains("ada"), "{}", account.seen());
        assert!(account.has_form("action", "end"), "her session is there: {}", account.seen());
    });
}

#[test]
fn a_session_goes_on_with_the_refreshed_token_after_the_first_one_expired() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "oauth.access_ttl = \"1s\"", "").await;
        let application = deployment.application("/mcp").await;
        // A second is short on a busy machine: what comes too late begins again.
        let mut held = deployment.sign_in(&application, "ada").await;
        let (session, pid) = until("a session, and a call, within the second", async || {
            held = Tokens::of(&application.refresh(&held.refresh).await);
            let client = application.with(&held);
            let opened = client.post(initialize("1", "2025-11-25")).await;
            let session = client.with("mcp-session-id", opened.header("mcp-session-id")?);
            let answer = session.post(call("6", "echo", &json!({}))).await;
            (answer.status == 200).then(|| (session, answer.json()["result"]["pid"].clone()))
        })
        .await;
        let expired = until("the token has expired", async || {
            let answer = session.post(PING).await;
            (answer.status == 401).then_some(answer)
        });
        let challenge = expired.await;
        let challenge = challenge.header("www-authenticate").expect("a challenge");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");

        let old = held.access.clone();
        let answer = until("a call with a token that has not expired", async || {
            held = Tokens::of(&application.refresh(&held.refresh).await);
            assert_ne!(held.access, old);
            let session = session.bearer(&held.access);
            let answer = session.post(call("7", "echo", &json!({}))).await;
            (answer.status != 401).then_some(answer)
        })
        .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["result"]["pid"], pid, "the same session, the same child");
    });
}

#[test]
fn another_account_is_added_while_the_broker_runs_and_a_removed_one_signs_in_no_more() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        deployment.account("bob").await;
        let application = deployment.application("/mcp").await;
        deployment.sign_in(&application, "bob").await;
        let (code, _, told) = deployment.place.run(&["user", "remove", "bob"]).await;
        assert_eq!(code, 0, "{told}");
        let mut browser = Browser::default();
        let consent = browser.open(&application.question(&[])).await;
        let form = browser.press(&consent, ("choice", "approve"), &[]).await;
        let refused = deployment.credentials(&mut browser, &form, "bob").await;
        assert_eq!(refused.answer.status, 401, "{}", refused.seen());
        assert!(refused.has_form("step", "finish"), "and the form is there to try again");
        let page = deployment.credentials(&mut browser, &refused, "ada").await;
        Tokens::of(&application.redeem(&page.code()).await);
    });
}

#[test]
fn whoever_denies_sends_the_application_away_without_a_code() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let application = deployment.application("/mcp").await;
        let mut browser = Browser::default();
        let consent = browser.open(&application.question(&[])).await;
        let page = browser.press(&consent, ("choice", "deny"), &[]).await;
        assert!(page.is_away(), "{}", page.seen());
        assert_eq!(page.query("error").as_deref(), Some("access_denied"));
        assert_eq!(page.query("code"), None);
        assert_eq!(page.query("iss"), Some(deployment.root()));
        assert_eq!(refusal(&application.redeem("mcpc_made-up").await).1, "invalid_grant");
    });
}

#[test]
fn two_tabs_of_one_browser_both_come_to_their_end() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let application = deployment.application("/mcp").await;
        let mut browser = Browser::default();
        let mut tabs = Vec::new();
        for _ in 0..3 {
            tabs.push(browser.open(&application.question(&[])).await);
        }
        // One shows the login form while another one is finished, one still the question.
        let waiting = browser.press(&tabs[0], ("choice", "approve"), &[]).await;
        let finished = deployment.approve(&mut browser, &tabs[1], "ada").await;
        Tokens::of(&application.redeem(&finished.code()).await);
        let finished = deployment.credentials(&mut browser, &waiting, "ada").await;
        Tokens::of(&application.redeem(&finished.code()).await);
        let finished = deployment.approve(&mut browser, &tabs[2], "ada").await;
        Tokens::of(&application.redeem(&finished.code()).await);
    });
}

#[test]
fn a_tab_that_names_a_user_who_signed_out_meanwhile_gives_nothing_away() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let application = deployment.application("/mcp").await;
        let mut browser = Browser::default();
        let account = deployment.account_page(&mut browser, "ada").await;
        let tab = browser.open(&application.question(&[])).await;
        assert!(tab.has_form("choice", "switch"), "it names her: {}", tab.seen());
        browser.press(&account, ("action", "sign_out"), &[]).await;
        let stopped = browser.press(&tab, ("choice", "approve"), &[]).await;
        assert_eq!(stopped.answer.status, 403, "{}", stopped.seen());
    });
}

#[test]
fn a_client_that_registered_again_gets_404_with_the_session_id_it_had_cached() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let mut browser = Browser::default();
        let first = deployment.application("/mcp").await;
        let tokens = deployment.sign_in_with(&mut browser, &first, "ada", &[]).await;
        let second = Application { redirect: first.redirect.clone(), ..first.clone() };
        let consent = browser.open(&second.question(&[])).await;
        assert!(consent.has_form("choice", "approve"), "a program is always asked about");
        let page = browser.press(&consent, ("choice", "approve"), &[]).await;
        let again = Tokens::of(&second.redeem(&page.code()).await);
        let session = first.with(&tokens).open().await;
        let same = session.bearer(&again.access);
        assert_eq!(same.post(PING).await.status, 200, "the same person with the same client");
        let anew = Application::connect_as(deployment.client(), "/mcp", "The same tool").await;
        let registered_again = deployment.sign_in(&anew, "ada").await;
        let other = session.bearer(&registered_again.access);
        let unknown = other.post(PING).await;
        assert_eq!(unknown.status, 404, "the same person's client that registered again");
        assert_eq!((other.ask("GET", "").await.status, other.delete().await.status), (404, 404));
        assert!(session.is_alive().await);
        deployment.account("bob").await;
        let bob = deployment.sign_in(&first, "bob").await;
        until_so("bob is refused", async || {
            session.bearer(&bob.access).post(PING).await.status == 403
        })
        .await;
    });
}
