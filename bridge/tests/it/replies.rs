//! How a POST is answered.

use bridge::{Accepts, Incoming, Limits, Outcome, PostError};
use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use crate::child::*;

const NEW: &str = "2025-11-25";

#[tokio::test]
async fn an_answer_with_nothing_before_it_is_one_json_document() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts(call(json!("a"), "tools/list"));
    let request = bench.child.reads().await;
    assert_eq!(request["method"], "tools/list");
    bench.child.answers(&request, json!({"tools": []})).await;
    let response = post.await.expect("no panic").expect("accepted");
    assert_eq!(response.status(), StatusCode::OK);
    let document = document(response).await;
    assert_eq!(document, json!({"jsonrpc": "2.0", "id": "a", "result": {"tools": []}}));
    assert_eq!(bench.outcomes.recv().await, Some(Outcome::Answered));
}

#[tokio::test]
async fn a_standalone_stream_is_not_given_up_while_a_restart_waits_for_its_children() {
    let bench = session(NEW, Limits::default()).await;
    let opening = Events::of(bench.listen(None)).next().await.expect("it comes first");
    // A child that keeps its time ends after two graces of two seconds each, and SDKs come back
    // twice before they give up.
    assert!(2 * opening.retry.expect("a retry field") > 4000 + 1000, "{opening:?}");
}

#[tokio::test]
async fn an_answer_with_something_before_it_is_a_stream() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts(call(json!(1), "tools/call"));
    let request = bench.child.reads().await;
    bench.child.writes(json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}})).await;
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    let priming = events.next().await.expect("it comes first");
    assert_eq!(priming.data, Some(serde_json::Value::Null), "the priming event is empty");
    assert_eq!(priming.retry, Some(3000));
    assert_eq!(events.comments, ["ok"], "the very first bytes are a comment");
    assert_eq!(events.message().await.expect("a log line")["method"], "notifications/message");
    bench.child.answers(&request, json!({})).await;
    assert_eq!(events.message().await.expect("the answer")["id"], 1);
    assert_eq!(events.next().await, None, "the stream ends with the answer");
}

#[tokio::test]
async fn clients_older_than_priming_events_get_none() {
    let mut bench = session("2025-06-18", Limits::default()).await;
    let post = bench.posts(call_with_token(json!(1), json!("t")));
    let request = bench.child.reads().await;
    let token = &request["params"]["_meta"]["progressToken"];
    bench.child.writes(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})).await;
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    let first = events.next().await.expect("an event");
    assert_eq!(first.data.expect("it has data")["method"], "notifications/progress");
    assert_eq!(first.retry, Some(3000), "no block stands for anything but a message");
}

/// What a stream of a client of revision 2025-06-18 looks like to the byte.
#[tokio::test(start_paused = true)]
async fn a_parser_that_takes_each_block_for_a_message_finds_only_messages() {
    let mut bench = session("2025-06-18", Limits::default()).await;
    let mut body = bench.listen(None).into_body();
    let mut text = String::new();
    for data in [1, 2] {
        bench
            .child
            .writes(json!({"jsonrpc": "2.0", "method": "n", "params": {"data": data}}))
            .await;
        // The opening, then the message, then the silence behind it.
        while !(text.ends_with("here\n") && text.contains(&format!("\"data\":{data}"))) {
            let frame = http_body_util::BodyExt::frame(&mut body).await.expect("it is open");
            let bytes = frame.expect("infallible").into_data().expect("data");
            text.push_str(std::str::from_utf8(&bytes).expect("text"));
        }
    }
    let blocks: Vec<_> = text.split_terminator("\n\n").collect();
    assert_eq!(blocks[0], ": ok");
    assert!(blocks[1].starts_with("retry: 3000\nevent: message\nid: "), "{text}");
    assert!(blocks[2].starts_with(": still here\nevent: message\nid: "), "{text}");
    assert_eq!(&blocks[3..], [": still here\n"], "{text}");
}

#[tokio::test]
async fn every_message_of_a_stream_is_an_event_with_the_name_message() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts(call(json!(1), "tools/call"));
    let request = bench.child.reads().await;
    bench.child.writes(json!({"jsonrpc": "2.0", "method": "notifications/message"})).await;
    bench.child.answers(&request, json!({})).await;
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    assert_eq!(events.next().await.expect("the priming event").name, None, "it is no message");
    for _ in 0..2 {
        assert_eq!(events.next().await.expect("a message").name.as_deref(), Some("message"));
    }
}

