//! Event streams: what they carry, who may have them, and what happens when they break.

use serde_json::json;

use crate::{
    harness::{Harness, until_so, with_timeout},
    wire::{Client, Wire, call, initialize},
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

const CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

#[test]
fn a_client_whose_connection_died_unnoticed_opens_its_stream_again_at_once() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let mut older = Vec::new();
        for _ in 0..30 {
            older.push(session.listen().await);
        }
        let mut newest = session.listen().await;
        for mut older in older {
            while older.event().await.is_some() {}
        }
        session.call("say", json!({ "lines": [CHANGED] })).await;
        let (_, message) = newest.message().await.expect("a message");
        assert_eq!(message["method"], "notifications/tools/list_changed");
    });
}

#[test]
fn two_clients_that_take_a_stream_from_each_other_are_told_to_wait() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let mut wires = Vec::new();
        let refused = loop {
            let mut wire = session.send("GET", "").await;
            let head = wire.head().await;
            if head.status != 200 {
                break wire.body_of(head).await;
            }
            wires.push(wire);
            assert!(wires.len() < 1000, "it has no bound");
        };
        assert_eq!(refused.error().0, 409);
        refused.assert_retry();
        session.call("say", json!({ "lines": [CHANGED] })).await;
        let mut last = wires.pop().expect("it was open");
        assert!(last.message().await.is_some(), "the one that has it keeps it");
    });
}

#[test]
fn only_its_owner_takes_a_stream_over() {
    with_timeout(async {
        let harness = Harness::with_tokens(&["ada", "mallory"], &[]).await;
        let ada = harness.of("ada").open().await;
        let mut stream = ada.listen().await;
        let id = until_id(&mut stream).await;
        let mallory = harness.of("mallory").with("mcp-session-id", ada.session());
        assert_eq!(mallory.ask("GET", "").await.status, 403);
        assert_eq!(mallory.with("last-event-id", &id).ask("GET", "").await.status, 403);
        assert_eq!(
            harness.client.with("mcp-session-id", ada.session()).ask("GET", "").await.status,
            401
        );
        ada.call("say", json!({ "lines": [CHANGED] })).await;
        assert!(stream.message().await.is_some(), "it is open still");
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
fn an_answer_behind_thirty_megabytes_of_log_reaches_a_client_that_did_not_read() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        for revision in ["2025-06-18", "2025-11-25"] {
            let session = harness.client.open_as(revision).await;
            let flood = json!({ "count": 30_000, "bytes": 1000 });
            let before = harness.metric(ENDED_WELL).await;
            let mut lazy = session.send("POST", call("1", "flood", &flood)).await;
            let other = harness.client.open().await;
            assert!(other.is_alive().await, "nobody else waits");
            until_so("the child is drained", async || harness.metric(ENDED_WELL).await > before)
                .await;
            assert!(session.is_alive().await);
            assert_eq!(lazy.head().await.status, 200);
            let (mut read, mut last) = (0, None);
            while let Some(event) = lazy.event().await {
                read += event.text.len();
                last = event.data.filter(|data| !data.is_empty()).or(last);
            }
            let last = last.expect("messages");
            assert!(last.contains(r#""id":1,"result""#), "{revision}: the last one is {last}");
            assert!(read < 20_000_000, "{read} bytes were kept somewhere");
        }
    });
}

const ENDED_WELL: &str =
    r#"mcp_broker_requests_total{server="main",method="tools/call",outcome="ok"}"#;

#[test]
fn answers_that_nobody_reads_cost_a_person_no_more_than_their_budget() {
    with_timeout(async {
        // The system itself takes some megabytes of each answer off the broker.
        let settings = ["stream.max_unread=20MiB", "stream.max_unread_per_owner=24MiB"];
        let harness = Harness::with_tokens(&["ada", "bob"], &settings).await;
        let large = json!({ "bytes": LARGE });
        let unread = async |client: &Client, id: &str| {
            let before = harness.metric(ENDED_WELL).await;
            let mut wire = Wire::with_small_buffer(client.address).await;
            client.send_on(&mut wire, "POST", call(id, "large", &large)).await;
            until_so("it is answered", async || harness.metric(ENDED_WELL).await > before).await;
            wire
        };
        let bob = harness.of("bob").open().await;
        let mut bobs = unread(&bob, "0").await;
        let mut adas = Vec::new();
        for session in 1..=2 {
            let ada = harness.of("ada").open().await;
            for n in 0..3 {
                adas.push(unread(&ada, &format!("{session}{n}")).await);
            }
            assert!(ada.is_alive().await);
        }
        let given_up = r#"mcp_broker_answers_unread_total{server="main"}"#;
        assert!(harness.metric(given_up).await >= 3, "two of them fit at the most");
        let mut whole = 0;
        for wire in &mut adas {
            // One that was on its way when it was given up ends too early.
            whole += usize::from(comes_whole(wire).await);
        }
        assert!((1..=3).contains(&whole), "{whole} were kept");
        assert!(comes_whole(&mut bobs).await, "another person's budget is their own");
    });
}

const LARGE: usize = 12_000_000;

/// Whether the answer of [`LARGE`] bytes arrives, and not an error in its place, or a part of it.
async fn comes_whole(wire: &mut Wire) -> bool {
    let length = wire.head().await.header("content-length").expect("a length").parse();
    let length: usize = length.expect("a number");
    wire.has(length).await && length > LARGE
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
        let other = harness.client.open().await.with("last-event-id", &priming);
        let mut others = other.listen().await;
        other.call("say", json!({ "lines": [CHANGED] })).await;
        let (_, message) = others.message().await.expect("a message");
        assert_eq!(
            message["method"], "notifications/tools/list_changed",
            "streams are a session's own"
        );
    });
}

#[test]
fn a_client_that_names_an_event_nobody_knows_goes_on_with_what_is_kept() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let mut stream = session.listen().await;
        session.call("say", json!({ "lines": [CHANGED] })).await;
        let (last, _) = stream.message().await.expect("a message");
        let ahead = format!("{last}0");
        for unknown in
            ["999-1", "x", "0-99", "", "0", "null", "undefined", "5f0c-1-99", "\u{e9}", &ahead]
        {
            let mut again = session.with("last-event-id", unknown).listen().await;
            session.call("say", json!({ "lines": [CHANGED] })).await;
            let (_, message) = again.message().await.expect("a message");
            assert_eq!(message["method"], "notifications/tools/list_changed", "{unknown}");
        }
    });
}

async fn until_id(wire: &mut Wire) -> String {
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
