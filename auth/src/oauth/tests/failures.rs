//! A store that fails, at every call there is.

use http::{StatusCode, header};

use super::harness::*;
use crate::{oauth::Answer, testing::Fault};

/// Not one of these may ever come from a store that fails: they make a client throw away what is
/// good, or believe what is not.
fn check(answer: &Answer) -> bool {
    let failed = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
    assert_eq!(failed, answer.headers().contains_key(header::RETRY_AFTER));
    assert_ne!(answer.status(), StatusCode::UNAUTHORIZED);
    failed
}

#[tokio::test]
async fn whatever_call_fails_the_answer_is_503_and_a_new_try_succeeds() {
    for fault in [Fault::Before, Fault::After] {
        for nth in 1..40 {
            let harness = harness();
            let mut visitor = Visitor::new(&harness);
            harness.store.fail_at(nth, fault);
            let failed = sign_in(&mut visitor).await;
            let (access, refresh) = match failed {
                Some(tokens) => tokens,
                // A person starts again, in the same browser.
                None => sign_in(&mut visitor).await.expect("one fault, one failure"),
            };
            harness.store.fail_at(0, fault);
            harness.admit(&access).await.expect("the token is good");
            let (status, body) = harness.refresh(&refresh).await;
            assert_eq!(status, StatusCode::OK, "{nth} {fault:?} {body}");
            assert_eq!(harness.heard(), 0, "nothing was revoked: {nth} {fault:?}");
        }
    }
}

/// From the request to the tokens, or `None` when the store failed on the way.
async fn sign_in(visitor: &mut Visitor<'_>) -> Option<(String, String)> {
    let page = visitor.get(&query(&[("prompt", "consent")])).await;
    if check(&page) {
        return None;
    }
    let mut answer = visitor.press(&page, &[("choice", "approve")]).await;
    if check(&answer) {
        return None;
    }
    if location(&answer).unwrap().contains("/login?") {
        let upstream = visitor.follow(&answer).await;
        if check(&upstream) {
            return None;
        }
        answer = visitor.come_back(&upstream).await;
        if check(&answer) {
            return None;
        }
    }
    let (status, body) = visitor.harness.redeem(&field(&answer, "code").unwrap()).await;
    if status != StatusCode::OK {
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
        return None;
    }
    Some(pair(&body))
}

#[tokio::test]
async fn a_store_that_is_down_is_503_everywhere() {
    let harness = harness();
    let (access, refresh) = harness.pair().await;
    let mut visitor = Visitor::new(&harness);
    let page = visitor.get(&query(&[])).await;
    harness.store.fail(true);
    let body = serde_json::json!({ "redirect_uris": [WEB], "token_endpoint_auth_method": "none" });
    let refreshing =
        [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", &*refresh)];
    let introspecting = [("token", &*access), ("client_id", "machine"), ("client_secret", SECRET)];
    let answers = [
        visitor.press(&page, &[("choice", "approve")]).await,
        harness.get("/oauth/authorize?client_id=dcr-unknown").await,
        harness.get(&query(&[])).await,
        harness.get("/login").await,
        harness.get("/callback/forge?state=x").await,
        harness.post("/oauth/token", &refreshing).await,
        harness.post("/oauth/token", &[("grant_type", "x"), ("client_id", "dcr-x")]).await,
        harness.post("/oauth/revoke", &[("token", &refresh), ("client_id", "web")]).await,
        harness.post("/oauth/introspect", &introspecting).await,
        super::registration::raw(&harness, &body).await,
    ];
    for answer in &answers {
        assert!(check(answer), "{answer:?}");
    }
    assert_eq!(harness.admit(&access).await.unwrap_err(), "undecided");
    harness.store.fail(false);
    harness.admit(&access).await.expect("it recovers by itself");
    assert_eq!(harness.refresh(&refresh).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_credential_that_cannot_be_kept_fails_the_sign_in_as_temporary() {
    let harness = harness();
    harness.credentials.fail(true);
    let answer = Visitor::new(&harness).authorize(&query(&[])).await;
    assert!(check(&answer));
    harness.credentials.fail(false);
    let answer = Visitor::new(&harness).authorize(&query(&[])).await;
    assert!(field(&answer, "code").is_some());
}
