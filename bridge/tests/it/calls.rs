//! Calls that share a child without a session.

use std::{future::poll_fn, time::Duration};

use bridge::{Admission, Bridge, Call, CallOptions, Limits, Outcome, Told};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::child::{Bench, bench_with, call, call_with_token, incoming};

const MINUTE: Duration = Duration::from_secs(60);

/// A child that was greeted, and serves calls.
async fn shared(limits: Limits) -> Bench {
    let mut bench = bench_with(limits);
    bench.bridge.serve_calls();
    let request = incoming(&call(json!(0), "initialize"));
    let bridge = bench.bridge.clone();
    let welcome = bridge.initialize(request.single().expect("one"), MINUTE);
    let child = async {
        let request = bench.child.reads().await;
        bench.child.answers(&request, json!({ "protocolVersion": "2025-11-25" })).await;
    };
    let (welcome, ()) = tokio::join!(welcome, child);
    welcome.expect("the child agrees");
    bench
}

async fn calls(bridge: &Bridge, request: &Value, may_be_asked: bool) -> Call {
    calls_with(bridge, request, CallOptions { may_be_asked, ..CallOptions::default() }).await
}

async fn calls_with(bridge: &Bridge, request: &Value, options: CallOptions) -> Call {
    let incoming = incoming(request);
    let id = request["id"].to_string();
    let message = incoming.single().expect("one");
    let called = bridge.call(Admission::default(), message, &id, options, Box::new(drop));
    called.await.expect("it is accepted")
}

async fn told(call: &mut Call) -> Told {
    poll_fn(|cx| call.poll(cx)).await
}

