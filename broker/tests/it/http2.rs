//! HTTP/2 in the clear: a well-behaved client, and frames no such client would send.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    harness::{Harness, with_timeout},
    program::{Place, Program},
    wire::{Client, Wire, call, initialize},
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
            let sent = tokio::time::timeout(std::time::Duration::from_secs(1), wire.send(&bytes));
            if !sent.await.unwrap_or(false) {
                break;
            }
        }
        assert_well(&broker, before).await;
    });
}
