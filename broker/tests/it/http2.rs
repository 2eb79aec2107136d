//! HTTP/2 in the clear: a well-behaved client, and frames no such client would send.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use crate::{
    harness::{Harness, with_timeout},
    program::{Place, Program},
    wire::{Client, TIMEOUT, Wire, call, initialize},
};

type Sender = http2::SendRequest<Full<Bytes>>;

/// A connection, and what moves it.
async fn connect(client: &Client) -> (Sender, JoinSet<()>) {
    let stream = TcpStream::connect(client.address).await.expect("somebody listens");
    let io = TokioIo::new(stream);
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), io).await.expect("a handshake");
    let mut moving = JoinSet::new();
    moving.spawn(async {
        let _ = connection.await;
    });
    (sender, moving)
}

async fn post(
    client: &Client,
    sender: &Sender,
    session: &str,
    body: String,
) -> (StatusCode, String, Value) {
    let mut request = Request::post(format!("http://{}/mcp", client.address))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    if !session.is_empty() {
        request = request.header("mcp-session-id", session);
    }
    let request = request.body(Full::from(body)).expect("a request");
    let response = sender.clone().send_request(request).await.expect("a response");
    let status = response.status();
    let session = response.headers().get("mcp-session-id").and_then(|id| id.to_str().ok());
    let session = session.unwrap_or_default().to_owned();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, session, serde_json::from_slice(&body).unwrap_or_default())
}

#[test]
fn a_session_works_over_one_connection_with_many_streams() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let (sender, _moving) = connect(&harness.client).await;
        let opened = post(&harness.client, &sender, "", initialize("1", "2025-11-25")).await;
        assert_eq!(opened.0, StatusCode::OK);
        let session = opened.1;
        let mut calls = JoinSet::new();
        for number in 0..50 {
            let (client, sender, session) =
                (harness.client.clone(), sender.clone(), session.clone());
            let body = call(&number.to_string(), "echo", &json!(number));
            calls.spawn(async move { (number, post(&client, &sender, &session, body).await) });
        }
        while let Some(answer) = calls.join_next().await {
            let (number, (status, _, body)) = answer.expect("no panic");
            assert_eq!(status, StatusCode::OK);
            assert_eq!(body["id"], number);
            assert_eq!(body["result"]["arguments"], number);
        }
        let request = Request::get(format!("http://{}/mcp", "evil.example.com"))
            .body(Full::default())
            .expect("a request");
        let response = sender.clone().send_request(request).await.expect("a response");
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "T2 holds for :authority");
    });
}

#[test]
fn a_connection_that_answers_pings_and_asks_for_nothing_is_shut_down() {
    with_timeout(async {
        let harness = Harness::start(&["http.header_timeout=2s", "http.keep_alive=50ms"]).await;
        let (_never_used, mut moving) = connect(&harness.client).await;
        let ended = timeout(TIMEOUT, moving.join_next()).await;
        assert!(ended.is_ok(), "the client would have stayed");
        let (sender, mut moving) = connect(&harness.client).await;
        let opened = post(&harness.client, &sender, "", initialize("1", "2025-11-25")).await;
        assert_eq!(opened.0, StatusCode::OK);
        let ended = timeout(TIMEOUT, moving.join_next()).await;
        assert!(ended.is_ok(), "also after it asked for something");
    });
}

#[test]
fn a_connection_with_a_stream_that_only_listens_stays() {
    with_timeout(async {
        let settings = ["http.header_timeout=1s", "http.keep_alive=50ms"];
        let harness = Harness::start(&settings).await;
        let session = harness.client.open().await;
        let (sender, mut moving) = connect(&harness.client).await;
        let request = Request::get(format!("http://{}/mcp", harness.client.address))
            .header("accept", "text/event-stream")
            .header("mcp-session-id", session.session())
            .body(Full::default())
            .expect("a request");
        let response = sender.clone().send_request(request).await.expect("a response");
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body();
        // Each comes after the silence of a keep-alive: together, many times the timeout.
        for _ in 0..60 {
            let comment = timeout(TIMEOUT, body.frame()).await.expect("in time");
            comment.expect("the stream goes on").expect("the connection is there");
        }
        drop(body);
        let ended = timeout(TIMEOUT, moving.join_next()).await;
        assert!(ended.is_ok(), "without a stream it ends");
    });
}

