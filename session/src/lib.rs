//! Which backend answers this id, for whom, for how long?
//!
//! A [`Registry`] opens sessions through an injected [`Spawn`], hands out [`Lease`]s on them to
//! their [`Owner`] alone, puts them to sleep, wakes them and ends them. It knows nothing of HTTP,
//! JSON, processes or tokens; its manifest gives it a runtime's tasks, channels and clock, and its
//! tests start nothing.
//!
//! A session is not its backend. With [`Records`], what a later backend must be told (the
//! [snapshot](Backend::snapshot)) is stored, and the session survives that its backend is idle and
//! put away, crashes, is replaced, or goes down with the whole program: the next request wakes it
//! under the same id. Without records, or without a snapshot, a session ends with its backend.
//!
//! # A session's states
//!
//! ```text
//!   open()                                            lease(), drop of a lease
//!     │ takes a place                                        ┌────┐
//!     ▼              recorded, id minted, in the table       │    ▼
//!  Spawning ─────────────────────────────────────────────▶   Live ◀─────────────┐
//!     │  │                                                  │ │  ▲              │ in the table
//!     │  │ revoked, shutdown, no free id, not recorded      │ │  │ not stored   │
//!     │  └───────────────────▶ Stopping ◀───────────────────┘ │  │              │
//!     │ spawn failed              │    deleted, revoked, too  │  │           Waking
//!     │                           │    old, failed; and any   │  │            ▲  ▲
//!     ▼                           ▼    end of what has no     ▼  │            │  │
//!    Gone ◀─────────────────── ended() snapshot            Leaving            │  │
//!     ▲                                                     │   │  replaced    │  │
//!     │ deleted, revoked meanwhile, or no snapshot any more │   └──────────────┘  │
//!     ├─────────────────────────────────────────────────────┤   keeps its place   │
//!     │                                                     │ idle, evicted,      │
//!     │                                                     │ crashed, shutdown   │
//!     │  deleted, revoked, too old, room for other records  ▼                     │
//!     └────────────────────────────────────────────────── Asleep ─────────────────┘
//!                                                                wake(): takes a place
//! ```
//!
//! One task per session with a backend, in the [`Driver`]'s `JoinSet`, walks this way. Every change
//! of a session that stands in the table is a method of its entry (`entry.rs`). A session *Asleep*
//! is its record and nothing else: it costs this process no memory at all, and so it does not
//! matter whether it was this process that put it to sleep. *Leaving* stands in the table too, so
//! that whoever asks waits for the end of one backend before another is woken.
//!
//! # Invariants
//!
//! - **The cap holds at every moment.** A place (in total and for the owner) is taken before the
//!   spawn or wake and is a guard held by the session's task. It is given back after the spawn
//!   failed or the backend's `ended()` resolved, never earlier. Two exceptions are no surprise:
//!   after a panic in a backend's own methods its place comes back though nobody can say whether
//!   it has ended, and after [`Registry::set_limits`] lowered the cap the surplus takes its time
//!   to go.
//! - **A session has one backend at a time.**
//! - **Every open and every wake gets one answer**, also when the spawner panics, the registry
//!   stops or the driver is dropped.
//! - **A stay in the table ends once.** The order to end it is a sender that is taken out of the
//!   entry under the entry's lock; whoever takes it decides the reason. What follows may still
//!   become an end for good, until the stay is concluded under the same lock.
//! - **Nothing is said that the store could take back.** The record is stored before the id is
//!   given out, removed before a deletion is confirmed, and holds at least what the last
//!   [`Registry::save`] stored. A session falls asleep with its last state stored, or stays awake;
//!   only a crash or a shutdown does not ask.
//! - **A session that was ended does not wake.** A wake has a ticket before it reads the record, a
//!   deletion or revocation marks tickets after it removed the record, and a marked ticket admits
//!   nothing. Records that could not be removed yet are remembered, and wake nothing meanwhile.
//! - **A leased session is not idle.** A lease is counted and a session is judged idle under the
//!   same lock, so a lookup and the reaper never both win.
//! - **A stranger learns that a session is not theirs, and changes nothing**: not the idle time,
//!   not the age, and nothing wakes.
//!
//! # The cap
//!
//! When every place is taken, an open or a wake looks for the session that has been idle longest,
//! and for at least [`Limits::evict_idle`]. That one is put to sleep (or ended, if it cannot
//! sleep), and its place is promised: it goes from the session's task to whoever waits without
//! ever being free, so nobody who comes later slips in. Those that race pick different victims,
//! because a stay ends once. At an owner's own cap only that owner's sessions make room.
//!
//! If nothing is idle enough, the request waits in a queue for [`Limits::place_wait`], or is
//! refused at once if that is zero. Each owner has a line of its own and the driver serves one
//! after the other, so a storm of one owner's requests delays the others by a turn and no more.
//!
//! # Time
//!
//! Waiting and ages go by tokio's clock. A record needs calendar time, since it outlives the
//! process; that comes from the [`Calendar`] given at construction, because sessions fall asleep
//! and expire when nobody calls who could bring it along.
//!
//! # What it costs
//!
//! A lease on a live session asks no store. A session that falls asleep with nothing changed asks
//! none either; times of last use, and who fell asleep or woke, are told in one batch per
//! `reap_interval`. A wake reads one record, an open writes one (and counts, where there are caps on
//! records), an end removes one.
//!
//! # Cancellation
//!
//! A request that is dropped never takes the work with it: spawning and stopping run in the
//! driver. A backend whose opener left is ended as [`StopReason::Abandoned`], even if it left
//! while the first lease was on its way; a session that was woken for somebody who left stays, for
//! its client knows it. Dropping the driver is the backstop: it stops and drops
//! every backend without waiting.
//!
//! # Locks
//!
//! A lookup takes the lock of one of 64 shards and then, having let go of it, the session's own.
//! Opens and wakes take, one after the other, the lock of the ledger of places and that of the book
//! of those under way; a session enters the table under the latter. No foreign code runs under any
//! of them, except that a session's order may wake its task, and none is held across an `.await`.
//! Two asynchronous locks are: saves of one session's snapshot take turns, and so do opens at a cap
//! on records, from counting to creating.
//!
//! # Testing it alone
//!
//! `cargo test -p session` runs on a paused clock with the fakes of `testing`, which other
//! crates get with the feature `test-util`; `testing::contract` is the suite for real backends,
//! `testing::records_contract` the one for stores.
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
mod replacement;
mod shared;
mod table;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
mod wake;

pub use backend::{Backend, BoxFuture, Spawn, WakeFailure};
pub use driver::{Driver, Report};
pub use error::{EndError, LeaseError, OpenError, WakeError};
pub use id::{ParseIdError, SessionId, ShortId};
pub use lease::Lease;
pub use limits::Limits;
pub use owner::Owner;
pub use reason::{StopReason, WakeReason};
pub use record::{
    Calendar, Record, RecordKey, Recorded, Records, RecordsError, Selection, Summary, Use,
};
pub use registry::{Listed, Registry, Revocation, View};
pub use replacement::{AfterStop, Replacement, StopWhen};
