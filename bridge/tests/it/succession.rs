//! A session with one child after another.

use std::time::Duration;

use bridge::{Bridge, Incoming, Limits, ResumeError, Snapshot};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::child::*;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);
pub(crate) const PARAMS: &str = r#"{"protocolVersion":"2025-11-25", "capabilities":{"roots":{}},"clientInfo":{"name":"c","version":1.0}}"#;

pub(crate) fn about() -> Value {
    json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {
            "logging": {}, "tools": {"listChanged": true}, "prompts": {},
            "resources": {"subscribe": true, "listChanged": true},
        },
        "serverInfo": {"name": "calendar", "version": "1.0"},
    })
}

pub(crate) fn note(n: u64) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": n}})
}

/// A session whose client has confirmed the handshake.
pub(crate) async fn conversation(limits: Limits) -> Bench {
    let mut bench = greeted(limits).await;
    bench.post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    assert_eq!(bench.child.reads().await["method"], "notifications/initialized");
    bench
}

/// A session whose client has yet to confirm it.
pub(crate) async fn greeted(limits: Limits) -> Bench {
    let mut bench = bench_with(limits);
    let body = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{PARAMS}}}"#);
    let incoming = Incoming::parse(&Bytes::from(body), 1).expect("it is a message");
    let bridge = bench.bridge.clone();
    let welcome = bridge.initialize(incoming.single().expect("one"), TIMEOUT);
    let child = async {
        let request = bench.child.reads().await;
        bench.child.answers(&request, about()).await;
    };
    tokio::join!(welcome, child).0.expect("the child agrees");
    bench
}

/// Calls, and has the child answer.
pub(crate) async fn call_answered(bench: &mut Bench, method: &str, params: Value) {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let post = bench.posts(body);
    let request = bench.child.reads().await;
    bench.child.answers(&request, json!({})).await;
    document(post.await.expect("no panic").expect("accepted")).await;
}

pub(crate) fn resumes(bridge: &Bridge, snapshot: &Snapshot) -> JoinHandle<Result<(), ResumeError>> {
    let (bridge, snapshot) = (bridge.clone(), snapshot.clone());
    #[expect(clippy::disallowed_methods, reason = "the test keeps the handle")]
    tokio::spawn(async move { bridge.resume(&snapshot, TIMEOUT).await })
}

/// The next child of the session, which describes itself as the one before.
pub(crate) async fn next_child(before: Option<&Bench>, snapshot: &Snapshot) -> Bench {
    let mut bench = bench_with(Limits::default());
    if let Some(before) = before {
        bench.bridge.inherit(&before.bridge);
    }
    let resuming = resumes(&bench.bridge, snapshot);
    let request = bench.child.reads().await;
    bench.child.answers(&request, about()).await;
    resuming.await.expect("no panic").expect("it is the same server");
    bench
}

/// Stored and read, as by a broker that was restarted meanwhile.
pub(crate) fn stored(bench: &Bench) -> Snapshot {
    let snapshot = bench.bridge.snapshot().expect("the handshake is done");
    Snapshot::from_bytes(&snapshot.to_bytes()).expect("it reads back")
}

/// Ends the child and waits until the bridge knows.
pub(crate) async fn dies(bench: &mut Bench) {
    let (ours, childs) = tokio::io::duplex(1);
    drop(ours);
    bench.child = Child::over(childs);
    while bench.bridge.closed().is_none() {
        tokio::task::yield_now().await;
    }
}