#[test]
fn a_connection_whose_answers_are_never_taken_is_shut_down() {
    with_timeout(async {
        let harness = Harness::start(&["http.header_timeout=2s", "http.keep_alive=50ms"]).await;
        let stream = TcpStream::connect(harness.client.address).await.expect("it listens");
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let shaken = builder.initial_stream_window_size(0).handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.expect("a handshake");
        let mut moving = JoinSet::new();
        moving.spawn(async {
            let _ = connection.await;
        });
        let request = Request::get(format!("http://{}/nothing", harness.client.address))
            .body(Full::<Bytes>::default())
            .expect("a request");
        let response = sender.send_request(request).await.expect("a response");
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let ended = timeout(TIMEOUT, moving.join_next()).await;
        assert!(ended.is_ok(), "it takes nothing and would have stayed");
    });
}

#[test]
fn one_address_has_so_many_connections_and_proxies_have_more() {
    with_timeout(async {
        let harness = Harness::start(&["http.max_connections_per_address=3"]).await;
        let mut held = Vec::new();
        for _ in 0..3 {
            let mut wire = harness.client.at("/healthz").send("GET", "").await;
            assert_eq!(wire.answer().await.status, 200);
            held.push(wire);
        }
        let mut refused = Wire::connect(harness.client.address).await;
        refused.send(harness.client.at("/healthz").head("GET", "")).await;
        assert!(refused.try_head().await.is_none(), "it is closed without an answer");
        held.pop();
        crate::harness::until_so("a place is free again", async || {
            let mut wire = Wire::connect(harness.client.address).await;
            wire.send(harness.client.at("/healthz").head("GET", "")).await;
            wire.try_head().await.is_some_and(|head| head.status == 200)
        })
        .await;
        let settings =
            ["http.max_connections_per_address=1", "http.trusted_proxies=[\"127.0.0.1\"]"];
        let behind = Harness::start(&settings).await;
        let mut wires = Vec::new();
        for _ in 0..5 {
            let mut wire = behind.client.at("/healthz").send("GET", "").await;
            assert_eq!(wire.answer().await.status, 200, "a proxy stands for many");
            wires.push(wire);
        }
    });
}

/// A body of which this much comes, and then nothing.
#[derive(Clone)]
struct Unfinished(Option<Bytes>);

impl http_body::Body for Unfinished {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        match self.0.take() {
            Some(data) => std::task::Poll::Ready(Some(Ok(http_body::Frame::data(data)))),
            None => std::task::Poll::Pending,
        }
    }
}

#[test]
fn forms_that_never_end_cost_a_bounded_memory() {
    assert_bounded(Unfinished(Some(Bytes::from(vec![b'x'; 60_000]))), 0);
}

#[test]
fn long_heads_of_forms_that_never_end_cost_a_bounded_memory() {
    assert_bounded(Unfinished(None), 15);
}

