//! What one admission costs, with a thousand static tokens: the price every request pays.
//!
//! A good token is remembered; for the others the store in memory is asked, which walks through its
//! records. Besides the good case it prints the refusals, for two questions: does a wrong first character
//! take another time than a wrong last one (it must not), and does a flood of refusals leave
//! memory behind (it must not either).

use std::{
    env, fs,
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant, SystemTime},
};

use auth::{
    CacheLimits, Gate, StaticTokenStore, StaticTokens, TokenAdded, TokenHash, TokenRecord,
    UnixTime, local, oauth, os_rng, upstream,
};
use http::{HeaderMap, header::AUTHORIZATION};

use self::memory_store::MemoryStore;

// The store of the tests, without the feature that gives it to other crates' tests: `cargo bench`
// alone should do.
#[allow(dead_code, unreachable_pub, reason = "a part of it is used")]
#[path = "../src/testing/memory_store.rs"]
mod memory_store;

#[path = "../src/testing/memory_credentials.rs"]
mod memory_credentials;

#[path = "../src/testing/memory_people.rs"]
mod memory_people;

#[path = "../src/testing/memory_static_tokens.rs"]
mod memory_static_tokens;

#[path = "../src/testing/memory_tables.rs"]
mod memory_tables;

/// Admissions per sample, and samples per case: together below two seconds.
const BATCH: u32 = 1_000;
const SAMPLES: usize = 101;

/// As many as give each token one turn, when it is run among the tests: nothing is optimised there, and
/// a refusal takes a hundred times as long.
const FEW: usize = 1;

#[expect(clippy::print_stdout, reason = "a bench reports on stdout")]
fn main() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
    let rng = &mut os_rng().expect("the system has randomness");
    let (records, tokens): (Vec<_>, Vec<_>) =
        (0..1_000).map(|n| TokenRecord::mint(&format!("user{n}"), rng, now)).unzip();
    let store = Arc::new(MemoryStore::new());
    for record in records {
        let added = store.add_static_token(record, UnixTime::of(now));
        assert_eq!(ready(added).expect("it answers"), TokenAdded::New, "minted tokens differ");
    }
    let gate = Gate::new(vec![Arc::new(StaticTokens::new(store, CacheLimits::default()))]);

    let good: Vec<_> = tokens.iter().map(|token| bearing(token.expose())).collect();
    let altered = |at: fn(usize) -> usize| -> Vec<_> {
        let swap = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            let at = at(bytes.len());
            bytes[at] = if bytes[at] == b'x' { b'y' } else { b'x' };
            bearing(str::from_utf8(&bytes).expect("still ASCII"))
        };
        tokens.iter().map(|token| swap(token.expose())).collect()
    };
    let wrong_first = altered(|_| "mcpb_".len());
    let wrong_last = altered(|len| len - 1);

    // What cargo says to a bench and not to a test.
    let is_bench = env::args().any(|argument| argument == "--bench");
    let samples = if is_bench { SAMPLES } else { FEW };
    let before = resident_kib();
    for (case, requests, admitted) in [
        ("good token", &good, true),
        ("wrong first character", &wrong_first, false),
        ("wrong last character", &wrong_last, false),
        ("no token", &vec![HeaderMap::new()], false),
    ] {
        let [median, p99] = measure(&gate, requests, samples, now, admitted);
        println!("gate: {case:<22} {median:>6.0} ns per admit, worst batches {p99:>6.0} ns");
    }
    if let (Some(before), Some(after)) = (before, resident_kib()) {
        println!("gate: memory grew by {} KiB", after.saturating_sub(before));
    }
}

fn bearing(token: &str) -> HeaderMap {
    let value = format!("Bearer {token}").parse().expect("a token fits in a header");
    HeaderMap::from_iter([(AUTHORIZATION, value)])
}

/// Nanoseconds for one admission: the median and the 99th percentile of the batches' means.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn measure(
    gate: &Gate,
    requests: &[HeaderMap],
    samples: usize,
    now: SystemTime,
    admitted: bool,
) -> [f64; 2] {
    let mut requests = requests.iter().cycle();
    let mut samples: Vec<_> = (0..samples)
        .map(|_| {
            let start = Instant::now();
            for headers in requests.by_ref().take(BATCH as usize) {
                let answer = ready(gate.admit(black_box(headers), now));
                assert_eq!(black_box(answer).is_ok(), admitted);
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    [samples[samples.len() / 2], samples[samples.len() * 99 / 100]]
}

/// What a future comes to that gives way at most a few times.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let context = &mut Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(outcome) = future.as_mut().poll(context) {
            return outcome;
        }
    }
}

/// Resident memory, where the system tells it (Linux; pages of 4 KiB).
fn resident_kib() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()? * 4)
}
