//! Children that misbehave, and clients that leave.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bridge::{
    Accepts, Bridge, Closed, Driver, InitializeError, Limits, Outcome, PostError, Surroundings,
};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, DuplexStream, ReadBuf},
    sync::oneshot,
    task::JoinHandle,
    time::Instant,
};

use crate::child::*;

const NEW: &str = "2025-11-25";

#[tokio::test]
async fn a_child_that_dies_during_initialize_is_told_at_once() {
    let bench = bench_with(Limits::default());
    let request = incoming(&call(json!(1), "initialize"));
    drop(bench.child);
    let failed =
        bench.bridge.initialize(request.single().expect("one"), Duration::from_secs(20)).await;
    assert!(matches!(failed, Err(InitializeError::Closed(Closed::ChildEnded))), "{failed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_child_silent_on_initialize_times_out() {
    let bench = bench_with(Limits::default());
    let request = incoming(&call(json!(1), "initialize"));
    let failed =
        bench.bridge.initialize(request.single().expect("one"), Duration::from_secs(20)).await;
    assert!(matches!(failed, Err(InitializeError::TimedOut)));
}

#[tokio::test]
async fn a_child_that_refuses_to_initialize_says_why_to_the_client() {
    let mut bench = bench_with(Limits::default());
    let request = incoming(&call(json!(1), "initialize"));
    let bridge = bench.bridge.clone();
    let failed = bridge.initialize(request.single().expect("one"), Duration::from_secs(20));
    let child = async {
        let request = bench.child.reads().await;
        bench.child.writes(json!({"jsonrpc": "2.0", "id": 77, "method": "ping"})).await;
        assert_eq!(bench.child.reads().await, json!({"jsonrpc": "2.0", "id": 77, "result": {}}));
        bench.child.writes(json!({"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32602, "message": "no"}})).await;
    };
    let (failed, ()) = tokio::join!(failed, child);
    let Err(InitializeError::Refused(error)) = failed else { panic!("{failed:?}") };
    assert_eq!(&error[..], br#"{"code":-32602,"message":"no"}"#);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_ends_with_504_and_the_child_is_told() {
    let limits = Limits { request_timeout: Duration::from_secs(3), ..Limits::default() };
    let mut bench = session(NEW, limits).await;
    let post = bench.posts(call(json!("a"), "slow"));
    let request = bench.child.reads().await;
    let response = post.await.expect("no panic").expect("accepted");
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    let answer = document(response).await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("a"), &json!(-32603)));
    let cancelled = bench.child.reads().await;
    assert_eq!(cancelled["method"], "notifications/cancelled");
    assert_eq!(cancelled["params"]["requestId"], request["id"]);
    assert_eq!(bench.outcomes.recv().await, Some(Outcome::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn progress_starts_the_wait_anew() {
    let limits = Limits { request_timeout: Duration::from_secs(10), ..Limits::default() };
    let mut bench = session(NEW, limits).await;
    let post = bench.posts(call_with_token(json!(1), json!("t")));
    let request = bench.child.reads().await;
    for step in 0..5 {
        tokio::time::sleep(Duration::from_secs(8)).await;
        bench
            .child
            .writes(json!({"jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": request["id"], "progress": step}}))
            .await;
    }
    let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
    for step in 0..5 {
        assert_eq!(events.message().await.expect("progress")["params"]["progress"], step);
    }
    let error = events.message().await.expect("the end of patience");
    assert_eq!(error["error"]["code"], -32603, "an error on the open stream");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_crash_answers_everything_under_way_and_ends_all_streams() {
    let mut bench = session(NEW, Limits::default()).await;
    let mut standalone = Events::of(bench.listen(None));
    let posts = [bench.posts(call(json!(1), "a")), bench.posts(call(json!("b"), "b"))];
    bench.child.reads().await;
    bench.child.reads().await;
    drop(bench.child);
    for (post, id) in posts.into_iter().zip([json!(1), json!("b")]) {
        let answer = document(post.await.expect("no panic").expect("accepted")).await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!(-32603)));
    }
    assert_eq!(bench.driver.await.expect("no panic"), Closed::ChildEnded);
    while standalone.next().await.is_some() {}
    let late =
        bench.bridge.post(incoming(&call(json!(2), "late")), Accepts::Both, Box::new(|_| {})).await;
    assert!(matches!(late, Err(PostError::Closed(Closed::ChildEnded))));
}

#[tokio::test]
async fn a_call_to_a_child_that_died_unnoticed_was_not_sent_and_can_be_sent_to_the_next() {
    let mut bench = session(NEW, Limits::default()).await;
    let before = bench.posts(call(json!(1), "before"));
    bench.child.reads().await;
    // The driver has no turn between these two.
    drop(bench.child);
    let after = bench
        .bridge
        .post(incoming(&call(json!(2), "after")), Accepts::Both, Box::new(|_| {}))
        .await;
    assert!(matches!(after, Err(PostError::Closed(Closed::ChildEnded))), "{after:?}");
    assert_eq!(bench.bridge.closed(), Some(Closed::ChildEnded), "nobody tries it again");
    let answer = document(before.await.expect("no panic").expect("accepted")).await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(-32603)));
    assert_eq!(bench.driver.await.expect("no panic"), Closed::ChildEnded);
}

#[tokio::test]
async fn a_notification_to_a_child_that_died_unnoticed_was_not_sent_either() {
    let bench = session(NEW, Limits::default()).await;
    drop(bench.child);
    let told = json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"});
    let told = bench.bridge.post(incoming(&told), Accepts::Both, Box::new(|_| {})).await;
    assert!(matches!(told, Err(PostError::Closed(Closed::ChildEnded))), "{told:?}");
}

/// A child whose pipes are closed by the test: the input at once, the output with this error when the gate
/// opens.
fn killed_by_the_kernel(
    attach: Attach,
) -> (Bridge, JoinHandle<Closed>, oneshot::Sender<io::Error>) {
    let (gate, opened) = oneshot::channel();
    let (input, _) = tokio::io::duplex(64);
    let (bridge, driver) = attach(Gated(opened), input);
    #[expect(clippy::disallowed_methods, reason = "the test keeps the handle")]
    (bridge, tokio::spawn(driver.run()), gate)
}

type Attach = fn(Gated, DuplexStream) -> (Bridge, Driver);

fn attach(output: Gated, input: DuplexStream) -> (Bridge, Driver) {
    Bridge::attach(output, input, Limits::default())
}

fn attach_translated(output: Gated, input: DuplexStream) -> (Bridge, Driver) {
    Bridge::attach_translated(output, input, Limits::default(), Surroundings::default())
}

/// An output that fails when it is told to.
struct Gated(oneshot::Receiver<io::Error>);

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let error = ready!(Pin::new(&mut self.0).poll(cx)).expect("the test opens the gate");
        Poll::Ready(Err(error))
    }
}

