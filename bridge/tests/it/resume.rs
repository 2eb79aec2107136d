//! A session that goes on with another child.

use std::{future::poll_fn, task::Poll};

use bridge::{Closed, Difference, Limits, PostError, ResumeError};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{child::*, succession::*};

#[tokio::test]
async fn a_new_child_is_told_what_the_one_before_knew_and_the_client_hears_nothing_of_it() {
    let mut bench = conversation(Limits::default()).await;
    call_answered(&mut bench, "logging/setLevel", json!({"level": "debug"})).await;
    call_answered(&mut bench, "logging/setLevel", json!({"level": "error"})).await;
    for uri in ["x://2", "x://1", "x://gone"] {
        call_answered(&mut bench, "resources/subscribe", json!({"uri": uri})).await;
    }
    call_answered(&mut bench, "resources/unsubscribe", json!({"uri": "x://gone"})).await;
    let snapshot = stored(&bench);

    let mut bench = bench_with(Limits::default());
    let resuming = resumes(&bench.bridge, &snapshot);
    let line = bench.child.reads_line().await.expect("a line");
    assert!(line.ends_with(&format!(r#","method":"initialize","params":{PARAMS}}}"#)), "{line}");
    // A child may look whether anybody is there before it answers.
    bench.child.writes(json!({"jsonrpc": "2.0", "id": 77, "method": "ping"})).await;
    assert_eq!(bench.child.reads().await, json!({"jsonrpc": "2.0", "id": 77, "result": {}}));
    bench.child.answers(&serde_json::from_str(&line).expect("JSON"), about()).await;
    resuming.await.expect("no panic").expect("it is the same server");

    assert_eq!(bench.child.reads().await["method"], "notifications/initialized");
    for (method, params) in [
        ("logging/setLevel", json!({"level": "error"})),
        ("resources/subscribe", json!({"uri": "x://1"})),
        ("resources/subscribe", json!({"uri": "x://2"})),
    ] {
        let told = bench.child.reads().await;
        assert_eq!((&told["method"], &told["params"]), (&json!(method), &params));
        bench.child.answers(&told, json!({})).await;
    }
    assert_eq!(bench.bridge.in_flight(), 0, "none of it is the client's");
    call_answered(&mut bench, "tools/call", json!({})).await;
    assert_eq!(bench.bridge.dropped(), 0, "its answers were expected");
    assert_eq!(stored(&bench).to_bytes(), snapshot.to_bytes(), "and so with the child after it");
}

#[tokio::test]
async fn there_is_a_snapshot_from_the_handshake_on_and_beyond_the_end() {
    let bench = bench_with(Limits::default());
    assert!(bench.bridge.snapshot().is_none(), "nothing is known yet");
    let mut bench = conversation(Limits::default()).await;
    dies(&mut bench).await;
    let snapshot = bench.bridge.snapshot().expect("it is final now");
    assert_eq!(snapshot.revision().as_str(), "2025-11-25");
    let too_large = greeted(Limits { max_snapshot_bytes: 100, ..Limits::default() }).await;
    assert!(too_large.bridge.snapshot().is_none(), "it ends with its child");
}

#[tokio::test]
async fn who_stores_snapshots_learns_when_the_last_is_out_of_date() {
    let mut bench = greeted(Limits::default()).await;
    let mut changes = bench.bridge.changes();
    call_answered(&mut bench, "tools/call", json!({})).await;
    assert!(!changes.has_changed().expect("the bridge lives"), "calls change nothing");
    bench.post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    bench.child.reads().await;
    assert!(changes.has_changed().expect("the bridge lives"));
    changes.mark_unchanged();
    call_answered(&mut bench, "resources/subscribe", json!({"uri": "x://1"})).await;
    assert!(changes.has_changed().expect("the bridge lives"));
}

#[tokio::test]
async fn what_the_child_did_not_accept_is_not_remembered() {
    let mut bench = conversation(Limits::default()).await;
    let before = stored(&bench);
    let posts = [
        bench.posts(json!({"jsonrpc": "2.0", "id": 1, "method": "logging/setLevel",
            "params": {"level": "loud"}})),
        bench.posts(json!({"jsonrpc": "2.0", "id": 2, "method": "resources/subscribe",
            "params": {"uri": "x://none"}})),
    ];
    for _ in 0..2 {
        let id = bench.child.reads().await["id"].clone();
        let error = json!({"code": -32602, "message": "no"});
        bench.child.writes(json!({"jsonrpc": "2.0", "id": id, "error": error})).await;
    }
    for post in posts {
        document(post.await.expect("no panic").expect("accepted")).await;
    }
    assert_eq!(stored(&bench).to_bytes(), before.to_bytes());
}

#[tokio::test]
async fn what_a_new_child_does_not_accept_is_no_reason_to_lose_the_session() {
    let mut bench = conversation(Limits::default()).await;
    call_answered(&mut bench, "logging/setLevel", json!({"level": "debug"})).await;
    call_answered(&mut bench, "resources/subscribe", json!({"uri": "x://1"})).await;
    let mut bench = next_child(None, &stored(&bench)).await;
    bench.child.reads().await;
    for _ in 0..2 {
        let id = bench.child.reads().await["id"].clone();
        let error = json!({"code": -32002, "message": "no such resource"});
        bench.child.writes(json!({"jsonrpc": "2.0", "id": id, "error": error})).await;
    }
    call_answered(&mut bench, "tools/call", json!({})).await;
    assert_eq!(stored(&bench).subscriptions(), 0);
    let mut third = next_child(None, &stored(&bench)).await;
    assert_eq!(third.child.reads().await["method"], "notifications/initialized");
    call_answered(&mut third, "tools/call", json!({})).await;
}

#[tokio::test]
async fn a_client_that_had_not_confirmed_its_handshake_does_so_to_the_new_child() {
    let bench = greeted(Limits::default()).await;
    let mut bench = next_child(None, &stored(&bench)).await;
    bench.post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    assert_eq!(bench.child.reads().await["method"], "notifications/initialized");
    bench.child.writes(note(1)).await;
    let mut events = Events::of(bench.listen(None));
    assert_eq!(events.message().await.expect("the child's")["params"]["data"], 1, "nothing before");
}

#[tokio::test]
async fn the_client_is_told_that_lists_may_differ_where_it_was_told_that_it_would_be() {
    let mut bench = conversation(Limits::default()).await;
    call_answered(&mut bench, "resources/subscribe", json!({"uri": "x://1"})).await;
    let mut bench = next_child(None, &stored(&bench)).await;
    for method in ["notifications/initialized", "resources/subscribe"] {
        assert_eq!(bench.child.reads().await["method"], method);
    }
    // A call before any stream is there is answered as ever.
    call_answered(&mut bench, "tools/call", json!({})).await;
    let mut events = Events::of(bench.listen(None));
    for method in ["notifications/tools/list_changed", "notifications/resources/list_changed"] {
        assert_eq!(events.message().await.expect("it waited")["method"], method);
    }
    let updated = events.message().await.expect("nobody watched it meanwhile");
    assert_eq!(updated["method"], "notifications/resources/updated");
    assert_eq!(updated["params"], json!({"uri": "x://1"}));
    bench.child.writes(note(1)).await;
    assert_eq!(events.message().await.expect("the child's")["params"]["data"], 1);
}

#[tokio::test]
async fn a_child_that_is_not_what_the_client_knows_ends_the_session() {
    let snapshot = stored(&conversation(Limits::default()).await);
    let changed = async |change: fn(&mut Value)| {
        let mut bench = bench_with(Limits::default());
        let resuming = resumes(&bench.bridge, &snapshot);
        let request = bench.child.reads().await;
        let mut result = about();
        change(&mut result);
        bench.child.answers(&request, result).await;
        let resumed = resuming.await.expect("no panic");
        assert!(bench.bridge.snapshot().is_none(), "it never was this session's");
        match resumed {
            Err(ResumeError::Changed(difference)) => difference,
            other => panic!("{other:?}"),
        }
    };
    let version = changed(|now| now["protocolVersion"] = json!("2025-06-18")).await;
    assert_eq!(version, Difference::Version);
    let name = changed(|now| now["serverInfo"]["name"] = json!("mail")).await;
    assert_eq!(name, Difference::Name);
    let gone = changed(|now| now["capabilities"]["resources"] = json!({})).await;
    assert!(matches!(&gone, Difference::Capability(path) if path.starts_with("resources.")));
    assert_eq!(changed(|now| *now = json!(17)).await, Difference::Version);
}

#[tokio::test]
async fn a_newer_child_that_can_do_more_is_welcome_and_the_client_need_not_know() {
    let snapshot = stored(&conversation(Limits::default()).await);
    let mut bench = bench_with(Limits::default());
    let resuming = resumes(&bench.bridge, &snapshot);
    let request = bench.child.reads().await;
    let mut result = about();
    result["serverInfo"]["version"] = json!("2.0");
    result["capabilities"]["prompts"]["listChanged"] = json!(true);
    bench.child.answers(&request, result).await;
    resuming.await.expect("no panic").expect("nothing went away");
    let mut events = Events::of(bench.listen(None));
    for method in ["notifications/tools/list_changed", "notifications/resources/list_changed"] {
        assert_eq!(events.message().await.expect("it waited")["method"], method);
    }
    assert_eq!(stored(&bench).to_bytes(), snapshot.to_bytes(), "the client's view stays its own");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_refuses_is_silent_or_dies_is_told_apart() {
    let snapshot = stored(&conversation(Limits::default()).await);
    let mut refuses = bench_with(Limits::default());
    let resuming = resumes(&refuses.bridge, &snapshot);
    let id = refuses.child.reads().await["id"].clone();
    let error = json!({"code": -1, "message": "no"});
    refuses.child.writes(json!({"jsonrpc": "2.0", "id": id, "error": error})).await;
    let refused = resuming.await.expect("no panic");
    assert!(matches!(refused, Err(ResumeError::Refused(_))), "{refused:?}");

    let silent = bench_with(Limits::default());
    let timed_out = resumes(&silent.bridge, &snapshot).await.expect("no panic");
    assert!(matches!(timed_out, Err(ResumeError::TimedOut)), "{timed_out:?}");

    let dead = bench_with(Limits::default());
    drop(dead.child);
    let closed = resumes(&dead.bridge, &snapshot).await.expect("no panic");
    assert!(matches!(closed, Err(ResumeError::Closed(Closed::ChildEnded))), "{closed:?}");
}

#[tokio::test]
async fn a_call_under_way_when_its_child_dies_is_answered_and_never_repeated() {
    let mut bench = conversation(Limits::default()).await;
    let post = bench.posts(call(json!("mine"), "tools/call"));
    bench.child.reads().await;
    dies(&mut bench).await;
    let answer = document(post.await.expect("no panic").expect("accepted")).await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("mine"), &json!(-32603)));
    let mut next = next_child(Some(&bench), &stored(&bench)).await;
    assert_eq!(next.child.reads().await["method"], "notifications/initialized");
    call_answered(&mut next, "other/call", json!({})).await;
}

#[tokio::test]
async fn a_late_answer_to_a_question_of_the_dead_child_is_accepted_and_reaches_nobody() {
    let mut bench = conversation(Limits::default()).await;
    let mut events = Events::of(bench.listen(None));
    let question = json!({"jsonrpc": "2.0", "id": 5, "method": "elicitation/create"});
    bench.child.writes(question.clone()).await;
    let first = events.message().await.expect("the question");
    dies(&mut bench).await;
    let withdrawn = events.message().await.expect("a person need not decide for nobody");
    assert_eq!(withdrawn["method"], "notifications/cancelled");
    assert_eq!(withdrawn["params"]["requestId"], first["id"]);
    assert_eq!(events.next().await, None, "and the stream ends");

    let mut bench = next_child(Some(&bench), &stored(&bench)).await;
    assert_eq!(bench.child.reads().await["method"], "notifications/initialized");
    let mut events = Events::of(bench.listen(None));
    bench.child.writes(question).await;
    let second = loop {
        let message = events.message().await.expect("the question");
        if message["method"] == "elicitation/create" {
            break message;
        }
    };
    assert_ne!(first["id"], second["id"], "the same id of two children is two ids");
    for (id, action) in [(&first["id"], "late"), (&json!(5), "wrong"), (&second["id"], "right")] {
        let answer = json!({"jsonrpc": "2.0", "id": id, "result": {"action": action}});
        assert_eq!(bench.post(answer).await.status(), StatusCode::ACCEPTED);
    }
    let answered = bench.child.reads().await;
    assert_eq!(answered, json!({"jsonrpc": "2.0", "id": 5, "result": {"action": "right"}}));
}

#[tokio::test]
async fn progress_on_a_question_reaches_the_child_that_asked_and_no_other() {
    let ask = json!({"jsonrpc": "2.0", "id": 5, "method": "sampling/createMessage",
        "params": {"_meta": {"progressToken": 5}, "n": 1.50}});
    let progress = |token: &Value| {
        json!({"jsonrpc": "2.0", "method": "notifications/progress",
               "params": {"progressToken": token, "progress": 1}})
    };
    let mut bench = conversation(Limits::default()).await;
    let mut events = Events::of(bench.listen(None));
    bench.child.writes(ask.clone()).await;
    let question = events.message().await.expect("the question");
    let token = question["params"]["_meta"]["progressToken"].clone();
    assert_eq!((&token, &question["params"]["n"]), (&question["id"], &json!(1.50)));
    bench.post(progress(&token)).await;
    assert_eq!(bench.child.reads().await, progress(&json!(5)));
    dies(&mut bench).await;

    let mut bench = next_child(None, &stored(&bench)).await;
    assert_eq!(bench.child.reads().await["method"], "notifications/initialized");
    bench.child.writes(ask).await;
    bench.post(progress(&token)).await;
    bench.post(progress(&json!(5))).await;
    call_answered(&mut bench, "tools/call", json!({})).await;
}

#[tokio::test]
async fn closing_when_idle_waits_for_the_last_call_and_the_last_question() {
    let mut bench = conversation(Limits::default()).await;
    let closing = bench.bridge.clone();
    let mut closed = Box::pin(async move { closing.close_when_idle().await });
    let post = bench.posts(call(json!(1), "a"));
    let request = bench.child.reads().await;
    let mut events = Events::of(bench.listen(None));
    bench.child.writes(json!({"jsonrpc": "2.0", "id": 5, "method": "roots/list"})).await;
    bench.child.answers(&request, json!(1)).await;
    // It was asked on the stream of the call, the only one with a request under way.
    let mut answered = Events::of(post.await.expect("no panic").expect("accepted"));
    let question = answered.message().await.expect("the question");
    answered.message().await.expect("the answer");
    assert!(poll_fn(|cx| Poll::Ready(closed.as_mut().poll(cx).is_pending())).await);
    bench.post(json!({"jsonrpc": "2.0", "id": question["id"], "result": {}})).await;
    closed.await;
    assert_eq!(bench.bridge.closed(), Some(Closed::Stopped));
    assert_eq!(events.message().await, None, "the standalone stream ends with the bridge");
}

#[tokio::test]
async fn closing_when_idle_is_done_when_the_child_dies_first() {
    let mut bench = conversation(Limits::default()).await;
    let closing = bench.bridge.clone();
    let mut closed = Box::pin(async move { closing.close_when_idle().await });
    let post = bench.posts(call(json!(1), "a"));
    bench.child.reads().await;
    assert!(poll_fn(|cx| Poll::Ready(closed.as_mut().poll(cx).is_pending())).await);
    dies(&mut bench).await;
    closed.await;
    assert_eq!(bench.bridge.closed(), Some(Closed::ChildEnded));
    post.await.expect("no panic").expect("answered with an error");
}

#[tokio::test]
async fn an_idle_child_is_replaced_without_a_failed_call() {
    let mut bench = conversation(Limits::default()).await;
    let post = bench.posts(call(json!(1), "a"));
    let request = bench.child.reads().await;
    assert!(!bench.bridge.close_if_idle(), "a call is under way");
    bench.child.answers(&request, json!(1)).await;
    document(post.await.expect("no panic").expect("accepted")).await;
    let mut events = Events::of(bench.listen(None));
    bench.child.writes(json!({"jsonrpc": "2.0", "id": 5, "method": "roots/list"})).await;
    let question = events.message().await.expect("the question");
    assert!(!bench.bridge.close_if_idle(), "the child waits for the client");
    bench.post(json!({"jsonrpc": "2.0", "id": question["id"], "result": {}})).await;
    assert!(bench.bridge.close_if_idle());
    assert!(!bench.bridge.close_if_idle(), "once");
    for late in [
        call(json!(2), "b"),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        json!({"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}),
    ] {
        let refused = bench.posts(late).await.expect("no panic");
        assert!(matches!(refused, Err(PostError::Closed(Closed::Stopped))), "{refused:?}");
    }
    assert_eq!(bench.child.reads().await["id"], 5, "the answer, and nothing of what was refused");
    assert_eq!(bench.child.reads_line().await, None);
}

#[tokio::test]
async fn more_subscriptions_than_are_remembered_do_not_block_the_wake() {
    let limits = Limits { max_subscriptions: 40, ..Limits::default() };
    let mut bench = conversation(limits).await;
    for n in 0..50 {
        let uri = format!("x://{n}");
        call_answered(&mut bench, "resources/subscribe", json!({"uri": uri})).await;
    }
    let snapshot = stored(&bench);
    assert_eq!((snapshot.subscriptions(), snapshot.forgotten()), (40, 10));
    let mut bench = next_child(None, &snapshot).await;
    bench.child.reads().await;
    for _ in 0..40 {
        assert_eq!(bench.child.reads().await["method"], "resources/subscribe");
    }
    // None of them is answered, and calls go through all the same.
    call_answered(&mut bench, "tools/call", json!({})).await;
    let mut events = Events::of(bench.listen(None));
    for _ in ["tools", "resources"] {
        events.message().await.expect("the lists");
    }
    bench.child.writes(note(1)).await;
    let next = events.message().await.expect("so many resources are not told one by one");
    assert_eq!(next["params"]["data"], 1);
}
