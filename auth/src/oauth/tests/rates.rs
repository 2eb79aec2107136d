//! What one stranger may cost, and that it costs nobody else.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};

use super::harness::*;
use crate::oauth::{Answer, Rate};

const SLOW: Rate = Rate { burst: 3, every: Duration::from_secs(60) };
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));
const LIMITED: StatusCode = StatusCode::TOO_MANY_REQUESTS;

async fn from(harness: &Harness, peer: IpAddr, request: Request<Bytes>) -> Answer {
    harness.server.handle(&request, peer, harness.now()).await.expect("the path is the server's")
}

fn refresh(token: &str) -> Request<Bytes> {
    let form = [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", token)];
    post("/oauth/token", &form)
}

#[tokio::test]
async fn dead_refresh_tokens_do_not_lock_a_new_sign_in_out() {
    let harness = harness_with(config(), 1, |config| config.failure_rate = SLOW);
    let code = harness.code().await;
    for _ in 0..3 {
        let answer = harness.send(refresh("mcprt_dead")).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert_eq!(json(answer)["error"], "invalid_grant", "not what a client would try again");
    }
    let answer = harness.send(refresh("mcprt_dead")).await;
    assert_eq!(answer.status(), LIMITED);
    assert!(answer.headers().contains_key(header::RETRY_AFTER));
    for _ in 0..10 {
        assert_eq!(harness.redeem("mcpac_wrong").await.0, StatusCode::BAD_REQUEST);
    }
    let (status, body) = harness.redeem(&code).await;
    assert_eq!(status, StatusCode::OK, "an exchange of a code is never refused for others: {body}");
    harness.pass(60);
    assert_eq!(harness.send(refresh("mcprt_dead")).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_succeeds_and_what_others_do_is_not_counted() {
    let harness = harness_with(config(), 1, |config| config.failure_rate = SLOW);
    let (_, mut token) = harness.pair().await;
    for _ in 0..9 {
        from(&harness, STRANGER, refresh("mcprt_dead")).await;
    }
    assert_eq!(from(&harness, STRANGER, refresh("mcprt_dead")).await.status(), LIMITED);
    for _ in 0..9 {
        let answer = harness.send(refresh(&token)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        token = pair(&json(answer)).1;
    }
    let revoke = [("client_id", "web"), ("token", "mcprt_dead")];
    let answer = from(&harness, STRANGER, post("/oauth/revoke", &revoke)).await;
    assert_eq!(answer.status(), StatusCode::OK, "each kind is counted apart");
}

#[tokio::test]
async fn steps_of_sign_ins_cost_a_stranger_his_own_turns() {
    let harness = harness_with(config(), 1, |config| config.step_rate = SLOW);
    let callback = || Request::get("/callback/forge?state=x&code=y").body(Bytes::new()).unwrap();
    let calls = harness.store.calls();
    for _ in 0..100 {
        from(&harness, STRANGER, callback()).await;
    }
    assert_eq!(from(&harness, STRANGER, callback()).await.status(), LIMITED);
    assert_eq!(harness.store.calls() - calls, 3, "the store is not asked any more");
    assert!(!harness.code().await.is_empty(), "others sign in");
}

#[tokio::test]
async fn one_stranger_cannot_use_up_the_fetches_of_all() {
    let harness = harness_with(config(), 1, |config| config.document_rate_peer = SLOW);
    let ask = |id: &str| Request::get(query(&[("client_id", id)])).body(Bytes::new()).unwrap();
    for n in 0..100 {
        from(&harness, STRANGER, ask(&format!("https://app{n}.example/c"))).await;
    }
    assert_eq!(harness.web.asked().len(), 3);
    let answer = from(&harness, STRANGER, ask("https://app.example/c")).await;
    assert_eq!(answer.status(), LIMITED);
    harness.send(ask("https://app.example/c")).await;
    assert_eq!(harness.web.asked().len(), 4, "others are served");
}