async fn answer(call: &mut Call) -> Value {
    match told(call).await {
        Told::Answer(message) => {
            serde_json::from_str(message.payload().expect("a result")).expect("JSON")
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_client_is_not_given_up_and_has_its_whole_time_afterwards() {
    let limits = Limits { request_timeout: MINUTE, ..Limits::default() };
    let mut bench = shared(limits).await;
    let mut call = calls(&bench.bridge, &call(json!(1), "tools/call"), true).await;
    let request = bench.child.reads().await;
    sleep(MINUTE - Duration::from_secs(1)).await;
    bench
        .child
        .writes(json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create" }))
        .await;
    let Told::Question(question) = told(&mut call).await else { panic!("a question comes") };
    sleep(100 * MINUTE).await;
    call.answer(&question, r#"{"action":"accept"}"#);
    assert_eq!(bench.child.reads().await["result"], json!({ "action": "accept" }));
    sleep(MINUTE - Duration::from_secs(1)).await;
    bench.child.answers(&request, json!("late, and in time")).await;
    assert_eq!(answer(&mut call).await, "late, and in time");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_silent_after_the_answer_of_its_client_is_given_up() {
    let limits = Limits { request_timeout: MINUTE, ..Limits::default() };
    let mut bench = shared(limits).await;
    let mut call = calls(&bench.bridge, &call(json!(1), "tools/call"), true).await;
    bench.child.reads().await;
    for id in ["q1", "q2"] {
        let asks = json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create" });
        bench.child.writes(asks).await;
    }
    let Told::Question(first) = told(&mut call).await else { panic!("a question comes") };
    let Told::Question(second) = told(&mut call).await else { panic!("and another") };
    call.answer(&second, "{}");
    sleep(100 * MINUTE).await;
    call.answer(&first, "{}");
    let begun = Instant::now();
    let Told::Failed { outcome, .. } = told(&mut call).await else { panic!("it fails") };
    assert_eq!((outcome, begun.elapsed()), (Outcome::TimedOut, MINUTE));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_silent_after_it_withdrew_its_question_is_given_up() {
    let limits = Limits { request_timeout: MINUTE, ..Limits::default() };
    let mut bench = shared(limits).await;
    let mut call = calls(&bench.bridge, &call(json!(1), "tools/call"), true).await;
    bench.child.reads().await;
    let asks = json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create" });
    bench.child.writes(asks).await;
    let Told::Question(question) = told(&mut call).await else { panic!("a question comes") };
    assert!(call.is_open(&question));
    bench.child.writes(withdrawn("q")).await;
    sleep(MINUTE / 2).await;
    assert!(!call.is_open(&question));
    // The person did not know of it.
    call.answer(&question, "{}");
    let begun = Instant::now();
    let Told::Failed { outcome, .. } = told(&mut call).await else { panic!("it fails") };
    assert_eq!((outcome, begun.elapsed()), (Outcome::TimedOut, MINUTE / 2));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_the_child_gives_up_ends_for_its_client_and_a_call_does_not() {
    let mut bench = shared(Limits::default()).await;
    let listen = call(json!("a"), "subscriptions/listen");
    let options = CallOptions { is_open_ended: true, ..CallOptions::default() };
    let mut subscription = calls_with(&bench.bridge, &listen, options).await;
    let listen = bench.child.reads().await;
    let mut call = calls(&bench.bridge, &call(json!("b"), "tools/call"), false).await;
    let request = bench.child.reads().await;
    for of in [&listen, &request] {
        let params = json!({ "requestId": of["id"] });
        let cancelled =
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
        bench.child.writes(cancelled).await;
    }
    assert_eq!(answer(&mut subscription).await, json!({ "resultType": "complete" }));
    bench.child.answers(&request, json!("done")).await;
    assert_eq!(answer(&mut call).await, "done", "servers cancel nothing else");
    drop(subscription);
    // What the child hears next is a new call: it need not be told to give up what it has ended.
    let _next = calls(&bench.bridge, &call_with_token(json!("c"), json!(1)), false).await;
    assert_eq!(bench.child.reads().await["method"], "tools/call");
}

#[tokio::test(start_paused = true)]
async fn log_messages_come_to_the_reader_who_wants_them_whatever_the_one_before_wanted() {
    let mut bench = shared(Limits::default()).await;
    let request = call(json!(1), "tools/call");
    let mut call = calls(&bench.bridge, &request, true).await;
    let sent = bench.child.reads().await;
    let logs = |data: &str| {
        let params = json!({ "level": "error", "data": data });
        json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": params })
    };
    let retry = incoming(&request);
    for (wants, data) in [(false, "not wanted"), (true, "wanted"), (false, "not any more")] {
        call.hand_over("2", retry.single().expect("one"), Admission::default(), wants);
        bench.child.writes(logs(data)).await;
        if wants {
            let Told::Notification(told) = told(&mut call).await else { panic!("a message") };
            assert!(String::from_utf8_lossy(&told).contains(data), "{told:?}");
        } else {
            // The driver has its turn.
            sleep(Duration::from_millis(1)).await;
        }
    }
    bench.child.answers(&sent, json!("done")).await;
    assert_eq!(answer(&mut call).await, "done");
}

#[tokio::test(start_paused = true)]
async fn questions_that_the_child_withdraws_before_they_are_read_are_not_kept() {
    let mut bench = shared(Limits::default()).await;
    let mut call = calls(&bench.bridge, &call(json!(1), "tools/call"), true).await;
    let request = bench.child.reads().await;
    for id in 0..100 {
        let id = format!("q{id}");
        let asks = json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create" });
        bench.child.writes(asks).await;
        bench.child.writes(withdrawn(&id)).await;
    }
    bench.child.answers(&request, json!("nothing to ask")).await;
    // All of it is read by then.
    sleep(Duration::from_millis(1)).await;
    assert_eq!(answer(&mut call).await, "nothing to ask");
}

/// The child waits no more for the answer to its request.
fn withdrawn(id: &str) -> Value {
    let params = json!({ "requestId": id });
    json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params })
}

#[tokio::test(start_paused = true)]
async fn a_reader_is_told_once_that_its_answer_is_late_and_so_is_the_one_who_takes_over() {
    let mut bench = shared(Limits::default()).await;
    let second = Duration::from_secs(1);
    let options =
        CallOptions { may_be_asked: true, overdue_after: Some(second), ..CallOptions::default() };
    let request = call(json!(1), "tools/call");
    let mut call = calls_with(&bench.bridge, &request, options).await;
    let asked = bench.child.reads().await;
    let begun = Instant::now();
    assert!(matches!(told(&mut call).await, Told::Overdue));
    assert_eq!(begun.elapsed(), second);
    bench
        .child
        .writes(json!({ "jsonrpc": "2.0", "id": "q", "method": "elicitation/create" }))
        .await;
    let Told::Question(question) = told(&mut call).await else { panic!("nothing before it") };
    sleep(MINUTE).await;
    let retry = incoming(&request);
    for _ in 0..2 {
        // The second one takes over what nobody has read.
        call.hand_over("2", retry.single().expect("one"), Admission::default(), false);
        sleep(2 * second).await;
    }
    call.hand_over("2", retry.single().expect("one"), Admission::default(), false);
    let begun = Instant::now();
    assert!(matches!(told(&mut call).await, Told::Overdue));
    assert_eq!(begun.elapsed(), second);
    call.answer(&question, "{}");
    bench.child.answers(&asked, json!("late")).await;
    assert_eq!(answer(&mut call).await, "late");
}

#[tokio::test]
async fn calls_with_the_same_id_and_the_same_token_get_their_own_progress_and_answers() {
    let mut bench = shared(Limits::default()).await;
    let request = call_with_token(json!(7), json!("t"));
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let call = calls(&bench.bridge, &request, false).await;
        waiting.push((call, bench.child.reads().await));
    }
    for (at, (_, request)) in waiting.iter().enumerate().rev() {
        let token = &request["params"]["_meta"]["progressToken"];
        let params = json!({ "progressToken": token, "progress": at });
        let progress = json!({
            "jsonrpc": "2.0", "method": "notifications/progress", "params": params,
        });
        bench.child.writes(progress).await;
        bench.child.answers(request, json!(at)).await;
    }
    for (at, (call, _)) in waiting.iter_mut().enumerate() {
        let Told::Notification(progress) = told(call).await else { panic!("progress comes") };
        let progress: Value = serde_json::from_slice(&progress).expect("JSON");
        assert_eq!(progress["params"], json!({ "progressToken": "t", "progress": at }));
        assert_eq!(answer(call).await, at);
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_and_the_one_with_the_same_id_is_not() {
    let mut bench = shared(Limits::default()).await;
    let request = call(json!(7), "tools/call");
    let first = calls(&bench.bridge, &request, false).await;
    let mut second = calls(&bench.bridge, &request, false).await;
    let (gone, kept) = (bench.child.reads().await, bench.child.reads().await);
    drop(first);
    let cancelled = bench.child.reads().await;
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], gone["id"]);
    // The child may answer all the same.
    bench.child.answers(&gone, json!("of the first")).await;
    bench.child.answers(&kept, json!("of the second")).await;
    assert_eq!(answer(&mut second).await, "of the second");
}

#[tokio::test]
async fn a_child_whose_tools_changed_is_asked_for_them_once() {
    let mut bench = shared(Limits::default()).await;
    let changed = json!({ "jsonrpc": "2.0", "method": "notifications/tools/list_changed" });
    let mut call = calls(&bench.bridge, &call(json!(1), "tools/call"), false).await;
    let request = bench.child.reads().await;
    assert_eq!(bench.bridge.take_tool_changes(), 0);
    bench.child.writes(changed.clone()).await;
    bench.child.writes(changed).await;
    bench.child.answers(&request, json!(1)).await;
    answer(&mut call).await;
    assert_eq!((bench.bridge.take_tool_changes(), bench.bridge.take_tool_changes()), (2, 0));
}

#[tokio::test]
async fn a_child_has_one_subscription_for_a_resource_however_many_listen() {
    let mut bench = shared(Limits::default()).await;
    let mut first = Box::pin(bench.bridge.listen_to("notes://\"one\""));
    bench.bridge.listen_to("notes://\"one\"").await;
    let asked = bench.child.reads().await;
    assert_eq!(asked["method"], "resources/subscribe");
    assert_eq!(asked["params"], json!({ "uri": "notes://\"one\"" }));
    let is_early = timeout(Duration::ZERO, &mut first).await.is_ok();
    assert!(!is_early, "the child may serve a later request first");
    bench.child.answers(&asked, json!({})).await;
    assert!(first.await, "it was accepted");
    bench.bridge.unlisten("notes://\"one\"");
    drop(bench.bridge.listen_to("notes://two"));
    assert_eq!(bench.child.reads().await["params"]["uri"], "notes://two", "another one listens");
    bench.bridge.unlisten("notes://\"one\"");
    assert_eq!(bench.child.reads().await["method"], "resources/unsubscribe");
}
