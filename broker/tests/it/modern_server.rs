//! Sessions, as clients up to 2025-11-25 have them, in front of a server that knows only requests that
//! stand for themselves.

use serde_json::json;

use crate::{
    harness::{Harness, until_so, with_timeout},
    modern,
    program::Place,
    wire::{call, initialize},
};

const MODERN: &str = "server.main.env={MODERN=\"1\"}";

#[test]
fn a_session_is_served_by_a_child_that_refuses_the_handshake() {
    with_timeout(async {
        let harness = Harness::start(&[MODERN]).await;
        let session = harness.client.open().await;
        // The first one refused, and its server was asked what it knows.
        assert_eq!(harness.witness.children().len(), 2);
        assert!(session.is_alive().await, "a ping is answered, which the child does not know");
        let answer = session.call("mirror", json!({ "b": 1.5 })).await.json();
        assert_eq!(answer["result"]["arguments"], json!({ "b": 1.5 }));
        let read = harness.witness.read();
        assert!(read.contains(r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#));
        assert!(!read.contains("notifications/initialized"), "{read}");

        let other = harness.client.open().await;
        assert!(other.is_alive().await);
        assert_eq!(harness.witness.children().len(), 3, "what was found out is kept");
    });
}

#[test]
fn a_session_goes_on_with_another_child_that_refuses_the_handshake() {
    with_timeout(async {
        let harness = Harness::start(&[MODERN]).await;
        let session = harness.client.open().await;
        let (_, code, _) = session.call("crash", json!({})).await.error();
        assert_eq!(code, -32603);
        let answer = session.call("mirror", json!({})).await;
        assert_eq!(answer.json()["result"]["arguments"], json!({}), "{answer:?}");
        assert_eq!(harness.witness.children().len(), 3);
    });
}

#[test]
fn what_a_modern_child_requires_is_asked_on_the_stream_of_the_call() {
    with_timeout(async {
        let harness = Harness::start(&[MODERN]).await;
        let hello = initialize("0", "2025-11-25")
            .replace(r#""capabilities":{}"#, r#""capabilities":{"sampling":{}}"#);
        let opened = harness.client.post(hello).await;
        let id = opened.header("mcp-session-id").expect("an id");
        let session = harness.client.with("mcp-session-id", id);
        let mut stream = session.send("POST", call("1", "ask", &json!({}))).await;
        stream.head().await;
        let (_, question) = stream.message().await.expect("a question");
        assert_eq!(question["method"], "sampling/createMessage", "{question}");
        assert_eq!(question["params"]["maxTokens"], 1);
        let said = json!({ "role": "assistant", "content": { "type": "text", "text": "hello" } });
        let reply = json!({ "jsonrpc": "2.0", "id": question["id"], "result": said });
        assert_eq!(session.post(reply.to_string()).await.status, 202);
        let (_, answer) = stream.message().await.expect("the answer");
        assert_eq!((&answer["id"], &answer["result"]["said"]), (&json!(1), &said));
        let retried = async || harness.witness.read().contains(r#""requestState":"s""#);
        until_so("the state came back", retried).await;

        let unable = harness.client.open().await;
        let refused = unable.call("ask", json!({})).await;
        assert_eq!(refused.error().1, -32603, "a client is not asked what it cannot answer");
    });
}

#[test]
fn a_server_said_to_be_modern_is_not_tried_with_a_handshake() {
    with_timeout(async {
        let harness = Harness::start(&[MODERN, "server.main.era=\"modern\""]).await;
        let session = harness.client.open().await;
        assert!(session.is_alive().await);
        harness.witness.child();
        assert!(!harness.witness.read().contains("\"initialize\""));
    });
}

#[test]
fn a_server_that_refuses_the_handshake_for_another_reason_is_asked_once() {
    with_timeout(async {
        let harness = Harness::start(&[MODERN, "server.main.era=\"legacy\""]).await;
        for children in 1..=2 {
            let refused = harness.client.post(initialize("0", "2025-11-25")).await;
            assert_eq!(refused.error().1, -32022, "the child's own words");
            assert_eq!(harness.witness.children().len(), children);
        }
    });
}

#[test]
fn the_log_names_the_era_where_the_operator_has_set_the_wrong_one() {
    with_timeout(async {
        let said = |era: &str| format!("era = \"{era}\"\n");
        for settings in [said("modern"), said("legacy") + "env = { MODERN = \"1\" }\n"] {
            let place = Place::new();
            place.configure(&settings);
            let broker = place.serve(&[]).await;
            let session = broker.client.post(initialize("0", "2025-11-25")).await;
            let call = modern::ask(&broker.client, "tools/list", json!({})).await;
            assert_eq!(call.error(), (502, -32603, json!(1)), "{}", call.text());
            assert!(call.text().contains("the broker's log"), "{}", call.text());
            let log = broker.log();
            assert_eq!(log.matches("\"key\":\"server.main.era\"").count(), 2, "{log}");
            assert!(log.contains("remove the key"), "{log}");
            if settings == said("modern") {
                // What the server refused was a request of the broker's.
                assert_eq!(session.error(), (502, -32603, json!(0)), "{}", session.text());
                assert!(session.text().contains("server/discover"), "{}", session.text());
            } else {
                assert_eq!(session.error().1, -32022, "the server's own words: {}", session.text());
                assert!(log.contains("\"code\":-32022"), "{log}");
            }
        }
    });
}
