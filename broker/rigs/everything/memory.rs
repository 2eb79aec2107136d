//! What lasts between requests: one session's worth of it, as one process serves one session.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rmcp::model::LoggingLevel;
use tokio::sync::broadcast;

/// Changes a slow listener may lag behind before it misses some; tests make a handful.
const MAX_PENDING_CHANGES: usize = 64;

/// Something a client may have asked to be told about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Tools,
    Prompts,
    Resource(String),
}

/// The mutable part of the server.
#[derive(Debug)]
pub(crate) struct Memory {
    facts: Mutex<Facts>,
    changes: broadcast::Sender<Change>,
}

#[derive(Debug)]
struct Facts {
    level: LoggingLevel,
    subscriptions: BTreeSet<String>,
    extra_tool: bool,
    extra_prompt: bool,
    revisions: BTreeMap<String, u64>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            facts: Mutex::new(Facts {
                level: LoggingLevel::Debug,
                subscriptions: BTreeSet::new(),
                extra_tool: false,
                extra_prompt: false,
                revisions: BTreeMap::new(),
            }),
            changes: broadcast::Sender::new(MAX_PENDING_CHANGES),
        }
    }
}

impl Memory {
    /// The least severe level a handshake-era client wants to hear; everything at first.
    pub(crate) fn level(&self) -> LoggingLevel {
        self.facts().level
    }

    pub(crate) fn hear_from(&self, level: LoggingLevel) {
        self.facts().level = level;
    }

    pub(crate) fn subscribe(&self, uri: String) {
        self.facts().subscriptions.insert(uri);
    }

    pub(crate) fn unsubscribe(&self, uri: &str) {
        self.facts().subscriptions.remove(uri);
    }

    pub(crate) fn is_subscribed(&self, uri: &str) -> bool {
        self.facts().subscriptions.contains(uri)
    }

    /// Whether the tool that comes and goes is there now.
    pub(crate) fn has_extra_tool(&self) -> bool {
        self.facts().extra_tool
    }

    /// Whether the prompt that comes and goes is there now.
    pub(crate) fn has_extra_prompt(&self) -> bool {
        self.facts().extra_prompt
    }

    /// How often the resource was touched.
    pub(crate) fn revision(&self, uri: &str) -> u64 {
        self.facts().revisions.get(uri).copied().unwrap_or(0)
    }

    /// Makes the change happen, then tells every listener.
    pub(crate) fn apply(&self, change: Change) {
        {
            let mut facts = self.facts();
            match &change {
                Change::Tools => facts.extra_tool = !facts.extra_tool,
                Change::Prompts => facts.extra_prompt = !facts.extra_prompt,
                Change::Resource(uri) => *facts.revisions.entry(uri.clone()).or_default() += 1,
            }
        }
        // An error only says that nobody listens.
        let _ = self.changes.send(change);
    }

    /// Changes from now on.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        // Every holder leaves whole values behind, so a panic elsewhere spoils nothing.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
