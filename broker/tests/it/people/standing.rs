//! The forge takes a token no more, or does not let an account in: what a client hears, and how it
//! heals.

use serde_json::json;

use super::{
    deployment::{Deployment, child},
    forge::ForgeOptions,
};
use crate::{
    application::Tokens,
    browser::Browser,
    harness::with_timeout,
    wire::{Client, initialize},
};

const LOCKED: &str = "This account is prohibited from signing in, please contact your site \
                      administrator.";

/// A server that asks the forge in its handshake and exits when its token is not taken, as the real
/// one does.
async fn with_a_strict_server() -> Deployment {
    Deployment::at_forge_strictly(ForgeOptions::default()).await
}

async fn session(deployment: &Deployment, browser: &mut Browser, name: &str) -> Client {
    let application = deployment.application("/mcp").await;
    let tokens = deployment.sign_in_with(browser, &application, name, &[]).await;
    application.with(&tokens).open().await
}

fn lock(deployment: &Deployment, locked: bool) {
    deployment
        .forge()
        .state()
        .users
        .iter_mut()
        .find(|own| own.login == "ada")
        .expect("she has an account")
        .prohibited = locked;
}

/// A call that shows the token: its result, or the words of the refusal with the status.
pub(super) async fn who(session: &Client) -> (u16, String) {
    let answer = session.call("look", json!({})).await;
    let body = answer.json();
    let login = body["result"]["login"].as_str().map(str::to_owned);
    let words = body["error"]["message"].as_str().unwrap_or_default().to_owned();
    (answer.status, login.unwrap_or(words))
}

#[test]
fn a_locked_account_reads_the_forges_words_instead_of_a_server_that_ended() {
    with_timeout(async {
        let deployment = with_a_strict_server().await;
        let application = deployment.application("/mcp").await;
        let tokens = deployment.sign_in(&application, "ada").await;
        lock(&deployment, true);
        for _ in 0..3 {
            let refused = application.with(&tokens).post(initialize("1", "2025-11-25")).await;
            assert_eq!(refused.status, 403, "{refused:?}");
            let words = refused.json()["error"]["message"].as_str().expect("words").to_owned();
            assert_eq!(words, format!("forgejo refuses your account: {LOCKED}"));
            assert_eq!(refused.json()["error"]["code"], -32000);
        }
    });
}

#[test]
fn an_account_that_is_locked_while_it_works_is_refused_at_the_next_call() {
    with_timeout(async {
        let deployment = with_a_strict_server().await;
        let session = session(&deployment, &mut Browser::default(), "ada").await;
        assert_eq!(who(&session).await, (200, "ada".to_owned()));
        lock(&deployment, true);
        let (status, words) = who(&session).await;
        assert_eq!(status, 200, "the server's own error: {words}");
        let (status, words) = who(&session).await;
        assert_eq!((status, words), (403, format!("forgejo refuses your account: {LOCKED}")));
    });
}

#[test]
fn a_locked_account_authorizes_nothing_and_sees_why_on_its_page() {
    with_timeout(async {
        let deployment = with_a_strict_server().await;
        let mut browser = Browser::default();
        session(&deployment, &mut browser, "ada").await;
        lock(&deployment, true);
        let application = deployment.application("/mcp").await;
        let page = browser.open(&application.question(&[])).await;
        assert_eq!(page.answer.status, 403, "{}", page.seen());
        assert!(page.answer.text().contains("prohibited"), "{}", page.seen());
        let account = browser.open(&format!("{}/account", deployment.root())).await;
        assert!(account.answer.text().contains("prohibited"), "{}", account.seen());
    });
}

#[test]
fn a_new_session_at_an_idle_child_reads_the_forges_words_as_one_at_a_new_child_does() {
    with_timeout(async {
        let deployment = with_a_strict_server().await;
        let application = deployment.application("/mcp").await;
        let tokens = deployment.sign_in(&application, "ada").await;
        let ada = application.with(&tokens);
        let idle = ada.open().await;
        assert_eq!(who(&idle).await, (200, "ada".to_owned()));
        // Another handshake has another child.
        let working = ada.open_as("2025-06-18").await;
        lock(&deployment, true);
        assert_eq!(who(&working).await.0, 200, "the server's own error");
        assert_eq!(who(&working).await.0, 403);
        let refused = ada.post(initialize("1", "2025-11-25")).await;
        assert_eq!(refused.status, 403, "{refused:?}");
        let words = refused.json()["error"]["message"].as_str().expect("words").to_owned();
        assert_eq!(words, format!("forgejo refuses your account: {LOCKED}"));
    });
}

#[test]
fn a_grant_withdrawn_at_the_forge_is_a_challenge_at_the_next_call_and_the_session_stays() {
    with_timeout(async {
        let deployment = with_a_strict_server().await;
        let application = deployment.application("/mcp").await;
        let tokens = deployment.sign_in(&application, "ada").await;
        let session = application.with(&tokens).open().await;
        assert_eq!(who(&session).await, (200, "ada".to_owned()));
        deployment.forge().state().revoke(7, None);
        assert_eq!(who(&session).await.0, 200, "the server's own error");
        let refused = session.call("look", json!({})).await;
        assert_eq!(refused.status, 401, "{refused:?}");
        let challenge = refused.header("www-authenticate").expect("a challenge");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        let again: Tokens = deployment.sign_in(&application, "ada").await;
        let same = session.bearer(&again.access);
        assert_eq!(who(&same).await, (200, "ada".to_owned()), "the same session goes on");
    });
}

#[test]
fn a_token_that_died_early_costs_one_call_and_the_next_one_works() {
    with_timeout(async {
        let deployment = with_a_strict_server().await;
        let session = session(&deployment, &mut Browser::default(), "ada").await;
        let before = child(&session).await;
        deployment.forge().state().forget_access_tokens();
        assert_eq!(who(&session).await.0, 200, "the server's own error");
        assert_eq!(who(&session).await, (200, "ada".to_owned()));
        assert_ne!(child(&session).await, before, "another child has the renewed token");
        assert_eq!(deployment.forge().counters().refreshes["ada"], 1);
    });
}

#[test]
fn a_dead_token_found_in_the_handshake_is_renewed_before_the_client_hears_of_it() {
    with_timeout(async {
        let deployment = with_a_strict_server().await;
        let application = deployment.application("/mcp").await;
        let tokens = deployment.sign_in(&application, "ada").await;
        deployment.forge().state().forget_access_tokens();
        let session = application.with(&tokens).open().await;
        assert_eq!(who(&session).await, (200, "ada".to_owned()));
        assert_eq!(deployment.forge().counters().refreshes["ada"], 1);
    });
}

#[test]
fn failures_of_the_server_itself_have_the_forge_asked_once_and_change_nothing() {
    with_timeout(async {
        let deployment = with_a_strict_server().await;
        let session = session(&deployment, &mut Browser::default(), "ada").await;
        let before = child(&session).await;
        let asked = || deployment.forge().counters().versions;
        let at_first = asked();
        for _ in 0..20 {
            let answer = session.call("fail", json!({})).await;
            assert_eq!(answer.json()["result"]["isError"], true, "{answer:?}");
        }
        assert_eq!(asked() - at_first, 1);
        assert_eq!(child(&session).await, before);
    });
}