#[tokio::test]
async fn line_separators_reach_a_client_as_escapes_in_streams_and_in_json() {
    let mut bench = session(NEW, Limits::default()).await;
    let result = json!({"text": "a\u{2028}b\u{2029}c\u{85}d\u{e9}"});
    for with_note in [false, true] {
        let post = bench.posts(call(json!(1), "tools/call"));
        let request = bench.child.reads().await;
        if with_note {
            bench.child.writes(json!({"jsonrpc": "2.0", "method": "n", "params": result})).await;
        }
        bench.child.answers(&request, result.clone()).await;
        let response = post.await.expect("no panic").expect("accepted");
        let body = http_body_util::BodyExt::collect(response.into_body()).await;
        let body = body.expect("infallible").to_bytes();
        let text = std::str::from_utf8(&body).expect("text");
        assert!(text.contains(r"a\u2028b\u2029c\u0085dé"), "{text}");
        assert!(!text.contains(['\u{2028}', '\u{2029}', '\u{85}']), "{text}");
    }
}

#[tokio::test]
async fn notifications_and_responses_are_accepted_with_202_and_no_body() {
    let mut bench = session(NEW, Limits::default()).await;
    let response =
        bench.post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    assert_eq!(response.status(), StatusCode::ACCEPTED);
    assert!(http_body::Body::is_end_stream(response.body()));
    assert_eq!(bench.child.reads().await["method"], "notifications/initialized");
}

#[tokio::test]
async fn a_pretty_printed_body_reaches_the_child_as_one_line() {
    let mut bench = session(NEW, Limits::default()).await;
    let body = "{\n \"jsonrpc\": \"2.0\",\r\n \"method\": \"n\",\n \"params\": {\n  \"a\": \"x\u{2028}y\"\n }\n}\n";
    let incoming = Incoming::parse(&Bytes::from(body), 1).expect("a message");
    bench.bridge.post(incoming, Accepts::Both, Box::new(|_| {})).await.expect("accepted");
    let line = bench.child.reads_line().await.expect("a line");
    assert_eq!(
        line,
        "{\"jsonrpc\":\"2.0\",\"method\":\"n\",\"params\":{   \"a\": \"x\\u2028y\"  }}"
    );
}

