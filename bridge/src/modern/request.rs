//! Which era a request belongs to, and what a modern one says of itself.

use std::{borrow::Cow, sync::LazyLock};

use http::{HeaderMap, HeaderName, StatusCode};
use memchr::memmem::Finder;
use serde_json::Value;

use super::{
    HEADER_MISMATCH, UNSUPPORTED_VERSION, VERSION, header_value,
    object::{Object, Twice},
};
use crate::{
    members::text,
    message::{Malformed, Message, usable_id},
    rpc::{self, INVALID_PARAMS, METHOD_NOT_FOUND},
};

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

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

/// Whether headers alone say that a request is of this era or a later one. Of several that contradict
/// each other one is enough, so that the contradiction is told in the way of this era.
#[must_use]
pub fn names_modern(headers: &HeaderMap) -> bool {
    let mut versions = headers.get_all(PROTOCOL_VERSION).iter();
    versions.any(|version| version.to_str().is_ok_and(|version| is_modern_version(version.trim())))
}

/// Whether a revision is of this era.
pub(crate) fn is_modern_version(version: &str) -> bool {
    is_date(version) && version >= VERSION
}

/// Whether a request is of this era: its header names it, or its body carries what only requests of
/// this era do.
#[must_use]
pub fn is_modern(headers: &HeaderMap, message: Option<&Message>) -> bool {
    names_modern(headers) || message.is_some_and(carries_metadata)
}

/// `YYYY-MM-DD`, which sorts as the days do.
fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
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
pub fn check<'m>(headers: &HeaderMap, request: &Request<'m>) -> Result<Metadata<'m>, Rejection> {
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
    let named = header(headers, &PROTOCOL_VERSION, Form::Plain)?;
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
        mirrors(headers, &METHOD, Form::Plain, method)?;
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
            Some(name) => mirrors(headers, &NAME, Form::MayBeCoded, &name)?,
            None if headers.contains_key(NAME) => {
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

/// How a header may write its value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is. Who routes by such a header does not decode it, so this must not either.
    Plain,
    /// As it is, or as Base64.
    MayBeCoded,
}

/// The header's one value; several that differ are as good as none that is right.
fn header<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    form: Form,
) -> Result<Option<Cow<'h, str>>, Rejection> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|other| other != first) {
        let words = format!("There are several {} headers that differ", shown(name));
        return Err(Rejection::mismatch(words));
    }
    let value = match form {
        Form::Plain => header_value::plain(first.as_bytes()).map(Into::into),
        Form::MayBeCoded => header_value::decode(first.as_bytes()),
    };
    let value = value
        .map_err(|_| Rejection::mismatch(format!("The header {} is malformed", shown(name))))?;
    Ok(Some(value))
}

/// The header `name` must repeat `value`.
fn mirrors(
    headers: &HeaderMap,
    name: &HeaderName,
    form: Form,
    value: &str,
) -> Result<(), Rejection> {
    match header(headers, name, form)? {
        None => Err(Rejection::mismatch(format!("The header {} is missing", shown(name)))),
        Some(named) if named != value => {
            let words = format!("The header {} does not match the body", shown(name));
            Err(Rejection::mismatch(words))
        }
        Some(_) => Ok(()),
    }
}

/// A header's name as the specification writes it.
fn shown(name: &HeaderName) -> &'static str {
    match name.as_str() {
        "mcp-method" => "Mcp-Method",
        "mcp-name" => "Mcp-Name",
        _ => "MCP-Protocol-Version",
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
