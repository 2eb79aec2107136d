//! How do HTTP exchanges map to lines on two pipes?
//!
//! A stdio MCP server reads one JSON-RPC message per line and writes the same. A [`Bridge`] gives
//! such a child the face of the *Streamable HTTP* transport of the legacy era (revisions
//! 2024-11-05 to 2025-11-25): POSTs with one answer or a stream of events, a standalone GET
//! stream, `Last-Event-ID`.
//!
//! ```text
//!            POST ──► Message ──► Table ──► Outbox ══► child's stdin
//!                     checked,    ids and    whole
//!                     one line    tokens     lines
//!                                 minted
//!   JSON or events ◄── Stream ◄── route ◄── Lines ◄══ child's stdout
//!   GET, resumed   ◄── bounded    by id or   bounded
//!                      ring       token
//! ```
//!
//! # What it does not do
//! It starts no process and opens no socket: it takes any `AsyncRead` and `AsyncWrite`. It does
//! not ask who is asking; whoever calls it has checked that. It never models a payload: `params`
//! and `result` pass byte for byte, apart from the ids and tokens that it must replace in them.
//!
//! # Invariants
//! - What reaches the child was parsed, checked and rebuilt: exactly one line per message, with
//!   the members of the envelope once each.
//! - Every request gets exactly one terminal answer, or its stream ends.
//! - A message goes to exactly one stream; progress only to the stream of its request.
//! - Every queue and buffer has a bound in [`Limits`]; a slow client never slows the child.
//!
//! # Cancellation
//! Dropping the future of [`Bridge::post`] or the [`Body`] of a response means that the client
//! left. In this era that is no cancellation: the call goes on, and an event stream can be resumed.
//!
//! # Testing it alone
//! `cargo test -p bridge` needs no process and no socket: a `tokio::io::duplex` is the child.

mod body;
mod bridge;
mod driver;
mod envelope;
mod epoch;
mod error;
mod event_id;
mod handshake;
mod lexical;
mod limits;
mod lines;
mod message;
mod outbox;
mod resume;
mod revision;
mod route;
pub mod rpc;
mod server;
mod snapshot;
mod stream;
mod table;

pub use body::{Body, Hold};
pub use bridge::Bridge;
pub use driver::Driver;
pub use error::{Closed, InitializeError, ListenError, Outcome, PostError, ResumeError};
pub use event_id::{EventId, UnknownEvent};
pub use handshake::Welcome;
pub use limits::Limits;
pub use message::{Incoming, Kind, Malformed, Message};
pub use revision::Revision;
pub use server::Difference;
pub use snapshot::{Snapshot, SnapshotError};
pub use stream::Done;
