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
//! - A key is declared in one place ([`settings!`](crate::settings)): its field, words, default,
//!   example, schema, hints and what a reload does follow from it.
//! - Values of secret keys are shown nowhere: not in `Debug`, not in a mistake, not in a listing.
//!
//! To test alone: `cargo test -p broker config`.

mod address;
mod auth;
pub(crate) mod build;
mod built_in;
mod check;
pub mod declare;
mod effective;
mod egress;
mod environment;
mod error;
mod example;
mod isolation;
mod key;
mod kind;
mod kinds;
mod layer;
mod layout;
mod limits;
mod load;
mod load_context;
mod name;
mod network;
mod oauth;
mod overrides;
mod path;
mod providers;
pub(crate) mod quantity;
mod reader;
mod reload;
mod resolve;
mod root;
mod rules;
mod schema;
mod secret_files;
mod server;
mod server_name;
mod serving;
mod session;
mod setting;
mod settings;
mod sources;
mod table;
mod template;
#[cfg(test)]
mod tests;
mod toml;
mod tree;
mod unknown;
mod upstream;
mod verifiers;
mod warnings;
mod words;

pub use address::{HostName, Listen, Origin, PublicUrl};
pub use auth::Auth;
pub use build::BuildContext;
pub use effective::{Effective, EffectiveValue};
pub use egress::{EgressConfig, EgressStyle, OriginConfig, OriginName};
pub use environment::{Environment, ProcessEnvironment};
pub use error::{ConfigError, ConfigErrors, Source};
pub use isolation::{
    IsolationConfig, IsolationFallback, IsolationLevel, IsolationUsers, NetworkAccess,
    PrivatePaths, UidRange,
};
pub use kinds::{ConfiguredTable, Kinds, Role, TableKind, Tables};
pub use limits::{LimitsConfig, Processors};
pub use load::Loaded;
pub use name::TableName;
pub use network::Network;
pub use oauth::{ClientIdMetadata, OAuth, Registration};
pub use providers::{Forge, GitHub, Oidc};
pub use reload::Change;
pub use root::Config;
pub use rules::RuleList;
pub use server::{CacheScope, EraChoice, ServerCommand, ServerConfig, TokenFile};
pub use server_name::ServerName;
pub use serving::{Http, Log, LogFormat, MetricsAccess, StoreKind, Tls};
pub use session::{Session, Stream, UnknownStatus};
pub use setting::{SecretSetting, SecretText};
pub use sources::Sources;
pub use template::{Piece, Template, UnfitValue, Variable};
pub use upstream::Upstream;
pub use verifiers::{Introspection, Jwt, NoSignIn, OwnTokens, StaticTokens};
