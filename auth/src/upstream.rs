//! Each user's own credential at an upstream: sealed at rest, renewed early, and given to nobody
//! but the user's own children.
//!
//! There is one credential per (provider, user) and never one per session: a forge keeps one
//! refresh counter for a user and an application, so a second chain of refresh tokens kills the
//! first.

mod key_ring;
mod store;

pub use key_ring::{KeyRing, KeyRingError, OpenError};
pub use store::{CredentialKey, CredentialStore, Sealed};
