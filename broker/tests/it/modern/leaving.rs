//! Clients that leave, and how soon the child hears of it.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinSet, time::Instant};

use super::{ask, body, dressed, tool};
use crate::{
    harness::{Harness, is_alive, until_so, with_timeout},
    wire::Client,
};

/// What a client may count on. A busy machine takes longer now and then, so the quickest of some
/// rounds is looked at, of as few as it takes.
const SOON: Duration = Duration::from_millis(200);
const ROUNDS: u32 = 30;

/// How a request goes out.
#[derive(Debug, Clone, Copy)]
enum Over {
    Http1,
    Http2,
}

/// A request under way. Dropping it is what a client does that leaves: over HTTP/1.1 its connection
/// ends, over HTTP/2 its stream alone.
struct UnderWay {
    tasks: JoinSet<()>,
}

/// A client, and the connection that its requests share over HTTP/2.
struct Caller {
    client: Client,
    http2: Option<http2::SendRequest<Full<Bytes>>>,
    _moving: JoinSet<()>,
}

impl Caller {
    async fn new(client: &Client, over: Over) -> Self {
        let mut moving = JoinSet::new();
        let http2 = match over {
            Over::Http1 => None,
            Over::Http2 => {
                let stream = TcpStream::connect(client.address).await.expect("somebody listens");
                let io = TokioIo::new(stream);
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), io).await.expect("a handshake");
                moving.spawn(async move { drop(connection.await) });
                Some(sender)
            }
        };
        Self { client: client.clone(), http2, _moving: moving }
    }

    fn sends(&self, method: &str, name: Option<&str>, params: Value) -> UnderWay {
        self.sends_as(method, name, params, &json!({}))
    }

    fn sends_as(
        &self,
        method: &str,
        name: Option<&str>,
        params: Value,
        capabilities: &Value,
    ) -> UnderWay {
        let text = body(&json!(1), method, params, capabilities);
        let mut tasks = JoinSet::new();
        match &self.http2 {
            None => {
                let client = dressed(&self.client, method, name);
                tasks.spawn(async move {
                    let mut wire = client.send("POST", text).await;
                    wire.closes().await;
                });
            }
            Some(sender) => {
                let mut request = Request::post(format!("http://{}/mcp", self.client.address))
                    .header("content-type", "application/json")
                    .header("accept", "application/json, text/event-stream")
                    .header("mcp-protocol-version", "2026-07-28")
                    .header("mcp-method", method);
                if let Some(name) = name {
                    request = request.header("mcp-name", name);
                }
                let request = request.body(Full::from(text)).expect("a request");
                let mut sender = sender.clone();
                tasks.spawn(async move {
                    let response = sender.send_request(request).await.expect("a response");
                    drop(response.into_body().collect().await);
                });
            }
        }
        UnderWay { tasks }
    }
}

impl UnderWay {
    /// The client leaves. Returns how long it takes until `noticed`.
    async fn leaves(mut self, what: &str, noticed: impl AsyncFnMut() -> bool) -> Duration {
        let begun = Instant::now();
        self.tasks.shutdown().await;
        until_so(what, noticed).await;
        begun.elapsed()
    }
}

/// Has the story told until it was quick for each version of HTTP, and returns the quickest of each.
async fn soon(story: impl AsyncFn(Over) -> Duration) -> Vec<(Over, Duration)> {
    let mut all = Vec::new();
    for over in [Over::Http1, Over::Http2] {
        let mut quickest = Duration::MAX;
        for _ in 0..ROUNDS {
            quickest = quickest.min(story(over).await);
            if quickest < SOON {
                break;
            }
        }
        assert!(quickest < SOON, "{over:?}: {quickest:?}");
        all.push((over, quickest));
    }
    all
}

