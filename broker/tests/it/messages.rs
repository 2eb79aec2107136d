//! What a message must be, and what of it reaches the child.

use serde_json::{Value, json};

use crate::{
    harness::{Harness, until, until_so, with_timeout},
    wire::{PING, Wire, call, initialize},
};

#[test]
fn anything_but_an_initialize_outside_a_session_is_400_and_opens_none() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        assert_eq!(harness.client.post(PING).await.error(), (400, -32000, json!("ping")));
        let note = r#"{"jsonrpc":"2.0","method":"initialize"}"#;
        assert_eq!(harness.client.post(note).await.status, 400, "a notification opens nothing");
        for method in ["GET", "DELETE"] {
            assert_eq!(harness.client.ask(method, "").await.status, 400, "{method} without an id");
        }
        assert_eq!(harness.witness.children().len(), 1);
        assert!(session.is_alive().await);
    });
}

#[test]
fn a_body_over_the_limit_is_413_and_the_connection_closes() {
    with_timeout(async {
        let harness = Harness::start(&["http.max_body=8KiB", "http.body_timeout=3s"]).await;
        let session = harness.client.open().await;
        let announced = session.head("POST", "content-length: 8193\r\n");
        // The announcement is enough; so is the first chunk too many, of a body without an end.
        let chunked = session.head("POST", "transfer-encoding: chunked\r\n");
        let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000)).repeat(3);
        for (head, body) in [(announced, String::new()), (chunked, chunk)] {
            let mut wire = Wire::connect(harness.client.address).await;
            wire.send(head + &body).await;
            let answer = wire.answer().await;
            assert_eq!(answer.status, 413, "{answer:?}");
            assert_eq!(answer.header("connection"), Some("close"));
            assert!(wire.closes().await);
        }
        let padding = 8192 - call("1", "echo", &json!({ "x": "" })).len();
        let exact = call("1", "echo", &json!({ "x": "y".repeat(padding) }));
        assert_eq!(session.post(exact).await.status, 200, "the limit itself is allowed");
    });
}

#[test]
fn a_body_nested_too_deep_is_400_and_the_broker_lives() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let nested = |depth: usize| {
            let inner = "[".repeat(depth) + &"]".repeat(depth);
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":{inner}}}}}"#)
        };
        for depth in [127, 10_000, 1_000_000] {
            assert_eq!(session.post(nested(depth)).await.error(), (400, -32700, Value::Null));
        }
        assert_eq!(session.post(nested(126)).await.status, 200);
    });
}

#[test]
fn keys_that_stand_twice_or_in_another_case_are_400_and_reach_no_child() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        for body in [
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"smuggled"}"#,
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"smuggled"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"smuggled"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","param\u017f":{"x":"smuggled"}}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"smuggled"}"#,
        ] {
            let (status, code, _) = session.post(body).await.error();
            assert_eq!((status, code), (400, -32600), "{body}");
        }
        assert!(session.is_alive().await);
        assert!(!harness.witness.read().contains("smuggled"), "{}", harness.witness.read());
    });
}

#[test]
fn bytes_that_are_no_text_are_400_and_reach_no_child() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let with = |bytes: &[u8]| {
            let start = br#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":""#;
            [start, bytes, br#""}}"#].concat()
        };
        let marked = [b"\xEF\xBB\xBF", PING.as_bytes()].concat();
        for body in [
            with(b"\xFF\xFE"),
            with(b"\xED\xA0\x80"),
            with(br"\ud800"),
            with(br"\udc00\ud800"),
            with(b"\0"),
            marked,
            b"\xFF\xFE".to_vec(),
            Vec::new(),
        ] {
            let (status, code, _) = session.post(&body).await.error();
            assert_eq!((status, code), (400, -32700), "{}", body.escape_ascii());
        }
        let lines = harness.witness.read().lines().count();
        assert!(session.post(with(br"\u0000\ud83d\ude00")).await.status == 200, "escapes are text");
        assert_eq!(harness.witness.read().lines().count(), lines + 1);
    });
}

