//! The database belongs to somebody else for a while.

use sqlx::Executor;

use super::deployment::Deployment;
use crate::{
    application::{Tokens, refusal},
    browser::Browser,
    harness::{Harness, until_so, with_timeout},
    store_harness::stranger,
    wire::{PING, TIMEOUT, initialize},
};

#[test]
fn a_database_locked_by_another_process_is_a_wait_and_never_a_refusal() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let application = deployment.application("/mcp").await;
        let mut browser = Browser::default();
        let tokens = deployment.sign_in_with(&mut browser, &application, "ada", &[]).await;
        let session = application.with(&tokens).open().await;
        let readyz = deployment.client().at("/readyz");
        assert_eq!(readyz.ask("GET", "").await.status, 200);
        assert_eq!(readyz.post("").await.status, 405);

        let mut stranger = stranger(&deployment.place.path().join("data")).await;
        stranger.execute("BEGIN IMMEDIATE").await.unwrap();
        let question = application.question(&[]);
        let mut other = Browser::default();
        let form = [("grant_type", "refresh_token"), ("refresh_token", &*tokens.refresh)];
        let (refreshed, made_up, revoked, asked, called) = tokio::join!(
            application.ask("token_endpoint", &form),
            application.refresh("mcpr_made-up"),
            application.revoke(&tokens.refresh),
            other.open(&question),
            session.post(PING),
        );
        assert_eq!(refreshed.status, 503, "{refreshed:?}");
        refreshed.assert_retry();
        assert_eq!(revoked.status, 503, "never 200: {revoked:?}");
        revoked.assert_retry();
        assert_eq!(asked.answer.status, 503, "{}", asked.seen());
        asked.answer.assert_retry();
        super::pages::assert_headers(&asked);
        // Readers are not locked out: what is known goes on, and what is wrong stays wrong.
        assert_eq!(called.status, 200, "{called:?}");
        assert_eq!(refusal(&made_up), (400, "invalid_grant".to_owned()));
        let unready = readyz.ask("GET", "").await;
        assert_eq!(unready.status, 503, "{unready:?}");
        assert_eq!(deployment.client().at("/healthz").ask("GET", "").await.status, 200);

        stranger.execute("ROLLBACK").await.unwrap();
        until_so("it is ready again", async || readyz.ask("GET", "").await.status == 200).await;
        let fresh = Tokens::of(&application.refresh(&tokens.refresh).await);
        assert!(session.bearer(&fresh.access).is_alive().await, "the same session, unharmed");
        assert_eq!(application.revoke(&fresh.refresh).await.status, 200);
    });
}

#[test]
fn a_database_that_was_replaced_is_noticed_by_readyz() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let readyz = deployment.client().at("/readyz");
        let database = crate::store_harness::database(&deployment.place.path().join("data"));
        let aside = database.with_extension("aside");
        std::fs::rename(&database, &aside).unwrap();
        assert_eq!(readyz.ask("GET", "").await.status, 503);
        std::fs::rename(&aside, &database).unwrap();
        assert_eq!(readyz.ask("GET", "").await.status, 200);
    });
}

#[test]
fn a_token_that_cannot_be_judged_now_is_a_wait_and_never_a_refusal() {
    with_timeout(async {
        // SQLite never locks readers out, so the one who cannot answer is another server here.
        let harness = Harness::start(&[
            "auth.verifiers=[\"introspection\"]",
            "auth.introspection.endpoint=\"http://127.0.0.1:9/introspect\"",
            "auth.introspection.client_id=\"broker\"",
            "auth.introspection.client_secret=\"hush\"",
        ])
        .await;
        let answer = harness.client.bearer("some-token").post(initialize("1", "2025-11-25")).await;
        assert_eq!(answer.error().0, 503, "{answer:?}");
        answer.assert_retry();
        assert_eq!(answer.header("www-authenticate"), None, "the client keeps its token");
        let nobody = harness.client.post(initialize("1", "2025-11-25")).await;
        assert_eq!(nobody.status, 401, "nothing has to be judged here");
        let readyz = harness.client.at("/readyz").ask("GET", "").await;
        assert_eq!(readyz.status, 200, "there is no store to wait for");
    });
}

#[test]
fn a_hundred_token_requests_at_once_are_all_answered() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "oauth.max_grants = 100", "").await;
        let application = deployment.application("/mcp").await;
        let mut browser = Browser::default();
        deployment.account_page(&mut browser, "ada").await;
        let mut codes = Vec::new();
        let begun = tokio::time::Instant::now();
        // A code lives for a minute, in which a very busy machine makes fewer.
        while codes.len() < 100 && (codes.len() < 10 || begun.elapsed() < TIMEOUT) {
            let consent = browser.open(&application.question(&[])).await;
            codes.push(browser.press(&consent, ("choice", "approve"), &[]).await.code());
        }
        let mut racing = Vec::new();
        for code in &codes {
            let verifier = crate::application::VERIFIER;
            let fields =
                [("grant_type", "authorization_code"), ("code", code), ("code_verifier", verifier)];
            racing.push(application.send("token_endpoint", &fields).await);
        }
        let mut grants = Vec::new();
        for mut wire in racing {
            grants.push(Tokens::of(&wire.answer().await));
        }
        let mut racing = Vec::new();
        for tokens in &grants {
            let fields = [("grant_type", "refresh_token"), ("refresh_token", &*tokens.refresh)];
            racing.push(application.send("token_endpoint", &fields).await);
        }
        for mut wire in racing {
            Tokens::of(&wire.answer().await);
        }
    });
}
