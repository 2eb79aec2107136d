//! Streams: who reads them, who comes back, who is too slow.

use std::time::Duration;

use bridge::{Limits, ListenError};
use serde_json::{Value, json};

use crate::child::*;

const NEW: &str = "2025-11-25";

fn note(n: u64) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": n}})
}

#[tokio::test]
async fn a_broken_stream_is_resumed_behind_the_last_event_the_client_saw() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts(call(json!(1), "slow"));
    let request = bench.child.reads().await;
    bench.child.writes(note(1)).await;
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    let priming = events.next().await.expect("the priming event");
    let first = events.next().await.expect("the first");
    drop(events);
    bench.child.writes(note(2)).await;
    bench.child.answers(&request, json!("done")).await;
    assert_eq!(bench.outcomes.recv().await, Some(bridge::Outcome::Answered), "the call went on");

    let mut resumed = Events::of(bench.listen(first.id.as_deref()));
    assert_eq!(resumed.message().await.expect("the second")["params"]["data"], 2);
    let last = resumed.next().await.expect("the answer");
    assert_eq!(last.data.expect("it has data")["result"], "done");
    assert_eq!(resumed.next().await, None);
    let over = bench.listen(last.id.as_deref());
    assert_eq!(over.status(), http::StatusCode::NO_CONTENT, "nothing more will come: stop asking");

    let mut whole = Events::of(bench.listen(priming.id.as_deref()));
    assert_eq!(whole.message().await.expect("the first")["params"]["data"], 1);
}

#[tokio::test]
async fn an_event_that_is_not_kept_is_a_clear_error() {
    let mut bench = session(NEW, Limits { replay_events: 2, ..Limits::default() }).await;
    let post = bench.posts(call(json!(1), "slow"));
    bench.child.reads().await;
    bench.child.writes(note(0)).await;
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    let priming = events.next().await.expect("the priming event").id.expect("it has an id");
    for n in 1..4 {
        events.message().await.expect("it is there");
        bench.child.writes(note(n)).await;
    }
    events.message().await.expect("the last");
    let (epoch, _) = priming.split_once('-').expect("an epoch stands first");
    let foreign = "0123456789ab-0-0".to_owned();
    for unknown in [&priming, &format!("{epoch}-77-1"), &format!("{epoch}-0-9"), &foreign] {
        let listen = bench.bridge.listen(Some(unknown.parse().expect("well formed")), Box::new(()));
        assert!(matches!(listen, Err(ListenError::Unknown(_))), "{unknown}");
    }
    assert!("nonsense".parse::<bridge::EventId>().is_err());
}

#[tokio::test]
async fn a_second_standalone_stream_is_refused_and_the_first_goes_on() {
    let mut bench = session(NEW, Limits::default()).await;
    let mut first = Events::of(bench.listen(None));
    first.next().await.expect("the priming event");
    assert!(matches!(bench.bridge.listen(None, Box::new(())), Err(ListenError::Taken)));
    bench
        .child
        .writes(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
        .await;
    let message = first.message().await.expect("it arrives");
    assert_eq!(message["method"], "notifications/tools/list_changed");
    drop(first);
    bench.listen(None);
}

#[tokio::test]
async fn what_came_while_nobody_listened_is_delivered_once() {
    let mut bench = session(NEW, Limits::default()).await;
    bench.child.writes(note(1)).await;
    let mut listening = Events::of(bench.listen(None));
    assert_eq!(listening.message().await.expect("it waited")["params"]["data"], 1);
    drop(listening);
    bench.child.writes(note(2)).await;
    let mut again = Events::of(bench.listen(None));
    assert_eq!(again.message().await.expect("only the new one")["params"]["data"], 2);
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_cut_off_and_others_are_not() {
    let mut bench = session(NEW, Limits { replay_events: 4, ..Limits::default() }).await;
    let slow = bench.posts(call(json!("slow"), "x"));
    bench.child.reads().await;
    bench.child.writes(note(0)).await;
    let mut slow = Events::of(slow.await.expect("no panic").expect("accepted"));
    slow.next().await.expect("the priming event");
    for n in 1..=10 {
        bench.child.writes(note(n)).await;
    }
    let post = bench.posts(call(json!("other"), "y"));
    let request = bench.child.reads().await;
    bench.child.answers(&request, json!("fine")).await;
    assert_eq!(document(post.await.expect("no panic").expect("accepted")).await["result"], "fine");
    assert_eq!(slow.next().await, None, "its place was overwritten");
}

#[tokio::test(start_paused = true)]
async fn silence_is_filled_with_comments() {
    let bench = session(NEW, Limits::default()).await;
    let mut events = Events::of(bench.listen(None));
    events.next().await.expect("the priming event");
    let waiting = tokio::time::timeout(Duration::from_secs(50), events.next()).await;
    assert!(waiting.is_err(), "nothing happens");
    assert_eq!(events.comments.len(), 1 + 3, "one comment at once, then one each 15 s");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_long_becomes_a_stream_so_that_no_proxy_gives_up() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts(call(json!(1), "slow"));
    let request = bench.child.reads().await;
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    assert!(events.next().await.expect("an id to come back with").id.is_some());
    bench.child.answers(&request, json!("late")).await;
    assert_eq!(events.message().await.expect("the answer")["result"], "late");
}

#[tokio::test(start_paused = true)]
async fn a_stream_past_its_age_is_closed_and_its_call_goes_on() {
    let limits = Limits { rotate_after: Duration::from_secs(60), ..Limits::default() };
    let mut bench = session(NEW, limits).await;
    let post = bench.posts(call(json!(1), "slow"));
    let request = bench.child.reads().await;
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    let id = events.next().await.expect("the priming event").id;
    assert_eq!(events.next().await, None, "closed by the server");
    bench.child.answers(&request, json!("late")).await;
    let mut resumed = Events::of(bench.listen(id.as_deref()));
    assert_eq!(resumed.message().await.expect("the answer")["result"], "late");
}

#[tokio::test(start_paused = true)]
async fn a_finished_stream_is_forgotten_after_its_retention() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts(call(json!(1), "slow"));
    let request = bench.child.reads().await;
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    let id = events.next().await.expect("the priming event").id.expect("it has an id");
    bench.child.answers(&request, json!("late")).await;
    events.message().await.expect("the answer");
    bench.listen(Some(&id));
    tokio::time::sleep(Duration::from_secs(301)).await;
    let listen = bench.bridge.listen(Some(id.parse().expect("an event id")), Box::new(()));
    assert!(matches!(listen, Err(ListenError::Unknown(_))));
}

#[tokio::test]
async fn coming_back_with_an_event_id_takes_over_from_a_dead_connection() {
    let mut bench = session(NEW, Limits::default()).await;
    let mut first = Events::of(bench.listen(None));
    let id = first.next().await.expect("the priming event").id;
    let mut second = Events::of(bench.listen(id.as_deref()));
    bench.child.writes(note(1)).await;
    assert_eq!(second.message().await.expect("it arrives here")["params"]["data"], 1);
    assert_eq!(first.next().await, None, "and only here");
}
