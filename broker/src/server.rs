//! One configured MCP server while the broker runs.

mod start_pauses;

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;

use crate::{
    config::{Config, EraChoice, PrivatePaths, ServerConfig, UidRange},
    metrics::Metrics,
};

pub(crate) use start_pauses::{Paused, Pausing, StartPauses, Whose};

const TOOL_CALL: &str = "tools/call";
const OK: &str = "ok";

/// A server by name. Its settings may change by reload; sessions keep those they started with.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: Arc<str>,
    settings: RwLock<Arc<Settings>>,
    pub(crate) metrics: Arc<Metrics>,
    /// The counter of the commonest call, found once: finding it costs a text and a lock.
    tool_calls: Counter,
    /// Which era its children are of, as far as that was found out.
    child_era: Mutex<Option<Era>>,
    /// They have refused the handshake, and know the modern era alone.
    refuses_handshake: AtomicBool,
    /// Starts of its children that failed.
    pub(crate) pauses: StartPauses,
}

/// An era of the protocol: up to 2025-11-25, or from 2026-07-28 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    Legacy,
    Modern,
}

/// What a new session of a server is made with.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) server: ServerConfig,
    pub(crate) bridge: bridge::Limits,
    /// Bytes that all sessions of one person may hold for clients that have not read them.
    pub(crate) max_unread_per_owner: usize,
    /// Where the children's private directories are made.
    pub(crate) directories: PathBuf,
    /// Where the caches are that outlive the children.
    pub(crate) caches: PathBuf,
    /// What a child in a sandbox does not see.
    pub(crate) private: PrivatePaths,
    /// The users that run children, where each person has one.
    pub(crate) uids: Option<UidRange>,
}

impl Settings {
    /// When starts of its children pause.
    pub(crate) fn pausing(&self) -> Pausing {
        let ServerConfig { start_failures, start_pause, .. } = &self.server;
        Pausing { after: start_failures.map_or(0, NonZeroUsize::get), longest: *start_pause }
    }

    /// Where the directories of this process's children are: those of other runs are none of ours.
    pub(crate) fn directories_in(data_dir: &Path) -> PathBuf {
        data_dir.join("children").join(std::process::id().to_string())
    }

    /// Where the caches of all servers are.
    pub(crate) fn caches_in(data_dir: &Path) -> PathBuf {
        data_dir.join("cache")
    }

    pub(crate) fn of(config: &Config, server: &ServerConfig) -> Self {
        let bridge = bridge::Limits {
            max_line_bytes: server.max_line,
            // A body that was accepted must find room, with some to spare.
            max_queued_bytes: config.http.max_body.saturating_mul(2).max(1 << 20),
            request_timeout: server.request_timeout.unwrap_or(Duration::ZERO),
            replay_events: config.stream.replay_events,
            replay_bytes: config.stream.replay_bytes,
            max_unread_bytes: config.stream.max_unread,
            retention: config.stream.retention,
            keep_alive: config.http.keep_alive,
            stream_after: config.stream.after,
            rotate_after: config.stream.rotate,
            ..bridge::Limits::default()
        };
        Self {
            server: server.clone(),
            bridge,
            max_unread_per_owner: config.stream.max_unread_per_owner,
            directories: Self::directories_in(&config.data_dir),
            caches: Self::caches_in(&config.data_dir),
            private: config.private.clone(),
            uids: config.isolation.uids,
        }
    }
}

impl Server {
    pub(crate) fn new(name: &str, settings: Settings, metrics: Arc<Metrics>) -> Self {
        let tool_calls = metrics.counter(name, TOOL_CALL, OK);
        Self {
            name: name.into(),
            settings: RwLock::new(Arc::new(settings)),
            metrics,
            tool_calls,
            child_era: Mutex::default(),
            refuses_handshake: AtomicBool::new(false),
            pauses: StartPauses::default(),
        }
    }

    /// Counts one request's end.
    pub(crate) fn count(&self, method: &'static str, outcome: &'static str, took: Duration) {
        if (method, outcome) == (TOOL_CALL, OK) {
            self.tool_calls.inc();
        } else {
            self.metrics.counter(&self.name, method, outcome).inc();
        }
        self.metrics.request_seconds.observe(took.as_secs_f64());
    }

    /// Which era its children are of; `None` while that is not known.
    pub(crate) fn child_era(&self) -> Option<Era> {
        match self.era_choice() {
            EraChoice::Legacy => Some(Era::Legacy),
            EraChoice::Modern => Some(Era::Modern),
            EraChoice::Auto => *self.child_era.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Notes what was found out, or that it was wrong.
    pub(crate) fn note_child_era(&self, era: Option<Era>) {
        *self.child_era.lock().unwrap_or_else(PoisonError::into_inner) = era;
        if era != Some(Era::Modern) {
            self.refuses_handshake.store(false, Ordering::Relaxed);
        }
    }

    /// Whether a session needs a translator before its child, because that knows the modern era alone.
    /// Some servers know both, and a session is served in its own.
    pub(crate) fn refuses_handshake(&self) -> bool {
        match self.era_choice() {
            EraChoice::Legacy => false,
            EraChoice::Modern => true,
            EraChoice::Auto => self.refuses_handshake.load(Ordering::Relaxed),
        }
    }

    /// Notes that its children know the modern era alone.
    pub(crate) fn note_modern_alone(&self) {
        self.note_child_era(Some(Era::Modern));
        self.refuses_handshake.store(true, Ordering::Relaxed);
    }

    /// Whether the operator left it to the broker to find out the era.
    pub(crate) fn era_is_found_out(&self) -> bool {
        self.era_choice() == EraChoice::Auto
    }

    fn era_choice(&self) -> EraChoice {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).server.era
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn replace(&self, settings: Settings) {
        // Another program may be of another era.
        self.note_child_era(None);
        self.pauses.forget();
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }
}
