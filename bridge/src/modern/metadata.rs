//! What a modern request says of its client, in `_meta` (MCP 2026-07-28, "Statelessness").
//!
//! The handshake said it once; now each request says it again, and nearly always word for word. So what
//! the requests of a connection said last is kept, and what is known already is not read again.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;

use super::{
    VERSION,
    input::TASKS,
    object::{Object, Twice},
    rejection::Rejection,
};
use crate::{members::text, rpc::INVALID_PARAMS};

/// The prefix of what the modern era puts into `_meta`.
const RESERVED: &str = "io.modelcontextprotocol/";

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
const META_LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";

/// Longer metadata is read each time, rather than kept for as long as a connection lasts.
const MAX_KEPT: usize = 4096;

/// From the least to the most urgent (MCP 2026-07-28, "Log Levels").
pub const LOG_LEVELS: [&str; 8] =
    ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// What a request says of its client.
#[derive(Debug)]
pub struct Metadata {
    /// What the client can do, a JSON object.
    pub capabilities: Value,
    /// The same as text that is equal for equal capabilities.
    pub canonical_capabilities: String,
    /// Whether a child that was initialised with them may ask anything.
    pub is_askable: bool,
    /// Whether the client takes a task in the place of a result.
    pub takes_tasks: bool,
    /// The client's name and version, raw.
    pub client_info: Option<String>,
    /// From which level on the client wants log messages.
    pub log_level: Option<String>,
    /// All of `_meta`, if this is all that stands in it.
    text: Option<Box<str>>,
}

impl Metadata {
    /// Reads `meta`, which names the revision that is spoken here.
    fn read(meta: &Object<'_>) -> Result<Self, Rejection> {
        let invalid = |words: String| Rejection::new(INVALID_PARAMS, words);
        let capabilities =
            field(meta, META_CAPABILITIES)?.ok_or_else(|| missing(META_CAPABILITIES))?;
        let capabilities: Value = serde_json::from_str(capabilities)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| invalid(format!("`{META_CAPABILITIES}` must be an object")))?;
        let log_level = match field(meta, META_LOG_LEVEL)?.filter(|level| *level != "null") {
            Some(level) => {
                let level = text(level).filter(|level| LOG_LEVELS.contains(&&**level));
                let words =
                    || format!("`{META_LOG_LEVEL}` must be one of {}", LOG_LEVELS.join(", "));
                Some(level.ok_or_else(|| invalid(words()))?.into_owned())
            }
            None => None,
        };
        let asks = ["elicitation", "sampling", "roots"];
        let is_all = !meta.has(|name| !is_reserved(name));
        let whole = meta.text();
        Ok(Self {
            // Whatever was read can be written.
            canonical_capabilities: serde_json::to_string(&capabilities).unwrap_or_default(),
            is_askable: asks.iter().any(|name| capabilities[*name].is_object()),
            takes_tasks: capabilities["extensions"][TASKS].is_object(),
            client_info: field(meta, META_CLIENT_INFO)?.map(ToOwned::to_owned),
            log_level,
            text: (is_all && whole.len() <= MAX_KEPT).then(|| whole.into()),
            capabilities,
        })
    }

    /// All of the `_meta` that it was read from, if this is all that stands in it, and it is not long.
    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }
}

/// `_meta` of one request.
#[derive(Debug)]
pub(super) enum Meta<'m> {
    /// Its members; none when it is missing.
    Read(Object<'m>),
    /// It stands twice, or some parser takes another parameter for it.
    Twice,
    /// It is, word for word, what was read before.
    Known(Arc<Metadata>),
}

impl<'m> Meta<'m> {
    /// Its members, if it holds any that say nothing of the client.
    pub(super) fn with_others(&self) -> Option<&Object<'m>> {
        match self {
            Self::Read(object) => object.has(|name| !is_reserved(name)).then_some(object),
            Self::Twice | Self::Known(_) => None,
        }
    }

    /// The revision of the request.
    pub(super) fn version(&self) -> Result<Cow<'m, str>, Rejection> {
        match self {
            Self::Read(object) => {
                field(object, META_VERSION)?.and_then(text).ok_or_else(|| missing(META_VERSION))
            }
            Self::Twice => Err(twice()),
            Self::Known(_) => Ok(VERSION.into()),
        }
    }

    /// What it says of the client. The [revision](Self::version) is the one that is spoken here.
    pub(super) fn metadata(&self) -> Result<Arc<Metadata>, Rejection> {
        match self {
            Self::Read(object) => Metadata::read(object).map(Arc::new),
            Self::Twice => Err(twice()),
            Self::Known(metadata) => Ok(Arc::clone(metadata)),
        }
    }
}

/// Whether a member of `_meta` says something of the client, and nothing to a child of the legacy era.
pub(super) fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED)
}

/// Whether `meta` is that of a modern request, however bad.
pub(super) fn is_modern(meta: &Object<'_>) -> bool {
    meta.has(|name| [META_VERSION, META_CAPABILITIES].contains(&name))
}

fn field<'m>(meta: &Object<'m>, name: &str) -> Result<Option<&'m str>, Rejection> {
    meta.only(name).map_err(|Twice| {
        Rejection::new(INVALID_PARAMS, format!("`{name}` stands twice in `_meta`"))
    })
}

fn twice() -> Rejection {
    let words = "`_meta` stands twice in `params`, or in unusual case as well";
    Rejection::new(INVALID_PARAMS, words)
}

fn missing(name: &str) -> Rejection {
    let words = format!("`_meta` lacks `{name}`, which every request must carry");
    Rejection::new(INVALID_PARAMS, words)
}

/// What the requests of one connection said of their client last.
#[derive(Debug, Default)]
pub struct LastMetadata(Mutex<Option<Arc<Metadata>>>);

impl LastMetadata {
    /// What was [set](Self::set) last.
    #[must_use]
    pub fn get(&self) -> Option<Arc<Metadata>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps `metadata` in the place of what was kept before, unless something else stood beside it, or
    /// it is long.
    pub fn set(&self, metadata: &Arc<Metadata>) {
        if metadata.text.is_some() {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(metadata));
        }
    }
}
