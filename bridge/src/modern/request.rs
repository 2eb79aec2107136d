//! Which era a request belongs to, and what a modern one says of itself.

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
};

use memchr::memmem::Finder;
use serde_json::Value;

use super::{
    UNSUPPORTED_VERSION, VERSION,
    metadata::{self, Meta, Metadata},
    object::{Object, Twice},
    rejection::Rejection,
    request_headers::{Form, RequestHeaders},
};
use crate::{
    members::text,
    message::{Malformed, Message, usable_id},
    rpc::{self, INVALID_PARAMS},
};

/// Under which a request asks for progress, in `_meta` as well.
pub(super) const PROGRESS_TOKEN: &str = "progressToken";

/// What stands in each of them. Made once: a search this short would spend most of its time on being
/// prepared.
static META_KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("modelcontextprotocol"));

/// Methods that only the legacy era has: in modern dress there are none of that name. A list of tasks
/// would show those of other clients of the same program.
const LEGACY_ONLY: [&str; 7] = [
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
    "tasks/list",
    "tasks/result",
];

/// A request in modern dress, its parameters read once for all that looks at them.
#[derive(Debug)]
pub struct Request<'m> {
    pub(super) message: &'m Message,
    method: Cow<'m, str>,
    pub(super) params: Object<'m>,
    pub(super) meta: Meta<'m>,
}

impl<'m> Request<'m> {
    /// Reads the parameters of `message`.
    #[must_use]
    pub fn read(message: &'m Message) -> Self {
        Self::read_after(message, None)
    }

    /// As [`read`](Self::read), where an earlier request of the same connection said `last` of its client.
    #[must_use]
    pub fn read_after(message: &'m Message, last: Option<Arc<Metadata>>) -> Self {
        let known = last.as_ref().and_then(|last| last.text());
        let params = message.payload().unwrap_or("{}");
        let (params, meta) = Object::read_with(params, "_meta", known);
        let meta = match (meta, last) {
            (Err(Twice), _) => Meta::Twice,
            (Ok(meta), Some(last)) if last.text() == Some(meta.text()) => Meta::Known(last),
            (Ok(meta), _) => Meta::Read(meta),
        };
        Self { message, method: message.method(), params, meta }
    }

    /// Whether it says of its client what an earlier request said.
    #[must_use]
    pub fn repeats_metadata(&self) -> bool {
        matches!(self.meta, Meta::Known(_))
    }

    /// As the client sent it.
    #[must_use]
    pub fn message(&self) -> &'m Message {
        self.message
    }

    /// The method's name.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The token under which it asks for progress, raw, as [`Message::progress_token`] finds it.
    pub(crate) fn progress_token(&self) -> Result<Option<&'m str>, Malformed> {
        let Some(meta) = self.meta.with_others() else { return Ok(None) };
        let token = meta.unmistakable(PROGRESS_TOKEN);
        let token = token.map_err(|Twice| self.message.ambiguous_token())?;
        Ok(token.filter(|token| usable_id(token)))
    }

    /// A parameter, if it is text.
    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'m, str>>, Twice> {
        Ok(self.params.unmistakable(name)?.and_then(text))
    }
}

/// Whether a request is of this era: its header names it, or its body carries what only requests of
/// this era do.
#[must_use]
pub fn is_modern(headers: &RequestHeaders<'_>, message: Option<&Message>) -> bool {
    headers.names_modern() || message.is_some_and(carries_metadata)
}

fn carries_metadata(message: &Message) -> bool {
    let Some(params) = message.payload() else { return false };
    // Most legacy requests end here.
    let is_escaped = || memchr::memchr(b'\\', params.as_bytes()).is_some();
    if META_KEY.find(params.as_bytes()).is_none() && !is_escaped() {
        return false;
    }
    let (_, meta) = Object::read_with(params, "_meta", None);
    meta.is_ok_and(|meta| metadata::is_modern(&meta))
}

/// Checks a modern request: what it has to say of itself is there, and its headers say the same as
/// its body (MCP 2026-07-28 transports, "Server Validation").
///
/// # Errors
/// [`Rejection`]: nothing of the request may be done.
pub fn check(
    headers: &RequestHeaders<'_>,
    request: &Request<'_>,
) -> Result<Arc<Metadata>, Rejection> {
    let version = request.meta.version()?;
    headers.version.mirrors("MCP-Protocol-Version", Form::Plain, &version)?;
    if version != VERSION {
        let words = format!("Unsupported protocol version; supported is {VERSION}");
        let requested = Value::from(&*version);
        let data = format!(r#"{{"supported":["{VERSION}"],"requested":{requested}}}"#);
        return Err(Rejection { data: Some(data), ..Rejection::new(UNSUPPORTED_VERSION, words) });
    }
    let method = request.method();
    if request.message.id().is_some() {
        headers.method.mirrors("Mcp-Method", Form::Plain, method)?;
    }
    if LEGACY_ONLY.contains(&method) {
        return Err(Rejection::unknown_method(method));
    }
    let metadata = request.meta.metadata()?;
    if let Some(member) = named_by(method) {
        let name = request.text(member).map_err(|Twice| {
            Rejection::new(INVALID_PARAMS, format!("`{member}` stands twice in `params`"))
        })?;
        match name {
            Some(name) => headers.name.mirrors("Mcp-Name", Form::MayBeCoded, &name)?,
            None if headers.name.is_there() => {
                let words = format!("The header Mcp-Name repeats `{member}`, which is missing");
                return Err(Rejection::mismatch(words));
            }
            // The child says what it thinks of it.
            None => {}
        }
    }
    Ok(metadata)
}

/// The parameter that `Mcp-Name` has to repeat.
fn named_by(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// The answer to a request that is refused, raw.
#[must_use]
pub fn refusal(id: Option<&str>, fault: &Rejection) -> bytes::Bytes {
    rpc::error_with_data(id, fault.code, &fault.words, fault.data.as_deref())
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
