//! The upstream credential behind a session: renewed in time, taken back, or not to be had.

use tokio::time::{Duration, Instant};

use super::{
    deployment::{Deployment, FORGE_SECRET, environment},
    forge::{Fault, ForgeOptions},
};
use crate::{
    application::{Application, Tokens, refusal},
    browser::{Browser, Page},
    harness::{until_so, with_timeout},
    wire::{Answer, initialize},
};

/// A user whose token has ended, by what the forge said of it; the next one lives for an hour.
async fn ada_in_need(top: &str) -> (Deployment, Application, Tokens, Browser) {
    let deployment = Deployment::at_forge(
        ForgeOptions { told_ttl: Some(1), ..ForgeOptions::default() },
        top,
        "",
    )
    .await;
    let application = deployment.application("/mcp").await;
    let mut browser = Browser::default();
    let tokens = deployment.sign_in_with(&mut browser, &application, "ada", &[]).await;
    deployment.forge().change_options(|options| options.told_ttl = None);
    // Lifetimes are whole seconds, and one of zero would mean that none is told.
    let signed_in = Instant::now();
    let ended = async || signed_in.elapsed() > Duration::from_millis(1100);
    until_so("the token has ended, as the broker was told", ended).await;
    (deployment, application, tokens, browser)
}

async fn open(application: &Application, tokens: &Tokens) -> Answer {
    application.with(tokens).post(initialize("1", "2025-11-25")).await
}

#[test]
fn fifty_sessions_at_once_ask_the_forge_once_and_all_have_the_new_token() {
    with_timeout(async {
        let top = "session.max = 64\nsession.max_per_owner = 64";
        let (deployment, application, tokens, _) = ada_in_need(top).await;
        let client = application.with(&tokens);
        let mut waiting = Vec::new();
        for _ in 0..50 {
            waiting.push(client.send("POST", initialize("1", "2025-11-25")).await);
        }
        let mut sessions = Vec::new();
        for mut wire in waiting {
            let answer = wire.answer().await;
            assert_eq!(answer.status, 200, "{answer:?}");
            sessions.push(client.with("mcp-session-id", answer.header("mcp-session-id").unwrap()));
        }
        let counters = deployment.forge().counters();
        assert_eq!((counters.refreshes["ada"], counters.token_calls), (1, 2), "{counters:?}");
        let first = environment(&sessions[0]).await["FORGE_TOKEN"].clone();
        let last = environment(&sessions[49]).await["FORGE_TOKEN"].clone();
        assert_eq!(first, last, "one credential for all of her sessions");
        let who = sessions[7].call("who", serde_json::json!({})).await.json();
        assert_eq!(who["result"]["login"], "ada", "and the forge takes it");
    });
}

#[test]
fn a_grant_taken_back_at_the_forge_is_healed_by_signing_in_there_again() {
    with_timeout(async {
        let (deployment, application, tokens, mut browser) = ada_in_need("").await;
        deployment.forge().state().revoke(7, None);
        let refused = open(&application, &tokens).await;
        assert_eq!(refused.status, 401, "{refused:?}");
        let challenge = refused.header("www-authenticate").expect("a challenge").to_owned();
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        assert!(challenge.contains("resource_metadata=\""), "{challenge}");
        // What a client does then: it renews its token, and as that is refused, it asks its user.
        let refreshed = application.refresh(&tokens.refresh).await;
        assert_eq!(refusal(&refreshed), (400, "invalid_grant".to_owned()));

        browser.history.clear();
        let logins = deployment.forge().counters().consents;
        let again = deployment.sign_in_with(&mut browser, &application, "ada", &[]).await;
        let forge = deployment.forge().root();
        let at_forge = |page: &Page| page.url.as_str().starts_with(forge);
        assert!(browser.history.iter().any(at_forge), "the browser was at the forge");
        assert_eq!(deployment.forge().counters().consents, logins + 1, "which asked again");
        let session = application.with(&again).open().await;
        let who = session.call("who", serde_json::json!({})).await.json();
        assert_eq!(who["result"]["login"], "ada");
    });
}

