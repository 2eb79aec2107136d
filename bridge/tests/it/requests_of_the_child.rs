//! Sampling, elicitation, roots: what the child asks of the client.

use std::time::Duration;

use bridge::Limits;
use http::StatusCode;
use serde_json::json;

use crate::child::*;

const NEW: &str = "2025-11-25";

#[tokio::test]
async fn a_question_goes_to_the_stream_of_the_call_and_its_answer_back_under_the_childs_id() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts(call(json!(1), "tools/call"));
    let request = bench.child.reads().await;
    bench.child.writes(json!({"jsonrpc": "2.0", "id": "childs own", "method": "elicitation/create", "params": {"message": "?"}})).await;
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    let question = events.message().await.expect("the question");
    assert_eq!(question["params"]["message"], "?");
    assert_ne!(question["id"], "childs own", "ids are minted: a later child may use them again");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept"}});
    assert_eq!(bench.post(answer.clone()).await.status(), StatusCode::ACCEPTED);
    let answered = bench.child.reads().await;
    assert_eq!(
        answered,
        json!({"jsonrpc": "2.0", "id": "childs own", "result": {"action": "accept"}})
    );

    // T19: a second answer, and one to a question nobody asked, reach nobody.
    bench.post(answer).await;
    bench.post(json!({"jsonrpc": "2.0", "id": 999, "result": {}})).await;
    bench.child.answers(&request, json!("done")).await;
    assert_eq!(events.message().await.expect("the answer")["result"], "done");
    bench.post(json!({"jsonrpc": "2.0", "method": "notifications/marker"})).await;
    assert_eq!(bench.child.reads().await["method"], "notifications/marker");
}

#[tokio::test]
async fn an_error_is_an_answer_too() {
    let mut bench = session(NEW, Limits::default()).await;
    let mut events = Events::of(bench.listen(None));
    bench.child.writes(json!({"jsonrpc": "2.0", "id": 0, "method": "roots/list"})).await;
    let question = events.message().await.expect("on the standalone stream: no call is open");
    bench
        .post(
            json!({"jsonrpc": "2.0", "id": question["id"], "error": {"code": -1, "message": "no"}}),
        )
        .await;
    let answered = bench.child.reads().await;
    assert_eq!(
        answered,
        json!({"jsonrpc": "2.0", "id": 0, "error": {"code": -1, "message": "no"}})
    );
}

#[tokio::test]
async fn a_question_the_child_withdraws_is_withdrawn_where_it_was_asked() {
    let mut bench = session(NEW, Limits::default()).await;
    let mut events = Events::of(bench.listen(None));
    bench
        .child
        .writes(json!({"jsonrpc": "2.0", "id": 5, "method": "sampling/createMessage"}))
        .await;
    let question = events.message().await.expect("the question");
    bench.child.writes(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}})).await;
    let withdrawn = events.message().await.expect("the withdrawal");
    assert_eq!(withdrawn["params"]["requestId"], question["id"]);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_finds_no_stream_waits_and_is_then_refused() {
    let mut bench = session(NEW, Limits::default()).await;
    bench.child.writes(json!({"jsonrpc": "2.0", "id": 5, "method": "roots/list"})).await;
    let refused = bench.child.reads().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(5), &json!(-32603)));
}

#[tokio::test(start_paused = true)]
async fn questions_that_wait_are_bounded() {
    let mut bench = session(NEW, Limits { max_asked: 2, ..Limits::default() }).await;
    for id in 1..=3 {
        bench.child.writes(json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"})).await;
    }
    assert_eq!(bench.child.reads().await["id"], 3, "the third is refused at once");
}

#[tokio::test(start_paused = true)]
async fn a_person_may_take_their_time_to_answer() {
    let mut bench =
        session(NEW, Limits { request_timeout: Duration::ZERO, ..Limits::default() }).await;
    let mut events = Events::of(bench.listen(None));
    bench.child.writes(json!({"jsonrpc": "2.0", "id": 5, "method": "elicitation/create"})).await;
    let question = events.message().await.expect("the question");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    bench.post(json!({"jsonrpc": "2.0", "id": question["id"], "result": {}})).await;
    assert_eq!(bench.child.reads().await["result"], json!({}));
}

#[tokio::test]
async fn what_concerns_no_request_prefers_the_standalone_stream() {
    let mut bench = session(NEW, Limits::default()).await;
    let mut standalone = Events::of(bench.listen(None));
    let post = bench.posts(call(json!(1), "tools/call"));
    let request = bench.child.reads().await;
    bench
        .child
        .writes(json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}))
        .await;
    let message = standalone.message().await.expect("here");
    assert_eq!(message["method"], "notifications/tools/list_changed");
    bench.child.answers(&request, json!(1)).await;
    assert_eq!(document(post.await.expect("no panic").expect("accepted")).await["result"], 1);
}
