//! Each user's own credential at an upstream: sealed at rest, renewed early, and given to nobody
//! but the user's own children.
//!
//! There is one credential per (provider, user) and never one per session: a forge keeps one
//! refresh counter for a user and an application, so a second chain of refresh tokens kills the
//! first.

mod core;
mod credential;
mod failure_tracker;
mod key_ring;
mod limits;
mod listener;
mod look;
mod look_times;
mod looking;
mod pair;
mod parts;
mod renewal;
mod store;
mod user_token;
mod vault;

pub use credential::{Connection, ConnectionState, Credential, CredentialError};
pub use key_ring::{KeyRing, KeyRingError, OpenError};
pub use limits::VaultLimits;
pub use listener::{Change, CredentialListener, Outcome};
pub use look::Look;
pub use parts::VaultParts;
pub use store::{CredentialKey, CredentialRealm, CredentialStore, Sealed};
pub use vault::{Renamed, Resealed, RingError, Vault, VaultDriver};

#[cfg(test)]
mod tests;
