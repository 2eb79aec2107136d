//! Judging our own tokens.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::StatusCode;
use tokio::task::JoinSet;

use super::rig::*;
use crate::{
    Bearer, Denied, Refusal, TokenVerifier, Verdict,
    oauth::{AuthStore, CacheLimits, OAuthTokens, RevocationListener, Revoked},
    testing::{Contract, contract, now},
};

fn bearer(token: &str, at: SystemTime) -> (Bearer, SystemTime) {
    (Bearer::parse(token).unwrap(), at)
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_verifier() {
    let rig = rig();
    let (access, refresh) = rig.pair().await;
    let code = rig.code().await;
    let (revoked, other) = rig.pair().await;
    rig.post("/oauth/revoke", &[("token", &other), ("client_id", "web")]).await;
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
        ..Contract::new(rig.tokens.clone())
    })
    .await;
}

#[tokio::test]
async fn only_access_tokens_for_this_server_are_let_in() {
    let rig = rig();
    let (access, refresh) = rig.pair().await;
    assert_eq!(rig.admit(&refresh).await.unwrap_err(), "wrong_audience");
    assert_eq!(rig.admit(&rig.code().await).await.unwrap_err(), "wrong_audience");
    for foreign in ["upstream-of-ada", "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(rig.admit(foreign).await.unwrap_err(), "unknown_token");
    }
    let verified = rig.admit(&access).await.unwrap();
    let denied = verified.meant_for("https://mcp.example.org/files/mcp").unwrap_err();
    assert!(matches!(denied, Denied::Refused(Refusal::WrongAudience)));
}

#[tokio::test]
async fn the_challenge_leads_to_the_metadata_of_the_endpoint() {
    let rig = rig();
    let url = rig.server.resource_metadata_url("/files/mcp");
    let denied = rig.gate.admit(&http::HeaderMap::new(), rig.now()).await.unwrap_err();
    let challenge = crate::Challenge::new(Some(&url)).answer(&denied).unwrap();
    assert_eq!(challenge, format!("Bearer resource_metadata=\"{url}\""));
    let path = url.strip_prefix(ISSUER).unwrap();
    assert_eq!(json(rig.get(path).await)["resource"], format!("{ISSUER}/files/mcp"));
}

#[tokio::test]
async fn a_token_with_too_little_scope_is_told_all_that_is_needed() {
    let rig = rig();
    let answer = Visitor::new(&rig).authorize(&query(&[("scope", "mcp:read")])).await;
    let (_, body) = rig.redeem(&field(&answer, "code").unwrap()).await;
    let denied = rig.admit(&pair(&body).0).await.unwrap().require("mcp:read mcp:call").unwrap_err();
    let challenge = crate::Challenge::new(Some("https://m")).answer(&denied).unwrap();
    assert_eq!(
        challenge,
        "Bearer error=\"insufficient_scope\", scope=\"mcp:read mcp:call\", \
         resource_metadata=\"https://m\""
    );
}

#[tokio::test]
async fn a_remembered_token_asks_nobody() {
    let rig = rig();
    let (access, _) = rig.pair().await;
    rig.admit(&access).await.unwrap();
    let calls = rig.store.calls();
    rig.store.fail(true);
    let attempts = rig.provider.attempts().len();
    for _ in 0..100 {
        rig.admit(&access).await.expect("nothing upstream, nothing in the store");
    }
    assert_eq!((rig.store.calls(), rig.provider.attempts().len()), (calls, attempts));
    rig.pass(4);
    assert_eq!(rig.admit(&access).await.unwrap_err(), "undecided", "never a bad token");
    rig.store.fail(false);
    rig.admit(&access).await.expect("and good again");
}

#[tokio::test]
async fn a_revocation_that_happened_elsewhere_counts_after_seconds() {
    let rig = rig();
    let (access, _) = rig.pair().await;
    rig.admit(&access).await.unwrap();
    let family = rig.store_family(&access).await.unwrap();
    let at = crate::oauth::Moment::of(rig.now());
    rig.store.revoke_grant(&family, at).await.unwrap();
    rig.pass(4);
    assert_eq!(rig.admit(&access).await.unwrap_err(), "revoked_token");
}

#[tokio::test]
async fn a_look_up_that_a_revocation_overtakes_is_not_remembered() {
    let rig = rig();
    let (access, _) = rig.pair().await;
    let family = rig.store_family(&access).await.unwrap();
    let token = Bearer::parse(&access).unwrap();
    let mut judging = rig.tokens.judge(&token, rig.now());
    // It asked the store what the revocations are, and waits for its answer.
    std::future::poll_fn(|context| {
        assert!(judging.as_mut().poll(context).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    rig.tokens.revoked(&Revoked {
        issuer: "https://forge.example".into(),
        subject: "ada".into(),
        client: "web".into(),
        family: family.clone(),
    });
    assert!(matches!(judging.await, Ok(Verdict::Accept(_))), "the store did not know yet");
    let at = crate::oauth::Moment::of(rig.now());
    rig.store.revoke_grant(&family, at).await.unwrap();
    assert_eq!(rig.admit(&access).await.unwrap_err(), "revoked_token", "nothing was kept");
}

#[tokio::test]
async fn the_cache_is_bounded_and_keeps_who_comes_often() {
    let rig = rig();
    let store = Arc::clone(&rig.store) as Arc<dyn AuthStore>;
    let limits = CacheLimits { max_tokens: 8, max_age: Duration::from_secs(1000) };
    let tokens = OAuthTokens::new(store, limits);
    let (often, _) = rig.pair().await;
    let often = Bearer::parse(&often).unwrap();
    for _ in 0..50 {
        let (access, _) = rig.pair().await;
        for token in [&often, &Bearer::parse(&access).unwrap()] {
            let verdict = tokens.judge(token, rig.now()).await;
            assert!(matches!(verdict, Ok(Verdict::Accept(_))));
        }
    }
    let shown = format!("{tokens:?}");
    let kept: usize = shown.split("kept: ").nth(1).unwrap()[..1].parse().unwrap();
    assert!(kept <= 8, "{shown}");
    rig.store.fail(true);
    assert!(matches!(tokens.judge(&often, rig.now()).await, Ok(Verdict::Accept(_))));
    for n in 0..1000 {
        let forged = Bearer::parse(format!("mcpat_{n}")).unwrap();
        assert!(tokens.judge(&forged, rig.now()).await.is_err());
    }
    assert_eq!(format!("{tokens:?}"), shown, "forgeries leave nothing behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_revocation_is_answered_nobody_is_let_in() {
    let rig = Arc::new(rig());
    for _ in 0..20 {
        let (access, refresh) = rig.pair().await;
        let revoked = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mut racers = JoinSet::new();
        for _ in 0..50 {
            let (rig, access, revoked) = (Arc::clone(&rig), access.clone(), Arc::clone(&revoked));
            racers.spawn(async move {
                for _ in 0..20 {
                    let before = revoked.load(std::sync::atomic::Ordering::SeqCst);
                    let admitted = rig.admit(&access).await.is_ok();
                    assert!(!(before && admitted), "let in after the revocation");
                    tokio::task::yield_now().await;
                }
            });
        }
        let answer = rig.post("/oauth/revoke", &[("token", &refresh), ("client_id", "web")]).await;
        assert_eq!(answer.status(), StatusCode::OK);
        revoked.store(true, std::sync::atomic::Ordering::SeqCst);
        racers.join_all().await;
        assert_eq!(rig.admit(&access).await.unwrap_err(), "revoked_token");
    }
}
