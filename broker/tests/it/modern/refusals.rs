//! Requests without a session that are refused: with which status and code, and that no child hears of them.

use serde_json::{Value, json};

use super::{MODERN, ask, body, dressed, parked, tool};
use crate::{
    harness::{Harness, until_so, with_timeout},
    wire::{Client, Wire, call, initialize},
};

/// A call of `echo` that names `version`.
fn echo(version: &str) -> String {
    let params = json!({ "name": "echo", "arguments": {} });
    body(&json!(7), "tools/call", params, &json!({})).replace("2026-07-28", version)
}

/// Looks for one refusal, under the request's own id.
async fn assert_refused(client: &Client, body: &str, status: u16, code: i64) {
    let answer = client.post(body).await;
    let expected = (status, code, json!(7));
    assert_eq!(answer.error(), expected, "{}{body}", client.head("POST", ""));
}

#[test]
fn one_endpoint_serves_both_eras_and_an_initialize_in_modern_dress_is_unknown() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        for method in [
            "initialize",
            "ping",
            "logging/setLevel",
            "resources/subscribe",
            "resources/unsubscribe",
            "tasks/list",
            "tasks/result",
        ] {
            let (status, code, id) = ask(&harness.client, method, json!({})).await.error();
            assert_eq!((status, code, id), (404, -32601, json!(1)), "{method}");
        }
        for method in ["GET", "DELETE"] {
            let answer = session.with("mcp-protocol-version", "2026-07-28").ask(method, "").await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
        }
        assert!(session.is_alive().await, "what the modern request named was left alone");
        assert_eq!(harness.witness.children().len(), 1, "nothing was started for any of that");
    });
}

#[test]
fn a_method_that_a_child_does_not_know_is_404_whichever_era_the_child_is_of() {
    with_timeout(async {
        for settings in [&[][..], &[MODERN]] {
            let harness = Harness::start(settings).await;
            for method in ["unknown/method", "unknown/", "unknown/\u{fc}"] {
                let client = dressed(&harness.client, method, None);
                let text = body(&json!("a"), method, json!({}), &json!({}));
                // A name that a header cannot carry is in no request that agrees with its header.
                let expected = if method.is_ascii() { (404, -32601) } else { (400, -32020) };
                let (status, code, id) = client.post(text).await.error();
                assert_eq!(((status, code), id), (expected, json!("a")), "{method} {settings:?}");
            }
        }
        // A legacy child's own tasks are another protocol, which was not announced.
        let harness = Harness::start(&[]).await;
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            let text = body(&json!(7), method, json!({ "taskId": "t" }), &json!({}));
            let client = dressed(&harness.client, method, Some("t"));
            assert_refused(&client, &text, 404, -32601).await;
        }
        assert!(!harness.witness.read().contains("tasks/"), "the child was not asked");
    });
}

#[test]
fn a_request_whose_headers_and_body_disagree_reaches_no_child() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let (version, method, name) = ("mcp-protocol-version", "mcp-method", "mcp-name");
        let good = dressed(&harness.client, "tools/call", Some("echo"));
        for client in [
            good.with(method, "tools/list"),
            good.with(method, "TOOLS/CALL"),
            good.with(method, "tools/call, tools/call"),
            // Base64 is for names and arguments: who routes by the method does not decode it.
            good.with(method, "=?base64?dG9vbHMvY2FsbA==?="),
            good.with(version, "=?base64?MjAyNi0wNy0yOA==?="),
            good.with(method, ""),
            good.without(method),
            good.without(name),
            good.with(name, ""),
            good.with(name, "ECHO"),
            good.with(name, "echo, echo"),
            good.with(name, "ech\u{f6}"),
            good.with(name, "=?base64?ZWNobw=?="),
            good.with(name, "=?base64?ZWNobw?="),
            good.with(name, "=?base64?/w==?="),
            good.with(name, "=?base64?RUNITw==?="),
            good.with(name, "=?BASE64?ZWNobw==?="),
            good.with(version, "2025-11-25"),
            good.with(version, "v999.0.0"),
            good.with(version, ""),
            good.without(version),
        ] {
            assert_refused(&client, &echo("2026-07-28"), 400, -32020).await;
        }
        let text = echo("2026-07-28");
        for (one, other) in [("2026-07-28", "2025-11-25"), ("2025-11-25", "2026-07-28")] {
            let several = format!("{version}: {other}\r\ncontent-length: {}\r\n", text.len());
            let mut wire = Wire::connect(harness.client.address).await;
            wire.send(good.with(version, one).head("POST", &several) + &text).await;
            assert_eq!(wire.answer().await.error(), (400, -32020, json!(7)), "{one}, {other}");
        }
        for unsupported in ["2026-07-29", "2027-01-01", "2025-11-25", "v999.0.0", "1", ""] {
            let text = echo(unsupported);
            let answer = good.with(version, unsupported).post(text).await;
            assert_eq!(answer.error(), (400, -32022, json!(7)), "{unsupported}");
            let data = answer.json()["error"]["data"].clone();
            assert_eq!(data, json!({ "supported": ["2026-07-28"], "requested": unsupported }));
        }
        assert_eq!(harness.witness.children(), [0; 0]);
        for client in [
            good.with(name, "=?base64?ZWNobw==?="),
            good.with(name, "\techo  "),
            good.with("mcp-session-id", &"a".repeat(48)),
            good.with("last-event-id", "1-1"),
        ] {
            assert_eq!(client.post(echo("2026-07-28")).await.status, 200);
        }
    });
}

