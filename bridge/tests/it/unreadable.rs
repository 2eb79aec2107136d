//! Children whose answers cannot be read, and children whose answers only look so.

use std::time::Duration;

use bridge::{InitializeError, Limits, Outcome};
use http::StatusCode;
use serde_json::{Value, json};

use crate::child::*;

const NEW: &str = "2025-11-25";

/// The one answer to a call that the child answered with `line`, in which `ID` stands for its id.
async fn answer_to(bench: &mut Bench, line: &[u8]) -> Value {
    let post = bench.posts(call(json!("mine"), "x"));
    let id = bench.child.reads().await["id"].to_string();
    let at = line.windows(2).position(|two| two == b"ID");
    let mut written = line.to_vec();
    if let Some(at) = at {
        written.splice(at..at + 2, id.into_bytes());
    }
    written.push(b'\n');
    bench.child.writes_bytes(&written).await;
    let response = post.await.expect("no panic").expect("accepted");
    assert_eq!(response.status(), StatusCode::OK);
    let answer = document(response).await;
    assert_eq!(answer["id"], "mine", "{answer}");
    answer
}

fn assert_unreadable(answer: &Value) {
    assert_eq!(answer["error"]["code"], -32603, "{answer}");
    let message = answer["error"]["message"].as_str().expect("words");
    assert!(message.starts_with("the server's answer could not be read: "), "{message}");
}

#[tokio::test]
async fn an_answer_that_official_clients_take_is_taken() {
    let mut bench = session(NEW, Limits::default()).await;
    for line in [
        &br#"{"jsonrpc":"2.0","id":"ID","result":"fine"}"#[..],
        br#"{"jsonrpc":"2.0","id":ID.0,"result":"fine"}"#,
        br#"{"jsonrpc":"2.0","id":IDe0,"result":"fine"}"#,
        br#"{"jsonrpc":"2.0","id":" ID ","result":"fine"}"#,
        br#"{"jsonrpc":"2.0","id":ID,"result":"fine","error":null}"#,
        br#"{"jsonrpc":"2.0","id":ID,"result":"fine","params":null,"method":null}"#,
        br#"[{"jsonrpc":"2.0","id":ID,"result":"fine"}]"#,
        b"\xEF\xBB\xBF{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"fine\"}",
        b"debug: doing the thing... {\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"fine\"}",
        b"{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"fine\"}\r",
        b"\x1b[32m{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"fine\"}\x1b[0m",
        b"[INFO] {x} {\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"fine\"}",
        b"{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"fine\"} done",
    ] {
        let answer = answer_to(&mut bench, line).await;
        assert_eq!(answer["result"], "fine", "{}", String::from_utf8_lossy(line));
        assert_eq!(bench.outcomes.recv().await, Some(Outcome::Answered));
    }
    let latin1 = b"{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"caf\xe9\"}";
    assert_eq!(answer_to(&mut bench, latin1).await["result"], "caf\u{fffd}");
    assert_eq!(bench.bridge.dropped(), 0);
}

#[tokio::test]
async fn a_call_whose_answer_cannot_be_read_ends_at_once() {
    let mut bench = session(NEW, Limits::default()).await;
    for (count, line) in [
        &br#"{"jsonrpc":"2.0","id":ID,"error":"it broke"}"#[..],
        br#"{"jsonrpc":"2.0","id":ID,"error":{"message":"it broke"}}"#,
        br#"{"jsonrpc":"2.0","id":ID,"error":{"code":"E1","message":"it broke"}}"#,
        br#"{"jsonrpc":"2.0","id":ID,"error":{}}"#,
        br#"{"jsonrpc":"2.0","id":ID,"error":[-32000,"it broke"]}"#,
        br#"{"id":ID,"result":{}}"#,
        br#"{"jsonrpc":"1.0","id":ID,"result":{}}"#,
        br#"{"jsonrpc":"2.0","id":ID}"#,
        br#"{"jsonrpc":"2.0","id":ID,"result":{},"error":{"code":1,"message":""}}"#,
        br#"{"jsonrpc":"2.0","id":ID,"result":{"half":"#,
        br#"{"jsonrpc":"2.0","id":ID,"result":NaN}"#,
        b"{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"a\rb\"}",
        b"{\"jsonrpc\":\"2.0\",\"id\":ID,\"result\":\"\\\xE2\x80\xA8\"}",
        br#"{"jsonrpc":"2.0","id":ID,"id":1,"result":{}}"#,
        br#"{"jsonrpc":"2.0","id":ID,"method":"m","params":{},"result":{}}"#,
        br#"{"jsonrpc":"2.0","Id":ID,"Result":{}}"#,
        br#"[{"id":ID,"result":{}}]"#,
        br#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
        br#"{"jsonrpc":"2.0","result":{}}"#,
    ]
    .into_iter()
    .enumerate()
    {
        assert_unreadable(&answer_to(&mut bench, line).await);
        assert_eq!(bench.outcomes.recv().await, Some(Outcome::Unreadable));
        assert_eq!(bench.bridge.dropped(), count as u64 + 1, "it is counted");
    }
    let unnamed = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"Invalid"}}"#;
    let answer = answer_to(&mut bench, unnamed).await;
    assert_unreadable(&answer);
    assert_eq!(answer["error"]["data"]["message"], "Invalid", "the child's own words are its data");
    let pieces =
        b"{\n  \"jsonrpc\": \"2.0\",\n  \"id\": ID,\n  \"result\": {\n    \"id\": 1\n  }\n}";
    assert_unreadable(&answer_to(&mut bench, pieces).await);
    assert_eq!(bench.bridge.in_flight(), 0);
}

