//! Event streams: what they carry, who may have them, and what happens when they break.

use serde_json::json;

use crate::{
    harness::{Harness, until_so, with_timeout},
    wire::{call, initialize},
};

#[test]
fn a_stream_starts_at_once_and_tells_proxies_to_pass_it_on() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let mut wire = session.send("GET", "").await;
        let head = wire.head().await;
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        assert_eq!(head.header("cache-control"), Some("no-cache, no-transform"));
        assert_eq!(head.header("x-accel-buffering"), Some("no"));
        assert_eq!(wire.event().await.expect("a first byte").text, ": ok\n\n");
        let priming = wire.event().await.expect("a priming event");
        assert!(priming.id.is_some() && priming.text.contains("retry: "), "{priming:?}");
        assert_eq!(priming.data.as_deref(), Some(""));
    });
}

#[test]
fn a_second_standalone_stream_is_409_and_the_first_goes_on() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let mut first = session.listen().await;
        assert_eq!(session.ask("GET", "").await.status, 409);
        let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        session.call("say", json!({ "lines": [changed] })).await;
        let (_, message) = first.message().await.expect("a message");
        assert_eq!(message["method"], "notifications/tools/list_changed");
        drop(first);
        until_so("it is free again", async || {
            session.send("GET", "").await.head().await.status == 200
        })
        .await;
    });
}

#[test]
fn a_question_without_a_stream_waits_for_one_and_its_answer_finds_the_child() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        assert_eq!(session.call("ask-after", json!({})).await.status, 200);
        let mut stream = session.listen().await;
        let (_, question) = stream.message().await.expect("the question");
        assert_eq!(question["method"], "sampling/createMessage");
        let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "n": 1 } });
        assert_eq!(session.post(answer.to_string()).await.status, 202);
        let heard = r#""id":"late","result":{"n":1}"#;
        until_so("the child hears it", async || harness.witness.read().contains(heard)).await;
    });
}

#[test]
fn a_question_of_the_child_comes_on_the_stream_of_its_call() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let mut wire = session.send("POST", call("4", "ask", &json!({}))).await;
        assert_eq!(wire.head().await.header("content-type"), Some("text/event-stream"));
        let (_, question) = wire.message().await.expect("the question");
        let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": { "n": 1 } });
        let other = harness.client.open().await;
        assert_eq!(other.post(answer.to_string()).await.status, 202, "nobody asked there");
        assert_eq!(session.post(answer.to_string()).await.status, 202);
        let (_, result) = wire.message().await.expect("the result");
        assert_eq!(result["id"], 4);
        assert_eq!(result["result"], json!({ "said": { "n": 1 } }));
        assert!(wire.event().await.is_none(), "the stream ends behind the result");
    });
}

#[test]
fn progress_comes_on_the_stream_of_its_request_only_and_under_its_own_token() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let mut standalone = session.listen().await;
        let mut waiting = session.send("POST", call("1", "wait", &json!({}))).await;
        let params = json!({
            "name": "progress", "arguments": { "steps": 3 }, "_meta": { "progressToken": "mine" },
        });
        let body = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params });
        let answer = session.post(body.to_string()).await;
        let messages = answer.messages();
        assert_eq!(messages.len(), 4, "{messages:?}");
        for (step, message) in messages[..3].iter().enumerate() {
            let expected = json!({ "progressToken": "mine", "progress": step + 1 });
            assert_eq!(message["params"], expected);
        }
        assert_eq!(messages[3]["id"], 2);
        assert!(!harness.witness.read().contains("mine"), "the child has a token of the broker's");
        harness.witness.release();
        let waited = waiting.answer().await;
        assert_eq!(waited.header("content-type"), Some("application/json"), "nothing else came");
        session.delete().await;
        while let Some(event) = standalone.event().await {
            assert!(!event.text.contains("progress"), "{event:?}");
        }
    });
}

#[test]
fn a_reader_that_falls_behind_is_cut_off_and_harms_nobody() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let flood = json!({ "count": 30_000, "bytes": 1000 });
        // Thirty megabytes for somebody who reads nothing.
        let mut lazy = session.send("POST", call("1", "flood", &flood)).await;
        let ended = r#"mcp_broker_requests_total{server="main",method="tools/call",outcome="ok"}"#;
        let other = harness.client.open().await;
        assert!(other.is_alive().await);
        until_so("the child is drained", async || harness.metric(ended).await == 1).await;
        assert!(session.is_alive().await);
        // What is kept for it is bounded; the stream ends before the answer.
        assert_eq!(lazy.head().await.status, 200);
        let mut read = 0;
        while let Some(event) = lazy.event().await {
            read += event.text.len();
        }
        assert!(read < 20_000_000, "{read} bytes were kept somewhere");
    });
}