/// The kernel closes all pipes of a process that it ends, and a write may notice it before the output says
/// why.
#[tokio::test(start_paused = true)]
async fn a_child_out_of_memory_is_told_as_that_also_when_a_write_found_its_input_closed_first() {
    for attach in [attach, attach_translated] {
        let (bridge, driver, gate) = killed_by_the_kernel(attach);
        let request = incoming(&call(json!(1), "initialize"));
        let request = request.single().expect("one");
        let greeted = bridge.initialize(request, Duration::from_secs(20));
        let ends = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            gate.send(io::ErrorKind::OutOfMemory.into()).expect("it is read");
        };
        let (greeted, ()) = tokio::join!(greeted, ends);
        let Err(InitializeError::Closed(why)) = greeted else { panic!("{greeted:?}") };
        assert_eq!(
            (why, driver.await.expect("no panic")),
            (Closed::OutOfMemory, Closed::OutOfMemory)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_found_the_input_closed_waits_for_the_reason_that_the_others_get() {
    let (bridge, driver, gate) = killed_by_the_kernel(attach);
    let post = bridge.post(incoming(&call(json!(1), "a")), Accepts::Both, Box::new(|_| {}));
    let ends = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(bridge.closed(), None, "its output may still hold answers");
        gate.send(io::ErrorKind::OutOfMemory.into()).expect("it is read");
    };
    let (refused, ()) = tokio::join!(post, ends);
    assert!(matches!(refused, Err(PostError::Closed(Closed::OutOfMemory))), "{refused:?}");
    assert_eq!(driver.await.expect("no panic"), Closed::OutOfMemory);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_a_child_wrote_before_it_ended_outlives_a_write_that_failed() {
    let (output, mut written) = tokio::io::duplex(64 * 1024);
    let (input, read) = tokio::io::duplex(64 * 1024);
    let (bridge, driver) = Bridge::attach(output, input, Limits::default());
    #[expect(clippy::disallowed_methods, reason = "the test keeps the handle")]
    let driver = tokio::spawn(driver.run());
    let posts = async |id: u64| {
        let body = incoming(&call(json!(id), "a"));
        bridge.post(body, Accepts::Both, Box::new(|_| {})).await
    };
    let child = async {
        let request = BufReader::new(read).lines().next_line().await.expect("it works");
        let request: Value = serde_json::from_str(&request.expect("a line")).expect("JSON");
        // What it read with is dropped: this one is not sent.
        let begun = Instant::now();
        let answer = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let answer = json!({ "jsonrpc": "2.0", "id": request["id"], "result": "in time" });
            written.write_all(format!("{answer}\n").as_bytes()).await.expect("it is read");
        };
        let (refused, ()) = tokio::join!(posts(2), answer);
        assert!(matches!(refused, Err(PostError::Closed(Closed::ChildEnded))), "{refused:?}");
        assert_eq!(
            begun.elapsed(),
            Duration::from_secs(5),
            "it lives, and is not waited for longer"
        );
    };
    let (answer, ()) = tokio::join!(posts(1), child);
    assert_eq!(document(answer.expect("it is accepted")).await["result"], "in time");
    assert_eq!(driver.await.expect("no panic"), Closed::ChildEnded);
}

#[tokio::test]
async fn a_flood_of_notifications_stays_within_the_ring() {
    let mut bench = session(NEW, Limits { replay_events: 8, ..Limits::default() }).await;
    for n in 0..5000 {
        bench
            .child
            .writes(
                json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": n}}),
            )
            .await;
    }
    let post = bench.posts(call(json!(1), "a"));
    let request = bench.child.reads().await;
    bench.child.answers(&request, json!(1)).await;
    assert_eq!(document(post.await.expect("no panic").expect("accepted")).await["result"], 1);
    let mut kept = Events::of(bench.listen(None));
    kept.next().await.expect("the priming event");
    assert_eq!(
        kept.next().await.expect("the oldest kept").data.expect("data")["params"]["data"],
        4992
    );
}

#[tokio::test]
async fn lines_that_are_no_messages_are_skipped() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts(call(json!(1), "a"));
    let request = bench.child.reads().await;
    for noise in [
        "Server listening…\n",
        "{\"half\":\n",
        "[]\n",
        "\n",
        "\u{0}\n",
        "{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"result\":{}}\n",
    ] {
        bench.child.writes_raw(noise).await;
    }
    bench.child.answers(&request, json!("fine")).await;
    assert_eq!(document(post.await.expect("no panic").expect("accepted")).await["result"], "fine");
    assert_eq!(bench.bridge.dropped(), 5, "an empty line is nothing");
}

