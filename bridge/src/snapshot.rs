//! What a session must remember beyond its child: everything the next one has to be told again.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    lexical,
    limits::Limits,
    message::Message,
    revision::Revision,
    server::{Difference, Server},
};

/// Everything that MCP keeps per session in a server and that can be told to another one.
///
/// That is (2024-11-05 to 2025-11-25): the client's `initialize`, whether it was confirmed with
/// `notifications/initialized`, the log level, the subscriptions to resources. Roots are not in
/// it, because a new child asks for them itself. Tasks (2025-11-25) and cursors of half-read lists
/// cannot be: only the process that made them knows what they mean, and the client gets the next
/// one's error for them.
///
/// It holds the client's words. `Debug` shows sizes only.
#[derive(Clone)]
pub struct Snapshot {
    /// `params` of the client's `initialize`, as the child got them.
    pub(crate) params: Option<Box<RawValue>>,
    /// The server as the client knows it: as the *first* child described itself.
    pub(crate) server: Server,
    pub(crate) initialized: bool,
    pub(crate) level: Option<Box<str>>,
    pub(crate) subscriptions: BTreeSet<Box<str>>,
    /// There is no session, and calls share the child.
    pub(crate) serves_calls: bool,
    /// The child is one of the modern era: it is discovered, and knows no handshake.
    pub(crate) is_modern: bool,
    /// The child was greeted for another session: what confirms the handshake is not told again.
    pub(crate) is_handed_on: bool,
    forgotten: u32,
    /// Bytes of all texts above.
    bytes: usize,
}

/// The form of the bytes. A change that an older broker would misread gets the next number, and a
/// line in `docs/ROLLBACK.md`.
const VERSION: u32 = 1;

/// Why bytes are no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A newer broker wrote them.
    #[error("the snapshot has version {version}, and this broker reads up to {VERSION}")]
    Newer {
        /// The version they name.
        version: u32,
    },
    /// They are damaged, or never were one.
    #[error("the bytes are no snapshot")]
    Garbage(#[source] Option<serde_json::Error>),
}

/// The bytes of a snapshot: JSON, so that an operator can read a record.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    v: u32,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    version: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    capabilities: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    initialized: bool,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    level: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    subscriptions: Vec<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "is_false")]
    serves_calls: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    modern: bool,
    #[serde(default, skip_serializing_if = "is_zero")]
    forgotten: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Snapshot {
    /// After a handshake. `None` when its texts alone are larger than
    /// [`Limits::max_snapshot_bytes`].
    pub(crate) fn of_handshake(
        params: Option<&str>,
        server: Server,
        limits: &Limits,
    ) -> Option<Box<Self>> {
        let params = params.map(|text| RawValue::from_string(text.to_owned()));
        let snapshot = Self::of_parts(params.transpose().ok()?, server);
        (snapshot.bytes <= limits.max_snapshot_bytes).then(|| Box::new(snapshot))
    }

    fn of_parts(params: Option<Box<RawValue>>, server: Server) -> Self {
        let raw = |raw: &Option<Box<RawValue>>| raw.as_ref().map_or(0, |raw| raw.get().len());
        let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
        let bytes =
            raw(&params) + raw(&server.capabilities) + text(&server.version) + text(&server.name);
        Self {
            params,
            server,
            initialized: false,
            level: None,
            subscriptions: BTreeSet::new(),
            serves_calls: false,
            is_modern: false,
            is_handed_on: false,
            forgotten: 0,
            bytes,
        }
    }

    /// Of a child of the modern era, which remembers nothing.
    pub(crate) fn of_modern() -> Self {
        let of_nothing = Self::of_parts(None, Server::default());
        Self { serves_calls: true, is_modern: true, initialized: true, ..of_nothing }
    }

    /// For a durable record. Read back by [`from_bytes`](Self::from_bytes).
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = Stored {
            v: VERSION,
            params: self.params.as_deref(),
            version: self.server.version.as_deref().map(Cow::Borrowed),
            capabilities: self.server.capabilities.as_deref(),
            name: self.server.name.as_deref().map(Cow::Borrowed),
            initialized: self.initialized,
            level: self.level.as_deref().map(Cow::Borrowed),
            subscriptions: self.subscriptions.iter().map(|uri| Cow::Borrowed(&**uri)).collect(),
            serves_calls: self.serves_calls,
            modern: self.is_modern,
            forgotten: self.forgotten,
        };
        serde_json::to_vec(&stored).expect("texts and numbers serialize")
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// [`SnapshotError::Newer`]: a newer broker can resume the session, this one cannot.
    /// [`SnapshotError::Garbage`]: no broker can.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SnapshotError> {
        Self::check_version(bytes)?;
        let garbage = |error| SnapshotError::Garbage(Some(error));
        let stored: Stored<'_> = serde_json::from_slice(bytes).map_err(garbage)?;
        // They go to a child again: a line feed in them would be a second message.
        let params = stored.params.map(|params| {
            let line = lexical::one_line(params.get()).map_err(|_| SnapshotError::Garbage(None))?;
            if !line.starts_with('{') {
                return Err(SnapshotError::Garbage(None));
            }
            RawValue::from_string(line.into_owned()).map_err(garbage)
        });
        let server = Server {
            version: stored.version.map(Into::into),
            capabilities: stored.capabilities.map(ToOwned::to_owned),
            name: stored.name.map(Into::into),
        };
        let mut snapshot = Self::of_parts(params.transpose()?, server);
        snapshot.initialized = stored.initialized;
        snapshot.level = stored.level.map(Into::into);
        snapshot.subscriptions = stored.subscriptions.into_iter().map(Into::into).collect();
        snapshot.serves_calls = stored.serves_calls;
        snapshot.is_modern = stored.modern;
        snapshot.forgotten = stored.forgotten;
        snapshot.bytes += snapshot.level.as_ref().map_or(0, |level| level.len());
        snapshot.bytes += snapshot.subscriptions.iter().map(|uri| uri.len()).sum::<usize>();
        Ok(snapshot)
    }

    /// Looks at the version alone: whether this broker knows the form of the bytes.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes), which finds more: bytes that pass here may be garbage.
    pub fn check_version(bytes: &[u8]) -> Result<(), SnapshotError> {
        #[derive(Deserialize)]
        struct Versioned {
            v: u32,
        }
        let garbage = |error| SnapshotError::Garbage(Some(error));
        let Versioned { v: version } = serde_json::from_slice(bytes).map_err(garbage)?;
        if version > VERSION { Err(SnapshotError::Newer { version }) } else { Ok(()) }
    }

    /// The revision agreed on, as [`Bridge::revision`](crate::Bridge::revision) has it.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.server.revision().unwrap_or(Revision::LATEST)
    }

    /// Whether a child that was told this needs to take back nothing.
    pub(crate) fn is_untouched(&self) -> bool {
        self.level.is_none() && self.subscriptions.is_empty() && self.forgotten == 0
    }

    /// Whether it is of a session, and not of a child that calls share.
    #[must_use]
    pub fn is_of_a_session(&self) -> bool {
        !self.serves_calls
    }

    /// Resources that the client is subscribed to, and will be again.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// Subscriptions that were over [`Limits::max_subscriptions`] or
    /// [`Limits::max_snapshot_bytes`] and are *not* remembered: after a resume the client hears of
    /// those resources no more. Something for the log.
    #[must_use]
    pub fn forgotten(&self) -> u32 {
        self.forgotten
    }

    /// Notes what a server has just accepted.
    pub(crate) fn apply(&mut self, change: Change, limits: &Limits) {
        match change {
            Change::Level(level) => {
                let without = self.bytes - self.level.as_ref().map_or(0, |level| level.len());
                if without + level.len() <= limits.max_snapshot_bytes {
                    self.bytes = without + level.len();
                    self.level = Some(level);
                }
            }
            Change::Subscribe(uri) => {
                if self.subscriptions.contains(&uri) {
                    return;
                }
                let bytes = self.bytes + uri.len();
                if self.subscriptions.len() < limits.max_subscriptions
                    && bytes <= limits.max_snapshot_bytes
                {
                    self.bytes = bytes;
                    self.subscriptions.insert(uri);
                } else {
                    self.forgotten = self.forgotten.saturating_add(1);
                }
            }
            Change::Unsubscribe(uri) => {
                if self.subscriptions.remove(&uri) {
                    self.bytes -= uri.len();
                } else {
                    self.forgotten = self.forgotten.saturating_sub(1);
                }
            }
        }
    }

    /// Takes back what a server did not accept again.
    pub(crate) fn retract(&mut self, change: &Change) {
        match change {
            Change::Level(level) if self.level.as_ref() == Some(level) => {
                self.bytes -= level.len();
                self.level = None;
            }
            Change::Subscribe(uri) if self.subscriptions.remove(uri) => self.bytes -= uri.len(),
            Change::Level(_) | Change::Subscribe(_) | Change::Unsubscribe(_) => {}
        }
    }

    /// What a new child is told after its handshake, in this order.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Change> + '_ {
        let level = self.level.clone().map(Change::Level);
        level.into_iter().chain(self.subscriptions.iter().cloned().map(Change::Subscribe))
    }

    /// Whether a server that describes itself like this can take the old one's place.
    pub(crate) fn check(&self, now: &Server) -> Result<(), Difference> {
        self.server.replaceable_by(now)
    }
}

