//! Which backend answers this id, for whom, for how long?
//!
//! A [`Registry`] opens sessions through an injected [`Spawn`], hands out [`Lease`]s on them to
//! their [`Owner`] alone, and ends them: deleted, idle, too old, evicted for another, revoked, or
//! all together at shutdown. It knows nothing of HTTP, JSON, processes or tokens; its manifest
//! gives it a runtime's tasks, channels and clock, and its tests start nothing.
//!
//! # A session's states
//!
//! ```text
//!   open()                                    lease(), drop of a lease
//!     │ takes a place                                ┌────┐
//!     ▼                  id minted, in the table     │    ▼
//!  Spawning ───────────────────────────────────────▶  Live
//!     │  │                                            │  │
//!     │  │ revoked, shutdown, no free id              │  │ the backend ends by itself
//!     │  └──────────────▶ Stopping ◀──────────────────┘  │
//!     │                      │   deleted, idle, lifetime,│
//!     │ spawn failed         │   evicted, abandoned,     │
//!     │                      │   revoked, shutdown       │
//!     ▼                      ▼ ended()                   ▼
//!    gone ◀────────────── the place is given back, or left to a waiting open
//! ```
//!
//! One task per session, in the [`Driver`]'s `JoinSet`, walks this way from top to bottom. A
//! session is found by lookups exactly while it is *Live*.
//!
//! Later, durable sessions add a state *Asleep* beside *Live*: a session without a backend, known
//! from a record. The seam is the table's entry, whose backend becomes optional, and the one place
//! where sessions enter the table (`Shared::admit`) and leave it (`Shared::end_if`); the trait
//! over the records will be owned here. Nothing of it exists yet.
//!
//! # Invariants
//!
//! - **The cap holds at every moment.** A place (in total and for the owner) is taken before the
//!   spawn and is a guard held by the session's task. It is given back after the spawn failed or
//!   the backend's `ended()` resolved, never earlier. Spawning, live and stopping sessions
//!   together are at most [`Limits::max_sessions`]. Two exceptions are no surprise: after a panic
//!   in a backend's own methods its place comes back though nobody can say whether it has ended,
//!   and after [`Registry::set_limits`] lowered the cap the surplus takes its time to go.
//! - **Every open gets one answer**, also when the spawner panics, the registry stops or the
//!   driver is dropped.
//! - **A session ends once.** The order to end it is a sender that is taken out of the entry under
//!   the entry's lock; whoever takes it decides the reason.
//! - **A leased session is not idle.** A lease is counted and a session is judged idle under the
//!   same lock, so a lookup and the reaper never both win.
//! - **A stranger learns that a session is not theirs, and changes nothing**: not the idle time,
//!   not the age.
//!
//! # The cap
//!
//! When every place is taken, an open looks for the session that has been idle longest, and for at
//! least [`Limits::evict_idle`]. It ends that session and is promised its place: the place goes
//! from the ended session's task to the waiting open without ever being free, so nobody who comes
//! later slips in. Opens that race pick different victims, because a session ends once. At an
//! owner's own cap only that owner's sessions make room. If nothing is idle enough the open is
//! refused; it does not wait for a session that is stopping already.
//!
//! # Cancellation
//!
//! A request that is dropped never takes the work with it: spawning and stopping run in the
//! driver. A backend whose opener left is ended as [`StopReason::Abandoned`], even if it left
//! while the first lease was on its way. Dropping the driver is the backstop: it stops and drops
//! every backend without waiting.
//!
//! # Locks
//!
//! A lookup takes the lock of one of 64 shards and then, having let go of it, the session's own.
//! Opens take, one after the other, the lock of the ledger of places and that of the book of
//! opens under way; a session enters the table under the latter. No foreign code runs under any of
//! them, except that a session's order may wake its task, and none is held across an `.await`.
//!
//! # Testing it alone
//!
//! `cargo test -p session` runs on a paused clock with the fakes of `testing`, which other
//! crates get with the feature `test-util`; `testing::contract` is the suite for real backends.
//! `cargo bench -p session` prints what a lookup costs.

mod backend;
mod counts;
mod desk;
mod driver;
mod entry;
mod error;
mod id;
mod keeper;
mod lease;
mod life;
mod limits;
mod opening;
mod owner;
mod place;
mod queue;
mod reason;
mod record;
mod recording;
mod registry;
mod rotation;
mod shared;
mod table;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
mod wake;

pub use backend::{Backend, BoxFuture, Setback, Spawn};
pub use driver::{Driver, Report};
pub use error::{EndError, LeaseError, OpenError, WakeError};
pub use id::{ParseIdError, SessionId, ShortId};
pub use lease::Lease;
pub use limits::Limits;
pub use owner::Owner;
pub use reason::StopReason;
pub use record::{
    Calendar, Record, RecordKey, Recorded, Records, RecordsError, Selection, Summary,
};
pub use registry::{Listed, Registry, Revocation, View};
pub use rotation::{Rotation, Then, When};
