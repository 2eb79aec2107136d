//! What judging one of our own access tokens costs once it is remembered, through the gate as every
//! request takes it, among ten thousand tokens; and what it costs when the store has to be asked.
//!
//! The target for a remembered one is 2 µs.

use std::{
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant, SystemTime},
};

use auth::{
    CacheLimits, Gate, TokenHash, TokenRecord, UnixTime, local,
    oauth::{self, AuthStore, AuthorizeRequest, Code, Consent, NewToken, OAuthTokens, User},
    upstream,
};
use http::{HeaderMap, header::AUTHORIZATION};

use self::memory_store::MemoryStore;

// The store of the tests, without the feature that gives it to other crates' tests: `cargo bench`
// alone should do.
#[allow(dead_code, unreachable_pub, reason = "the bench uses a part of it")]
#[path = "../src/testing/memory_store.rs"]
mod memory_store;

#[path = "../src/testing/memory_credentials.rs"]
mod memory_credentials;

#[path = "../src/testing/memory_people.rs"]
mod memory_people;

#[path = "../src/testing/memory_tables.rs"]
mod memory_tables;

const TOKENS: usize = 10_000;
const BATCH: u32 = 1_000;
const SAMPLES: usize = 101;

#[expect(clippy::print_stdout, reason = "a bench reports on stdout")]
fn main() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
    let store = Arc::new(MemoryStore::new());
    let requests: Vec<HeaderMap> = (0..TOKENS)
        .map(|n| {
            let token = format!("mcpat_{n:043}");
            issue(&store, &token, n, UnixTime::of(now));
            let value = format!("Bearer {token}").parse().expect("a token fits in a header");
            HeaderMap::from_iter([(AUTHORIZATION, value)])
        })
        .collect();
    let store = store as Arc<dyn AuthStore>;
    let cases = [("remembered", 2 * TOKENS + 2), ("looked up", 0)];
    for (case, max_tokens) in cases {
        let limits = CacheLimits { max_tokens, ..CacheLimits::default() };
        let gate = Gate::new(vec![Arc::new(OAuthTokens::new(Arc::clone(&store), limits))]);
        for headers in &requests {
            assert!(ready(gate.admit(headers, now)).is_ok(), "the token is good");
        }
        let [median, p99] = measure(&gate, &requests, now);
        println!("oauth: {case:<11} {median:>6.0} ns per admit, worst batches {p99:>6.0} ns");
    }
}

fn issue(store: &MemoryStore, token: &str, n: usize, now: UnixTime) {
    let request = AuthorizeRequest {
        client: "client".into(),
        client_name: "client".into(),
        redirect_uri: "https://client.example".into(),
        state: None,
        challenge: String::new(),
        resource: "https://mcp.example.org/mcp".into(),
        scope: "mcp".into(),
        refreshes: false,
        reauthenticate: false,
    };
    let user = User {
        issuer: "https://forge.example".into(),
        subject: n.to_string(),
        display_name: String::new(),
        provider: "forge".into(),
    };
    let hash = TokenHash::of(&format!("code {n}"));
    let expires = now.plus(Duration::from_secs(3600));
    // One consent for all: the list is not what is measured.
    let consent = Consent::of(&User { subject: String::new(), ..user.clone() }, &request, now);
    let code =
        Code { hash, grant_id: n.to_string(), user, request, issued: now, expires, used: false };
    ready(store.issue_code(code, consent)).expect("memory does not fail");
    let access = NewToken { hash: TokenHash::of(token), expires };
    ready(store.redeem_code(&hash, access, None, now)).expect("memory does not fail");
}

/// The outcome of a future that waits for nobody else.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        let context = &mut Context::from_waker(Waker::noop());
        if let Poll::Ready(outcome) = future.as_mut().poll(context) {
            return outcome;
        }
    }
}

/// Nanoseconds for one admission: the median and the 99th percentile of the batches' means.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn measure(gate: &Gate, requests: &[HeaderMap], now: SystemTime) -> [f64; 2] {
    let mut requests = requests.iter().cycle();
    let mut samples: Vec<_> = (0..SAMPLES)
        .map(|_| {
            let start = Instant::now();
            for headers in requests.by_ref().take(BATCH as usize) {
                assert!(black_box(ready(gate.admit(black_box(headers), now))).is_ok());
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    [samples[SAMPLES / 2], samples[SAMPLES * 99 / 100]]
}