/// Sixteen connections send as many of these forms as they can, with so many headers of 4 KB besides.
#[expect(clippy::print_stdout, reason = "how much it is, and not only that it is not too much")]
fn assert_bounded(form: Unfinished, headers: usize) {
    with_timeout(async {
        let place = Place::new();
        let broker = place.serve(&["--set", "auth.verifiers=[\"oauth\"]"]).await;
        let before = broker.memory();
        let mut moving = JoinSet::new();
        let mut answers = JoinSet::new();
        let mut senders = Vec::new();
        for _ in 0..16 {
            let stream = TcpStream::connect(broker.client.address).await.expect("it listens");
            let (sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("h2");
            moving.spawn(async move {
                let _ = connection.await;
            });
            for _ in 0..200 {
                let mut request =
                    Request::post(format!("http://{}/oauth/token", broker.client.address))
                        .header("content-type", "application/x-www-form-urlencoded");
                for number in 0..headers {
                    request = request.header(format!("x-{number}"), "x".repeat(3900));
                }
                let request = request.body(form.clone()).expect("a request");
                let mut sender: http2::SendRequest<Unfinished> = sender.clone();
                answers.spawn(async move { sender.send_request(request).await });
            }
            senders.push(sender);
        }
        // What finds no room is told so, and the rest waits for the end that does not come.
        let mut refused = 0;
        while refused < 3_000 {
            let answer = timeout(TIMEOUT, answers.join_next()).await.expect("in time");
            let answer = answer.expect("there are more").expect("no panic").expect("an answer");
            // On a busy machine the time of those that wait is over before all have come.
            let expected = [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT];
            assert!(expected.contains(&answer.status()), "{}", answer.status());
            refused += 1;
        }
        // All of them together are 190 MB, and a stream has its own price.
        let grown = broker.peak_memory().saturating_sub(before);
        println!("grown by {} KiB", grown / 1024);
        assert!(grown < 64 << 20, "grown by {grown} bytes");
        assert_eq!(broker.client.at("/healthz").ask("GET", "").await.status, 200);
    });
}

/// One frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("it is short").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET http://ADDRESS/healthz` in HPACK without a table (RFC 7541 section 6.2.2).
fn request(client: &Client) -> Vec<u8> {
    let mut block = vec![0x82, 0x86];
    for (name, value) in [(1, client.address.to_string()), (4, "/healthz".to_owned())] {
        block.extend_from_slice(&[name, u8::try_from(value.len()).expect("it is short")]);
        block.extend_from_slice(value.as_bytes());
    }
    block
}

/// A connection past its preface.
async fn raw(client: &Client) -> Wire {
    let mut wire = Wire::connect(client.address).await;
    wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    wire.send(frame(SETTINGS, 0, 0, &[])).await;
    wire
}

/// The broker has survived: it answers, and it is not much larger than before.
async fn assert_well(broker: &Program, before: usize) {
    let grown = broker.memory().saturating_sub(before);
    assert!(grown < 24 << 20, "grown by {grown} bytes");
    let session = broker.client.open().await;
    assert!(session.is_alive().await);
    assert!(!broker.log().contains("panicked"), "{}", broker.log());
}

#[test]
fn streams_reset_as_soon_as_they_are_opened_end_the_connection() {
    with_timeout(async {
        let place = Place::new();
        let broker = place.serve(&[]).await;
        let before = broker.memory();
        let block = request(&broker.client);
        let mut wire = raw(&broker.client).await;
        for number in 0..5000 {
            let stream = 2 * number + 1;
            let mut bytes = frame(HEADERS, END_STREAM | END_HEADERS, stream, &block);
            bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
            if !wire.send(bytes).await {
                break;
            }
        }
        assert!(wire.closes().await, "it is not served for ever");
        assert_well(&broker, before).await;
    });
}

#[test]
fn a_head_that_never_ends_ends_the_connection() {
    with_timeout(async {
        let place = Place::new();
        let broker = place.serve(&[]).await;
        let before = broker.memory();
        let mut wire = raw(&broker.client).await;
        wire.send(frame(HEADERS, END_STREAM, 1, &request(&broker.client))).await;
        // A header of its own in each: 16 KiB that no table holds.
        let mut block = vec![0x00, 0x01, b'x', 0x7F, 0x81, 0x7C];
        block.resize(block.len() + 16_000, b'y');
        for _ in 0..2000 {
            if !wire.send(frame(CONTINUATION, 0, 1, &block)).await {
                break;
            }
        }
        assert!(wire.closes().await, "it is not served for ever");
        assert_well(&broker, before).await;
    });
}

#[test]
fn a_flood_of_pings_and_settings_costs_no_memory() {
    with_timeout(async {
        let place = Place::new();
        let broker = place.serve(&[]).await;
        let before = broker.memory();
        let mut wire = raw(&broker.client).await;
        let mut bytes = frame(PING, 0, 0, &[0; 8]);
        bytes.extend(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]));
        let bytes = bytes.repeat(1000);
        // Nobody reads the acknowledgements: the sender is stopped sooner or later, or cut off.
        for _ in 0..100 {
            let sent = timeout(std::time::Duration::from_secs(1), wire.send(&bytes));
            if !sent.await.unwrap_or(false) {
                break;
            }
        }
        assert_well(&broker, before).await;
    });
}
