//! A child that goes from one session to the next.

use std::time::Duration;

use bridge::{Accepts, Bridge, Closed, Incoming, Limits, PostError, Surroundings};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{child::*, succession::*};

/// An `initialize` with these parameters.
fn initialize(params: &str) -> Incoming {
    let body = format!(r#"{{"jsonrpc":"2.0","id":9,"method":"initialize","params":{params}}}"#);
    Incoming::parse(&Bytes::from(body), 64).expect("it is a message")
}

fn can_be_handed_on(bridge: &Bridge, params: &str) -> bool {
    bridge.can_be_handed_on(initialize(params).single().expect("one"))
}

/// The child goes to the next session. Returns the bridge that it had.
fn hand_on(bench: &mut Bench) -> Bridge {
    let greeting = initialize(PARAMS);
    let greeting = greeting.single().expect("one");
    let next = bench.bridge.hand_on(greeting, Surroundings::default());
    let (bridge, welcome) = next.expect("it is idle");
    let result: Value = serde_json::from_slice(&welcome.result).expect("JSON");
    assert_eq!((result, welcome.revision.as_str()), (about(), "2025-11-25"));
    std::mem::replace(&mut bench.bridge, bridge)
}

#[tokio::test]
async fn the_next_session_uses_the_child_and_hears_nothing_that_the_earlier_one_left() {
    let mut bench = conversation(Limits::default()).await;
    let post = bench.posts(call_with_token(json!("same"), json!("token")));
    let first = bench.child.reads().await;
    bench.child.answers(&first, json!({"for": "the first"})).await;
    document(post.await.expect("no panic").expect("accepted")).await;
    let before = hand_on(&mut bench);
    assert_eq!(before.closed(), Some(Closed::Stopped));
    let late =
        before.post(incoming(&call(json!(1), "tools/call")), Accepts::Both, Box::new(|_| {}));
    assert!(matches!(late.await, Err(PostError::Closed(_))), "it has no child any more");

    bench.post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    let post = bench.posts(call_with_token(json!("same"), json!("token")));
    let second = bench.child.reads().await;
    assert_eq!(second["method"], "tools/call", "the child is not greeted a second time");
    assert_ne!(second["id"], first["id"]);
    // What still comes for the call of the earlier session.
    bench
        .child
        .writes(json!({"jsonrpc": "2.0", "method": "notifications/progress",
        "params": {"progressToken": first["params"]["_meta"]["progressToken"], "progress": 1}}))
        .await;
    bench.child.answers(&first, json!({"for": "the first"})).await;
    bench.child.answers(&second, json!({"for": "the second"})).await;
    let answer = document(post.await.expect("no panic").expect("accepted")).await;
    assert_eq!((&answer["id"], &answer["result"]["for"]), (&json!("same"), &json!("the second")));
    drop(before);
    call_answered(&mut bench, "tools/call", json!({})).await;
    assert!(can_be_handed_on(&bench.bridge, PARAMS), "and on to a third");
}

#[tokio::test]
async fn a_child_that_dies_after_it_was_handed_on_ends_the_next_session_alone() {
    let mut bench = conversation(Limits::default()).await;
    let before = hand_on(&mut bench);
    dies(&mut bench).await;
    assert_eq!(before.closed(), Some(Closed::Stopped), "that had ended before");
    assert_ne!(bench.bridge.closed(), Some(Closed::Stopped));
}

#[tokio::test]
async fn a_child_is_handed_on_after_the_same_handshake_but_for_the_clients_name() {
    let bench = conversation(Limits::default()).await;
    for same in [
        PARAMS,
        r#"{"clientInfo":{"name":"another"},"capabilities":{"roots":{}},"protocolVersion":"2025-11-25"}"#,
    ] {
        assert!(can_be_handed_on(&bench.bridge, same), "{same}");
    }
    for different in [
        r#"{"clientInfo":{"name":"c"},"capabilities":{"roots":{}},"protocolVersion":"2025-06-18"}"#,
        r#"{"clientInfo":{"name":"c"},"capabilities":{},"protocolVersion":"2025-11-25"}"#,
        r#"{"clientInfo":{"name":"c"},"capabilities":{"roots":{"listChanged":true}},"protocolVersion":"2025-11-25"}"#,
        r#"{"clientInfo":{"name":"c"},"capabilities":{"roots":{}},"protocolVersion":"2025-11-25","_meta":{"x":1}}"#,
        r#"{"protocolVersion":"2025-11-25","capabilities":{"roots":{}},"Capabilities":{}}"#,
    ] {
        assert!(!can_be_handed_on(&bench.bridge, different), "{different}");
    }
}

#[tokio::test]
async fn a_child_is_not_handed_on_while_it_is_used_or_when_it_would_have_to_forget_something() {
    let mut bench = conversation(Limits::default()).await;
    let post = bench.posts(call(json!(1), "tools/call"));
    let request = bench.child.reads().await;
    assert!(!can_be_handed_on(&bench.bridge, PARAMS), "a call is under way");
    bench.child.answers(&request, json!({})).await;
    document(post.await.expect("no panic").expect("accepted")).await;
    assert!(can_be_handed_on(&bench.bridge, PARAMS));
    let stream = bench.listen(None);
    assert!(!can_be_handed_on(&bench.bridge, PARAMS), "its client listens");
    bench.child.writes(json!({"jsonrpc": "2.0", "id": 5, "method": "roots/list"})).await;
    let mut events = Events::of(stream);
    events.message().await;
    assert!(!can_be_handed_on(&bench.bridge, PARAMS), "the child waits for an answer");

    for (method, params) in [
        ("logging/setLevel", json!({"level": "debug"})),
        ("resources/subscribe", json!({"uri": "x://1"})),
        ("tools/call", json!({"name": "slow", "task": {"ttl": 1000}})),
        ("vendor/openProject", json!({})),
    ] {
        let mut bench = conversation(Limits::default()).await;
        call_answered(&mut bench, method, params).await;
        assert!(!can_be_handed_on(&bench.bridge, PARAMS), "{method}");
    }
    let mut bench = conversation(Limits::default()).await;
    dies(&mut bench).await;
    assert!(!can_be_handed_on(&bench.bridge, PARAMS), "there is no child");
}

#[tokio::test]
async fn a_child_that_was_told_of_the_client_or_may_still_be_at_its_call_is_not_handed_on() {
    // It asks, and has the answer.
    let mut bench = conversation(Limits::default()).await;
    let mut events = Events::of(bench.listen(None));
    bench.child.writes(json!({"jsonrpc": "2.0", "id": 5, "method": "roots/list"})).await;
    let asked = events.message().await.expect("the question");
    bench.post(json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}})).await;
    assert_eq!(bench.child.reads().await["id"], 5);
    drop(events);
    assert!(!can_be_handed_on(&bench.bridge, PARAMS), "it knows the roots of this client");
    assert!(!bench.bridge.retire());

    let mut bench = conversation(Limits::default()).await;
    bench.post(json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"})).await;
    bench.child.reads().await;
    assert!(!can_be_handed_on(&bench.bridge, PARAMS), "it may ask for the roots at any moment");

    let mut bench = conversation(Limits::default()).await;
    let post = bench.posts(call(json!(1), "tools/call"));
    bench.child.reads().await;
    let cancelled = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": {"requestId": 1}});
    bench.post(cancelled).await;
    document(post.await.expect("no panic").expect("accepted")).await;
    assert!(!can_be_handed_on(&bench.bridge, PARAMS), "it may not have heard of it yet");

    let limits = Limits { request_timeout: Duration::from_millis(1), ..Limits::default() };
    let mut bench = conversation(limits).await;
    let post = bench.posts(call(json!(1), "tools/call"));
    bench.child.reads().await;
    document(post.await.expect("no panic").expect("accepted")).await;
    assert!(!can_be_handed_on(&bench.bridge, PARAMS), "a call took too long");
}

