//! A scripted child on in-memory pipes, and the client's side of an exchange.

use std::{sync::Arc, time::Duration};

use bridge::{
    Accepts, Body, Bridge, Closed, Driver, Incoming, Limits, OnComplete, Outcome, PostError,
};
use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf},
    sync::mpsc,
    task::JoinHandle,
};

/// The child's ends of the pipes: the test says what it reads and writes.
pub(crate) struct Child {
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    out: WriteHalf<DuplexStream>,
}

impl Child {
    pub(crate) fn over(pipe: DuplexStream) -> Self {
        let (reader, out) = tokio::io::split(pipe);
        Self { lines: BufReader::new(reader).lines(), out }
    }

    /// The next message the child reads.
    pub(crate) async fn reads(&mut self) -> Value {
        let line = self.reads_line().await.expect("the bridge writes a line");
        serde_json::from_str(&line).expect("it is JSON")
    }

    /// The next line, or `None` at the end of the input.
    pub(crate) async fn reads_line(&mut self) -> Option<String> {
        self.lines.next_line().await.expect("the pipe works")
    }

    pub(crate) async fn writes(&mut self, message: Value) {
        self.writes_raw(&format!("{message}\n")).await;
    }

    pub(crate) async fn writes_raw(&mut self, text: &str) {
        self.writes_bytes(text.as_bytes()).await;
    }

    pub(crate) async fn writes_bytes(&mut self, bytes: &[u8]) {
        self.out.write_all(bytes).await.expect("the bridge reads");
    }

    /// Answers `request` with `result`.
    pub(crate) async fn answers(&mut self, request: &Value, result: Value) {
        self.writes(json!({"jsonrpc": "2.0", "id": request["id"], "result": result})).await;
    }
}

/// A bridge, its child, and the task that moves it.
pub(crate) struct Bench {
    pub(crate) bridge: Bridge,
    pub(crate) child: Child,
    pub(crate) driver: JoinHandle<Closed>,
    pub(crate) outcomes: mpsc::UnboundedReceiver<Outcome>,
    outcome: mpsc::UnboundedSender<Outcome>,
}

pub(crate) fn bench_with(limits: Limits) -> Bench {
    bench_attached(|output, input| Bridge::attach(output, input, limits))
}

pub(crate) fn bench_attached(
    attach: impl FnOnce(ReadHalf<DuplexStream>, WriteHalf<DuplexStream>) -> (Bridge, Driver),
) -> Bench {
    let (ours, childs) = tokio::io::duplex(64 * 1024);
    let (output, input) = tokio::io::split(ours);
    let (bridge, driver) = attach(output, input);
    #[expect(clippy::disallowed_methods, reason = "the bench keeps the handle")]
    let driver = tokio::spawn(driver.run());
    let (outcome, outcomes) = mpsc::unbounded_channel();
    Bench { bridge, child: Child::over(childs), driver, outcomes, outcome }
}

/// A session that has agreed on `revision`.
pub(crate) async fn session(revision: &str, limits: Limits) -> Bench {
    let mut bench = bench_with(limits);
    let request = json!({"jsonrpc": "2.0", "id": "init", "method": "initialize", "params": {}});
    let incoming = incoming(&request);
    let bridge = bench.bridge.clone();
    let welcome = bridge.initialize(incoming.single().expect("one"), Duration::from_secs(20));
    let child = async {
        let request = bench.child.reads().await;
        bench.child.answers(&request, json!({"protocolVersion": revision})).await;
    };
    let (welcome, ()) = tokio::join!(welcome, child);
    assert_eq!(welcome.expect("the child agrees").revision.as_str(), revision);
    bench
}

pub(crate) fn incoming(body: &Value) -> Incoming {
    Incoming::parse(&Bytes::from(body.to_string()), 64).expect("it is a message")
}

impl Bench {
    /// Posts on a task of its own, as a connection would.
    pub(crate) fn posts(&self, body: Value) -> JoinHandle<Result<Response<Body>, PostError>> {
        self.posts_accepting(Accepts::Both, body)
    }

    /// As [`posts`](Self::posts), for a client that takes these kinds of response.
    pub(crate) fn posts_accepting(
        &self,
        accepts: Accepts,
        body: Value,
    ) -> JoinHandle<Result<Response<Body>, PostError>> {
        let (bridge, outcome) = (self.bridge.clone(), self.outcome.clone());
        let on_complete: OnComplete =
            Box::new(move |how| outcome.send(how).expect("the bench listens"));
        #[expect(clippy::disallowed_methods, reason = "the test keeps the handle")]
        tokio::spawn(async move { bridge.post(incoming(&body), accepts, on_complete).await })
    }

    /// Posts and waits for the response's head.
    pub(crate) async fn post(&self, body: Value) -> Response<Body> {
        self.posts(body).await.expect("no panic").expect("it is accepted")
    }

    pub(crate) fn listen(&self, last: Option<&str>) -> Response<Body> {
        let last = last.map(|id| id.parse().expect("an event id"));
        self.bridge.listen(last, Box::new(Arc::new(()))).expect("there is such a stream")
    }
}

pub(crate) fn call(id: Value, method: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {}})
}

pub(crate) fn call_with_token(id: Value, token: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
           "params": {"name": "x", "_meta": {"progressToken": token}}})
}

pub(crate) async fn document(response: Response<Body>) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    let bytes = response.into_body().collect().await.expect("infallible").to_bytes();
    serde_json::from_slice(&bytes).expect("it is JSON")
}

/// One event as a client's parser sees it.
#[derive(Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) data: Option<Value>,
    pub(crate) retry: Option<u64>,
    /// The name of the event, if it has one.
    pub(crate) name: Option<String>,
}

/// Reads events off a response.
pub(crate) struct Events {
    body: Body,
    buffer: String,
    /// Comment lines seen so far.
    pub(crate) comments: Vec<String>,
}

impl Events {
    pub(crate) fn of(response: Response<Body>) -> Self {
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-cache, no-transform");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self { body: response.into_body(), buffer: String::new(), comments: Vec::new() }
    }

    /// The next event with an id or data; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let mut event = Event { id: None, data: None, retry: None, name: None };
                for line in block.lines() {
                    match line.split_once(": ").unwrap_or((line, "")) {
                        ("event", name) => event.name = Some(name.to_owned()),
                        ("id", id) => event.id = Some(id.to_owned()),
                        ("retry", retry) => event.retry = retry.parse().ok(),
                        ("data", "") => event.data = Some(Value::Null),
                        ("data", data) => {
                            event.data = Some(serde_json::from_str(data).expect("JSON"));
                        }
                        ("", comment) => self.comments.push(comment.to_owned()),
                        (other, _) => panic!("unexpected field {other:?}"),
                    }
                }
                self.buffer = rest.to_owned();
                if event.id.is_some() || event.data.is_some() {
                    return Some(event);
                }
                continue;
            }
            let frame = self.body.frame().await?.expect("infallible");
            let bytes = frame.into_data().expect("data");
            self.buffer.push_str(std::str::from_utf8(&bytes).expect("UTF-8"));
        }
    }

    /// The next message, stepping over a priming event.
    pub(crate) async fn message(&mut self) -> Option<Value> {
        loop {
            match self.next().await?.data {
                Some(Value::Null) | None => {}
                Some(message) => return Some(message),
            }
        }
    }
}
