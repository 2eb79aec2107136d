//! Why the operator's choices cannot be used.

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not an absolute http or https address without user, query and fragment.
    #[error("the public address cannot be used: {0:?}")]
    PublicUrl(String),
    /// No server, an index beyond them, a path without a leading slash, or one used twice.
    #[error("the resources are not usable: {0}")]
    Resources(&'static str),
    /// A server without a scope, or with one that is not among them.
    #[error("the scopes are not usable: {0}")]
    Scopes(&'static str),
    /// A client whose redirect addresses are not acceptable, or with an identifier used twice.
    #[error("the client {0:?} is not usable")]
    Client(String),
}
