//! Outgoing HTTP: the two ways in which the broker sends a request.
//!
//! | | [`PublicFetcher`] | [`TrustedFetcher`] |
//! |---|---|---|
//! | the URL comes from | a client, as its identifier | the operator |
//! | scheme | `https` | `https`, `http` |
//! | addresses | public ones | all |
//! | connections | one per request | reused |
//!
//! What both keep: no redirect is followed, no proxy is taken from the environment, no cookie is
//! remembered, no compression is asked for and a compressed answer is refused, a body has a longest
//! length while it is being read, and one timeout spans everything from the name to the last byte.
//! Certificates are checked against the same [`Roots`].

pub(crate) mod exchange;
pub(crate) mod network;
mod public;
mod reach;
mod roots;
pub(crate) mod target;
mod trusted;

#[cfg(test)]
mod testing;

pub use public::PublicFetcher;
pub use reach::is_public;
pub use roots::{Roots, RootsError};
pub use trusted::{TrustedFetcher, TrustedSettings};
