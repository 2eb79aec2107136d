//! The crate from outside: requests against a gate as the broker composes it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use auth::{
    Bearer, CacheLimits, Challenge, Denied, Gate, NoSignIn, StaticTokenStore, StaticTokens,
    TokenAdded, TokenHash, TokenRecord, TokenVerifier, UnixTime, Verified, local, oauth, os_rng,
    upstream,
};
use http::{HeaderMap, header::AUTHORIZATION};

use self::memory_store::MemoryStore;

// The store of the tests, without the feature that gives it to other crates' tests: `cargo test`
// alone should do.
#[allow(dead_code, unreachable_pub, reason = "a part of it is used")]
#[path = "../../src/testing/memory_store.rs"]
mod memory_store;

#[path = "../../src/testing/memory_credentials.rs"]
mod memory_credentials;

#[path = "../../src/testing/memory_people.rs"]
mod memory_people;

#[path = "../../src/testing/memory_static_tokens.rs"]
mod memory_static_tokens;

#[path = "../../src/testing/memory_tables.rs"]
mod memory_tables;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)
}

fn bearing(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(AUTHORIZATION, format!("Bearer {token}").parse().expect("a token"))])
}

/// A verifier that knows one token, and its store.
async fn static_tokens() -> (Arc<StaticTokens>, Arc<MemoryStore>, Bearer) {
    let (record, token) = TokenRecord::mint("ada", &mut os_rng().expect("randomness"), now());
    let store = Arc::new(MemoryStore::new());
    store.add_static_token(record, UnixTime::of(now())).await.expect("the store answers");
    let tokens = StaticTokens::new(store.clone(), CacheLimits::default());
    (Arc::new(tokens), store, token)
}

async fn answer(gate: &Gate, headers: &HeaderMap) -> Result<Verified, (&'static str, String)> {
    gate.admit(headers, now()).await.map_err(|denied: Denied| {
        let challenge = Challenge::new(None).answer(&denied).expect("static tokens are decided");
        (denied.reason(), challenge.to_str().expect("ASCII").to_owned())
    })
}

#[tokio::test]
async fn no_token_and_a_bad_token_get_different_challenges() {
    let gate = Gate::new(vec![static_tokens().await.0]);
    let none = answer(&gate, &HeaderMap::new()).await.unwrap_err();
    assert_eq!(none, ("no_credentials", "Bearer realm=\"mcp-broker\"".into()));
    let basic = HeaderMap::from_iter([(AUTHORIZATION, "Basic YTpi".parse().unwrap())]);
    assert_eq!(answer(&gate, &basic).await.unwrap_err(), none, "RFC 6750 §3.1");
    let bad = answer(&gate, &bearing("mcpb_forged")).await.unwrap_err();
    let invalid = "Bearer error=\"invalid_token\", realm=\"mcp-broker\"";
    assert_eq!(bad, ("unknown_token", invalid.into()));
}

#[tokio::test]
async fn a_token_of_an_upstream_is_an_invalid_token() {
    let gate = Gate::new(vec![static_tokens().await.0]);
    let foreign = bearing("0123456789abcdef0123456789abcdef01234567");
    let (reason, challenge) = answer(&gate, &foreign).await.unwrap_err();
    assert_eq!(reason, "unknown_token");
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
}

#[tokio::test]
async fn a_token_made_by_hand_opens_the_gate_until_it_is_taken_out() {
    let (tokens, store, token) = static_tokens().await;
    let gate = Gate::new(vec![tokens as Arc<dyn TokenVerifier>]);
    let verified = answer(&gate, &bearing(token.expose())).await.unwrap();
    assert_eq!(
        (&*verified.issuer, &*verified.subject, &*verified.client),
        ("static", "ada", "static")
    );
    verified.require("whatever the server asks for").expect("the operator's tokens may do all");
    store.revoke_static_token("ada", UnixTime::of(now())).await.unwrap().expect("it was good");
    let late = now() + CacheLimits::default().max_age;
    let denied = gate.admit(&bearing(token.expose()), late).await.unwrap_err();
    assert_eq!(denied.reason(), "revoked_token");
}

#[tokio::test]
async fn optional_sign_in_lets_strangers_in_as_local_and_keeps_forgeries_out() {
    let (tokens, _store, token) = static_tokens().await;
    let gate = Gate::new(vec![tokens, Arc::new(NoSignIn::new())]);
    assert_eq!(&*answer(&gate, &HeaderMap::new()).await.unwrap().issuer, "none");
    assert_eq!(&*answer(&gate, &bearing("something-else")).await.unwrap().issuer, "none");
    assert_eq!(&*answer(&gate, &bearing(token.expose())).await.unwrap().issuer, "static");
    assert_eq!(answer(&gate, &bearing("mcpb_forged")).await.unwrap_err().0, "unknown_token");
}
