//! The registry's face.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::backend::{Backend, Spawn};
use crate::calendar::Calendar;
use crate::context::Context;
use crate::driver::{Driver, Job};
use crate::error::{LeaseError, OpenError};
use crate::failures::FailureTracker;
use crate::id::{Mint, SessionId};
use crate::lease::Lease;
use crate::limits::Limits;
use crate::open::OpenJob;
use crate::openings::Ticket;
use crate::owner::Owner;
use crate::phase::{Phase, Report, stopping};
use crate::purpose::Purpose;
use crate::record::Records;
use crate::record_writer::RecordWriter;
use crate::shared::{Lookup, Shared};
use crate::single_flight::SingleFlight;
use crate::slot::Slot;

mod ending;
mod listing;
mod replacing;
mod succession;
mod waking;

pub use ending::{Removed, Revocation};
pub use listing::{Listed, View};
pub use succession::VacatedSlot;

/// The sessions of one kind of backend. Clones are handles to the same registry.
///
/// `A` is what the spawner is asked for beside the owner, `B` the backend, `E` the spawner's
/// error. When the last handle is dropped, the driver ends every session and returns.
pub struct Registry<A, B, E> {
    shared: Arc<Shared<B>>,
    wakes: Arc<SingleFlight<B, E>>,
    failures: Arc<FailureTracker<E>>,
    // Not in `shared`, which the sessions' tasks hold too: the driver notices the last handle's
    // end by the end of this channel.
    jobs: mpsc::UnboundedSender<Job<A, B, E>>,
}