#[test]
fn a_silent_stream_carries_comments() {
    with_timeout(async {
        let harness = Harness::start(&["http.keep_alive=100ms"]).await;
        let session = harness.client.open().await;
        let mut stream = session.listen().await;
        let mut comments = 0;
        while comments < 3 {
            let event = stream.event().await.expect("it stays open");
            comments += usize::from(event.text.starts_with(": still"));
        }
        // A call that takes its time becomes a stream, with the same comments.
        let harness = Harness::start(&["http.keep_alive=100ms", "stream.after=100ms"]).await;
        let session = harness.client.open().await;
        let mut call = session.send("POST", call("1", "wait", &json!({}))).await;
        assert_eq!(call.head().await.header("content-type"), Some("text/event-stream"));
        while !call.event().await.expect("it stays open").text.starts_with(": still") {}
        harness.witness.release();
        assert_eq!(call.message().await.expect("the result").1["id"], 1);
        assert!(call.event().await.is_none());
    });
}

#[test]
fn a_broken_stream_is_resumed_behind_the_last_event_without_loss_or_repetition() {
    with_timeout(async {
        let harness = Harness::start(&["stream.after=50ms"]).await;
        let session = harness.client.open().await;
        let mut wire = session.send("POST", call("9", "wait", &json!({}))).await;
        wire.head().await;
        let priming = until_id(&mut wire).await;
        drop(wire);
        harness.witness.release();
        let again = session.with("last-event-id", &priming);
        let mut wire = again.listen().await;
        let (last, result) = wire.message().await.expect("the result");
        assert_eq!(result, json!({ "jsonrpc": "2.0", "id": 9, "result": { "waited": true } }));
        assert!(wire.event().await.is_none(), "the stream is over");
        let over = session.with("last-event-id", &last).ask("GET", "").await;
        assert_eq!(over.status, 204, "there is nothing more to come");
        for unknown in ["999-1", "x", "0-99", &format!("{last}0")] {
            let answer = session.with("last-event-id", unknown).ask("GET", "").await;
            assert_eq!(answer.status, 400, "{unknown}");
        }
        let other = harness.client.open().await.with("last-event-id", &priming);
        assert_ne!(other.ask("GET", "").await.status, 200, "streams are the session's own");
    });
}

async fn until_id(wire: &mut crate::wire::Wire) -> String {
    loop {
        if let Some(id) = wire.event().await.expect("it stays open").id {
            return id;
        }
    }
}

#[test]
fn the_standalone_stream_is_resumed_too() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let mut stream = session.listen().await;
        let line = |n: u32| {
            json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated",
                    "params": { "uri": format!("x://{n}") } })
            .to_string()
        };
        session.call("say", json!({ "lines": [line(1)] })).await;
        let (first, _) = stream.message().await.expect("a message");
        drop(stream);
        until_so("the broker notices", async || {
            // Whoever comes back by an event id need not wait for that; this is for the next line.
            session.call("say", json!({ "lines": [] })).await.status == 200
        })
        .await;
        let mut again = session.with("last-event-id", &first).listen().await;
        session.call("say", json!({ "lines": [line(2)] })).await;
        let (_, second) = again.message().await.expect("a message");
        assert_eq!(second["params"]["uri"], "x://2");
    });
}

#[test]
fn answers_are_json_when_nothing_precedes_them_and_a_stream_otherwise() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let opened = harness.client.post(initialize("1", "2025-11-25")).await;
        assert_eq!(opened.header("content-type"), Some("application/json"));
        let session = harness.client.open().await;
        let plain = session.call("echo", json!({})).await;
        assert_eq!(plain.header("content-type"), Some("application/json"));
        let flood = session.call("flood", json!({ "count": 2, "bytes": 3 })).await;
        assert_eq!(flood.header("content-type"), Some("text/event-stream"));
        let messages = flood.messages();
        assert_eq!(messages.len(), 3);
        assert_eq!(messages[0]["method"], "notifications/message");
        assert_eq!(messages[2]["id"], 1);
    });
}
