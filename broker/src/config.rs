//! What the broker is told to do: one file, the environment, `--set`, checked and typed.
//!
//! ```text
//! TOML file ─┐
//! MCP_BROKER_… ├─ merge (figment) ─ read ─▶ Config, warnings, where each value came from
//! --set, -- COMMAND ─┘                 └──▶ or every mistake, with key, place and hint
//! ```
//!
//! The file is the one of `--config`, else `mcp-broker.toml` in the working directory, else
//! `mcp-broker/config.toml` in the XDG configuration directory. A variable `MCP_BROKER_SESSION__MAX`
//! sets `session.max`; its text is read as a TOML value if it is one, else as plain text, and so is
//! that of `--set`. Without a file, a server and a command, the built-in demo server is served.
//!
//! This module does not act on what it reads: it opens no socket, starts nothing, and looks at the
//! disk only for the file itself, for TLS files and for working directories. It is the only reader
//! of the environment ([`Environment`]), so tests hand in a map.
//!
//! # Invariants
//! - A [`Config`] is valid as a whole; code that has one checks nothing again.
//! - One table lists the keys; example, schema, effective listing, hints and reload follow it.
//! - Values of secret keys are shown nowhere: not in `Debug`, not in a mistake, not in a listing.
//!
//! To test alone: `cargo test -p broker config`.

mod access;
mod address;
mod effective;
mod environment;
mod example;
mod flat;
mod kind;
mod layer;
mod mistake;
mod network;
mod quantity;
mod read;
mod reader;
mod reload;
mod rows;
mod schema;
mod server;
mod sources;
mod table;
mod template;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

pub use access::{
    Auth, Identity, Introspection, Jwt, OAuth, Provider, Registration, SecretSetting, SecretText,
    Upstream, Verifier,
};
pub use address::{HostName, Listen, Origin, PublicUrl};
pub use effective::{Effective, EffectiveValue};
pub use environment::{Environment, ProcessEnvironment};
pub use mistake::{Mistake, Mistakes, Source};
pub use network::Network;
pub use reload::Change;
pub use server::{ServerCommand, ServerConfig, ServerName, TokenFile};
pub use sources::Sources;
pub use template::{Piece, Template, UnfitValue, Variable};

/// Everything the broker can be told, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen. Default `127.0.0.1:8080`.
    pub listen: Listen,
    /// The address clients use; every address that is handed out is made from it, or from
    /// `listen` if there is none, and never from a request.
    pub public_url: Option<PublicUrl>,
    /// The directory for what the broker keeps; it may not exist yet.
    pub data_dir: PathBuf,
    /// Origins whose web pages may connect, besides that of `public_url`.
    pub allowed_origins: Vec<Origin>,
    /// Names under which the broker answers, besides `public_url`'s and loopback's.
    pub allowed_hosts: Vec<HostName>,
    /// How long a shutdown waits before it forces; zero does not wait. Default 10 s.
    pub drain: Duration,
    /// TLS of our own; `None` speaks plain HTTP.
    pub tls: Option<Tls>,
    /// What is logged, and how.
    pub log: Log,
    /// Bounds of the HTTP side.
    pub http: Http,
    /// The servers by name; never empty.
    pub server: BTreeMap<ServerName, ServerConfig>,
    /// The one that is served at `/mcp` too; always a key of `server`.
    pub default_server: ServerName,
    /// Bounds of sessions.
    pub session: Session,
    /// Bounds of what is kept for resuming streams.
    pub stream: Stream,
    /// Who may connect.
    pub auth: Auth,
    /// The authorization server's own rules.
    pub oauth: OAuth,
}

/// Certificate and key; both files existed when the configuration was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// How a line looks. Default [`LogFormat::Auto`].
    pub format: LogFormat,
    /// A filter that `tracing_subscriber::EnvFilter` takes. Default `info`.
    pub level: String,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Pretty,
    /// For machines, one object per line.
    Json,
}

