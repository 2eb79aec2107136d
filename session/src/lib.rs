//! Which backend answers this id, for which owner, for how long?
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
//!     │ takes a slot                                         ┌────┐
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
//!     ├─────────────────────────────────────────────────────┤   keeps its slot    │
//!     │                                                     │ idle, evicted,      │
//!     │                                                     │ crashed, shutdown   │
//!     │  deleted, revoked, too old, room for other records  ▼                     │
//!     └────────────────────────────────────────────────── Asleep ─────────────────┘
//!                                                                wake(): takes a slot
//! ```
//!
//! One task per session with a backend, in the [`Driver`]'s `JoinSet`, walks this way. The life of
//! one backend is an *incarnation* of its session (`incarnation.rs`). Every change of a session in
//! the table is a method of its entry (`entry.rs`). A session *Asleep* is its record and nothing
//! else: it costs this process no memory at all, so another process may have put it to sleep.
//! *Leaving* is in the table too: a request waits for the end of one backend before another is
//! woken.
//!
//! # Invariants
//!
//! - **The caps hold at every moment.** A slot (in total, for the person and for their client) is
//!   taken before the spawn or wake and is a guard held by the session's task. It is given back after the spawn
//!   failed or the backend's `ended()` resolved, never earlier. There are two exceptions. After a
//!   panic in a backend's own methods its slot is given back though it may not have ended. After
//!   [`Registry::set_limits`] lowered the cap, the surplus takes its time to go.
//! - **A session has one backend at a time.**
//! - **Every open and every wake gets one answer**, also when the spawner panics, the registry
//!   stops or the driver is dropped.
//! - **An incarnation ends once.** The order to end it is sent through a sender that is taken out of
//!   the entry under the entry's lock; the task that takes it decides the reason. What follows may
//!   still become an end for good, until the outcome is settled under the same lock.
//! - **Nothing is said that the store could take back.** The record is stored before the id is
//!   given out, removed before a deletion is confirmed, and holds at least what the last
//!   [`Registry::save`] stored. A session falls asleep with its last state stored, or stays awake;
//!   only a crash or a shutdown does not ask.
//! - **A session that was ended does not wake.** A wake has a ticket before it reads the record, a
//!   deletion or revocation marks tickets after it removed the record, and a marked ticket admits
//!   nothing. Records that could not be removed yet are remembered, and wake nothing meanwhile.
//! - **A leased session is not idle.** A lease is counted and a session is judged idle under the
//!   same lock, so a lookup and the reaper never both win.
//! - **Another owner changes nothing**: not the idle time, not the age, and nothing wakes. Another
//!   person learns that the session is not theirs; to the same person's other client it is unknown.
//!
//! # The caps
//!
//! Slots are counted in total, per *person* (issuer and subject, whatever the client) and, if so
//! wished, per client of a person. When a person has theirs all taken, an open or a wake of theirs
//! puts another session of theirs to sleep at once. When all slots are taken, anybody's session
//! makes room that has been without a call for [`Limits::evict_idle`]. The one that has been idle
//! longest goes first; after the idle ones come those whose client only listens, and their streams
//! end. A session with a call under way is *busy* and stays, and so does one that cannot sleep.
//!
//! The slot of the session that goes is promised: its task hands it to the waiter, and it is never
//! free in between, so no later request takes it. Requests that race pick different victims,
//! because an incarnation ends once.
//!
//! If there is no such session, the request waits in a queue for [`Limits::slot_wait`], or is
//! refused at once if that is zero. Each person has a line, and each of the person's clients one
//! within that; the driver serves one after the other, so a storm of one person's requests, through
//! however many clients, delays the others by a turn and no more. What stands in the way of one
//! person alone makes no other wait.
//!
//! A wake for a client that only listens neither waits nor takes a slot from another that listens:
//! the clients of two sessions in one slot would wake them in turn for ever.
//!
//! Starts are bounded in time too: each person has a bucket of [`Limits::start_burst`], which fills
//! up by one each [`Limits::start_interval`].
//!
//! # Wakes
//!
//! Requests for a session that sleeps share one wake (single-flight), which the driver runs. When
//! wakes fail, or backends crash soon after, the next attempt is held back: the back-off doubles
//! from [`Limits::wake_backoff`], and after [`Limits::max_wake_failures`] in a row requests are
//! refused for [`Limits::wake_pause`].
//!
//! # Rollback
//!
//! A record may hold a snapshot that a newer version of the program wrote. The spawner says so
//! ([`Spawn::can_wake`]) before a slot is taken: the wake is refused, and the record stays for the
//! newer version.
//!
//! # Time
//!
//! Waiting and ages go by tokio's clock. A record needs calendar time, since it outlives the
//! process; that comes from the [`Calendar`] given at construction, because sessions also fall asleep
//! and expire while no caller is there to pass the time.
//!
//! # What it costs
//!
//! A lease on a live session asks no store. A session that falls asleep with nothing changed asks
//! none either; times of last use, and which sessions fell asleep or woke, are stored in one batch per
//! `reap_interval`. A wake reads one record, an open writes one (and counts, where there are caps on
//! records), an end removes one.
//!
//! # Cancellation
//!
//! A request that is dropped never takes the work with it: spawning and stopping run in the
//! driver. A new session whose request left is ended as [`StopReason::Abandoned`], even if the
//! request left while the first lease was on its way; a session that was woken for a request that
//! left stays, for its client knows the id. Dropping the driver is the backstop: it stops and drops
//! every backend without waiting.
//!
//! # Locks
//!
//! A lookup takes the lock of one of 64 shards and then, having let go of it, the session's own.
//! Opens and wakes take, one after the other, the locks of the people's buckets, of the ledger of
//! slots and of the openings under way; a session enters the table under the latter. No foreign code runs under any
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

mod activity;
mod admission;
mod backend;
mod calendar;
mod context;
mod counts;
mod driver;
mod entry;
mod error;
mod eviction;
mod failures;
mod first_lease;
mod flush;
mod id;
mod incarnation;
mod lease;
mod limits;
mod open;
mod openings;
mod owner;
mod phase;
mod purpose;
mod queue;
mod reason;
mod record;
mod record_handle;
mod record_writer;
mod recording;
mod registry;
mod replacement;
mod reservation;
mod reserve;
mod respawn;
mod rollback;
mod shared;
mod single_flight;
mod slot;
mod starts;
mod sweep;
mod table;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
mod wake;

pub use backend::{Backend, BoxFuture, Spawn, WakeFailure};
pub use calendar::Calendar;
pub use driver::Driver;
pub use error::{EndError, LeaseError, OpenError, OwnerLimit, WakeError};
pub use id::{ParseIdError, SessionId, ShortId};
pub use lease::Lease;
pub use limits::Limits;
pub use owner::Owner;
pub use phase::Report;
pub use purpose::Purpose;
pub use reason::{StopReason, WakeReason};
pub use record::{Record, RecordKey, Recorded, Records, RecordsError, Selection, Summary, Use};
pub use registry::{Listed, Registry, Removed, Revocation, VacatedSlot, View};
pub use replacement::{AfterStop, Replacement, StopWhen};
