//! Which era a request belongs to, and what a modern one says of itself.

use std::{borrow::Cow, sync::LazyLock};

use memchr::memmem::Finder;
use serde_json::Value;

use super::{
    UNSUPPORTED_VERSION, VERSION,
    object::{Object, Twice},
    rejection::Rejection,
    request_headers::{Form, RequestHeaders},
};
use crate::{
    members::text,
    message::{Malformed, Message, usable_id},
    rpc::{self, INVALID_PARAMS},
};

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
const META_LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";

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

/// From the least to the most urgent (MCP 2026-07-28, "Log Levels").
pub const LOG_LEVELS: [&str; 8] =
    ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// A request in modern dress, its parameters read once for all that looks at them.
#[derive(Debug)]
pub struct Request<'m> {
    pub(super) message: &'m Message,
    method: Cow<'m, str>,
    pub(super) params: Object<'m>,
    /// `_meta`; empty when it is missing, or stands twice.
    pub(super) meta: Object<'m>,
}

impl<'m> Request<'m> {
    /// Reads the parameters of `message`.
    #[must_use]
    pub fn read(message: &'m Message) -> Self {
        let (params, meta) = Object::read_with(message.payload().unwrap_or("{}"), "_meta");
        Self { message, method: message.method(), params, meta }
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
        let token = self.meta.unmistakable(PROGRESS_TOKEN);
        let token = token.map_err(|Twice| self.message.ambiguous_token())?;
        Ok(token.filter(|token| usable_id(token)))
    }

    /// A parameter, if it is text.
    pub(super) fn text(&self, name: &str) -> Result<Option<Cow<'m, str>>, Twice> {
        Ok(self.params.unmistakable(name)?.and_then(text))
    }
}

/// What a modern request says of itself.
#[derive(Debug, Clone)]
pub struct Metadata<'m> {
    /// The client's capabilities.
    pub capabilities: Value,
    /// The client's name and version, raw.
    pub client_info: Option<&'m str>,
    /// From which level on it wants log messages.
    pub log_level: Option<Cow<'m, str>>,
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
    let meta = Request::read(message).meta;
    [META_VERSION, META_CAPABILITIES].iter().any(|name| meta.last(name).is_some())
}

/// Checks a modern request: what it has to say of itself is there, and its headers say the same as
/// its body (MCP 2026-07-28 transports, "Server Validation").
///
/// # Errors
/// [`Rejection`]: nothing of the request may be done.
pub fn check<'m>(
    headers: &RequestHeaders<'_>,
    request: &Request<'m>,
) -> Result<Metadata<'m>, Rejection> {
    let field = |name: &str| {
        request.meta.only(name).map_err(|Twice| {
            Rejection::new(INVALID_PARAMS, format!("`{name}` stands twice in `_meta`"))
        })
    };
    let missing = |name: &str| {
        let words = format!("`_meta` lacks `{name}`, which every request must carry");
        Rejection::new(INVALID_PARAMS, words)
    };
    let version = field(META_VERSION)?.and_then(text).ok_or_else(|| missing(META_VERSION))?;
    let named = headers.version.value("MCP-Protocol-Version", Form::Plain)?;
    match named.as_deref() {
        None => {
            return Err(Rejection::mismatch("The header MCP-Protocol-Version is missing"));
        }
        Some(named) if named != version => {
            let words = "The header MCP-Protocol-Version is not the version that `_meta` names";
            return Err(Rejection::mismatch(words));
        }
        Some(_) => {}
    }
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
    let capabilities = field(META_CAPABILITIES)?.ok_or_else(|| missing(META_CAPABILITIES))?;
    let capabilities: Value =
        serde_json::from_str(capabilities).ok().filter(Value::is_object).ok_or_else(|| {
            let words = format!("`{META_CAPABILITIES}` must be an object");
            Rejection::new(INVALID_PARAMS, words)
        })?;
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
    let log_level = field(META_LOG_LEVEL)?.filter(|level| *level != "null").map(|level| {
        text(level).filter(|level| LOG_LEVELS.contains(&&**level)).ok_or_else(|| {
            let words = format!("`{META_LOG_LEVEL}` must be one of {}", LOG_LEVELS.join(", "));
            Rejection::new(INVALID_PARAMS, words)
        })
    });
    let log_level = log_level.transpose()?;
    let client_info = field(META_CLIENT_INFO)?;
    Ok(Metadata { capabilities, client_info, log_level })
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
