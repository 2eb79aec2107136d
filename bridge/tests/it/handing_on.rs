//! A child that goes from one session to the next.

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
    let bench = greeted(Limits::default()).await;
    assert!(!can_be_handed_on(&bench.bridge, PARAMS), "the handshake is not confirmed");

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
    ] {
        let mut bench = conversation(Limits::default()).await;
        call_answered(&mut bench, method, params).await;
        assert!(!can_be_handed_on(&bench.bridge, PARAMS), "{method}");
    }
    let mut bench = conversation(Limits::default()).await;
    dies(&mut bench).await;
    assert!(!can_be_handed_on(&bench.bridge, PARAMS), "there is no child");
}