#[tokio::test]
async fn an_answer_that_a_client_has_not_fetched_keeps_the_child_until_the_session_is_over() {
    let mut bench = conversation(Limits::default()).await;
    let post = bench.posts(call(json!(1), "tools/call"));
    let request = bench.child.reads().await;
    bench.child.writes(note(1)).await;
    drop(post.await.expect("no panic").expect("it is a stream"));
    bench.child.answers(&request, json!({})).await;
    while bench.bridge.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(!can_be_handed_on(&bench.bridge, PARAMS), "its client may come back for it");
    assert!(bench.bridge.retire());
    assert!(can_be_handed_on(&bench.bridge, PARAMS));
}

#[tokio::test]
async fn a_child_whose_session_is_over_goes_to_the_next_though_a_client_was_listening() {
    let mut bench = conversation(Limits::default()).await;
    call_answered(&mut bench, "tools/call", json!({})).await;
    let stream = bench.listen(None);
    assert!(bench.bridge.retire());
    bench.child.writes(note(1)).await;
    assert!(can_be_handed_on(&bench.bridge, PARAMS));
    hand_on(&mut bench);
    let mut events = Events::of(stream);
    assert_eq!(events.message().await, None, "its stream ends without the next one's messages");
    call_answered(&mut bench, "tools/call", json!({})).await;
}

#[tokio::test]
async fn what_confirms_the_handshake_reaches_a_child_once_whichever_session_says_it() {
    let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let mut bench = greeted(Limits::default()).await;
    hand_on(&mut bench);
    hand_on(&mut bench);
    bench.post(initialized.clone()).await;
    assert_eq!(bench.child.reads().await["method"], initialized["method"]);
    hand_on(&mut bench);
    hand_on(&mut bench);
    bench.post(initialized).await;
    let _post = bench.posts(call(json!(1), "tools/call"));
    assert_eq!(bench.child.reads().await["method"], "tools/call", "it was told before");
}
