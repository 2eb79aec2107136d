//! A store that fails, at every call there is.

use http::{StatusCode, header};

use super::rig::*;
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
            let rig = rig();
            let mut visitor = Visitor::new(&rig);
            rig.store.fail_at(nth, fault);
            let failed = sign_in(&mut visitor).await;
            let (access, refresh) = match failed {
                Some(tokens) => tokens,
                // A person starts again, in the same browser.
                None => sign_in(&mut visitor).await.expect("one fault, one failure"),
            };
            rig.store.fail_at(0, fault);
            rig.admit(&access).await.expect("the token is good");
            let (status, body) = rig.refresh(&refresh).await;
            assert_eq!(status, StatusCode::OK, "{nth} {fault:?} {body}");
            assert_eq!(rig.heard(), 0, "nothing was revoked: {nth} {fault:?}");
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
    let (status, body) = visitor.rig.redeem(&field(&answer, "code").unwrap()).await;
    if status != StatusCode::OK {
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
        return None;
    }
    Some(pair(&body))
}

#[tokio::test]
async fn a_store_that_is_down_is_503_everywhere() {
    let rig = rig();
    let (access, refresh) = rig.pair().await;
    let mut visitor = Visitor::new(&rig);
    let page = visitor.get(&query(&[])).await;
    rig.store.fail(true);
    let body = serde_json::json!({ "redirect_uris": [WEB], "token_endpoint_auth_method": "none" });
    let refreshing =
        [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", &*refresh)];
    let introspecting = [("token", &*access), ("client_id", "machine"), ("client_secret", SECRET)];
    let answers = [
        visitor.press(&page, &[("choice", "approve")]).await,
        rig.get("/oauth/authorize?client_id=dcr-unknown").await,
        rig.get(&query(&[])).await,
        rig.get("/login").await,
        rig.get("/callback/forge?state=x").await,
        rig.post("/oauth/token", &refreshing).await,
        rig.post("/oauth/token", &[("grant_type", "x"), ("client_id", "dcr-x")]).await,
        rig.post("/oauth/revoke", &[("token", &refresh), ("client_id", "web")]).await,
        rig.post("/oauth/introspect", &introspecting).await,
        super::registration::raw(&rig, &body).await,
    ];
    for answer in &answers {
        assert!(check(answer), "{answer:?}");
    }
    assert_eq!(rig.admit(&access).await.unwrap_err(), "undecided");
    rig.store.fail(false);
    rig.admit(&access).await.expect("it recovers by itself");
    assert_eq!(rig.refresh(&refresh).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_credential_that_cannot_be_kept_fails_the_sign_in_as_temporary() {
    let rig = rig();
    rig.credentials.fail(true);
    let answer = Visitor::new(&rig).authorize(&query(&[])).await;
    assert!(check(&answer));
    rig.credentials.fail(false);
    let answer = Visitor::new(&rig).authorize(&query(&[])).await;
    assert!(field(&answer, "code").is_some());
}
