//! Clients that come back to a stream when its child has gone.

use bridge::{Limits, Outcome};
use http::StatusCode;
use serde_json::json;

use crate::{child::*, succession::*};

#[tokio::test]
async fn a_client_comes_back_to_the_standalone_stream_of_a_child_that_slept() {
    let mut bench = conversation(Limits::default()).await;
    let mut events = Events::of(bench.listen(None));
    bench.child.writes(note(1)).await;
    let priming = events.next().await.expect("the priming event");
    let last = events.next().await.expect("an event");
    assert!(bench.bridge.close_if_idle());
    assert_eq!(events.next().await, None, "the stream ends, which makes the client come back");

    // As after a restart: nothing but the bytes is left.
    let mut bench = next_child(None, &stored(&bench)).await;
    for (round, id) in [&last.id, &priming.id].into_iter().enumerate() {
        let response = bench.listen(id.as_deref());
        assert_eq!(response.status(), StatusCode::OK);
        let mut events = Events::of(response);
        let primed = events.next().await.expect("a new id to come back with");
        assert_ne!(primed.id, *id);
        if round == 0 {
            for _ in ["tools", "resources"] {
                let told = events.message().await.expect("it waited")["method"].clone();
                assert!(told.as_str().expect("a method").ends_with("list_changed"));
            }
        }
        bench.child.writes(note(10 + round as u64)).await;
        let live = events.message().await.expect("it is live, and nothing came twice");
        assert_eq!(live["params"]["data"], 10 + round as u64);
    }
}

#[tokio::test]
async fn what_found_no_stream_before_the_change_is_delivered_after_it_once() {
    let mut bench = conversation(Limits::default()).await;
    let mut events = Events::of(bench.listen(None));
    bench.child.writes(note(1)).await;
    events.next().await.expect("the priming event");
    let first = events.next().await.expect("an event");
    bench.child.writes(note(2)).await;
    events.next().await.expect("it was sent, and the connection breaks");
    drop(events);
    bench.child.writes(note(3)).await;
    bench.child.writes_raw("noise\n").await;
    while bench.bridge.dropped() == 0 {
        // Lines are read in their order: with the noise, the note before it has been read.
        tokio::task::yield_now().await;
    }
    call_answered(&mut bench, "tools/call", json!({})).await;
    assert!(bench.bridge.close_if_idle());

    let mut bench = next_child(Some(&bench), &stored(&bench)).await;
    for round in 0..2 {
        let mut events = Events::of(bench.listen(first.id.as_deref()));
        events.next().await.expect("the priming event");
        let mut heard = Vec::new();
        if round == 0 {
            for _ in 0..4 {
                heard.push(events.message().await.expect("it waited"));
            }
            let mut data: Vec<_> =
                heard.iter().filter_map(|note| note["params"]["data"].as_u64()).collect();
            data.sort_unstable();
            assert_eq!(data, [2, 3], "nothing is lost, and the first is not repeated");
        }
        bench.child.writes(note(10 + round)).await;
        let live = events.message().await.expect("nothing comes twice");
        assert_eq!(live["params"]["data"], 10 + round);
    }
}

#[tokio::test]
async fn an_answer_that_a_client_has_yet_to_fetch_survives_the_change_of_its_child() {
    let mut bench = conversation(Limits::default()).await;
    let post = bench.posts(call(json!(1), "slow"));
    let request = bench.child.reads().await;
    bench.child.writes(note(1)).await;
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    let priming = events.next().await.expect("the priming event").id.expect("an id");
    drop(events);
    bench.child.answers(&request, json!("done")).await;
    assert_eq!(bench.outcomes.recv().await, Some(Outcome::Answered));
    let snapshot = stored(&bench);
    bench.bridge.close();

    let second = next_child(Some(&bench), &snapshot).await;
    let mut third = next_child(Some(&second), &snapshot).await;
    let mut events = Events::of(third.listen(Some(&priming)));
    assert_eq!(events.message().await.expect("what came before it")["params"]["data"], 1);
    let answer = events.next().await.expect("the answer");
    assert_eq!(answer.data.expect("it has data")["result"], "done");
    assert_eq!(events.next().await, None);
    let over = third.listen(answer.id.as_deref());
    assert_eq!(over.status(), StatusCode::NO_CONTENT);
    assert_eq!(third.child.reads().await["method"], "notifications/initialized");
    call_answered(&mut third, "other/call", json!({})).await;
}

#[tokio::test]
async fn who_comes_back_for_an_answer_that_was_lost_with_the_process_gets_an_error() {
    let mut bench = conversation(Limits::default()).await;
    let post = bench.posts(call(json!("mine"), "slow"));
    bench.child.reads().await;
    bench.child.writes(note(1)).await;
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    let priming = events.next().await.expect("the priming event").id.expect("an id");
    let seen = events.next().await.expect("an event").id.expect("an id");
    let snapshot = stored(&bench);
    drop((bench, events));

    let bench = next_child(None, &snapshot).await;
    for id in [&seen, &priming] {
        let mut events = Events::of(bench.listen(Some(id)));
        events.next().await.expect("the priming event");
        let answer = events.next().await.expect("an answer in its place");
        let data = answer.data.expect("it has data");
        assert_eq!((&data["id"], &data["error"]["code"]), (&json!("mine"), &json!(-32603)));
        assert_eq!(events.next().await, None);
        let over = bench.listen(answer.id.as_deref());
        assert_eq!(over.status(), StatusCode::NO_CONTENT, "it is answered");
    }
    // The new child's own streams are its own: no number of the old one finds them.
    let own = seen.split_once('-').expect("an epoch").1;
    let foreign = format!("0123456789ab-{own}");
    assert!(Events::of(bench.listen(Some(&foreign))).message().await.is_some());
    // A session that never had another child has nothing of that stream, and opens its own.
    let mut other = conversation(Limits::default()).await;
    let mut standalone = Events::of(other.listen(Some(&seen)));
    other
        .child
        .writes(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
        .await;
    let message = standalone.message().await.expect("its own");
    assert_eq!(message["method"], "notifications/tools/list_changed");
}
