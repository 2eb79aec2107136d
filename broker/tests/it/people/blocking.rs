//! The operator keeps a person out.

use serde_json::{Value, json};
use tokio::time::Duration;

use super::{
    deployment::{Deployment, child},
    forge::ForgeOptions,
};
use crate::{
    application::refusal,
    browser::Browser,
    harness::{is_alive, until_so, with_timeout, within_turns},
    wire::PING,
};

async fn person(deployment: &Deployment, args: &[&str], code: i32) -> (String, String) {
    let (ended, out, told) = deployment.place.run(&[&["person"], args].concat()).await;
    assert_eq!(ended, code, "{args:?}: {out}{told}");
    (out, told)
}

async fn listed(deployment: &Deployment, subject: &str) -> Value {
    let (out, _) = person(deployment, &["list", "--json"], 0).await;
    let all: Value = serde_json::from_str(&out).expect("JSON");
    let own = all.as_array().expect("a list").iter().find(|own| own["subject"] == subject);
    own.unwrap_or_else(|| panic!("no {subject} in {out}")).clone()
}

#[test]
fn a_blocked_person_of_an_outside_provider_is_out_within_seconds_and_cannot_come_back() {
    with_timeout(async {
        let deployment = Deployment::at_forge(ForgeOptions::default(), "", "").await;
        let application = deployment.application("/mcp").await;
        let mut browser = Browser::default();
        let ada = deployment.sign_in_with(&mut browser, &application, "ada", &[]).await;
        let bob = deployment.sign_in(&application, "bob").await;
        let (hers, his) =
            (application.with(&ada).open().await, application.with(&bob).open().await);
        let process = child(&hers).await;

        let (out, _) = person(&deployment, &["block", "ada", "--json"], 0).await;
        let told: Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!((&told["subject"], &told["revoked"]), (&json!("7"), &json!(1)), "{told}");
        let is_out = async || hers.post(PING).await.status == 403 && !is_alive(process);
        within_turns(Duration::from_secs(5), "the token is refused and the child is gone", is_out)
            .await;
        let refused = hers.post(PING).await;
        assert_eq!((refused.status, refused.header("www-authenticate")), (403, None));
        let words = refused.json()["error"]["message"].as_str().expect("words").to_owned();
        assert!(words.contains("blocked"), "{words}");
        let refreshed = application.refresh(&ada.refresh).await;
        assert_eq!(refusal(&refreshed), (400, "invalid_grant".to_owned()));
        assert_eq!(listed(&deployment, "7").await["credential"], "none");

        // The forge still knows her, and her browser is signed in there.
        let consent = browser.open(&application.question(&[])).await;
        let page = deployment.approve(&mut browser, &consent, "ada").await;
        assert_eq!(page.answer.status, 403, "{}", page.seen());
        assert!(page.answer.text().contains("blocked your account"), "{}", page.seen());
        let own = listed(&deployment, "7").await;
        assert_eq!(own["credential"], "none", "nothing of that sign-in is kept: {own}");
        assert!(own["blocked"].as_u64().is_some(), "{own}");
        let account = browser.open(&format!("{}/account", deployment.root())).await;
        assert!(!account.has_form("action", "sign_out"), "{}", account.seen());
        assert!(his.is_alive().await, "nobody else is concerned");

        let (_, why) = person(&deployment, &["unblock", "bob"], 1).await;
        assert!(why.contains("is not blocked"), "{why}");
        person(&deployment, &["unblock", "7"], 0).await;
        let again = deployment.sign_in(&application, "ada").await;
        until_so("she is back", async || {
            application.with(&again).post(crate::wire::initialize("1", "2025-11-25")).await.status
                == 200
        })
        .await;
    });
}

#[test]
fn a_person_with_a_local_account_is_blocked_by_its_name_and_keeps_the_account() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let application = deployment.application("/mcp").await;
        let ada = deployment.sign_in(&application, "ada").await;
        let session = application.with(&ada).open().await;
        person(&deployment, &["block", "Ada"], 0).await;
        until_so("the token is refused", async || session.post(PING).await.status == 403).await;
        let mut browser = Browser::default();
        let consent = browser.open(&application.question(&[])).await;
        let page = deployment.approve(&mut browser, &consent, "ada").await;
        assert_eq!(page.answer.status, 403, "{}", page.seen());
        person(&deployment, &["unblock", "ada"], 0).await;
        deployment.sign_in(&application, "ada").await;
    });
}

#[test]
fn the_operator_names_a_person_without_doubt_or_is_asked_to() {
    with_timeout(async {
        let deployment = Deployment::at_forge(ForgeOptions::default(), "", "").await;
        let application = deployment.application("/mcp").await;
        deployment.sign_in(&application, "bob").await;
        let (_, why) = person(&deployment, &["block", "carol"], 1).await;
        assert!(why.contains("person list") && why.contains("--issuer"), "{why}");
        let forge = deployment.forge().root();
        // What people call themselves names nobody: it is theirs to choose.
        person(&deployment, &["block", "Bob B"], 1).await;
        // Who never signed in is kept out all the same.
        person(&deployment, &["block", "7", "--issuer", forge], 0).await;
        let mut browser = Browser::default();
        let consent = browser.open(&application.question(&[])).await;
        let page = deployment.approve(&mut browser, &consent, "ada").await;
        assert_eq!(page.answer.status, 403, "{}", page.seen());
        // A subject is unique under its issuer alone.
        person(&deployment, &["block", "7", "--issuer", "https://other.example"], 0).await;
        let (_, why) = person(&deployment, &["unblock", "7"], 1).await;
        assert!(why.contains("any of these people"), "{why}");
        person(&deployment, &["unblock", "7", "--issuer", forge], 0).await;
        deployment.sign_in(&application, "ada").await;
    });
}