/// Bounds of the HTTP side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Largest request body in bytes; more than zero, default 4 MiB.
    pub max_body: usize,
    /// How long the head of a request may take; more than zero, default 30 s.
    pub header_timeout: Duration,
    /// How long the body of a request may take; more than zero, default 30 s.
    pub body_timeout: Duration,
    /// Connections open at once; `None` is unlimited, default 4096.
    pub max_connections: Option<NonZeroUsize>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Silence on an event stream before a comment is sent; more than zero, default 15 s.
    pub keep_alive: Duration,
}

/// Bounds of sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Children alive at once, stopping ones included; `None` is unlimited, default 256.
    pub max: Option<NonZeroUsize>,
    /// The same for one owner; `None` is unlimited, default 16.
    pub max_per_owner: Option<NonZeroUsize>,
    /// At the cap, a session idle this long makes room; zero: any idle one. Default 5 min.
    pub evict_idle: Duration,
    /// How long a request waits for a place; zero refuses it at once.
    pub place_wait: Duration,
    /// Sessions in all, asleep or not; `None` is unlimited, default 100,000.
    pub max_records: Option<NonZeroUsize>,
    /// The same for one owner; `None` is unlimited, default 1,000.
    pub max_records_per_owner: Option<NonZeroUsize>,
    /// A session without lease or stream sleeps, or ends, after this time; `None`: never. Default
    /// 15 min.
    pub idle: Option<Duration>,
    /// A session lasts no longer than this; `None`: no bound. Default 30 days.
    pub lifetime: Option<Duration>,
    /// How often idle sessions are looked for; more than zero, default 30 s.
    pub reap_interval: Duration,
    /// The answer to an id that is unknown. Default 404.
    pub unknown_status: UnknownStatus,
}

/// The HTTP status for a session id that is unknown, expired or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownStatus {
    /// 404, which the protocol asks for and at which every client starts anew.
    NotFound,
    /// 410, for clients that were built around it.
    Gone,
}

impl UnknownStatus {
    /// 404 or 410.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        match self {
            Self::NotFound => 404,
            Self::Gone => 410,
        }
    }
}

/// Bounds of what is kept for resuming streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Events kept per stream; more than zero, default 256.
    pub replay_events: usize,
    /// Bytes of events kept per stream, though always the newest event; more than zero, default
    /// 1 MiB.
    pub replay_bytes: usize,
    /// How long a finished stream can be resumed; zero: not at all. Default 5 min.
    pub retention: Duration,
    /// How long a call may stay without an answer before it becomes a stream. Default 5 s.
    pub after: Duration,
    /// The age at which an open stream is closed so that its client comes back; zero: never, the
    /// default.
    pub rotate: Duration,
}

/// What [`Config::load`] found.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration in force.
    pub config: Config,
    /// Things that are accepted but probably not meant. Log them as warnings.
    pub warnings: Vec<Mistake>,
    /// Every key with its value and source, secrets starred.
    pub effective: Effective,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
}

impl Config {
    /// Reads, merges and checks everything in `sources`.
    ///
    /// # Errors
    /// Every mistake there is, not only the first. A file whose syntax is broken hides the mistakes
    /// of its values, but not those of the other sources' keys.
    pub fn load(sources: &Sources<'_>) -> Result<Loaded, Mistakes> {
        sources.load()
    }

    /// A commented TOML file with every key. It is a valid configuration as it stands, and also
    /// with any of its commented settings switched on (given that the files it names exist).
    #[must_use]
    pub fn example() -> String {
        example::text()
    }

    /// The JSON Schema (2020-12) of the file, for editors.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        schema::document()
    }

    /// What differs between two configurations, in key order, and which of it takes effect without
    /// a restart. TLS files are to be read again even when their paths stay the same.
    #[must_use]
    pub fn reload_diff(old: &Self, new: &Self) -> Vec<Change> {
        reload::diff(old, new)
    }
}