#[test]
fn a_pretty_printed_body_reaches_the_child_as_one_line() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let before = harness.witness.read().len();
        let body = "{\r\n  \"jsonrpc\": \"2.0\",\n  \"id\": 1,\r  \"method\": \"tools/call\",\n\
                    \"params\": {\n\"name\": \"echo\",\r\n \"arguments\": {\"x\":\
                    \"a\u{2028}b\u{2029}c\u{85}d\"}}}\n\n";
        let answer = session.post(body).await;
        assert_eq!(answer.json()["result"]["arguments"]["x"], "a\u{2028}b\u{2029}c\u{85}d");
        let read = harness.witness.read()[before..].to_owned();
        assert_eq!(read.matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count(), 1);
        assert!(read.ends_with('\n'), "{read:?}");
    });
}

#[test]
fn a_batch_is_served_on_2025_03_26_and_refused_elsewhere() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let batch = format!(
            r#"[{},{{"jsonrpc":"2.0","method":"notifications/x"}},{PING}]"#,
            call("1", "echo", &json!({})),
        );
        let old = harness.client.open_as("2025-03-26").await;
        let answer = old.post(&batch).await;
        assert_eq!(answer.status, 200);
        let answers = answer.json();
        let mut ids: Vec<_> = answers.as_array().expect("an array").iter().collect();
        ids.sort_by_key(|answer| answer["id"].to_string());
        assert_eq!(ids.len(), 2, "{answers}");
        assert_eq!((&ids[0]["id"], &ids[1]["id"]), (&json!("ping"), &json!(1)));
        let notes = r#"[{"jsonrpc":"2.0","method":"notifications/x"}]"#;
        assert_eq!(old.post(notes).await.status, 202);
        for (bad, code) in [("[]", -32600), ("[1]", -32600), ("[", -32700)] {
            let (status, found, _) = old.post(bad).await.error();
            assert_eq!((status, found), (400, code), "{bad}");
        }
        for revision in ["2024-11-05", "2025-06-18", "2025-11-25"] {
            let session = harness.client.open_as(revision).await;
            assert_eq!(session.post(&batch).await.error(), (400, -32600, Value::Null));
        }
        let opening = format!("[{}]", initialize("1", "2025-03-26"));
        assert_eq!(harness.client.post(opening).await.status, 400, "a batch opens no session");
    });
}

#[test]
fn ids_and_numbers_come_back_byte_for_byte() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        for id in ["1", r#""1""#, "9007199254740993", "-1", "1.50", "1e2", r#""\u0041\/ä""#] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            let answer = session.post(body).await;
            assert_eq!(answer.text(), format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
        }
        for id in ["null", "{}", "[]", "true"] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
            assert_eq!(session.post(body).await.error(), (400, -32600, Value::Null), "{id}");
        }
        let arguments = r#"{"a":1.0,"b":9007199254740993,"c":1E400,"d":"\u00e4","a2":-0}"#;
        let params = format!(r#"{{"name":"echo","arguments":{arguments}}}"#);
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        session.post(&body).await;
        assert!(harness.witness.read().contains(&params), "{}", harness.witness.read());
    });
}

#[test]
fn the_same_id_twice_at_once_gets_both_answers() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let mut first = session.send("POST", call("1", "wait", &json!({}))).await;
        let second = session.call("echo", json!({ "n": 2 })).await;
        assert_eq!(second.json()["result"]["arguments"], json!({ "n": 2 }));
        harness.witness.release();
        let first = first.answer().await;
        assert_eq!(
            first.json(),
            json!({ "jsonrpc": "2.0", "id": 1, "result": { "waited": true } })
        );
    });
}

#[test]
fn two_clients_with_the_same_ids_never_see_each_others_answers() {
    with_timeout(async {
        let harness = Harness::with_tokens(&["ada", "bob"], &[]).await;
        let (ada, bob) = (harness.of("ada").open().await, harness.of("bob").open().await);
        for number in 0..50 {
            let id = number.to_string();
            let (a, b) = (call(&id, "echo", &json!("ada")), call(&id, "echo", &json!("bob")));
            let (for_ada, for_bob) = tokio::join!(ada.post(a), bob.post(b));
            assert_eq!(for_ada.json()["result"]["arguments"], "ada");
            assert_eq!(for_bob.json()["result"]["arguments"], "bob");
        }
        assert_eq!(harness.witness.children().len(), 2);
    });
}

