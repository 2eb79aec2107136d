//! Outgoing HTTP: the two ways in which the broker asks somebody else.
//!
//! | | [`Stranger`] | [`Configured`] |
//! |---|---|---|
//! | who wrote the address down | anybody, in a client identifier | the operator |
//! | scheme | `https` | `https`, `http` |
//! | hosts | globally reachable ones | all |
//! | connections | one per request | kept and used again |
//!
//! What both keep: no redirect is followed, no proxy is taken from the environment, no cookie is
//! remembered, no compression is asked for and a compressed answer is refused, a body has a longest
//! length while it is being read, and one timeout spans everything from the name to the last byte.
//! Certificates are checked against the same [`Roots`].

mod configured;
pub(crate) mod exchange;
pub(crate) mod network;
mod reach;
mod roots;
mod stranger;
pub(crate) mod target;

#[cfg(test)]
mod testing;

pub use configured::{Configured, ConfiguredSettings};
pub use reach::is_public;
pub use roots::{Roots, RootsError};
pub use stranger::Stranger;
