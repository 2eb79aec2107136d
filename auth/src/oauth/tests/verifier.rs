//! Judging our own tokens.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::StatusCode;
use tokio::task::JoinSet;

use super::harness::*;
use crate::{
    Bearer, CacheLimits, Denied, Refusal, TokenVerifier, Verdict,
    oauth::{AuthStore, Left, OAuthTokens, RevocationListener, Revoked},
    testing::{Contract, contract, now},
};

fn bearer(token: &str, at: SystemTime) -> (Bearer, SystemTime) {
    (Bearer::parse(token).unwrap(), at)
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_verifier() {
    let harness = harness();
    let (access, refresh) = harness.pair().await;
    let code = harness.code().await;
    let (revoked, other) = harness.pair().await;
    harness.post("/oauth/revoke", &[("token", &other), ("client_id", "web")]).await;
    contract(Contract {
        accepts: vec![bearer(&access, now()), bearer(&access, now() + Duration::from_secs(3599))],
        refuses: vec![
            bearer(&access, now() + Duration::from_secs(3600)),
            bearer(&refresh, now()),
            bearer(&code, now()),
            bearer(&revoked, now()),
            bearer("mcpat_never-issued", now()),
        ],
        abstains: vec![bearer("mcpb_static", now()), bearer("a-token-of-the-forge", now())],
        ..Contract::new(harness.tokens.clone())
    })
    .await;
}

#[tokio::test]
async fn only_access_tokens_for_this_server_are_let_in() {
    let harness = harness();
    let (access, refresh) = harness.pair().await;
    assert_eq!(harness.admit(&refresh).await.unwrap_err(), "wrong_audience");
    assert_eq!(harness.admit(&harness.code().await).await.unwrap_err(), "wrong_audience");
    for foreign in ["upstream-of-ada", "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(harness.admit(foreign).await.unwrap_err(), "unknown_token");
    }
    let verified = harness.admit(&access).await.unwrap();
    let denied = verified.meant_for("https://mcp.example.org/files/mcp").unwrap_err();
    assert!(matches!(denied, Denied::Refused(Refusal::WrongAudience)));
}

#[tokio::test]
async fn the_challenge_leads_to_the_metadata_of_the_endpoint() {
    let harness = harness();
    let url = harness.server.resource_metadata_url("/files/mcp");
    let denied = harness.gate.admit(&http::HeaderMap::new(), harness.now()).await.unwrap_err();
    let challenge = crate::Challenge::new(Some(&url)).answer(&denied).unwrap();
    assert_eq!(challenge, format!("Bearer resource_metadata=\"{url}\""));
    let path = url.strip_prefix(ISSUER).unwrap();
    assert_eq!(json(harness.get(path).await)["resource"], format!("{ISSUER}/files/mcp"));
}

#[tokio::test]
async fn a_token_with_too_little_scope_is_told_all_that_is_needed() {
    let harness = harness();
    let answer = Visitor::new(&harness).authorize(&query(&[("scope", "mcp:read")])).await;
    let (_, body) = harness.redeem(&field(&answer, "code").unwrap()).await;
    let denied =
        harness.admit(&pair(&body).0).await.unwrap().require("mcp:read mcp:call").unwrap_err();
    let challenge = crate::Challenge::new(Some("https://m")).answer(&denied).unwrap();
    assert_eq!(
        challenge,
        "Bearer error=\"insufficient_scope\", scope=\"mcp:read mcp:call\", \
         resource_metadata=\"https://m\""
    );
}

#[tokio::test]
async fn a_remembered_token_asks_nobody() {
    let harness = harness();
    let (access, _) = harness.pair().await;
    harness.admit(&access).await.unwrap();
    let calls = harness.store.calls();
    harness.store.fail(true);
    let attempts = harness.provider.attempts().len();
    for _ in 0..100 {
        harness.admit(&access).await.expect("nothing upstream, nothing in the store");
    }
    assert_eq!((harness.store.calls(), harness.provider.attempts().len()), (calls, attempts));
    harness.pass(4);
    assert_eq!(harness.admit(&access).await.unwrap_err(), "undecided", "never a bad token");
    harness.store.fail(false);
    harness.admit(&access).await.expect("and good again");
}

#[tokio::test]
async fn a_revocation_that_happened_elsewhere_counts_after_seconds() {
    let harness = harness();
    let (access, _) = harness.pair().await;
    harness.admit(&access).await.unwrap();
    let grant_id = harness.store_grant_id(&access).await.unwrap();
    let at = crate::UnixTime::of(harness.now());
    harness.store.revoke_grant(&grant_id, at).await.unwrap();
    harness.pass(4);
    assert_eq!(harness.admit(&access).await.unwrap_err(), "revoked_token");
}

#[tokio::test]
async fn a_look_up_that_a_revocation_overtakes_is_not_remembered() {
    let harness = harness();
    let (access, _) = harness.pair().await;
    let grant_id = harness.store_grant_id(&access).await.unwrap();
    let token = Bearer::parse(&access).unwrap();
    let mut judging = harness.tokens.judge(&token, harness.now());
    // It asked the store what the revocations are, and waits for its answer.
    std::future::poll_fn(|context| {
        assert!(judging.as_mut().poll(context).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    harness.tokens.revoked(&Revoked {
        issuer: "https://forge.example".into(),
        subject: "ada".into(),
        client: "web".into(),
        grant_id: grant_id.clone(),
        left: Left::Nothing,
    });
    assert!(matches!(judging.await, Ok(Verdict::Accept(_))), "the store did not know yet");
    let at = crate::UnixTime::of(harness.now());
    harness.store.revoke_grant(&grant_id, at).await.unwrap();
    assert_eq!(harness.admit(&access).await.unwrap_err(), "revoked_token", "nothing was kept");
}

#[tokio::test]
async fn the_cache_is_bounded_and_keeps_who_comes_often() {
    let harness = harness();
    let store = Arc::clone(&harness.store) as Arc<dyn AuthStore>;
    let limits = CacheLimits { max_tokens: 8, max_age: Duration::from_secs(1000) };
    let tokens = OAuthTokens::new(store, limits);
    let (often, _) = harness.pair().await;
    let often = Bearer::parse(&often).unwrap();
    for _ in 0..50 {
        let (access, _) = harness.pair().await;
        for token in [&often, &Bearer::parse(&access).unwrap()] {
            let verdict = tokens.judge(token, harness.now()).await;
            assert!(matches!(verdict, Ok(Verdict::Accept(_))));
        }
    }
    let shown = format!("{tokens:?}");
    let kept: usize = shown.split("kept: ").nth(1).unwrap()[..1].parse().unwrap();
    assert!(kept <= 8, "{shown}");
    harness.store.fail(true);
    assert!(matches!(tokens.judge(&often, harness.now()).await, Ok(Verdict::Accept(_))));
    for n in 0..1000 {
        let forged = Bearer::parse(format!("mcpat_{n}")).unwrap();
        assert!(tokens.judge(&forged, harness.now()).await.is_err());
    }
    assert_eq!(format!("{tokens:?}"), shown, "forgeries leave nothing behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_revocation_is_answered_nobody_is_let_in() {
    let harness = Arc::new(harness());
    for _ in 0..20 {
        let (access, refresh) = harness.pair().await;
        let revoked = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mut racers = JoinSet::new();
        for _ in 0..50 {
            let (harness, access, revoked) =
                (Arc::clone(&harness), access.clone(), Arc::clone(&revoked));
            racers.spawn(async move {
                for _ in 0..20 {
                    let before = revoked.load(std::sync::atomic::Ordering::SeqCst);
                    let admitted = harness.admit(&access).await.is_ok();
                    assert!(!(before && admitted), "let in after the revocation");
                    tokio::task::yield_now().await;
                }
            });
        }
        let answer =
            harness.post("/oauth/revoke", &[("token", &refresh), ("client_id", "web")]).await;
        assert_eq!(answer.status(), StatusCode::OK);
        revoked.store(true, std::sync::atomic::Ordering::SeqCst);
        racers.join_all().await;
        assert_eq!(harness.admit(&access).await.unwrap_err(), "revoked_token");
    }
}
