//! Calls and streams end with what let their clients in.

use std::{sync::Arc, time::Duration};

use bridge::{Accepts, Admission, Limits, Outcome, PostError};
use serde_json::{Value, json};
use tokio::{sync::Notify, time::Instant};

use crate::child::*;

const NEW: &str = "2025-11-25";
const SECOND: Duration = Duration::from_secs(1);

fn by(grant: &str) -> Admission {
    Admission::by([Some(grant.into()), None])
}

fn note() -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": 1}})
}

#[tokio::test(start_paused = true)]
async fn a_standalone_stream_ends_when_its_token_has_expired_and_a_calls_stream_does_not() {
    let mut bench = session(NEW, Limits::default()).await;
    let until = Some(Instant::now() + 20 * SECOND);
    let never = std::future::pending;
    let admitted = |response: http::Response<bridge::Body>| {
        Events::of(response.map(|body| body.while_admitted(until, never())))
    };
    let post = bench.posts(call(json!(1), "slow"));
    let request = bench.child.reads().await;
    bench.child.writes(note()).await;
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    let priming = events.next().await.expect("the priming event").id;
    drop(events);
    let mut resumed = admitted(bench.listen(priming.as_deref()));
    let mut standalone = admitted(bench.listen(None));
    assert_eq!(standalone.message().await, None);
    assert_eq!(Some(Instant::now()), until, "not before, and at once");
    bench.child.answers(&request, json!("late")).await;
    resumed.message().await.expect("the note");
    assert_eq!(resumed.message().await.expect("the answer")["result"], "late");
    // The next connection goes on with what nobody has read.
    bench.listen(None);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_reader_gets_nothing_more_of_a_stream_that_is_full() {
    let mut bench = session(NEW, Limits::default()).await;
    let revoked = Arc::new(Notify::new());
    let ended = Arc::clone(&revoked);
    let response = bench.listen(None);
    let wait = async move { ended.notified().await };
    let mut events = Events::of(response.map(|body| body.while_admitted(None, wait)));
    bench.child.writes(note()).await;
    events.message().await.expect("it may read");
    bench.child.writes(note()).await;
    revoked.notify_one();
    assert_eq!(events.message().await, None);
    assert_eq!(events.message().await, None, "and it stays ended");
}

#[tokio::test(start_paused = true)]
async fn what_is_withdrawn_ends_its_calls_alone_and_lets_none_in_that_comes_too_late() {
    let mut bench = session(NEW, Limits::default()).await;
    let bridge = bench.bridge.clone();
    let post = |grant: &str, id: &str| {
        let (bridge, body) = (bridge.clone(), incoming(&call(json!(id), "slow")));
        let admission = by(grant);
        async move { bridge.post_by(admission, body, Accepts::Both, Box::new(drop)).await }
    };
    let (mut stolen, mut own) = (Box::pin(post("g1", "a")), Box::pin(post("g2", "b")));
    tokio::select! {
        biased;
        _ = &mut stolen => panic!("the child has not answered"),
        _ = &mut own => panic!("the child has not answered"),
        () = std::future::ready(()) => {}
    }
    let (first, second) = (bench.child.reads().await, bench.child.reads().await);
    bridge.withdraw(&"g1".into());
    let cancelled = bench.child.reads().await;
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], first["id"]);
    let response = stolen.await.expect("an answer");
    assert_eq!(response.status(), http::StatusCode::UNAUTHORIZED);
    let late = post("g1", "c").await;
    assert!(matches!(late, Err(PostError::Withdrawn)), "{late:?}");
    bench.child.answers(&second, json!("fine")).await;
    assert_eq!(document(own.await.expect("an answer")).await["result"], "fine");
    assert_eq!(Outcome::Withdrawn.as_str(), "withdrawn");
}
