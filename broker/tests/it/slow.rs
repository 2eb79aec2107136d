//! T24: clients that take their time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    harness::{Harness, with_timeout},
    wire::{Wire, initialize},
};

const SLOW: [&str; 2] = ["http.header_timeout=1s", "http.body_timeout=1s"];
/// Enough for a busy machine, and half of the timeouts that apply without [`SLOW`].
const SOON: Duration = Duration::from_secs(15);

/// Sends `bytes` one by one, each late, until the peer has had enough.
async fn drip(wire: &mut Wire, bytes: &str) {
    for byte in bytes.bytes() {
        if !wire.send([byte]).await {
            return;
        }
        sleep(Duration::from_millis(60)).await;
    }
}

#[test]
fn a_head_that_drips_is_cut_off() {
    with_timeout(async {
        let harness = Harness::start(&SLOW).await;
        let begun = Instant::now();
        let mut wire = Wire::connect(harness.client.address).await;
        let head = harness.client.head("POST", "");
        drip(&mut wire, &head[..40]).await;
        assert!(wire.closes().await);
        assert!(begun.elapsed() < SOON, "after {:?}", begun.elapsed());
    });
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    with_timeout(async {
        let harness = Harness::start(&SLOW).await;
        assert_closed_soon(&harness, "").await;
    });
}

#[test]
fn a_connection_that_may_become_either_version_of_http_is_closed() {
    with_timeout(async {
        let harness = Harness::start(&SLOW).await;
        for start in ["P", "PRI * HT"] {
            assert_closed_soon(&harness, start).await;
        }
    });
}

async fn assert_closed_soon(harness: &Harness, start: &str) {
    let begun = Instant::now();
    let mut wire = Wire::connect(harness.client.address).await;
    wire.send(start).await;
    assert!(wire.closes().await, "{start:?}");
    assert!(begun.elapsed() < SOON, "{start:?} after {:?}", begun.elapsed());
}

#[test]
fn a_connection_that_is_kept_alive_and_idle_is_closed() {
    with_timeout(async {
        let harness = Harness::start(&SLOW).await;
        let mut wire = harness.client.at("/healthz").send("GET", "").await;
        assert_eq!(wire.answer().await.status, 200);
        let begun = Instant::now();
        assert!(wire.closes().await);
        assert!(begun.elapsed() < SOON, "after {:?}", begun.elapsed());
    });
}

#[test]
fn a_body_that_drips_is_408_and_the_connection_closes() {
    with_timeout(async {
        let harness = Harness::start(&SLOW).await;
        let body = initialize("1", "2025-11-25");
        let begun = Instant::now();
        let mut wire = Wire::connect(harness.client.address).await;
        let length = format!("content-length: {}\r\n", body.len());
        wire.send(harness.client.head("POST", &length)).await;
        drip(&mut wire, &body[..30]).await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, 408, "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(wire.closes().await);
        assert!(begun.elapsed() < SOON, "after {:?}", begun.elapsed());
        assert!(harness.witness.children().is_empty());
    });
}

#[test]
fn slow_clients_hold_no_place_from_quick_ones() {
    with_timeout(async {
        let harness = Harness::start(&[SLOW[0], SLOW[1], "http.max_connections=4"]).await;
        let mut slow = Vec::new();
        for _ in 0..4 {
            let mut wire = Wire::connect(harness.client.address).await;
            wire.send("POST /mcp HTTP/1.1\r\n").await;
            slow.push(wire);
        }
        // It waits in the system's queue until the slow ones are cut off.
        assert_eq!(harness.client.at("/healthz").ask("GET", "").await.status, 200);
    });
}
