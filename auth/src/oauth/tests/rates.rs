//! What one stranger may cost, and that it costs nobody else.

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, header};

use super::rig::*;
use crate::oauth::{Answer, Rate};

const SLOW: Rate = Rate { burst: 3, every: Duration::from_secs(60) };
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));
const LIMITED: StatusCode = StatusCode::TOO_MANY_REQUESTS;

async fn from(rig: &Rig, peer: IpAddr, request: Request<Bytes>) -> Answer {
    rig.server.handle(&request, peer, rig.now()).await.expect("the path is the server's")
}

fn refresh(token: &str) -> Request<Bytes> {
    let form = [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", token)];
    post("/oauth/token", &form)
}

#[tokio::test]
async fn dead_refresh_tokens_do_not_lock_a_new_sign_in_out() {
    let rig = rig_with(config(), 1, |config| config.failure_rate = SLOW);
    let code = rig.code().await;
    for _ in 0..3 {
        let answer = rig.send(refresh("mcprt_dead")).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
        assert_eq!(json(answer)["error"], "invalid_grant", "not what a client would try again");
    }
    let answer = rig.send(refresh("mcprt_dead")).await;
    assert_eq!(answer.status(), LIMITED);
    assert!(answer.headers().contains_key(header::RETRY_AFTER));
    for _ in 0..10 {
        assert_eq!(rig.redeem("mcpac_wrong").await.0, StatusCode::BAD_REQUEST);
    }
    let (status, body) = rig.redeem(&code).await;
    assert_eq!(status, StatusCode::OK, "an exchange of a code is never refused for others: {body}");
    rig.pass(60);
    assert_eq!(rig.send(refresh("mcprt_dead")).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_succeeds_and_what_others_do_is_not_counted() {
    let rig = rig_with(config(), 1, |config| config.failure_rate = SLOW);
    let (_, mut token) = rig.pair().await;
    for _ in 0..9 {
        from(&rig, STRANGER, refresh("mcprt_dead")).await;
    }
    assert_eq!(from(&rig, STRANGER, refresh("mcprt_dead")).await.status(), LIMITED);
    for _ in 0..9 {
        let answer = rig.send(refresh(&token)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        token = pair(&json(answer)).1;
    }
    let revoke = [("client_id", "web"), ("token", "mcprt_dead")];
    let answer = from(&rig, STRANGER, post("/oauth/revoke", &revoke)).await;
    assert_eq!(answer.status(), StatusCode::OK, "each kind is counted apart");
}

#[tokio::test]
async fn steps_of_sign_ins_cost_a_stranger_his_own_turns() {
    let rig = rig_with(config(), 1, |config| config.step_rate = SLOW);
    let callback = || Request::get("/callback/forge?state=x&code=y").body(Bytes::new()).unwrap();
    let calls = rig.store.calls();
    for _ in 0..100 {
        from(&rig, STRANGER, callback()).await;
    }
    assert_eq!(from(&rig, STRANGER, callback()).await.status(), LIMITED);
    assert_eq!(rig.store.calls() - calls, 3, "the store is not asked any more");
    assert!(!rig.code().await.is_empty(), "others sign in");
}

#[tokio::test]
async fn one_stranger_cannot_use_up_the_fetches_of_all() {
    let rig = rig_with(config(), 1, |config| config.document_rate_peer = SLOW);
    let ask = |id: &str| Request::get(query(&[("client_id", id)])).body(Bytes::new()).unwrap();
    for n in 0..100 {
        from(&rig, STRANGER, ask(&format!("https://app{n}.example/c"))).await;
    }
    assert_eq!(rig.web.asked().len(), 3);
    let answer = from(&rig, STRANGER, ask("https://app.example/c")).await;
    assert_eq!(answer.status(), LIMITED);
    rig.send(ask("https://app.example/c")).await;
    assert_eq!(rig.web.asked().len(), 4, "others are served");
}
