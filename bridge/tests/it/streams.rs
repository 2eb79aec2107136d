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
async fn a_client_that_names_an_event_that_is_gone_goes_on_with_what_is_kept() {
    let mut bench = session(NEW, Limits { replay_events: 2, ..Limits::default() }).await;
    let post = bench.posts(call(json!(1), "slow"));
    let request = bench.child.reads().await;
    bench.child.writes(note(0)).await;
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    let priming = events.next().await.expect("the priming event").id.expect("it has an id");
    for n in 1..4 {
        events.message().await.expect("it is there");
        bench.child.writes(note(n)).await;
    }
    events.message().await.expect("the last");
    bench.child.answers(&request, json!("done")).await;
    events.message().await.expect("the answer");
    // The second was never given out: it says nothing about what its client has.
    let beyond = priming.split('-').take(2).collect::<Vec<_>>().join("-") + "-99";
    for id in [&priming, &beyond] {
        let mut resumed = Events::of(bench.listen(Some(id)));
        assert_eq!(resumed.message().await.expect("kept")["params"]["data"], 2, "{id}");
        assert_eq!(resumed.message().await.expect("kept")["params"]["data"], 3);
        assert_eq!(resumed.message().await.expect("kept")["result"], "done");
        assert_eq!(resumed.comments, ["ok", "2 earlier messages were dropped"], "{id}");
    }
    bench
        .child
        .writes(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
        .await;
    let (epoch, _) = priming.split_once('-').expect("an epoch stands first");
    for unknown in [format!("{epoch}-0-9"), "0123456789ab-0-0".to_owned()] {
        let mut standalone = Events::of(bench.listen(Some(&unknown)));
        let message = standalone.message().await.expect("what is kept");
        assert_eq!(message["method"], "notifications/tools/list_changed", "{unknown}");
        bench
            .child
            .writes(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
            .await;
    }
    assert_eq!(bench.listen(Some(&format!("{epoch}-77-1"))).status(), http::StatusCode::NO_CONTENT);
    assert!("nonsense".parse::<bridge::EventId>().is_err());
}

#[tokio::test]
async fn the_newest_standalone_stream_wins_and_the_older_one_ends() {
    let mut bench = session(NEW, Limits::default()).await;
    let mut first = Events::of(bench.listen(None));
    first.next().await.expect("the priming event");
    let mut second = Events::of(bench.listen(None));
    assert_eq!(first.next().await, None, "its place was taken");
    bench
        .child
        .writes(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
        .await;
    let message = second.message().await.expect("it arrives");
    assert_eq!(message["method"], "notifications/tools/list_changed");
}

#[tokio::test(start_paused = true)]
async fn clients_that_take_streams_from_each_other_are_slowed_down() {
    let mut bench = session(NEW, Limits::default()).await;
    let call = bench.posts(call(json!(1), "slow"));
    bench.child.reads().await;
    bench.child.writes(note(1)).await;
    let mut answering = Events::of(call.await.expect("it runs").expect("a response"));
    let of_the_call = answering.next().await.expect("the priming event").id;
    for last in [None, of_the_call] {
        let listen = || {
            let last = last.as_deref().map(|id| id.parse().expect("an event id"));
            bench.bridge.listen(last, Box::new(()))
        };
        let mut newest = listen().expect("it opens");
        let contended = loop {
            match listen() {
                Ok(response) => newest = response,
                Err(ListenError::Contended { retry_after }) => break retry_after,
                Err(error) => panic!("{error}"),
            }
        };
        Events::of(newest).next().await.expect("the one that has it keeps it");
        tokio::time::sleep(contended).await;
        listen().expect("it opens");
    }
}

#[tokio::test]
async fn an_answer_is_not_lost_to_the_notes_before_it() {
    let limits = Limits { replay_events: 4, replay_bytes: 4000, ..Limits::default() };
    let mut bench = session(NEW, limits).await;
    let post = bench.posts(call(json!(1), "chatty"));
    let request = bench.child.reads().await;
    for n in 0..2000 {
        bench.child.writes(note(n)).await;
    }
    bench.child.answers(&request, json!("x".repeat(100_000))).await;
    assert_eq!(bench.outcomes.recv().await, Some(bridge::Outcome::Answered));
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    assert_eq!(events.message().await.expect("the oldest kept")["params"]["data"], 1996);
    for n in 1997..2000 {
        assert_eq!(events.message().await.expect("kept")["params"]["data"], n);
    }
    let answer = events.message().await.expect("the answer");
    assert_eq!(answer["result"].as_str().map(str::len), Some(100_000));
    assert_eq!(events.next().await, None);
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
async fn a_reader_that_falls_behind_goes_on_behind_what_was_dropped() {
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
    let message = slow.message().await.expect("it keeps its place");
    assert_eq!(message["params"]["data"], 7, "the oldest of four that are kept");
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
    // The id names the request whose answer was still to come.
    let mut resumed = Events::of(bench.listen(Some(&id)));
    let error = resumed.message().await.expect("an error");
    assert_eq!((&error["id"], &error["error"]["code"]), (&json!(1), &json!(-32603)));
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