#[tokio::test]
async fn numbers_in_params_and_results_pass_byte_for_byte() {
    let mut bench = session(NEW, Limits::default()).await;
    let body = r#"{"jsonrpc":"2.0","id":9007199254740993,"method":"x","params":{"n":1e400,"m":1.10, "k":"\u00e9"}}"#;
    let incoming = Incoming::parse(&Bytes::from(body), 1).expect("a message");
    let bridge = bench.bridge.clone();
    let post = bridge.post(incoming, Accepts::Both, Box::new(|_| {}));
    let child = async {
        let line = bench.child.reads_line().await.expect("a line");
        assert!(line.ends_with(r#""params":{"n":1e400,"m":1.10, "k":"\u00e9"}}"#), "{line}");
        let (_, id) = line.split_once(r#""id":"#).expect("an id");
        let (id, _) = id.split_once(',').expect("more");
        bench
            .child
            .writes_raw(&format!(
                "{{\"result\": {{\"n\":1.0e+400 }},\"jsonrpc\":\"2.0\",\"id\":{id}}}\n"
            ))
            .await;
    };
    let (response, ()) = tokio::join!(post, child);
    let body = http_body_util::BodyExt::collect(response.expect("accepted").into_body()).await;
    let body = body.expect("infallible").to_bytes();
    assert_eq!(&body[..], br#"{"jsonrpc":"2.0","id":9007199254740993,"result":{"n":1.0e+400 }}"#);
}

#[tokio::test]
async fn the_same_id_twice_at_once_gets_both_answers_each_on_its_own_post() {
    let mut bench = session(NEW, Limits::default()).await;
    let first = bench.posts(call(json!(7), "slow"));
    let slow = bench.child.reads().await;
    let second = bench.posts(call(json!(7), "quick"));
    let quick = bench.child.reads().await;
    assert_ne!(slow["id"], quick["id"], "the child sees two ids");
    bench.child.answers(&quick, json!("quick")).await;
    bench.child.answers(&slow, json!("slow")).await;
    for (post, result) in [(first, "slow"), (second, "quick")] {
        let document = document(post.await.expect("no panic").expect("accepted")).await;
        assert_eq!(document, json!({"jsonrpc": "2.0", "id": 7, "result": result}));
    }
}

#[tokio::test]
async fn progress_goes_to_its_own_request_under_the_clients_token() {
    let mut bench = session(NEW, Limits::default()).await;
    let posts = [
        bench.posts(call_with_token(json!(1), json!("t"))),
        bench.posts(call_with_token(json!(2), json!("t"))),
    ];
    let mut requests = [bench.child.reads().await, bench.child.reads().await];
    requests.sort_by_key(|request| request["id"].as_u64());
    for request in &requests {
        let token = &request["params"]["_meta"]["progressToken"];
        assert_eq!(token, &request["id"], "tokens are minted, so two clients' cannot clash");
        let progress = request["id"].clone();
        bench.child.writes(json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": progress, "progressToken": token}})).await;
        bench.child.answers(request, progress).await;
    }
    for post in posts {
        let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
        let progress = events.message().await.expect("progress");
        let answer = events.message().await.expect("the answer");
        assert_eq!(progress["params"]["progressToken"], "t");
        assert_eq!(progress["params"]["progress"], answer["result"], "each on its own stream");
        assert_eq!(events.next().await, None);
    }
}

#[tokio::test]
async fn a_batch_belongs_to_revision_2025_03_26_only() {
    let two = json!([call(json!(1), "a"), call(json!(2), "b"), {"jsonrpc": "2.0", "method": "n"}]);
    let bench = session(NEW, Limits::default()).await;
    let refused = bench.posts(two.clone()).await.expect("no panic");
    assert!(matches!(refused, Err(PostError::Malformed(malformed)) if malformed.code == -32600));

    let mut bench = session("2025-03-26", Limits::default()).await;
    let post = bench.posts(two);
    let (a, b) = (bench.child.reads().await, bench.child.reads().await);
    assert_eq!(bench.child.reads().await["method"], "n");
    bench.child.answers(&b, json!("b")).await;
    bench.child.answers(&a, json!("a")).await;
    let answers = document(post.await.expect("no panic").expect("accepted")).await;
    assert_eq!(answers.as_array().map(Vec::len), Some(2), "one answer for each request");
    assert_eq!(answers[0]["id"], 2, "in the order the child gave them");
}

#[tokio::test]
async fn a_second_initialize_is_refused_and_the_child_does_not_see_it() {
    let mut bench = session(NEW, Limits::default()).await;
    let refused = bench.posts(call(json!("again"), "initialize")).await.expect("no panic");
    let Err(PostError::Malformed(malformed)) = refused else { panic!("{refused:?}") };
    assert_eq!((malformed.code, malformed.id.as_deref()), (-32600, Some("\"again\"")));
    bench.post(json!({"jsonrpc": "2.0", "method": "notifications/other"})).await;
    assert_eq!(bench.child.reads().await["method"], "notifications/other");
}

#[tokio::test]
async fn a_cancellation_reaches_the_child_under_its_own_id_and_ends_the_wait() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts(call(json!("mine"), "slow"));
    let request = bench.child.reads().await;
    let cancel = |id: &str| json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id, "reason": "changed my mind"}});
    bench.post(cancel("not mine")).await;
    bench.post(cancel("mine")).await;
    let cancelled = bench.child.reads().await;
    assert_eq!(cancelled["params"]["requestId"], request["id"]);
    assert_eq!(cancelled["params"]["reason"], "changed my mind");
    let answer = document(post.await.expect("no panic").expect("accepted")).await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("mine"), &json!(-32000)));
    assert_eq!(bench.outcomes.recv().await, Some(Outcome::Cancelled));
    bench.child.answers(&request, json!("too late")).await;
    let post = bench.posts(call(json!("next"), "x"));
    let request = bench.child.reads().await;
    bench.child.answers(&request, json!("fine")).await;
    assert_eq!(document(post.await.expect("no panic").expect("accepted")).await["result"], "fine");
    assert_eq!(bench.bridge.dropped(), 1, "the late answer was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_json_alone_gets_one_document_however_long_it_takes() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts_accepting(Accepts::Json, call_with_token(json!(1), json!("t")));
    let request = bench.child.reads().await;
    let progress = json!({"progressToken": request["id"], "progress": 1});
    for (method, params) in
        [("notifications/message", json!({})), ("notifications/progress", progress)]
    {
        bench.child.writes(json!({"jsonrpc": "2.0", "method": method, "params": params})).await;
    }
    bench
        .child
        .writes(json!({"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage"}))
        .await;
    let refused = bench.child.reads().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!("q"), &json!(-32603)));
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    bench.child.answers(&request, json!("fine")).await;
    let answer = document(post.await.expect("no panic").expect("accepted")).await;
    assert_eq!(answer, json!({"jsonrpc": "2.0", "id": 1, "result": "fine"}));
}

#[tokio::test]
async fn a_question_during_a_call_of_a_client_that_takes_json_alone_goes_to_its_other_stream() {
    let mut bench = session(NEW, Limits::default()).await;
    let mut standalone = Events::of(bench.listen(None));
    let _post = bench.posts_accepting(Accepts::Json, call(json!(1), "x"));
    bench.child.reads().await;
    bench
        .child
        .writes(json!({"jsonrpc": "2.0", "id": "q", "method": "sampling/createMessage"}))
        .await;
    let question = standalone.message().await.expect("the question");
    assert_eq!(question["method"], "sampling/createMessage");
}

#[tokio::test]
async fn a_client_that_takes_events_alone_gets_a_stream() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts_accepting(Accepts::Events, call(json!(1), "x"));
    let request = bench.child.reads().await;
    bench.child.answers(&request, json!("fine")).await;
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    assert_eq!(events.message().await.expect("the answer")["result"], "fine");
    assert_eq!(events.next().await, None);
}