#[test]
fn a_forge_that_is_down_costs_a_wait_and_no_sign_in() {
    with_timeout(async {
        let (deployment, application, tokens, _) = ada_in_need("").await;
        deployment
            .forge()
            .change_options(|options| options.token_faults = vec![Fault::Unavailable; 8]);
        let refused = open(&application, &tokens).await;
        assert_eq!(refused.status, 503, "{refused:?}");
        refused.assert_retry();
        assert_eq!(refused.header("www-authenticate"), None, "her token is good");
        let fresh = Tokens::of(&application.refresh(&tokens.refresh).await);
        assert_eq!(open(&application, &fresh).await.status, 503);
        deployment.forge().change_options(|options| options.token_faults.clear());
        // After at most the time that was told.
        until_so("the forge is asked again", async || {
            open(&application, &fresh).await.status == 200
        })
        .await;
    });
}

#[test]
fn a_token_with_a_nul_byte_reaches_no_child() {
    with_timeout(async {
        let (deployment, application, tokens, _) = ada_in_need("").await;
        deployment.forge().change_options(|options| options.token_faults = vec![Fault::Nul; 8]);
        let refused = open(&application, &tokens).await;
        assert_eq!(refused.status, 502, "{refused:?}");
        assert!(!refused.text().contains("fore"), "{}", refused.text());
        deployment.forge().change_options(|options| options.token_faults.clear());
        until_so("the forge is asked again", async || {
            open(&application, &tokens).await.status == 200
        })
        .await;
    });
}

#[test]
fn a_wrong_client_secret_is_the_operators_fault_and_nobody_is_signed_out() {
    with_timeout(async {
        let (deployment, application, tokens, _) = ada_in_need("").await;
        deployment.forge().state().apps[0].secret = "another".to_owned();
        let refused = open(&application, &tokens).await;
        assert_eq!(refused.status, 502, "{refused:?}");
        assert_eq!(refused.header("www-authenticate"), None);
        assert!(!refused.text().contains(FORGE_SECRET), "{}", refused.text());
        let fresh = Tokens::of(&application.refresh(&tokens.refresh).await);
        assert_eq!(open(&application, &fresh).await.status, 502, "signed in, and still without");
    });
}

#[test]
fn a_session_that_runs_asks_nobody_whether_the_forge_still_agrees() {
    with_timeout(async {
        let deployment = Deployment::at_forge(ForgeOptions::default(), "", "").await;
        let application = deployment.application("/mcp").await;
        let tokens = deployment.sign_in(&application, "ada").await;
        let session = application.with(&tokens).open().await;
        let before = deployment.forge().counters();
        deployment
            .forge()
            .change_options(|options| options.token_faults = vec![Fault::BadGateway; 8]);
        deployment
            .forge()
            .change_options(|options| options.userinfo_faults = vec![Fault::BadGateway; 8]);
        for _ in 0..20 {
            assert!(session.is_alive().await);
        }
        open(&application, &tokens).await;
        let after = deployment.forge().counters();
        assert_eq!(before.token_calls, after.token_calls);
        assert_eq!(before.userinfo, after.userinfo);
    });
}

#[test]
fn a_connection_removed_on_the_account_page_is_gone_until_the_next_sign_in() {
    with_timeout(async {
        let deployment = Deployment::at_forge(ForgeOptions::default(), "", "").await;
        let application = deployment.application("/mcp").await;
        let mut browser = Browser::default();
        let tokens = deployment.sign_in_with(&mut browser, &application, "ada", &[]).await;
        let account = deployment.account_page(&mut browser, "ada").await;
        let account = browser.press(&account, ("action", "disconnect"), &[]).await;
        assert_eq!(account.answer.status, 200, "{}", account.seen());
        assert!(!account.has_form("action", "disconnect"), "{}", account.seen());
        let refused = open(&application, &tokens).await;
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(refused.text().contains("connect again"), "{}", refused.text());
        assert_eq!(refusal(&application.refresh(&tokens.refresh).await).1, "invalid_grant");
        let again = deployment.sign_in_with(&mut browser, &application, "ada", &[]).await;
        assert_eq!(open(&application, &again).await.status, 200);
    });
}