#[tokio::test]
async fn an_answer_without_an_id_is_nobodys_while_two_calls_are_under_way() {
    let mut bench = session(NEW, Limits::default()).await;
    let posts = [bench.posts(call(json!(1), "a")), bench.posts(call(json!(2), "b"))];
    let requests = [bench.child.reads().await, bench.child.reads().await];
    bench
        .child
        .writes(json!({"jsonrpc": "2.0", "id": null, "error": {"code": 1, "message": ""}}))
        .await;
    bench.child.writes(json!({"jsonrpc": "2.0", "id": 12345, "error": "to nothing"})).await;
    for request in &requests {
        bench.child.answers(request, json!("fine")).await;
    }
    for post in posts {
        let answer = document(post.await.expect("no panic").expect("accepted")).await;
        assert_eq!(answer["result"], "fine");
    }
    assert_eq!(bench.bridge.dropped(), 2);
}

#[tokio::test]
async fn what_a_child_says_to_a_notification_is_no_answer_to_the_call_behind_it() {
    let mut bench = session(NEW, Limits::default()).await;
    for said in [
        json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32601, "message": "Method not found"}}),
        json!({"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}}),
        json!({"jsonrpc": "2.0", "id": null, "result": {}}),
    ] {
        bench.post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        let post = bench.posts(call(json!(1), "tools/list"));
        assert_eq!(bench.child.reads().await["method"], "notifications/initialized");
        let request = bench.child.reads().await;
        bench.child.writes(said.clone()).await;
        bench.child.answers(&request, json!("fine")).await;
        let answer = document(post.await.expect("no panic").expect("accepted")).await;
        assert_eq!(answer["result"], "fine", "{said}");
        // The child has come to the notification: what it says now is said to the call.
        let unnamed = format!("{said}");
        assert_unreadable(&answer_to(&mut bench, unnamed.as_bytes()).await);
    }
}

#[tokio::test]
async fn half_an_answer_is_no_answer_to_a_notification() {
    let mut bench = session(NEW, Limits::default()).await;
    for broken in
        [r#"{"jsonrpc":"2.0","result":{"x":"a"#, r#"{"jsonrpc":"2.0","id":[],"result":{}}"#]
    {
        bench.post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        let post = bench.posts(call(json!(1), "tools/list"));
        assert_eq!(bench.child.reads().await["method"], "notifications/initialized");
        bench.child.reads().await;
        bench.child.writes_raw(&format!("{broken}\nb\"}},\"id\":7}}\n")).await;
        assert_unreadable(&document(post.await.expect("no panic").expect("accepted")).await);
    }
}

#[tokio::test]
async fn a_note_and_an_answer_on_one_line_both_arrive() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts(call(json!(1), "a"));
    let request = bench.child.reads().await;
    let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}});
    let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": "fine"});
    bench.child.writes_raw(&format!("{note}{answer}\n")).await;
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    assert_eq!(events.message().await.expect("the note")["method"], "notifications/message");
    assert_eq!(events.message().await.expect("the answer")["result"], "fine");
}

#[tokio::test]
async fn noise_ends_no_call() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts(call(json!(1), "a"));
    let request = bench.child.reads().await;
    let id = &request["id"];
    for noise in [
        format!("Sending: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"cut"),
        format!("handling request id={id}"),
        format!("  \"id\": {id},"),
        format!("{{'jsonrpc': '2.0', 'id': {id}, 'result': {{}}}}"),
        format!("{{\"level\":\"info\",\"msg\":\"request {id}\"}}"),
        "{\"jsonrpc\":\"2.0\",\"method\":5}".to_owned(),
    ] {
        bench.child.writes_raw(&format!("{noise}\n")).await;
    }
    bench.child.answers(&request, json!("fine")).await;
    assert_eq!(document(post.await.expect("no panic").expect("accepted")).await["result"], "fine");
    assert_eq!(bench.bridge.dropped(), 6);
}

#[tokio::test]
async fn progress_under_a_token_in_quotes_finds_its_call() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts(call_with_token(json!(1), json!("t")));
    let request = bench.child.reads().await;
    let token = request["id"].to_string();
    bench
        .child
        .writes(json!({"jsonrpc": "2.0", "method": "notifications/progress",
                       "params": {"progressToken": token, "progress": 1}}))
        .await;
    bench.child.answers(&request, json!({})).await;
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    assert_eq!(events.message().await.expect("progress")["params"]["progressToken"], "t");
}

