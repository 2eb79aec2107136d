//! Children replaced under full load, from several threads.

use bridge::{Accepts, Bridge, Limits, PostError, Snapshot};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{child::*, succession::*};

const CALLERS: u64 = 3;
const CALLS: u64 = 400;

fn block_on<T>(story: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().build().expect("it needs nothing of the system").block_on(story)
}

/// A child that says who it is, and answers everything at once.
fn obliging_child(tasks: &mut JoinSet<()>) -> Bridge {
    let (ours, childs) = tokio::io::duplex(64 * 1024);
    let (output, input) = tokio::io::split(ours);
    let (bridge, driver) = Bridge::attach(output, input, Limits::default());
    tasks.spawn(async move {
        driver.run().await;
    });
    tasks.spawn(async move {
        let (reader, mut writer) = tokio::io::split(childs);
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let message: Value = serde_json::from_str(&line).expect("it is JSON");
            if message.get("id").is_none() {
                continue;
            }
            let result = match message["method"].as_str() {
                Some("initialize") => about(),
                _ => message["params"].clone(),
            };
            let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
            let _ = writer.write_all(format!("{answer}\n").as_bytes()).await;
        }
    });
    bridge
}

/// Calls until a child takes it; the answer must be that child's.
async fn one_call(current: &mut watch::Receiver<Bridge>, id: u64) {
    let body = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"n": id}});
    loop {
        let bridge = current.borrow_and_update().clone();
        match bridge.post(incoming(&body), Accepts::Both, Box::new(|_| {})).await {
            Ok(response) => {
                let answer = document(response).await;
                assert_eq!(answer, json!({"jsonrpc": "2.0", "id": id, "result": {"n": id}}));
                return;
            }
            // Nothing of it was sent: it is the next child's.
            Err(PostError::Closed(_)) => current.changed().await.expect("there is a next child"),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn calls_from_several_threads_never_fail_while_children_are_replaced() {
    let (first, snapshot, (runtime, mut tasks)) = first_child();
    let (next, current) = watch::channel(first);
    let (called, mut calls) = mpsc::unbounded_channel();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (mut current, called) = (current.clone(), called.clone());
            let story = async move {
                for call in 1..=CALLS {
                    one_call(&mut current, caller * CALLS + call).await;
                    called.send(()).expect("somebody listens");
                    if call % 20 == 0 {
                        // A gap: at the latest when all wait here, nothing is under way.
                        current.changed().await.expect("there is a next child");
                    }
                }
            };
            std::thread::spawn(move || block_on(story))
        })
        .collect();
    drop(called);
    let replaced = runtime.block_on(async {
        let mut replaced = 0;
        while calls.recv().await.is_some() {
            let before = next.borrow().clone();
            if before.close_if_idle() {
                let after = obliging_child(&mut tasks);
                after.inherit(&before);
                after.resume(&snapshot, TIMEOUT).await.expect("it is the same server");
                next.send_replace(after);
                replaced += 1;
            }
        }
        replaced
    });
    for caller in callers {
        caller.join().expect("no call failed");
    }
    assert!(replaced >= CALLS / 20, "{replaced} replacements show little");
}

type Moving = (tokio::runtime::Runtime, JoinSet<()>);

/// The first child, and what moves it and all that follow.
fn first_child() -> (Bridge, Snapshot, Moving) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("it needs nothing of the system");
    let mut tasks = JoinSet::new();
    let (bridge, snapshot) = runtime.block_on(async {
        let bridge = obliging_child(&mut tasks);
        let request = incoming(&call(json!(0), "initialize"));
        let welcome = bridge.initialize(request.single().expect("one"), TIMEOUT).await;
        welcome.expect("it agrees");
        let confirmed = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        bridge.post(incoming(&confirmed), Accepts::Both, Box::new(|_| {})).await.expect("accepted");
        let snapshot = bridge.snapshot().expect("the handshake is done");
        (bridge, snapshot)
    });
    (bridge, snapshot, (runtime, tasks))
}
