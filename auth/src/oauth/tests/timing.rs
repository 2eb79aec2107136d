//! How long a refusal takes tells nothing about the secret.
//!
//! Samples of both kinds alternate, so a busy machine hits both alike, and the fastest of many counts:
//! noise only ever adds time. A sample is far shorter than a turn at the processor, and there are more of
//! them as long as the two seem to differ: a difference that is none goes away. A comparison that stops at
//! the first difference is measured the same way, to know that this would be seen.

use std::{hint::black_box, time::Duration};

use http::StatusCode;
use tokio::time::Instant;

use super::harness::*;
use crate::oauth::{Rate, secret::same};

/// How many samples there are at least.
const SAMPLES: usize = 200;

/// How many there are where the two still differ.
const MOST_SAMPLES: usize = 40 * SAMPLES;

/// What is no difference: the slower takes less than so many times as long.
const ALIKE: f64 = 1.5;

/// How much longer the slower of the two takes, at their fastest.
fn apart(mut first: impl FnMut(), mut last: impl FnMut()) -> f64 {
    let timed = |work: &mut dyn FnMut()| {
        let begun = Instant::now();
        work();
        begun.elapsed()
    };
    let (mut a, mut b) = (Duration::MAX, Duration::MAX);
    let ratio =
        |a: Duration, b: Duration| a.max(b).as_secs_f64() / a.min(b).as_secs_f64().max(1e-9);
    for sample in 0..MOST_SAMPLES {
        if sample >= SAMPLES && ratio(a, b) < ALIKE {
            break;
        }
        a = a.min(timed(&mut first));
        b = b.min(timed(&mut last));
    }
    ratio(a, b)
}

#[test]
fn a_wrong_first_byte_takes_as_long_as_a_wrong_last_byte() {
    // Far longer than any secret, so that a byte more or less shows.
    const LENGTH: usize = 64 * 1024;
    let right = "a".repeat(LENGTH);
    let first = format!("b{}", &right[1..]);
    let last = format!("{}b", &right[1..]);
    let compare = |how: fn(&str, &str) -> bool, wrong: &str| {
        assert!(!black_box(how(black_box(&right), black_box(wrong))));
    };
    let naive = |left: &str, right: &str| left == right;
    let seen = apart(|| compare(naive, &first), || compare(naive, &last));
    assert!(seen > 4.0, "the measurement sees nothing: {seen}");
    let told = apart(|| compare(same, &first), || compare(same, &last));
    assert!(told < ALIKE, "a comparison tells where it stopped: {told}");
}

#[test]
fn a_refused_client_secret_takes_as_long_wherever_it_is_wrong() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let harness = harness_with(config(), 1, |config| {
        config.failure_rate = Rate { burst: 1_000_000, every: Duration::from_secs(1) };
    });
    let refused = |secret: &str| {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", "machine"),
            ("client_secret", secret),
            ("refresh_token", "mcprt_x"),
        ];
        let (status, _) = runtime.block_on(harness.token(&form));
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    };
    let (first, last) = (format!("b{}", &SECRET[1..]), format!("{}b", &SECRET[..SECRET.len() - 1]));
    let told = apart(|| refused(&first), || refused(&last));
    assert!(told < ALIKE, "a refusal tells where the secret is wrong: {told}");
}
