//! MCP messages as they come back: one JSON document, or an event among others.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::timeout;
use url::Url;

use super::{
    outcome::{Fault, shown},
    trouble::{at, unexpected, unreachable},
    wire::{Answer, MAX_BODY, Wire, media_type},
};
use crate::fetch::exchange::Exchange;

/// The revision the doctor offers.
pub(super) const REVISION: &str = "2025-11-25";
pub(super) const SESSION: &str = "mcp-session-id";
pub(super) const VERSION: &str = "mcp-protocol-version";

/// An answer to a message.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) headers: HeaderMap,
    /// The JSON-RPC response.
    pub(super) message: Value,
}

/// What came back: a response, or something that is none.
#[derive(Debug)]
pub(super) enum Posted {
    Reply(Reply),
    Other(Answer),
}

/// An `initialize` request, whose id is 1.
pub(super) fn initialize() -> Value {
    let info = json!({ "name": "mcp-broker-doctor", "version": env!("CARGO_PKG_VERSION") });
    let params = json!({ "protocolVersion": REVISION, "capabilities": {}, "clientInfo": info });
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params })
}

/// Posts `message` with these headers besides the usual ones. A status of 200 with something else
/// than a response in it is a fault.
pub(super) async fn post(
    wire: &Wire,
    url: &Url,
    headers: &HeaderMap,
    message: &Value,
) -> Result<Posted, Fault> {
    let mut request = Request::post("/").body(Bytes::from(message.to_string())).expect("a request");
    let all = request.headers_mut();
    all.extend(headers.clone());
    all.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let accept = HeaderValue::from_static("application/json, text/event-stream");
    all.insert(header::ACCEPT, accept);
    let exchange = wire.begin(url, request).await.map_err(|error| unreachable(url, &error))?;
    let id = &message["id"];
    if exchange.head.status == StatusCode::OK
        && media_type(&exchange.head.headers) == "text/event-stream"
    {
        let headers = exchange.head.headers.clone();
        return match timeout(wire.patience, find(exchange, id)).await {
            Ok(Some(message)) => Ok(Posted::Reply(Reply { headers, message })),
            Ok(None) => Err(Fault::new(
                "the event stream of the answer ends without the answer",
                "does a proxy cut streams, or did the MCP server die? Look into the broker's log",
            )),
            Err(_) => Err(Fault::new(
                "the event stream of the answer brings no answer in time",
                "does the proxy buffer? It must pass text/event-stream on at once (nginx: \
                 proxy_buffering off)",
            )),
        };
    }
    let answer = wire.finish(exchange).await.map_err(|error| unreachable(url, &error))?;
    if answer.status != StatusCode::OK || id.is_null() {
        return Ok(Posted::Other(answer));
    }
    match answer.json() {
        Some(found) if found["jsonrpc"] == "2.0" && &found["id"] == id => {
            Ok(Posted::Reply(Reply { headers: answer.headers, message: found }))
        }
        _ if answer.is_html() => Err(unexpected(url, &answer, "JSON")),
        _ => Err(Fault::new(
            format!(
                "{} answers with status 200 and {}, which is no JSON-RPC response",
                at(url),
                match answer.media_type() {
                    kind if kind.is_empty() => "a body of no type".to_owned(),
                    kind => shown(&kind),
                }
            ),
            "is this the address of an MCP endpoint? It usually ends with /mcp",
        )),
    }
}

/// The response to `id` in an event stream.
async fn find(mut exchange: Exchange, id: &Value) -> Option<Value> {
    let mut text = Vec::new();
    let mut read = 0;
    while let Some(Ok(piece)) = exchange.piece().await {
        read += piece.len();
        if read > MAX_BODY {
            return None;
        }
        text.extend(piece.iter().filter(|byte| **byte != b'\r'));
        while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
            let block: Vec<u8> = text.drain(..end + 2).collect();
            let block = String::from_utf8_lossy(&block).into_owned();
            let data = block.lines().filter_map(|line| line.strip_prefix("data:"));
            let data = data.map(|line| line.strip_prefix(' ').unwrap_or(line));
            let data = data.collect::<Vec<_>>().join("\n");
            let message: Option<Value> = serde_json::from_str(&data).ok();
            let ours = |message: &Value| &message["id"] == id && message.get("method").is_none();
            if let Some(message) = message.filter(ours) {
                return Some(message);
            }
        }
    }
    None
}

/// Whether a body begins within `patience`: `None` when nothing comes, `Some(false)` when it ends.
pub(super) async fn first_byte(exchange: &mut Exchange, patience: Duration) -> Option<bool> {
    let first = timeout(patience, async {
        while let Some(Ok(piece)) = exchange.piece().await {
            if !piece.is_empty() {
                return true;
            }
        }
        false
    });
    first.await.ok()
}