#[test]
fn a_request_that_does_not_say_of_itself_what_it_must_reaches_no_child() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let good = dressed(&harness.client, "tools/call", Some("echo"));
        assert_refused(&good, &call("7", "echo", &json!({})), 400, -32602).await;
        let with = |member: &str, value: Value| {
            let mut text: Value = serde_json::from_str(&echo("2026-07-28")).expect("JSON");
            let meta = &mut text["params"]["_meta"];
            match member {
                "" => *meta = value,
                member => meta[format!("io.modelcontextprotocol/{member}")] = value,
            }
            text.to_string()
        };
        for text in [
            with("", json!(null)),
            with("", json!([])),
            with("", json!("2026-07-28")),
            with("", json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" })),
            with("", json!({ "io.modelcontextprotocol/clientCapabilities": {} })),
            with("protocolVersion", json!(20_260_728)),
            with("clientCapabilities", json!(null)),
            with("clientCapabilities", json!([])),
            with("logLevel", json!("loud")),
            with("logLevel", json!(3)),
        ] {
            assert_refused(&good, &text, 400, -32602).await;
        }
        let batch = format!("[{}]", echo("2026-07-28"));
        assert_eq!(good.post(batch).await.error().0, 400);
        assert_eq!(harness.witness.children(), [0; 0]);
        // None of that is a must, or a reason for a child to refuse.
        for text in [
            with("clientInfo", json!(null)),
            with("clientInfo", json!(5)),
            with("clientCapabilities", json!({ "roots": true })),
            with("logLevel", json!("debug")),
        ] {
            assert_eq!(good.post(&text).await.status, 200, "{text}");
        }
    });
}

#[test]
fn a_child_that_asks_for_what_the_client_did_not_declare_is_told_so_and_the_client_too() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let (sampling, form) = (json!({}), json!({ "form": "How many?" }));
        let (model, person) = (json!({ "sampling": {} }), json!({ "elicitation": {} }));
        for (declared, arguments, needed) in [
            (json!({}), &sampling, &model),
            (json!({}), &form, &person),
            (json!({ "roots": {} }), &sampling, &model),
            (json!({ "sampling": {} }), &form, &person),
            (json!({ "elicitation": {} }), &sampling, &model),
            (json!({ "sampling": null, "extensions": {} }), &sampling, &model),
        ] {
            let arguments = json!({ "arguments": arguments });
            let answer = tool(&harness.client, "ask", arguments, &declared).await;
            assert_eq!(answer.error(), (400, -32021, json!("call")), "{declared}");
            let data = answer.json()["error"]["data"].clone();
            assert_eq!(data, json!({ "requiredCapabilities": needed }), "{declared}");
        }
        let told = async || harness.witness.read().matches(r#""id":"q0","error""#).count() == 6;
        until_so("the children hear of it", told).await;
    });
}

/// What a request before it declared counts for nothing (MCP 2026-07-28, "Statelessness").
#[test]
fn a_client_whose_retry_declares_less_is_not_asked_what_only_its_first_request_allowed() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let state = parked(&harness.client, json!({})).await;
        let unanswered = json!({ "arguments": {}, "requestState": state });
        let answer = tool(&harness.client, "ask", unanswered, &json!({ "roots": {} })).await;
        assert_eq!(answer.error(), (400, -32021, json!("call")), "{answer:?}");
        let told = async || harness.witness.read().contains(r#""id":"q0","error""#);
        until_so("the child hears of it", told).await;
    });
}

#[test]
fn a_child_that_asks_while_several_calls_run_that_allow_no_question_is_refused_alone() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let arguments = json!({ "name": "wait", "arguments": {} });
        let text = body(&json!(1), "tools/call", arguments, &json!({}));
        let mut waiting =
            dressed(&harness.client, "tools/call", Some("wait")).send("POST", text).await;
        until_so("it waits", async || harness.witness.read().contains(r#""wait""#)).await;
        // Either may be the one.
        let answer = tool(&harness.client, "ask", json!({ "arguments": {} }), &json!({})).await;
        assert_eq!(answer.json()["result"]["said"], json!(null), "{answer:?}");
        assert!(harness.witness.read().contains(r#""id":"q0","error""#));
        harness.witness.release();
        assert_eq!(waiting.answer().await.json()["result"]["waited"], true);
    });
}

#[test]
fn an_initialize_that_names_the_modern_revision_agrees_on_one_with_a_handshake() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        for named in ["2026-07-28", "2027-01-01"] {
            // This child takes whatever it is offered.
            let answer = harness.client.post(initialize("1", named)).await;
            assert_eq!(answer.json()["result"]["protocolVersion"], "2025-11-25", "{answer:?}");
            assert!(answer.header("mcp-session-id").is_some());
        }
    });
}
