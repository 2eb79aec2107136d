//! What is said to the sender of a modern request that is not served.

use http::StatusCode;

use super::{HEADER_MISMATCH, VERSION};
use crate::rpc::METHOD_NOT_FOUND;

/// Why a modern request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The HTTP status.
    pub status: StatusCode,
    /// The JSON-RPC code.
    pub code: i32,
    /// What is wrong and what to do, for the client.
    pub words: String,
    /// The error's `data`, raw.
    pub data: Option<String>,
}

impl Rejection {
    pub(super) fn new(code: i32, words: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, code, words: words.into(), data: None }
    }

    pub(super) fn mismatch(words: impl Into<String>) -> Self {
        Self::new(HEADER_MISMATCH, words)
    }

    /// There is no method of this name (MCP 2026-07-28 transports, "Protocol Version Header").
    #[must_use]
    pub fn unknown_method(method: &str) -> Self {
        let words = format!("There is no method {method} here in revision {VERSION}");
        let status = StatusCode::NOT_FOUND;
        Self { status, ..Self::new(METHOD_NOT_FOUND, words) }
    }
}
