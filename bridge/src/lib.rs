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
//! not authenticate: its caller has done so. It never models a payload: `params`
//! and `result` pass equal in value, apart from the ids and tokens that it must replace in them. What
//! some reader of lines would split a message at is escaped, in both directions.
//!
//! # Invariants
//! - What reaches the child was parsed, checked and rebuilt: exactly one line per message, with
//!   the members of the envelope once each.
//! - Every request gets exactly one terminal answer, or its stream ends.
//! - A message goes to exactly one stream; progress only to the stream of its request.
//! - Nothing of one child reaches another: no answer, no progress, no request twice.
//! - Every queue and buffer has a bound in [`Limits`]; a slow client never slows the child.
//!
//! # One session, several children
//! A session outlives its process. A bridge does not: it belongs to one child, from the first byte
//! to the last, and what must outlive it is small and has a name, [`Snapshot`]. The next child gets
//! a bridge of its own, which [resumes](Bridge::resume) the snapshot.
//!
//! ```text
//!     child 1                                                    child 2
//!        ║                                                          ║
//! ┌──────╨──────┐  snapshot()   bytes, in a record     resume()  ┌──╨──────────┐
//! │ Bridge      │ ─────────────────────────────────────────────▶ │ Bridge      │
//! │   epoch a   │ ┄┄┄┄ inherit(): kept answers, if in memory ┄┄▶ │   epoch b   │
//! └──────▲──────┘                                                └──▲──▲──▲────┘
//!        │ streams a-0, a-4                        streams b-0, b-3 │  │  │
//!     client                                                   client  │  │
//!                               GET, Last-Event-ID: a-0-7  ─▶ live b-0 │  │
//!                               GET, Last-Event-ID: a-4-1  ─▶ its answer, or an error
//! ```
//!
//! - **Streams are closed, and clients come back.** The end of a bridge ends its streams behind
//!   what they hold: requests under way get an error (they are never repeated), questions of the
//!   child are withdrawn, and the standalone stream just ends, at which clients come back with
//!   `Last-Event-ID`. That way has to work in any case, because a broker can be killed, so it is
//!   the only one. [`Bridge::inherit`] adds what only memory can keep.
//! - **Numbers carry their epoch.** Event ids and the ids of questions begin with a mark drawn at
//!   random for each bridge, so nothing need be stored for them to stay unique. An id under another
//!   mark is from before: an event id of the standalone stream is answered with the live one; an
//!   event id of a call names the request that has yet to be answered, which gets its error even
//!   if the call is forgotten; the answer to a question is accepted and dropped. Ids and
//!   progress tokens towards a child count from one in each child, and no child sees another's.
//! - **Same version, same server, no capability less**, or [`ResumeError::Changed`]: see
//!   [`Difference`]. The bridge then tells the client that lists may differ.
//! - **A replacement fails no call.** [`Bridge::close_when_idle`] closes when nothing is under
//!   way, and a POST that comes too late is refused untouched ([`PostError::Closed`]), for the next
//!   bridge to take.
//! - What cannot be told again is lost: tasks (2025-11-25), cursors into lists, whatever a server
//!   keeps in its process. Such servers must not be put to sleep.
//!
//! # Cancellation
//! Dropping the future of [`Bridge::post`] or the [`Body`] of a response means that the client
//! left. In this era that is no cancellation: the call goes on, and an event stream can be resumed.
//!
//! # Testing it alone
//! `cargo test -p bridge` needs no process and no socket: a `tokio::io::duplex` is the child.

mod accepts;
mod admission;
mod body;
mod bridge;
mod call;
mod child_line;
mod complaints;
mod driver;
mod envelope;
mod epoch;
mod error;
mod event_id;
mod exchange;
mod glimpse;
mod handshake;
mod interposed;
mod ledger;
mod lexical;
mod limits;
mod lines;
mod members;
mod message;
pub mod modern;
mod observer;
mod outbox;
mod response;
mod resume;
mod revision;
mod ring;
mod route;
pub mod rpc;
mod server;
mod shared;
mod snapshot;
mod stream;
mod succession;
mod table;
mod takeovers;
mod tool_error;
mod traces;
mod unreadable;

pub use accepts::Accepts;
pub use admission::Admission;
pub use body::{Body, Source, StreamGuard};
pub use bridge::Bridge;
pub use call::Call;
pub use driver::Driver;
pub use error::{Closed, InitializeError, ListenError, Outcome, PostError, ResumeError};
pub use event_id::{EventId, UnknownEvent};
pub use exchange::{CallOptions, Notice, Question, Told};
pub use handshake::Welcome;
pub use ledger::Ledger;
pub use limits::Limits;
pub use message::{Incoming, Kind, Malformed, Message};
pub use observer::Observer;
pub use response::whole_response;
pub use revision::Revision;
pub use server::Difference;
pub use shared::Surroundings;
pub use snapshot::{Snapshot, SnapshotError};
pub use stream::OnComplete;

#[cfg(test)]
mod tests {
    mod corpus;
}