#[tokio::test]
async fn an_answer_to_nothing_and_a_second_answer_are_dropped() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts(call(json!(1), "a"));
    let request = bench.child.reads().await;
    bench.child.writes(json!({"jsonrpc": "2.0", "id": 12345, "result": {}})).await;
    bench.child.writes(json!({"jsonrpc": "2.0", "id": "12346", "result": {}})).await;
    bench.child.answers(&request, json!("first")).await;
    bench.child.answers(&request, json!("second")).await;
    assert_eq!(document(post.await.expect("no panic").expect("accepted")).await["result"], "first");
    let post = bench.posts(call(json!(2), "b"));
    let request = bench.child.reads().await;
    bench.child.answers(&request, json!("fine")).await;
    assert_eq!(document(post.await.expect("no panic").expect("accepted")).await["result"], "fine");
    assert_eq!(bench.bridge.dropped(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_never_reads_is_given_up_and_its_callers_are_told() {
    let mut bench = session(NEW, Limits { max_queued_bytes: 200_000, ..Limits::default() }).await;
    let big = |id: u64| json!({"jsonrpc": "2.0", "id": id, "method": "x", "params": {"fill": "y".repeat(100_000)}});
    let first = bench.posts(big(1));
    let second = bench.posts(big(2));
    let third = bench.posts(big(3));
    let refused = third.await.expect("no panic").expect("accepted");
    assert_eq!(refused.status(), StatusCode::GATEWAY_TIMEOUT, "the queue is bounded");
    assert_eq!(document(refused).await["error"]["code"], -32603);
    for post in [first, second] {
        let mut events = Events::of(post.await.expect("no panic").expect("accepted"));
        assert_eq!(events.message().await.expect("an error")["error"]["code"], -32603);
    }
    assert_eq!(bench.driver.await.expect("no panic"), Closed::Stalled);
    while bench.child.reads_line().await.is_some() {}
}

#[tokio::test]
async fn a_client_that_leaves_does_not_cancel_its_call() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts(call(json!(1), "a"));
    let request = bench.child.reads().await;
    post.abort();
    assert!(post.await.is_err(), "the connection is gone");
    assert_eq!(bench.bridge.in_flight(), 1);
    bench.child.answers(&request, json!("nobody reads this")).await;
    assert_eq!(bench.outcomes.recv().await, Some(Outcome::Answered), "what `done` holds is let go");
    assert_eq!(bench.bridge.in_flight(), 0);
}

#[tokio::test]
async fn closing_answers_what_is_under_way_and_ends_the_childs_input() {
    let mut bench = session(NEW, Limits::default()).await;
    let post = bench.posts(call(json!(1), "a"));
    bench.child.reads().await;
    bench.bridge.close();
    bench.bridge.close();
    let answer = document(post.await.expect("no panic").expect("accepted")).await;
    assert_eq!(answer["error"]["code"], -32603);
    assert_eq!(bench.driver.await.expect("no panic"), Closed::Stopped);
    assert_eq!(bench.child.reads_line().await, None);
}

#[tokio::test]
async fn a_child_that_ends_because_it_was_asked_to_did_not_end_by_itself() {
    let bench = session(NEW, Limits::default()).await;
    // Both before the driver runs again: it sees the end of the pipe and the order to close.
    bench.bridge.close();
    drop(bench.child);
    assert_eq!(bench.driver.await.expect("no panic"), Closed::Stopped);
}

#[tokio::test]
async fn requests_under_way_are_bounded() {
    let mut bench = session(NEW, Limits { max_in_flight: 1, ..Limits::default() }).await;
    let _first = bench.posts(call(json!(1), "a"));
    bench.child.reads().await;
    let second = bench.posts(call(json!(2), "b")).await.expect("no panic");
    assert!(matches!(second, Err(PostError::Busy { max: 1 })));
}
