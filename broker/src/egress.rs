//! The children's way to their upstream: a child has a dummy that is worth nothing elsewhere, and the
//! broker puts its person's token in the dummy's place.
//!
//! ```text
//! child ── http://127.0.0.1:PORT, dummy ──► EgressProxy ── https://origin, token ──► upstream
//!                                             │ Dummies: which child, person and origin
//!                                             └ TokenSource: the vault, renewed when it is due
//! ```
//!
//! # Invariants
//! - A request goes to the origin of its dummy's server, or nowhere.
//! - It carries the token of the dummy's person, or nothing is sent.
//! - The child does not see that token in an answer either, where the answer is a text.
//! - A dummy works from the start of its child to its end.
//! - A head is taken apart and built anew ([`head`]); bodies stream.

pub(crate) mod admission;
mod altered;
mod answer;
mod bounds;
mod client;
mod conceal;
mod connections;
mod crossing;
mod data;
mod dummies;
mod forward;
mod head;
mod holder;
mod kind;
pub(crate) mod origin;
#[cfg(test)]
mod pieces;
pub(crate) mod proxy;
mod refusal;
mod refused;
mod replace;
mod replay;
mod rewrite;
pub(crate) mod rights;
mod routes;
mod shared;
mod stream;
mod target;
mod token;
mod upstream;
mod watched;
