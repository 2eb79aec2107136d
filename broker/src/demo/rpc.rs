//! JSON-RPC as far as the demo server needs it.

use std::{borrow::Cow, pin::Pin};

use serde_json::{Value, json};

pub(super) const PARSE_ERROR: i32 = -32700;
pub(super) const INVALID_REQUEST: i32 = -32600;
pub(super) const METHOD_NOT_FOUND: i32 = -32601;
pub(super) const INVALID_PARAMS: i32 = -32602;
/// "Resource not found", MCP server/resources, Error Handling (2024-11-05 to 2025-11-25).
pub(super) const RESOURCE_NOT_FOUND: i32 = -32002;

/// What a request comes to: at once, or from a task of its own.
pub(super) enum Answer {
    Ready(Result<Value, Error>),
    Later(Pin<Box<dyn Future<Output = Result<Value, Error>> + Send>>),
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        Self::Ready(Err(error))
    }
}

/// A JSON-RPC error. Its words are read by whoever writes a client, so they say what would help.
#[derive(Debug)]
pub(super) struct Error {
    code: i32,
    message: Cow<'static, str>,
    data: Option<Value>,
}

impl Error {
    pub(super) fn new(code: i32, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(super) fn with(self, data: Value) -> Self {
        Self { data: Some(data), ..self }
    }
}

pub(super) fn response(id: Value, outcome: Result<Value, Error>) -> Value {
    match outcome {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => failure(id, error),
    }
}

pub(super) fn failure(id: Value, error: Error) -> Value {
    let mut body = json!({ "code": error.code, "message": error.message });
    if let Some(data) = error.data {
        body["data"] = data;
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": body })
}

pub(super) fn request(id: &str, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

pub(super) fn notification(method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// The string `params.field`, or an error that says `what` belongs there.
pub(super) fn text<'a>(params: &'a Value, field: &str, what: &str) -> Result<&'a str, Error> {
    params.get(field).and_then(Value::as_str).ok_or_else(|| {
        Error::new(INVALID_PARAMS, format!("params.{field} is missing or no string; it is {what}"))
    })
}

/// Every list here fits on one page, so no cursor was ever given out.
pub(super) fn one_page(params: &Value) -> Result<(), Error> {
    match params.get("cursor") {
        None | Some(Value::Null) => Ok(()),
        Some(_) => {
            let words = "params.cursor is not one of ours; the list has one page, ask without it";
            Err(Error::new(INVALID_PARAMS, words))
        }
    }
}