#[test]
fn an_answer_to_nothing_is_accepted_and_dropped() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        for id in ["99", r#""smuggled""#, "0"] {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"x":"smuggled"}}}}"#);
            let status = session.post(body).await.status;
            assert!(matches!(status, 202 | 400), "{id}: {status}");
        }
        let hybrid = r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{"x":"smuggled"}}"#;
        assert_eq!(session.post(hybrid).await.status, 400);
        assert!(session.is_alive().await);
        assert!(!harness.witness.read().contains("smuggled"), "{}", harness.witness.read());
    });
}

#[test]
fn a_client_that_leaves_is_no_cancellation_and_its_call_runs_on() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let wire = session.send("POST", call("1", "wait", &json!({}))).await;
        until_so("the child has it", async || harness.witness.read().contains("wait")).await;
        drop(wire);
        harness.witness.release();
        let ended = r#"mcp_broker_requests_total{server="main",method="tools/call",outcome="ok"}"#;
        until_so("it ends well", async || harness.metric(ended).await == 1).await;
        assert!(!harness.witness.read().contains("cancelled"), "{}", harness.witness.read());
        assert!(session.is_alive().await);
    });
}

#[test]
fn a_cancellation_reaches_the_child_under_the_childs_own_id() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let mut wire = session.send("POST", call("\"mine\"", "hang", &json!({}))).await;
        let asked = until("the child has it", async || {
            let read = harness.witness.read();
            let line = read.lines().find(|line| line.contains("hang"))?;
            serde_json::from_str::<Value>(line).ok()
        })
        .await;
        let cancel = |id: Value| {
            let params = json!({ "requestId": id, "reason": "enough" });
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params })
        };
        assert_eq!(session.post(cancel(json!("other")).to_string()).await.status, 202);
        assert_eq!(session.post(cancel(json!("mine")).to_string()).await.status, 202);
        let told = until("the child is told", async || {
            let read = harness.witness.read();
            let line = read.lines().find(|line| line.contains("cancelled"))?;
            serde_json::from_str::<Value>(line).ok()
        })
        .await;
        assert_eq!(told["params"], json!({ "requestId": asked["id"], "reason": "enough" }));
        // Nobody waits any longer, and nothing hangs.
        assert_eq!(wire.answer().await.json()["id"], "mine");
        assert_eq!(
            harness.witness.read().matches("cancelled").count(),
            1,
            "unknown ids are ignored"
        );
    });
}

#[test]
fn a_line_that_is_notification_and_answer_at_once_is_dropped() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let hybrid = r#"{"jsonrpc":"2.0","id":$ID,"method":"notifications/message","result":{"x":"smuggled"}}"#;
        let answer = session.call("say", json!({ "lines": [hybrid] })).await;
        assert_eq!(answer.json(), json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
        assert!(!answer.text().contains("smuggled"), "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"));
    });
}

#[test]
fn a_notification_is_202_without_a_body_and_what_is_no_json_is_400() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let note = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
        let answer = session.post(note).await;
        assert_eq!((answer.status, answer.body.len()), (202, 0));
        for (body, code, id) in [
            ("{", -32700, Value::Null),
            ("hello", -32700, Value::Null),
            ("3", -32600, Value::Null),
            (r#"{"id":5,"method":"ping"}"#, -32600, json!(5)),
            (r#"{"jsonrpc":"1.0","id":5,"method":"ping"}"#, -32600, json!(5)),
            (r#"{"jsonrpc":"2.0","id":5}"#, -32600, json!(5)),
            (r#"{"jsonrpc":"2.0","id":5,"method":7}"#, -32600, json!(5)),
        ] {
            assert_eq!(session.post(body).await.error(), (400, code, id), "{body}");
        }
    });
}