impl<A, B, E> Registry<A, B, E>
where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    /// A registry that spawns with `spawn`, and the driver that must run for it to do anything.
    /// It keeps no records: a session ends with its backend.
    ///
    /// # Panics
    /// When the operating system gives no randomness to seed the generator of ids.
    pub fn new(spawn: Arc<dyn Spawn<A, B, E>>, limits: Limits) -> (Self, Driver<A, B, E>) {
        Self::with_mint(spawn, limits, Mint::from_os(), None)
    }

    /// The same with `records`: a session whose backend has a [snapshot](Backend::snapshot)
    /// outlives its backend, and this registry too. Those that `records` knows are there from the
    /// start. Nothing is read at this point.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn with_records(
        spawn: Arc<dyn Spawn<A, B, E>>,
        limits: Limits,
        records: Arc<dyn Records>,
        calendar: Calendar,
    ) -> (Self, Driver<A, B, E>) {
        Self::with_mint(spawn, limits, Mint::from_os(), Some(RecordWriter::new(records, calendar)))
    }

    /// A registry without records, with ids from `next_id`, for tests of collisions.
    #[cfg(any(test, feature = "test-util"))]
    pub fn with_ids(
        spawn: Arc<dyn Spawn<A, B, E>>,
        limits: Limits,
        next_id: impl FnMut() -> SessionId + Send + 'static,
    ) -> (Self, Driver<A, B, E>) {
        Self::with_mint(spawn, limits, Mint::scripted(next_id), None)
    }

    fn with_mint(
        spawn: Arc<dyn Spawn<A, B, E>>,
        limits: Limits,
        mint: Mint,
        writer: Option<RecordWriter>,
    ) -> (Self, Driver<A, B, E>) {
        let shared = Arc::new(Shared::new(limits, mint, writer));
        let failures = Arc::new(FailureTracker::new());
        // Unbounded, because every message belongs to a slot, to a request that waits for a wake,
        // or to a revocation.
        let (jobs, queue) = mpsc::unbounded_channel();
        let context =
            Context { shared: Arc::clone(&shared), failures: Arc::clone(&failures), spawn };
        let wakes = Arc::new(SingleFlight::new());
        (Self { shared, wakes, failures, jobs }, Driver::new(context, queue))
    }

    /// Opens a session for `owner` and returns its first lease.
    ///
    /// A slot is taken first. At the person's cap a session of theirs without a call under way is
    /// put to sleep, and this waits until its backend has ended; at the total cap anybody's is that
    /// has been without one for `Limits::evict_idle`. If there is none, this waits in the queue for
    /// `Limits::slot_wait`.
    ///
    /// With records, the session's record is stored before this returns.
    ///
    /// # Errors
    /// See [`OpenError`]; a failed open has left nothing behind, or is cleaning up by itself and
    /// keeps the slot until it has.
    ///
    /// # Cancel safety
    /// Dropping the future leaks nothing. A slot that was waited for is given back; a backend
    /// that is being spawned is finished by the driver and then ended as `Abandoned`.
    pub async fn open(&self, owner: Owner, ask: A) -> Result<Lease<B>, OpenError<E>> {
        let ticket = self.begin(&owner)?;
        let mut phase = self.shared.phase.subscribe();
        let slot = tokio::select! {
            biased;
            slot = self.shared.slot(&owner, Purpose::Call) => slot?,
            () = stopping(&mut phase) => return Err(self.closed()),
        };
        self.open_with(ticket, owner, ask, slot).await
    }

    /// Takes a lease for a call on a live session, for its owner alone. Costs one lookup and no
    /// waiting.
    ///
    /// Another owner's attempt has no effect on the session: its idle time goes on. A session that
    /// sleeps, or is about to, is unknown here; [`wake`](Self::wake) knows it.
    ///
    /// # Errors
    /// [`LeaseError::Unknown`] or [`LeaseError::Foreign`].
    pub fn lease(&self, id: &SessionId, owner: &Owner) -> Result<Lease<B>, LeaseError> {
        match self.shared.lease(id, owner, Purpose::Call) {
            Lookup::Live(lease) => Ok(lease),
            Lookup::Anothers(error) => Err(error),
            Lookup::InTransition(_) | Lookup::NotFound | Lookup::Ended => Err(LeaseError::Unknown),
        }
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        self.shared.limits()
    }

    /// Puts new limits in force for every decision from now on.
    ///
    /// A lowered cap ends nothing at once: no open adds to the surplus, and the reaper ends
    /// sessions without a call for `evict_idle` until the rest fits. The caps of a person and of a
    /// client work through later opens and wakes alone.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.set_limits(limits);
    }

    /// Refuses new sessions, and wakes of those that sleep, from now on. Live ones, and opens and
    /// wakes under way, go on.
    pub fn drain(&self) {
        self.shared.phase.send_if_modified(|phase| {
            let was_open = matches!(phase, Phase::Open);
            if was_open {
                *phase = Phase::Draining;
            }
            was_open
        });
    }

    /// Refuses new sessions, and opens and wakes under way, asks every backend to stop, and waits
    /// for all of them, though not beyond `deadline`; the rest is then abandoned. The driver ends
    /// with it. Sessions that can sleep keep their records, with their last snapshots stored, and
    /// answer again in a later registry.
    ///
    /// Called again it waits for the same report; the earliest deadline holds. It does not return
    /// while there is a driver that is not run.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the stop back.
    pub async fn stop(&self, deadline: Instant) -> Report {
        self.shared.phase.send_if_modified(|phase| match *phase {
            Phase::Stopping { deadline: earlier } if earlier <= deadline => false,
            Phase::Gone(_) => false,
            Phase::Open | Phase::Draining | Phase::Stopping { .. } => {
                *phase = Phase::Stopping { deadline };
                true
            }
        });
        let mut phase = self.shared.phase.subscribe();
        loop {
            if let Phase::Gone(report) = *phase.borrow_and_update() {
                return report;
            }
            phase.changed().await.expect("this handle keeps the sender");
        }
    }

    /// Lets an open in, so that a revocation finds it.
    fn begin(&self, owner: &Owner) -> Result<Ticket, OpenError<E>> {
        if let Some(refusal) = self.shared.phase.borrow().refusal() {
            return Err(refusal);
        }
        self.shared.openings.begin(owner).ok_or_else(|| self.closed())
    }

    async fn open_with(
        &self,
        ticket: Ticket,
        owner: Owner,
        ask: A,
        slot: Slot,
    ) -> Result<Lease<B>, OpenError<E>> {
        let mut phase = self.shared.phase.subscribe();
        let (reply, answer) = oneshot::channel();
        if self.jobs.send(Job::Open(OpenJob { ticket, owner, ask, slot, reply })).is_err() {
            return Err(self.closed());
        }
        tokio::select! {
            biased;
            answer = answer => match answer {
                Ok(opened) => opened.map(|first| first.arrived()),
                // No answer comes when the driver is gone, or when the spawner panicked.
                Err(_) if self.shared.phase.borrow().is_stopping() => Err(self.closed()),
                Err(_) => Err(OpenError::Panicked),
            },
            // The driver sees the spawn to its end; the opener need not wait for that.
            () = stopping(&mut phase) => Err(self.closed()),
        }
    }

    /// Why nothing can be opened any more.
    fn closed(&self) -> OpenError<E> {
        self.shared.phase.borrow().refusal().unwrap_or(OpenError::Gone)
    }
}

impl<A, B, E> Clone for Registry<A, B, E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            wakes: Arc::clone(&self.wakes),
            failures: Arc::clone(&self.failures),
            jobs: self.jobs.clone(),
        }
    }
}

impl<A, B, E> fmt::Debug for Registry<A, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("shared", &self.shared)
            .field("wakes", &self.wakes)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
