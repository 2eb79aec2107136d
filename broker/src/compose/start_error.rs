//! Why a broker could not be put together.

use auth::{
    SetupError,
    oauth::{ConfigError, StoreError},
};

use crate::{
    config,
    fetch::RootsError,
    store::{self, KeysError},
    tokens::ImportError,
};

/// Why a broker could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file in which an earlier version kept the static tokens cannot be imported.
    #[error("the static tokens cannot be imported")]
    Tokens(#[from] ImportError),
    /// Another broker serves from the data directory, or it cannot be locked.
    #[error("the data directory cannot be used")]
    DataDirectory(#[from] store::LockError),
    /// This machine, or the user that runs the broker, does not give servers' processes what their settings
    /// ask for: each such setting.
    #[error("this machine does not give what the settings ask for: {}", in_one_line(.0))]
    Unmet(Vec<config::ConfigError>),
    /// The store did not open.
    #[error("the store cannot be used")]
    Store(#[from] store::OpenError),
    /// A key is missing or cannot be read.
    #[error("the keys cannot be used")]
    Keys(#[from] KeysError),
    /// The store opened and then did not answer.
    #[error("the store does not answer")]
    Unavailable(#[from] StoreError),
    /// The certificates of private authorities cannot be used.
    #[error("auth.ca_file cannot be used")]
    Roots(#[from] RootsError),
    /// A way to sign in, or a verifier, cannot be used as it is configured.
    #[error("{table} cannot be used as it is configured")]
    Provider {
        /// Its table in the configuration.
        table: String,
        /// Why not.
        source: SetupError,
    },
    /// Two tables have the same issuer, so their users could not be told apart.
    #[error("{table} has the issuer of {first}, {issuer}: its users could not be told apart")]
    SameIssuer {
        /// The later table.
        table: String,
        /// The earlier one.
        first: String,
        /// What both name.
        issuer: String,
    },
    /// An identity provider does not have the name of its table.
    #[error("the provider of auth.{table} calls itself {name:?}")]
    ProviderName {
        /// The name of the table.
        table: String,
        /// What the provider answers.
        name: String,
    },
    /// The authorization server's settings contradict each other.
    #[error("the authorization server cannot be used as it is configured")]
    OAuth(#[from] ConfigError),
    /// No server is configured, and the program is not `mcp-broker`, which alone can run the built-in
    /// demo server: it starts itself again for that.
    #[error("no server is configured, and the demo server runs in the program mcp-broker only")]
    Demo,
    /// The system gave no randomness.
    #[error("the system gives no randomness")]
    Seed(#[from] auth::SeedError),
}

fn in_one_line(unmet: &[config::ConfigError]) -> String {
    let words = unmet.iter().map(|config::ConfigError { key, what, hint, .. }| {
        let hint = hint.as_ref().map(|hint| format!(" (hint: {hint})"));
        format!("{key}: {what}{}", hint.unwrap_or_default())
    });
    words.collect::<Vec<_>>().join("; ")
}
