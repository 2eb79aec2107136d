//! Two people through one endpoint, each with the own account at a forge.

use std::fs;

use serde_json::json;

use super::{
    deployment::{Deployment, child, environment},
    forge::ForgeOptions,
};
use crate::{application::Application, browser::Browser, harness::with_timeout};

#[test]
fn two_people_at_one_endpoint_are_two_people_at_the_forge() {
    with_timeout(async {
        let deployment = Deployment::at_forge(ForgeOptions::default(), "", "").await;
        let application = deployment.application("/mcp").await;
        let ada = deployment.sign_in(&application, "ada").await;
        let bob = deployment.sign_in(&application, "bob").await;
        let (ada, bob) = (application.with(&ada).open().await, application.with(&bob).open().await);
        for (session, name, id) in [(&ada, "ada", "7"), (&bob, "bob", "8")] {
            let who = session.call("who", json!({})).await.json();
            assert_eq!(who["result"], json!({ "status": "200", "login": name }));
            let seen = environment(session).await;
            assert_eq!(seen["FORGE_NAME"], name, "{seen}");
            assert_eq!(seen["USER_SUBJECT"], id, "{seen}");
        }
        let counters = deployment.forge().counters();
        assert_eq!((counters.api["ada"], counters.api["bob"]), (1, 1), "{counters:?}");
        assert_eq!(ada.bearer("x").call("who", json!({})).await.status, 401);
        let crossed = ada.with("authorization", &header(&bob)).call("who", json!({})).await;
        assert_eq!(crossed.status, 403, "bob may not use ada's session: {crossed:?}");
    });
}

#[test]
fn the_operator_sees_who_signed_in_and_whether_their_credential_is_good() {
    with_timeout(async {
        let deployment = Deployment::at_forge(ForgeOptions::default(), "", "").await;
        let place = &deployment.place;
        let (code, nobody, hint) = place.run(&["person", "list"]).await;
        assert_eq!((code, &*nobody), (0, ""), "{hint}");
        let application = deployment.application("/mcp").await;
        for name in ["ada", "bob"] {
            let tokens = deployment.sign_in(&application, name).await;
            application.with(&tokens).open().await;
        }
        let (code, listed, complained) = place.run(&["person", "list", "--json"]).await;
        assert_eq!(code, 0, "{complained}");
        let listed: serde_json::Value = serde_json::from_str(&listed).expect("JSON");
        for (person, (login, subject)) in [("ada", "7"), ("bob", "8")].into_iter().enumerate() {
            let own = &listed[person];
            assert_eq!((&own["login"], &own["subject"]), (&json!(login), &json!(subject)), "{own}");
            assert_eq!((&own["provider"], &own["credential"]), (&json!("forgejo"), &json!("good")));
            let scope = own["scope"].as_str().unwrap_or_default();
            assert!(scope.contains("read:user"), "what the forge granted: {own}");
            assert!(own["last_use"].as_u64().is_some_and(|time| time > 0), "{own}");
        }
        assert_eq!(listed.as_array().map(Vec::len), Some(2), "{listed}");
        let (_, lines, _) = place.run(&["person", "list"]).await;
        assert!(lines.starts_with("forgejo  ada  7 (http"), "{lines}");
        assert!(lines.contains("credential good"), "{lines}");
    });
}

#[test]
fn an_old_forgejo_and_a_gitea_sign_people_in_as_well() {
    with_timeout(async {
        for preset in ["forgejo-8", "gitea"] {
            let options = ForgeOptions::preset(preset).expect("it is known");
            let deployment = Deployment::at_forge(options, "", "").await;
            let application = deployment.application("/mcp").await;
            let tokens = deployment.sign_in(&application, "bob").await;
            let session = application.with(&tokens).open().await;
            let who = session.call("who", json!({})).await.json();
            assert_eq!(who["result"], json!({ "status": "200", "login": "bob" }), "{preset}");
        }
    });
}

#[test]
fn nobody_elses_token_is_in_a_childs_environment() {
    with_timeout(async {
        let deployment = Deployment::at_forge(ForgeOptions::default(), "", "").await;
        let application = deployment.application("/mcp").await;
        let mut sessions = Vec::new();
        for name in ["ada", "bob"] {
            let tokens = deployment.sign_in(&application, name).await;
            let session = application.with(&tokens).open().await;
            let own = environment(&session).await["FORGE_TOKEN"].as_str().unwrap().to_owned();
            sessions.push((child(&session).await, own, tokens));
        }
        let environ = |pid| fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
        for (pid, own, _) in &sessions {
            let seen = environ(*pid);
            assert!(seen.contains(own), "this look would find a token");
            for (other, foreign, tokens) in &sessions {
                assert_eq!(seen.contains(foreign), pid == other);
                assert!(!seen.contains(&tokens.access) && !seen.contains(&tokens.refresh));
            }
        }
        let broker = environ(deployment.broker.pid());
        assert!(sessions.iter().all(|(_, own, _)| !broker.contains(own)));
    });
}

#[test]
fn who_takes_over_a_login_does_not_become_its_former_owner() {
    with_timeout(async {
        let deployment = Deployment::at_forge(ForgeOptions::default(), "", "").await;
        let application = deployment.application("/mcp").await;
        let ada = deployment.sign_in(&application, "ada").await;
        let session = application.with(&ada).open().await;
        // Ada leaves her login to Bob.
        for user in &mut deployment.forge().state().users {
            user.login = if user.login == "ada" { "ada-l" } else { "ada" }.to_owned();
            user.password = format!("{}-password", user.login);
        }
        let bob = deployment.sign_in(&application, "ada").await;
        let intruder = session.bearer(&bob.access);
        assert_eq!(intruder.call("who", json!({})).await.status, 403);
        let own = application.with(&bob).open().await;
        assert_eq!(environment(&own).await["USER_SUBJECT"], "8");
        assert_eq!(session.call("who", json!({})).await.json()["result"]["login"], "ada-l");
    });
}

#[test]
fn consent_is_asked_before_the_forge_and_again_for_every_other_application() {
    with_timeout(async {
        let deployment = Deployment::at_forge(ForgeOptions::default(), "", "").await;
        let mut browser = Browser::default();
        let application = deployment.application("/mcp").await;
        let consent = browser.open(&application.question(&[])).await;
        assert!(consent.has_form("choice", "approve"), "{}", consent.seen());
        assert!(consent.answer.text().contains("127.0.0.1:9"), "{}", consent.seen());
        assert_eq!(deployment.forge().counters().consents, 0, "nobody has been there yet");
        let page = deployment.approve(&mut browser, &consent, "ada").await;
        page.code();
        assert_eq!(deployment.forge().counters().consents, 1);
        // The forge would not ask again; the broker does.
        let other = Application::connect(deployment.client(), "/main/mcp").await;
        let consent = browser.open(&other.question(&[])).await;
        assert!(consent.has_form("choice", "approve"), "{}", consent.seen());
        assert_eq!(consent.url.path(), "/oauth/authorize", "no code went anywhere");
    });
}

fn header(client: &crate::wire::Client) -> String {
    let head = client.head("GET", "");
    let line = head.lines().find_map(|line| line.strip_prefix("authorization: "));
    line.expect("a token").to_owned()
}