impl fmt::Debug for Snapshot {
    /// Sizes rather than contents, as for a message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("revision", &self.revision())
            .field("initialized", &self.initialized)
            .field("subscriptions", &self.subscriptions.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// A request that changes what a server keeps for the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// `logging/setLevel`.
    Level(Box<str>),
    /// `resources/subscribe`.
    Subscribe(Box<str>),
    /// `resources/unsubscribe`.
    Unsubscribe(Box<str>),
}

impl Change {
    const SET_LEVEL: &str = "logging/setLevel";
    const SUBSCRIBE: &str = "resources/subscribe";
    const UNSUBSCRIBE: &str = "resources/unsubscribe";

    /// The change that `request` asks for. Every call passes here: names are compared by their
    /// length before anything else.
    pub(crate) fn of(request: &Message) -> Option<Box<Self>> {
        let method = request.method();
        let (make, key): (fn(Box<str>) -> Self, _) = match method.len() {
            16 if method == Self::SET_LEVEL => (Self::Level, "level"),
            19 if method == Self::SUBSCRIBE => (Self::Subscribe, "uri"),
            21 if method == Self::UNSUBSCRIBE => (Self::Unsubscribe, "uri"),
            _ => return None,
        };
        let value = &request.payload()?[request.param(key)?];
        serde_json::from_str(value).ok().map(|value| Box::new(make(value)))
    }

    /// The request that tells it to a child, as method and parameters.
    pub(crate) fn request(&self) -> (&'static str, String) {
        let (method, key, value) = match self {
            Self::Level(level) => (Self::SET_LEVEL, "level", level),
            Self::Subscribe(uri) => (Self::SUBSCRIBE, "uri", uri),
            Self::Unsubscribe(uri) => (Self::UNSUBSCRIBE, "uri", uri),
        };
        let params = serde_json::json!({ key: value }).to_string();
        // A text that was read from JSON has no lone surrogate, and this one is flat.
        let line = lexical::one_line(&params).expect("it was just made");
        (method, line.into_owned())
    }
}

#[cfg(test)]
#[path = "snapshot/tests.rs"]
mod tests;
