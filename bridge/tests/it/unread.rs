//! Answers that nobody reads: what they may cost, and who is told.

use std::sync::Arc;

use bridge::{Body, Bridge, Ledger, Limits, Surroundings};
use http::Response;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::child::*;

const NEW: &str = "2025-11-25";
const SIZE: usize = 1 << 20;

/// Has the child answer a call with a megabyte; the response, of which nothing was read.
async fn large(bench: &mut Bench, id: u64, with_note: bool) -> Response<Body> {
    let post = bench.posts(call(json!(id), "x"));
    let request = bench.child.reads().await;
    if with_note {
        bench.child.writes(json!({"jsonrpc": "2.0", "method": "n"})).await;
    }
    bench.child.answers(&request, json!("x".repeat(SIZE))).await;
    bench.outcomes.recv().await.expect("it is answered");
    post.await.expect("no panic").expect("accepted")
}

/// The answer that a response has, or `None` when it ends too early.
async fn answer(response: Response<Body>) -> Option<Value> {
    if response.headers()["content-type"] == "text/event-stream" {
        let mut events = Events::of(response);
        while let Some(message) = events.message().await {
            if message["method"].is_null() {
                return Some(message);
            }
        }
        return None;
    }
    let bytes = response.into_body().collect().await.expect("infallible").to_bytes();
    serde_json::from_slice(&bytes).ok()
}

#[tokio::test]
async fn answers_that_nobody_reads_end_with_errors_of_their_own_ids() {
    for with_note in [false, true] {
        let limits = Limits { max_unread_bytes: 4 * SIZE, ..Limits::default() };
        let mut bench = session(NEW, limits).await;
        let mut responses = Vec::new();
        for id in 0..10 {
            responses.push(large(&mut bench, id, with_note).await);
        }
        let mut whole = 0;
        for (id, response) in responses.into_iter().enumerate() {
            let answer = answer(response).await.expect("nothing was half sent");
            assert_eq!(answer["id"], id);
            whole += usize::from(answer["result"].is_string());
            assert!(answer["result"].is_string() || answer["error"]["code"] == -32603, "{answer}");
        }
        assert_eq!(whole, 3, "as many as fit, with note: {with_note}");
        let fine = answer(large(&mut bench, 99, with_note).await).await.expect("it is read");
        assert!(fine["result"].is_string(), "what was given up takes no room");
    }
}

#[tokio::test]
async fn one_answer_fits_whatever_its_size() {
    let mut bench = session(NEW, Limits { max_unread_bytes: 10_000, ..Limits::default() }).await;
    for id in 0..3 {
        let whole = answer(large(&mut bench, id, false).await).await.expect("it is read");
        assert!(whole["result"].is_string());
    }
}

#[tokio::test]
async fn what_was_delivered_makes_room_before_what_was_not() {
    let limits = Limits { max_unread_bytes: 3 * SIZE, ..Limits::default() };
    let mut bench = session(NEW, limits).await;
    let unread = large(&mut bench, 0, true).await;
    for id in 1..6 {
        let read = answer(large(&mut bench, id, true).await).await.expect("it is read");
        assert!(read["result"].is_string());
    }
    assert!(answer(unread).await.expect("it was kept")["result"].is_string());
}

#[tokio::test]
async fn all_sessions_of_a_person_share_one_budget_and_give_it_back() {
    let ledger = Arc::new(Ledger::new(4 * SIZE));
    let mut benches = Vec::new();
    for _ in 0..3 {
        benches.push(bench_in(Surroundings { ledger: Arc::clone(&ledger), observer: None }));
    }
    let mut responses = Vec::new();
    for bench in &mut benches {
        for id in 0..3 {
            responses.push(large(bench, id, false).await);
            assert!(ledger.used() <= 4 * SIZE + 4096, "{}", ledger.used());
        }
    }
    let mut whole = 0;
    for response in responses {
        whole += usize::from(answer(response).await.expect("an answer")["result"].is_string());
    }
    assert_eq!(whole, 3);
    drop(benches);
    tokio::task::yield_now().await;
    assert_eq!(ledger.used(), 0);
}

#[tokio::test]
async fn a_document_that_is_half_sent_ends_too_early_when_it_has_to_be_given_up() {
    let limits = Limits { max_unread_bytes: 2 * SIZE + SIZE / 2, ..Limits::default() };
    let mut bench = session(NEW, limits).await;
    let mut half = Vec::new();
    for id in 0..2 {
        let mut body = large(&mut bench, id, false).await.into_body();
        body.frame().await.expect("a piece").expect("infallible");
        half.push(body);
    }
    let answer = answer(large(&mut bench, 2, false).await).await.expect("an answer");
    let is_told = answer["error"]["code"] == -32603;
    let mut cut = 0;
    for body in half {
        let expected = http_body::Body::size_hint(&body).exact().expect("a length");
        let rest = body.collect().await.expect("infallible").to_bytes();
        cut += usize::from((rest.len() as u64) < expected);
    }
    assert_eq!(cut + usize::from(is_told), 1, "one of the three had to go");
}

/// Not initialized: calls pass all the same.
fn bench_in(surroundings: Surroundings) -> Bench {
    bench_attached(|output, input| {
        Bridge::attach_with(output, input, Limits::default(), surroundings)
    })
}
