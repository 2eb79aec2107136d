//! Rotation of refresh tokens.

use std::{collections::HashSet, sync::Arc};

use http::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;

use super::harness::*;
use crate::testing::{Fault, MemoryStore, store_contract};

const OK: StatusCode = StatusCode::OK;
const BAD: StatusCode = StatusCode::BAD_REQUEST;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_in_memory_keeps_the_contract_of_a_store() {
    store_contract(Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn a_refresh_gives_a_new_pair_and_the_old_access_token_lives_on() {
    let harness = harness();
    let (access, refresh) = harness.pair().await;
    let (status, body) = harness.refresh(&refresh).await;
    assert_eq!(status, OK, "{body}");
    let (next_access, next_refresh) = pair(&body);
    assert!(next_access != access && next_refresh != refresh);
    assert_eq!(next_access.len(), access.len(), "derived tokens look like minted ones");
    let (old, new) =
        (harness.admit(&access).await.unwrap(), harness.admit(&next_access).await.unwrap());
    assert_eq!((&old.subject, &old.client), (&new.subject, &new.client), "the same owner");
    assert_eq!(old.grant_id, new.grant_id);
    let (status, _) = harness.refresh(&next_refresh).await;
    assert_eq!(status, OK);
}

#[tokio::test]
async fn within_the_grace_window_the_same_pair_comes_again() {
    let harness = harness();
    let (_, refresh) = harness.pair().await;
    let (_, first) = harness.refresh(&refresh).await;
    harness.pass(59);
    let before = harness.store.records();
    let (status, again) = harness.refresh(&refresh).await;
    assert_eq!(status, OK, "{again}");
    assert_eq!(pair(&again), pair(&first));
    assert_eq!(again["expires_in"], 3600 - 59);
    assert_eq!(harness.store.records(), before, "nothing was added");
    harness.admit(&pair(&again).0).await.expect("the pair is good");
}

#[tokio::test]
async fn after_the_grace_window_reuse_ends_the_whole_family_at_once() {
    let harness = harness();
    let (access, refresh) = harness.pair().await;
    let (_, body) = harness.refresh(&refresh).await;
    let (next_access, next_refresh) = pair(&body);
    for token in [&access, &next_access] {
        harness.admit(token).await.expect("good, and remembered");
    }
    harness.pass(60);
    let (status, body) = harness.refresh(&refresh).await;
    assert_eq!((status, &body["error"]), (BAD, &json!("invalid_grant")));
    for token in [&access, &next_access] {
        assert_eq!(harness.admit(token).await.unwrap_err(), "revoked_token");
    }
    let (status, body) = harness.refresh(&next_refresh).await;
    assert_eq!((status, &body["error"]), (BAD, &json!("invalid_grant")));
    assert_eq!(harness.heard(), 1, "told once");
}

#[tokio::test]
async fn of_five_generations_any_old_token_ends_the_family() {
    for old in 0..4 {
        let harness = harness();
        let (access, first) = harness.pair().await;
        let mut generations = vec![(access, first)];
        for _ in 0..4 {
            let (_, body) = harness.refresh(&generations.last().unwrap().1).await;
            generations.push(pair(&body));
        }
        if old == 3 {
            harness.pass(60);
        }
        let (status, _) = harness.refresh(&generations[old].1).await;
        assert_eq!(status, BAD, "grace is for the predecessor alone: {old}");
        for (access, refresh) in &generations {
            assert_eq!(harness.admit(access).await.unwrap_err(), "revoked_token");
            assert_eq!(harness.refresh(refresh).await.1["error"], "invalid_grant");
        }
    }
}

#[tokio::test]
async fn another_sign_in_of_the_same_user_and_client_is_another_family() {
    let harness = harness();
    let (other_access, other_refresh) = harness.pair().await;
    let (_, refresh) = harness.pair().await;
    harness.refresh(&refresh).await;
    harness.pass(60);
    assert_eq!(harness.refresh(&refresh).await.0, BAD);
    harness.admit(&other_access).await.expect("the other machine is not concerned");
    assert_eq!(harness.refresh(&other_refresh).await.0, OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_racing_refreshes_get_one_pair() {
    let harness = Arc::new(harness());
    let (_, mut refresh) = harness.pair().await;
    for _ in 0..5 {
        let mut racers = JoinSet::new();
        for _ in 0..100 {
            let (harness, refresh) = (Arc::clone(&harness), refresh.clone());
            racers.spawn(async move {
                let (status, body) = harness.refresh(&refresh).await;
                assert_eq!(status, OK, "{body}");
                pair(&body)
            });
        }
        let pairs: HashSet<_> = racers.join_all().await.into_iter().collect();
        assert_eq!(pairs.len(), 1);
        let (access, next) = pairs.into_iter().next().unwrap();
        harness.admit(&access).await.expect("the pair is good");
        refresh = next;
    }
    assert_eq!(harness.heard(), 0);
}

#[tokio::test]
async fn an_expired_refresh_token_is_of_no_use_even_in_the_window() {
    let harness = harness_with(config(), 1, |config| {
        config.refresh_ttl = std::time::Duration::from_secs(100);
    });
    let (_, unused) = harness.pair().await;
    let (_, used) = harness.pair().await;
    harness.pass(99);
    assert_eq!(harness.refresh(&used).await.0, OK);
    harness.pass(1);
    assert_eq!(harness.refresh(&used).await.0, BAD);
    assert_eq!(harness.refresh(&unused).await.0, BAD);
}

#[tokio::test]
async fn scope_client_and_resource_of_a_refresh_stay_within_the_grant() {
    let harness = harness();
    let answer = Visitor::new(&harness).authorize(&query(&[("scope", "mcp:read")])).await;
    let (_, body) = harness.redeem(&field(&answer, "code").unwrap()).await;
    assert_eq!(body["scope"], "mcp:read");
    let (_, refresh) = pair(&body);
    let ask = async |extra: &[(&str, &str)]| {
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", &*refresh)];
        form.extend_from_slice(extra);
        harness.token(&form).await
    };
    for (extra, error) in [
        ([("client_id", "web"), ("scope", "mcp:read mcp:call")], "invalid_scope"),
        ([("client_id", "web"), ("scope", "mcp:admin")], "invalid_scope"),
        ([("client_id", "two"), ("scope", "mcp:read")], "invalid_grant"),
        (
            [("client_id", "web"), ("resource", "https://mcp.example.org/files/mcp")],
            "invalid_target",
        ),
        ([("client_id", "web"), ("resource", "https://mcp.example.org/mcp#x")], "invalid_target"),
    ] {
        let (status, body) = ask(&extra).await;
        assert_eq!((status, &body["error"]), (BAD, &json!(error)), "{extra:?}");
    }
    let (status, _) = ask(&[("client_id", "web"), ("resource", "https://mcp.example.org/")]).await;
    assert_eq!(status, OK, "none of that spent it");
    assert_eq!(harness.heard(), 0);
}

#[tokio::test]
async fn a_narrowed_token_can_do_less_and_the_grant_keeps_all() {
    let harness = harness();
    let (_, refresh) = harness.pair().await;
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", "web"),
        ("refresh_token", &*refresh),
        ("scope", "mcp:read"),
    ];
    let (_, body) = harness.token(&form).await;
    assert_eq!(body["scope"], "mcp:read");
    let (access, next) = pair(&body);
    let verified = harness.admit(&access).await.unwrap();
    assert!(verified.require("mcp:read").is_ok());
    assert!(verified.require("mcp:call").is_err(), "a step up needs another token");
    assert_eq!(harness.refresh(&next).await.1["scope"], "mcp:read mcp:call");
}

#[tokio::test]
async fn a_clock_that_is_set_back_revives_nothing() {
    let harness = harness();
    let code = harness.code().await;
    harness.pass(7200);
    assert_eq!(harness.redeem(&code).await.0, BAD);
    let (access, refresh) = harness.pair().await;
    harness.refresh(&refresh).await;
    harness
        .server
        .revoke_grant(
            &harness.admit(&access).await.unwrap().grant_id.clone().unwrap(),
            harness.now(),
        )
        .await
        .unwrap();
    let used = harness.code().await;
    assert_eq!(harness.redeem(&used).await.0, OK);
    harness.pass(u64::MAX - 3599); // wraps: an hour back
    assert_eq!(harness.admit(&access).await.unwrap_err(), "revoked_token");
    assert_eq!(harness.refresh(&refresh).await.0, BAD);
    assert_eq!(harness.redeem(&used).await.0, BAD);
}

#[tokio::test]
async fn a_rotation_whose_answer_got_lost_can_be_repeated() {
    let harness = harness();
    let (_, refresh) = harness.pair().await;
    // The second call of a refresh is the rotation.
    for fault in [Fault::Before, Fault::After] {
        harness.store.fail_at(2, fault);
        let (status, body) = harness.refresh(&refresh).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{body}");
    }
    let (status, body) = harness.refresh(&refresh).await;
    assert_eq!(status, OK, "{body}");
    let (access, next) = pair(&body);
    harness.admit(&access).await.expect("the pair is good");
    assert_eq!(harness.refresh(&next).await.0, OK);
}

#[tokio::test]
async fn a_client_without_the_grant_type_gets_no_refresh_token() {
    let harness = harness_with(config(), 1, |config| config.clients[0].refreshes = false);
    let (status, body) = harness.redeem(&harness.code().await).await;
    assert_eq!(status, OK);
    assert!(body.get("refresh_token").is_none());
}

#[tokio::test]
async fn another_server_key_signs_nobody_out() {
    let mut harness = harness();
    let (_, refresh) = harness.pair().await;
    let (access, next) = pair(&harness.refresh(&refresh).await.1);
    harness.server.set_key(crate::oauth::ServerKey::new([8; 32]));
    let (status, body) = harness.refresh(&refresh).await;
    assert_eq!((status, &body["error"]), (BAD, &json!("invalid_grant")), "it cannot be repeated");
    harness.admit(&access).await.expect("nothing was revoked");
    assert_eq!(harness.refresh(&next).await.0, OK);
    assert_eq!(harness.heard(), 0);
}

#[tokio::test]
async fn a_refresh_that_is_repeated_leaves_a_trace() {
    let harness = harness();
    let (_, refresh) = harness.pair().await;
    let asked = async |refresh: &str, peer: &str| {
        let form =
            [("grant_type", "refresh_token"), ("client_id", "web"), ("refresh_token", refresh)];
        let request = post("/oauth/token", &form);
        let peer = peer.parse().unwrap();
        let answer = harness.server.handle(&request, peer, harness.now()).await;
        answer.expect("its path").status()
    };
    let (_, elsewhere) = harness.pair().await;
    assert_eq!(asked(&refresh, "192.0.2.1").await, OK);
    assert_eq!(harness.server.repeated_refreshes(), 0);
    assert_eq!(asked(&refresh, "192.0.2.1").await, OK);
    assert_eq!(asked(&refresh, "203.0.113.7").await, OK, "the pair is the same everywhere");
    assert_eq!(asked(&elsewhere, "203.0.113.7").await, OK);
    assert_eq!(harness.server.repeated_refreshes(), 2);
    harness.pass(60);
    assert_eq!(asked(&refresh, "203.0.113.7").await, BAD);
    assert_eq!(harness.server.repeated_refreshes(), 2, "that is reuse");
}
