//! Which era a request belongs to, and what a modern one says of itself.

use http::{HeaderMap, StatusCode};
use serde_json::{Value, value::RawValue};

use super::{
    HEADER_MISMATCH, UNSUPPORTED_VERSION, VERSION, header_value,
    object::{Twice, members, only},
};
use crate::{
    envelope::member,
    message::Message,
    rpc::{self, INVALID_PARAMS, METHOD_NOT_FOUND},
};

const PROTOCOL_VERSION: &str = "mcp-protocol-version";
const PREFIX: &str = "io.modelcontextprotocol/";

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

/// What a modern request says of itself.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// The client's capabilities.
    pub capabilities: Value,
    /// The client's name and version, raw.
    pub client_info: Option<String>,
    /// From which level on it wants log messages.
    pub log_level: Option<String>,
}

/// Whether headers alone say that a request is of this era or a later one.
#[must_use]
pub fn names_modern(headers: &HeaderMap) -> bool {
    let version = headers.get(PROTOCOL_VERSION).and_then(|version| version.to_str().ok());
    version.is_some_and(|version| is_modern_version(version.trim()))
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
    if !params.contains("modelcontextprotocol") && !params.contains('\\') {
        return false;
    }
    let meta = members(metadata(message));
    meta.contains_key("io.modelcontextprotocol/protocolVersion")
        || meta.contains_key("io.modelcontextprotocol/clientCapabilities")
}

fn metadata(message: &Message) -> &str {
    let params = message.payload().unwrap_or("{}");
    match member(params, "_meta") {
        Ok(Some(place)) => &params[place],
        Ok(None) | Err(_) => "{}",
    }
}

/// Checks a modern request: what it has to say of itself is there, and its headers say the same as
/// its body (MCP 2026-07-28 transports, "Server Validation").
///
/// # Errors
/// [`Rejection`]: nothing of the request may be done.
pub fn check(headers: &HeaderMap, message: &Message) -> Result<Metadata, Rejection> {
    let meta = metadata(message);
    let field = |name: &str| {
        let found = only(meta, &[PREFIX, name].concat()).map_err(|Twice| {
            Rejection::new(INVALID_PARAMS, format!("`{PREFIX}{name}` stands twice in `_meta`"))
        });
        found.map(|raw| raw.map(RawValue::get))
    };
    let missing = |name: &str| {
        let words = format!("`_meta` lacks `{PREFIX}{name}`, which every request must carry");
        Rejection::new(INVALID_PARAMS, words)
    };
    let version = field("protocolVersion")?.ok_or_else(|| missing("protocolVersion"))?;
    let version: String = serde_json::from_str(version).map_err(|_| missing("protocolVersion"))?;
    let named = header(headers, PROTOCOL_VERSION, Form::Plain)?;
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
        let requested = Value::from(version);
        let data = format!(r#"{{"supported":["{VERSION}"],"requested":{requested}}}"#);
        return Err(Rejection { data: Some(data), ..Rejection::new(UNSUPPORTED_VERSION, words) });
    }
    let method = message.method();
    if message.id().is_some() {
        mirrors(headers, "Mcp-Method", Form::Plain, &method)?;
    }
    if LEGACY_ONLY.contains(&&*method) {
        return Err(Rejection::unknown_method(&method));
    }
    let capabilities = field("clientCapabilities")?.ok_or_else(|| missing("clientCapabilities"))?;
    let capabilities: Value =
        serde_json::from_str(capabilities).ok().filter(Value::is_object).ok_or_else(|| {
            let words = format!("`{PREFIX}clientCapabilities` must be an object");
            Rejection::new(INVALID_PARAMS, words)
        })?;
    if let Some(member) = named_by(&method) {
        match text_param(message, member)? {
            Some(name) => mirrors(headers, "Mcp-Name", Form::MayBeCoded, &name)?,
            None if headers.contains_key("mcp-name") => {
                let words = format!("The header Mcp-Name repeats `{member}`, which is missing");
                return Err(Rejection::mismatch(words));
            }
            // The child says what it thinks of it.
            None => {}
        }
    }
    let log_level = field("logLevel")?.filter(|level| *level != "null").map(|level| {
        let level: Option<String> = serde_json::from_str(level).ok();
        level.filter(|level| LOG_LEVELS.contains(&&**level)).ok_or_else(|| {
            let words = format!("`{PREFIX}logLevel` must be one of {}", LOG_LEVELS.join(", "));
            Rejection::new(INVALID_PARAMS, words)
        })
    });
    let log_level = log_level.transpose()?;
    let client_info = field("clientInfo")?.map(ToOwned::to_owned);
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

/// A parameter, if it is text.
///
/// # Errors
/// It stands there twice, so that the child may read another one than this does.
fn text_param(message: &Message, name: &str) -> Result<Option<String>, Rejection> {
    let params = message.payload().unwrap_or("{}");
    let place = member(params, name).map_err(|_| {
        let words = format!("`{name}` stands twice in `params`");
        Rejection::new(INVALID_PARAMS, words)
    })?;
    Ok(place.and_then(|place| serde_json::from_str(&params[place]).ok()))
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
fn header(headers: &HeaderMap, name: &str, form: Form) -> Result<Option<String>, Rejection> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Ok(None) };
    if values.any(|other| other != first) {
        return Err(Rejection::mismatch(format!("There are several {name} headers that differ")));
    }
    let value = match form {
        Form::Plain => header_value::plain(first.as_bytes()).map(Into::into),
        Form::MayBeCoded => header_value::decode(first.as_bytes()),
    };
    let value =
        value.map_err(|_| Rejection::mismatch(format!("The header {name} is malformed")))?;
    Ok(Some(value.into_owned()))
}

/// The header `name` must repeat `value`.
fn mirrors(headers: &HeaderMap, name: &str, form: Form, value: &str) -> Result<(), Rejection> {
    match header(headers, name, form)? {
        None => Err(Rejection::mismatch(format!("The header {name} is missing"))),
        Some(named) if named != value => {
            Err(Rejection::mismatch(format!("The header {name} does not match the body")))
        }
        Some(_) => Ok(()),
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
