//! The JSON-RPC messages that are built here: envelopes around payloads, and errors.

use std::{ops::Range, slice};

use bytes::Bytes;

use crate::{
    lexical,
    message::{Kind, Message},
};

/// The server failed to answer (JSON-RPC "Internal error").
pub const INTERNAL_ERROR: i32 = -32603;
/// Not a request, a notification or a response (JSON-RPC "Invalid Request").
pub const INVALID_REQUEST: i32 = -32600;
/// The receiver knows no such method (JSON-RPC "Method not found").
pub const METHOD_NOT_FOUND: i32 = -32601;
/// The parameters are not what the method takes (JSON-RPC "Invalid params").
pub const INVALID_PARAMS: i32 = -32602;
/// The first code JSON-RPC leaves to implementations.
pub const SERVER_ERROR: i32 = -32000;

/// Room for what stands around the parameters of a line, and for its end.
const LINE_ROOM: usize = r#","params":}"#.len() + 1;

/// A JSON-RPC error response. `id` is raw JSON; without one it is `null`.
#[must_use]
pub fn error(id: Option<&str>, code: i32, message: &str) -> Bytes {
    error_with_data(id, code, message, None)
}

/// As [`error()`], with `data` as raw JSON.
#[must_use]
pub fn error_with_data(id: Option<&str>, code: i32, message: &str, data: Option<&str>) -> Bytes {
    let id = id.unwrap_or("null");
    let message = serde_json::Value::from(message);
    let data = data.map(|data| format!(r#","data":{data}"#)).unwrap_or_default();
    let error = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}{data}}}}}"#
    );
    if lexical::splits(error.as_bytes()) {
        // The words may be a provider's own.
        return lexical::escape_splits(&error).unwrap_or(error).into();
    }
    error.into()
}

/// The response `message` under another id.
pub(crate) fn response(id: &str, message: &Message) -> Vec<u8> {
    let member = if message.kind() == Kind::Error { "error" } else { "result" };
    answer(id, member, message.payload().unwrap_or("null"))
}

/// A response: `member` is `result` or `error`, both texts are raw JSON.
pub(crate) fn answer(id: &str, member: &str, payload: &str) -> Vec<u8> {
    join(&[r#"{"jsonrpc":"2.0","id":"#, id, r#",""#, member, r#"":"#, payload, "}"])
}

/// The request or notification `message` with these parameters, under `id` if it has one.
pub(crate) fn call(id: Option<&str>, message: &Message, params: Option<&[&str]>) -> Vec<u8> {
    // Room for all of them: parameters come in three at the most.
    let mut parts = Vec::with_capacity(10);
    parts.push(r#"{"jsonrpc":"2.0""#);
    if let Some(id) = id {
        parts.extend([r#","id":"#, id]);
    }
    parts.extend([r#","method":"#, message.raw_method()]);
    if let Some(params) = params {
        parts.push(r#","params":"#);
        parts.extend(params);
    }
    parts.push("}");
    join(&parts)
}

/// The request `message` under the number `id`, which is its progress token as well: `token` is the
/// place of the client's in the parameters, if it has one.
pub(crate) fn request(id: u64, message: &Message, token: Option<Range<usize>>) -> Vec<u8> {
    let id = id.to_string();
    match (message.payload(), token) {
        (Some(params), Some(token)) => {
            let parts = [&params[..token.start], &id, &params[token.end..]];
            call(Some(&id), message, Some(&parts))
        }
        (params, _) => call(Some(&id), message, params.as_ref().map(slice::from_ref)),
    }
}

/// The request `message` under the raw `id`, with the parameters that `write_params` writes: a JSON object
/// on one line, and hardly longer than its own.
pub(crate) fn request_with(
    id: &str,
    message: &Message,
    write_params: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let parts = [r#"{"jsonrpc":"2.0","id":"#, id, r#","method":"#, message.raw_method()];
    let room = message.payload_len().max(2) + id.len() + LINE_ROOM;
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + room);
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    out.extend_from_slice(br#","params":"#);
    write_params(&mut out);
    out.push(b'}');
    out
}

/// A request or notification made here. `params` is raw JSON on one line.
pub(crate) fn own(id: Option<u64>, method: &str, params: Option<&str>) -> Vec<u8> {
    let id = id.map(|id| format!(r#","id":{id}"#)).unwrap_or_default();
    let mut parts = vec![r#"{"jsonrpc":"2.0""#, &id, r#","method":""#, method, "\""];
    if let Some(params) = params {
        parts.extend([r#","params":"#, params]);
    }
    parts.push("}");
    join(&parts)
}

/// An empty result, the answer to a `ping`.
pub(crate) fn pong(id: &str) -> Vec<u8> {
    join(&[r#"{"jsonrpc":"2.0","id":"#, id, r#","result":{}}"#])
}

/// Tells the receiver of request `id` (raw) that its answer is no longer waited for.
pub(crate) fn cancelled(id: &str, reason: &str) -> Vec<u8> {
    let head = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"#;
    join(&[head, id, r#","reason":""#, reason, r#""}}"#])
}

/// Room for the line feed is left, so that a line costs one allocation.
fn join(parts: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + 1);
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
    out
}

/// `message` as the line a child reads.
pub(crate) fn line(mut message: Vec<u8>) -> Bytes {
    message.push(b'\n');
    message.into()
}