#[test]
fn a_call_whose_client_leaves_is_cancelled_within_two_hundred_milliseconds() {
    with_timeout(async {
        let took = soon(async |over| {
            let harness = Harness::start(&[]).await;
            let caller = Caller::new(&harness.client, over).await;
            let params = json!({ "name": "hang", "arguments": {} });
            let call = caller.sends("tools/call", Some("hang"), params);
            let hangs = async || harness.witness.read().contains(r#""name":"hang""#);
            until_so("the child has the call", hangs).await;
            let cancelled = async || harness.witness.read().contains("notifications/cancelled");
            call.leaves("the child hears of it", cancelled).await
        })
        .await;
        println!("{took:?}");
    });
}

#[test]
fn a_call_that_waits_for_its_turn_gives_it_up_when_its_client_leaves() {
    with_timeout(async {
        let took = soon(async |over| {
            let harness = Harness::start(&["server.main.parallel=1"]).await;
            let caller = Caller::new(&harness.client, over).await;
            let sends = |tool: &str| {
                let params = json!({ "name": tool, "arguments": {} });
                let askable = json!({ "elicitation": {} });
                caller.sends_as("tools/call", Some(tool), params, &askable)
            };
            let has = |tool: &str| harness.witness.read().contains(&format!(r#""name":"{tool}""#));
            let _running = sends("wait");
            until_so("the first call runs", async || has("wait")).await;
            let queued = sends("hang");
            // Nothing tells of a call that waits for its turn. This one does not wait and comes later.
            assert_eq!(ask(&harness.client, "tools/list", json!({})).await.status, 200);
            let next = sends("echo");
            let mut left =
                Box::pin(queued.leaves("the turn comes to the next call", async || has("echo")));
            tokio::select! {
                biased;
                took = &mut left => panic!("the first call still runs: {took:?}"),
                () = async { harness.witness.release() } => {}
            }
            let took = left.await;
            drop(next);
            took
        })
        .await;
        println!("{took:?}");
    });
}

#[test]
fn what_else_a_client_waits_for_is_answered_when_it_leaves_a_call_on_the_same_child() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let caller = Caller::new(&harness.client, Over::Http1).await;
        let askable = json!({ "elicitation": {} });
        let has = |words: &str| harness.witness.read().contains(words);
        let hang = json!({ "name": "hang", "arguments": {} });
        let call = caller.sends_as("tools/call", Some("hang"), hang, &askable);
        until_so("the child has the call", async || has(r#""name":"hang""#)).await;
        let text = body(&json!(2), "completion/complete", json!({ "ref": {} }), &askable);
        let client = dressed(&harness.client, "completion/complete", None);
        let mut completion = JoinSet::new();
        completion.spawn(async move { client.post(text).await });
        until_so("the child has both", async || has("completion/complete")).await;
        let cancelled = async || has("notifications/cancelled");
        call.leaves("the child hears of it", cancelled).await;
        // Others are not asked on a child that may still be at the call that was left.
        let other = tool(&harness.client, "echo", json!({}), &askable).await.json();
        harness.witness.release();
        let answers = completion.join_all().await;
        assert_eq!(answers[0].json()["result"]["waited"], true, "{answers:?}");
        let children = harness.witness.children();
        assert_eq!(children.len(), 3, "one was asked what it is");
        let another = other["result"]["pid"].as_u64();
        let (left, kept): (Vec<_>, Vec<_>) =
            children.into_iter().partition(|child| Some(u64::from(*child)) != another);
        let has_ended = async || !left.iter().any(|child| is_alive(*child));
        until_so("the child that was left has ended", has_ended).await;
        assert!(is_alive(kept[0]));
    });
}

#[test]
fn a_subscription_whose_client_leaves_is_given_up_at_the_child_of_either_era() {
    with_timeout(async {
        let eras = [("MODERN", "notifications/cancelled"), ("RESOURCES", "resources/unsubscribe")];
        for (era, told) in eras {
            let took = soon(async |over| {
                let setting = format!(r#"server.main.env={{ {era} = "1" }}"#);
                let harness = Harness::start(&[&setting]).await;
                let caller = Caller::new(&harness.client, over).await;
                let wanted = json!({ "resourceSubscriptions": ["notes://one"] });
                let params = json!({ "notifications": wanted });
                let stream = caller.sends("subscriptions/listen", None, params);
                let has = |words: &str| harness.witness.read().contains(words);
                until_so("the child has the subscription", async || has("notes://one")).await;
                stream.leaves("the child hears of it", async || has(told)).await
            })
            .await;
            println!("{era}: {took:?}");
        }
    });
}
