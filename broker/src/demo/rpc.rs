//! JSON-RPC as far as the demo server needs it.

use serde_json::{Value, json};

pub(super) const PARSE_ERROR: i32 = -32700;
pub(super) const INVALID_REQUEST: i32 = -32600;
pub(super) const METHOD_NOT_FOUND: i32 = -32601;
pub(super) const INVALID_PARAMS: i32 = -32602;
/// "Resource not found", MCP server/resources, Error Handling (2024-11-05 to 2025-11-25).
pub(super) const RESOURCE_NOT_FOUND: i32 = -32002;

/// A JSON-RPC error. Its words are for the author of a client, so they say what would help.
#[derive(Debug)]
pub(super) struct Error {
    code: i32,
    message: String,
}

impl Error {
    pub(super) fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

pub(super) fn response(id: &Value, outcome: Result<Value, Error>) -> Value {
    match outcome {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(Error { code, message }) => {
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
        }
    }
}

/// The string `params.field`, or an error that says `what` belongs there.
pub(super) fn text<'a>(params: &'a Value, field: &str, what: &str) -> Result<&'a str, Error> {
    params[field].as_str().ok_or_else(|| {
        Error::new(INVALID_PARAMS, format!("params.{field} is missing or no string; it is {what}"))
    })
}
