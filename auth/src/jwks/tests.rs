//! Stories about keys that come, go and are made up.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use jsonwebtoken::Algorithm;
use serde_json::json;

use super::*;
use crate::{
    jwt::signer::{Signer, answer, key_set, page, secs},
    testing::{FetchHandle, fetch, now},
};

const ADDRESS: &str = "https://idp.example/keys";

fn keys() -> (Jwks, FetchHandle) {
    let (fetch, web) = fetch();
    (Jwks::at(Url::parse(ADDRESS).unwrap(), fetch), web)
}

fn has(set: &KeySet, id: &str) -> bool {
    set.candidates(Some(id), Algorithm::ES256).next().is_some()
}

#[tokio::test]
async fn a_hundred_thousand_made_up_names_cost_at_most_two_requests() {
    let (jwks, web) = keys();
    web.put(ADDRESS, key_set([&Signer::first()]));
    for n in 0_u32..100_000 {
        let set = jwks.keys(now()).await.unwrap();
        assert!(!has(&set, &n.to_string()));
        assert!(jwks.newer(&set, now()).await.unwrap().is_none(), "there is no newer set");
    }
    assert!(web.asked().len() <= 2, "asked {} times", web.asked().len());
    let after = now() + secs(10);
    for _ in 0..1000 {
        let set = jwks.keys(after).await.unwrap();
        let _ = jwks.newer(&set, after).await;
    }
    assert_eq!(web.asked().len(), 2, "one more in the next window");
}

#[tokio::test]
async fn a_new_key_is_found_within_ten_seconds_and_the_old_one_is_gone_with_its_set() {
    let (jwks, web) = keys();
    web.put(ADDRESS, key_set([&Signer::first()]));
    let old = jwks.keys(now()).await.unwrap();
    web.put(ADDRESS, key_set([&Signer::second()]));
    let new = jwks.newer(&old, now() + secs(10)).await.unwrap().expect("the set changed");
    assert!(has(&new, "second") && !has(&new, "first"));
}

#[tokio::test]
async fn the_last_good_set_is_used_while_the_server_is_down_and_for_a_day() {
    let (jwks, web) = keys();
    web.put(ADDRESS, key_set([&Signer::first()]));
    let set = jwks.keys(now()).await.unwrap();
    web.remove(ADDRESS);
    for hour in 1..24 {
        let later = now() + secs(3600 * hour);
        let kept = jwks.keys(later).await.expect("the last good one");
        assert!(has(&kept, "first"));
        let unknown = jwks.newer(&kept, later).await;
        assert!(unknown.is_err(), "nothing can be said about keys it does not have");
    }
    assert!(jwks.keys(now() + secs(24 * 3600)).await.is_err(), "a day is the longest");
    web.put(ADDRESS, key_set([&Signer::first()]));
    let back = jwks.keys(now() + secs(24 * 3600 + 10)).await.unwrap();
    assert!(!Arc::ptr_eq(&back, &set));
}

#[tokio::test]
async fn what_is_no_set_of_keys_is_an_outage_and_replaces_nothing() {
    let (jwks, web) = keys();
    web.put(ADDRESS, key_set([&Signer::first()]));
    jwks.keys(now()).await.unwrap();
    let long = Response::new(Bytes::from(vec![b' '; 64 * 1024 + 1]));
    let bad = [
        long,
        page(&json!({ "keys": [] })),
        page(&json!({ "keys": [{ "kty": "oct", "k": "AAAA", "kid": "first" }] })),
        page(&json!([])),
        answer(StatusCode::BAD_GATEWAY, &json!({})),
        Response::new(Bytes::from_static(b"<html>")),
    ];
    for (n, page) in bad.into_iter().enumerate() {
        web.put(ADDRESS, page);
        let later = now() + secs(3600 * (1 + n as u64));
        assert!(has(&jwks.keys(later).await.unwrap(), "first"), "page {n}");
        assert_eq!(web.asked().len(), n + 2, "it was asked");
    }
}

#[tokio::test]
async fn many_who_wait_share_one_request() {
    let (jwks, web) = keys();
    web.put(ADDRESS, key_set([&Signer::first()]));
    web.close();
    let jwks = Arc::new(jwks);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let jwks = Arc::clone(&jwks);
        waiting.spawn(async move { jwks.keys(now()).await.is_ok() });
    }
    tokio::task::yield_now().await;
    web.open();
    while let Some(outcome) = waiting.join_next().await {
        assert!(outcome.unwrap());
    }
    assert_eq!(web.asked().len(), 1);
}

#[tokio::test]
async fn whoever_hangs_up_leaves_the_request_to_the_next() {
    let (jwks, web) = keys();
    web.put(ADDRESS, key_set([&Signer::first()]));
    web.close();
    for _ in 0..100 {
        let mut asking = Box::pin(jwks.keys(now()));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(asking.as_mut().poll(&mut context).is_pending());
    }
    web.open();
    assert!(jwks.keys(now()).await.is_ok(), "the attempt was not wasted");
    assert_eq!(web.asked().len(), 1, "and there was one");
}

#[tokio::test]
async fn a_clock_that_was_set_back_forbids_no_request_and_prolongs_no_set() {
    let (jwks, web) = keys();
    web.put(ADDRESS, key_set([&Signer::first()]));
    jwks.keys(now()).await.unwrap();
    web.put(ADDRESS, key_set([&Signer::second()]));
    let set = jwks.keys(now() - secs(3600)).await.unwrap();
    assert!(has(&set, "second"), "asked again");
}

#[test]
fn a_key_serves_the_algorithms_of_its_kind_alone() {
    let set = |signers: &[&Signer]| {
        let keys = signers.iter().map(|signer| signer.jwk()).collect();
        KeySet::of(RawSet { keys }).unwrap()
    };
    let (first, ed) = (Signer::first(), Signer::ed());
    let open = |signer: &Signer| {
        let mut jwk = signer.jwk();
        jwk.as_object_mut().unwrap().remove("alg");
        jwk
    };
    let all = KeySet::of(RawSet { keys: vec![open(&first), open(&ed)] }).unwrap();
    let count = |set: &KeySet, algorithm| set.candidates(None, algorithm).count();
    assert_eq!(count(&all, Algorithm::ES256), 1);
    assert_eq!(count(&all, Algorithm::EdDSA), 1);
    assert_eq!(count(&all, Algorithm::ES384), 0, "another curve");
    assert_eq!(count(&all, Algorithm::RS256), 0);
    let rsa = KeySet::of(RawSet { keys: vec![open(&Signer::rsa())] }).unwrap();
    assert_eq!(count(&rsa, Algorithm::PS256), 1, "an RSA key without `alg` serves all of RSA");
    assert_eq!(count(&rsa, Algorithm::HS256), 0, "and is no shared secret");
    assert_eq!(count(&rsa, Algorithm::ES256), 0);
    let pinned = set(&[&Signer::rsa()]);
    assert_eq!(count(&pinned, Algorithm::RS256), 1);
    assert_eq!(count(&pinned, Algorithm::PS256), 0, "with `alg` it serves that one");
}

#[test]
fn a_key_that_is_not_understood_costs_no_other_key() {
    let strange = json!({ "kty": "future", "kid": "f", "use": "sig" });
    let mut sealing = Signer::second().jwk();
    sealing["use"] = "enc".into();
    let keys = vec![strange, json!(17), sealing, Signer::first().jwk()];
    let set = KeySet::of(RawSet { keys }).unwrap();
    assert!(has(&set, "first") && !has(&set, "second"));
}