#[tokio::test]
async fn a_request_of_the_child_that_cannot_be_read_is_refused_and_it_does_not_wait() {
    let mut bench = session(NEW, Limits { max_line_bytes: 1000, ..Limits::default() }).await;
    for broken in [
        r#"{"id":"q","method":"roots/list"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":"q","method":"x","params":[1]}"#.to_owned(),
        format!(
            r#"{{"jsonrpc":"2.0","id":"q","method":"x","params":{{"a":"{}"}}}}"#,
            "x".repeat(2000)
        ),
    ] {
        bench.child.writes_raw(&format!("{broken}\n")).await;
        let refused = bench.child.reads().await;
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!("q"), &json!(-32603)));
    }
}

#[tokio::test]
async fn an_answer_beyond_the_limit_fails_its_call_and_no_other() {
    let mut bench = session(NEW, Limits { max_line_bytes: 1000, ..Limits::default() }).await;
    for known in [true, false] {
        let long = bench.posts(call(json!("long"), "a"));
        let request = bench.child.reads().await;
        let beside = known.then(|| bench.posts(call(json!("beside"), "b")));
        let id = if known { format!("\"id\":{},", request["id"]) } else { String::new() };
        bench
            .child
            .writes_raw(&format!("{{\"jsonrpc\":\"2.0\",{id}\"result\":\"{}", "x".repeat(5000)))
            .await;
        // At once: the line has yet to end.
        let answer = document(long.await.expect("no panic").expect("accepted")).await;
        assert_unreadable(&answer);
        assert!(
            answer["error"]["message"].as_str().expect("words").contains("1000 bytes"),
            "{answer}"
        );
        bench.child.writes_raw(&format!("{}\"}}\n", "y".repeat(5000))).await;
        if let Some(beside) = beside {
            let request = bench.child.reads().await;
            bench.child.answers(&request, json!("fine")).await;
            let answer = document(beside.await.expect("no panic").expect("accepted")).await;
            assert_eq!(answer["result"], "fine", "the child goes on");
        }
    }
    let noise = bench.posts(call(json!(1), "a"));
    bench.child.reads().await;
    bench.child.writes_raw(&"x".repeat(5000)).await;
    assert_unreadable(&document(noise.await.expect("no panic").expect("accepted")).await);
    assert_eq!(bench.bridge.closed(), None);
}

#[tokio::test]
async fn a_notification_beyond_the_limit_is_skipped_and_fails_no_call() {
    let mut bench = session(NEW, Limits { max_line_bytes: 1000, ..Limits::default() }).await;
    let post = bench.posts(call(json!(1), "a"));
    let request = bench.child.reads().await;
    let note = json!({"jsonrpc": "2.0", "method": "n", "params": {"data": "x".repeat(5000)}});
    bench.child.writes(note).await;
    bench.child.answers(&request, json!("fine")).await;
    assert_eq!(document(post.await.expect("no panic").expect("accepted")).await["result"], "fine");
    assert_eq!(bench.bridge.dropped(), 1);
}

/// What `initialize` comes to with a child that writes `line`, and what is kept of it.
async fn initialize_with(line: &str) -> (InitializeError, Option<String>) {
    let mut bench = bench_with(Limits::default());
    let request = incoming(&call(json!(1), "initialize"));
    let bridge = bench.bridge.clone();
    let failed = bridge.initialize(request.single().expect("one"), Duration::from_secs(20));
    let child = async {
        bench.child.reads().await;
        bench.child.writes_raw(line).await;
    };
    let (failed, ()) = tokio::join!(failed, child);
    bridge.close();
    bench.driver.await.expect("no panic");
    (failed.expect_err("that is no handshake"), bridge.unread_output())
}

#[tokio::test(start_paused = true)]
async fn a_child_that_speaks_no_lines_of_json_fails_to_initialize_with_what_was_read() {
    for (line, words) in [
        ("Content-Length: 120\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"resu", "header"),
        ("{\n  \"jsonrpc\": \"2.0\",\n  \"id\": 1,\n  \"result\": {\n", "several lines"),
        ("{\"id\":1,\"result\":{}}\n", "jsonrpc"),
    ] {
        let (failed, read) = initialize_with(line).await;
        let InitializeError::Unreadable { what } = failed else { panic!("{line:?}: {failed:?}") };
        assert!(what.contains(words), "{what}");
        let read = read.expect("something was read");
        assert!(line.starts_with(read.lines().next().expect("a line")), "{read}");
    }
    for line in ["Welcome to Fake MCP v1.0!\nLoading... ", "Ok to proceed? (y) "] {
        let (failed, read) = initialize_with(line).await;
        assert!(matches!(failed, InitializeError::TimedOut), "{failed:?}");
        assert_eq!(read.as_deref(), Some(line.trim_end()));
    }
}
