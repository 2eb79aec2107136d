//! Leases on sessions that may sleep, and saving what they would wake with.

use std::ops::ControlFlow;
use std::sync::Arc;

use tracing::{Instrument, debug_span};

use crate::backend::Backend;
use crate::driver::Job;
use crate::entry::{Acquired, Entry};
use crate::error::WakeError;
use crate::id::SessionId;
use crate::lease::Lease;
use crate::owner::Owner;
use crate::phase::{Phase, stopping};
use crate::purpose::Purpose;
use crate::record::RecordsError;
use crate::registry::Registry;
use crate::shared::Lookup;
use crate::single_flight::WakeKey;

/// The answer to a wake.
type Woken<B, E> = Result<Lease<B>, WakeError<E>>;

impl<A, B, E> Registry<A, B, E>
where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    /// Takes a lease on a session, for its owner alone, waking it if it sleeps. For a live one this
    /// does not wait.
    ///
    /// `kind` is what the session's backend must call itself: a session of another kind is unknown,
    /// and is not woken. However many ask, one backend is woken and all get a lease on it. The
    /// owner is checked first. A slot is found as `open` finds one, except for a
    /// [stream](Purpose::Stream): that is refused where an open would wait, or would put a session
    /// to sleep that listens too.
    ///
    /// # Errors
    /// See [`WakeError`]. Whatever it is, a session that slept before sleeps on, unless the spawner
    /// gave it up.
    ///
    /// # Cancel safety
    /// Dropping the future leaks nothing. A wake that no request waits for any more is given up if
    /// nothing was started yet; else it comes up, since its client is likely to ask again.
    pub async fn wake(
        &self,
        id: &SessionId,
        owner: &Owner,
        kind: &str,
        purpose: Purpose,
    ) -> Result<Lease<B>, WakeError<E>> {
        let span = debug_span!(target: "session", "lease", session = %id.short());
        match span.in_scope(|| self.live(id, owner, kind, purpose)) {
            ControlFlow::Break(answer) => answer,
            // The rest is rare, and large: it stays out of the future of every request.
            ControlFlow::Continue(_) => {
                Box::pin(self.wait_until_live(id, owner, kind, purpose).instrument(span)).await
            }
        }
    }

    /// The answer, if it takes no waiting. Otherwise the session's entry, where it has one.
    fn live(
        &self,
        id: &SessionId,
        owner: &Owner,
        kind: &str,
        purpose: Purpose,
    ) -> ControlFlow<Woken<B, E>, Option<Arc<Entry<B>>>> {
        ControlFlow::Break(match self.shared.lease(id, owner, purpose) {
            Lookup::Live(lease) if lease.kind() == kind => Ok(lease),
            Lookup::Live(_) | Lookup::Ended => Err(WakeError::Unknown),
            Lookup::Anothers(error) => Err(error.into()),
            Lookup::NotFound if self.shared.writer.is_none() => Err(WakeError::Unknown),
            Lookup::InTransition(entry) => return ControlFlow::Continue(Some(entry)),
            Lookup::NotFound => return ControlFlow::Continue(None),
        })
    }

    async fn wait_until_live(
        &self,
        id: &SessionId,
        owner: &Owner,
        kind: &str,
        purpose: Purpose,
    ) -> Result<Lease<B>, WakeError<E>> {
        loop {
            match self.live(id, owner, kind, purpose) {
                ControlFlow::Break(answer) => return answer,
                ControlFlow::Continue(Some(entry)) => self.settled(entry).await?,
                ControlFlow::Continue(None) => {
                    let key = WakeKey { id: *id, owner: owner.clone(), kind: kind.into() };
                    if let Some(lease) = self.start_wake(&key, purpose).await? {
                        return Ok(lease);
                    }
                }
            }
        }
    }

    /// Waits until it is worth looking again.
    async fn settled(&self, entry: Arc<Entry<B>>) -> Result<(), WakeError<E>> {
        let mut phase = self.shared.phase.subscribe();
        tokio::select! {
            biased;
            () = entry.settled() => Ok(()),
            () = stopping(&mut phase) => Err(self.no_wake()),
        }
    }

    /// Has the driver wake a session, or follows the wake under way. `None` when it is worth looking
    /// again: the session fell asleep at once, or the wake was one for a stream, to which less is
    /// given than to a call.
    async fn start_wake(
        &self,
        key: &WakeKey,
        purpose: Purpose,
    ) -> Result<Option<Lease<B>>, WakeError<E>> {
        let mut phase = self.shared.phase.subscribe();
        if !matches!(*phase.borrow(), Phase::Open) {
            return Err(self.no_wake());
        }
        let (mut follower, in_flight) = self.wakes.join(key, purpose);
        if let Some(in_flight) = in_flight
            && self.jobs.send(Job::Wake(in_flight)).is_err()
        {
            return Err(self.no_wake());
        }
        tokio::select! {
            biased;
            outcome = follower.outcome() => match outcome {
                None => Err(self.no_wake()),
                // A wake whose driver is gone looks like one that panicked.
                Some(Err(WakeError::Panicked)) if self.shared.phase.borrow().is_stopping() => {
                    Err(self.no_wake())
                }
                Some(Err(WakeError::Full { .. } | WakeError::OwnerFull(_)))
                    if purpose == Purpose::Call && follower.purpose() == Purpose::Stream =>
                {
                    Ok(None)
                }
                Some(Err(error)) => Err(error),
                Some(Ok(first)) => match first.entry().acquire(self.shared.lifetime(), purpose) {
                    Acquired::Leased => {
                        Ok(Some(Lease::counted(Arc::clone(first.entry()), purpose)))
                    }
                    Acquired::InTransition => Ok(None),
                    Acquired::Ended | Acquired::Expired => Err(WakeError::Unknown),
                },
            },
            () = stopping(&mut phase) => Err(self.no_wake()),
        }
    }

    /// Why nothing can be woken any more.
    fn no_wake(&self) -> WakeError<E> {
        match *self.shared.phase.borrow() {
            Phase::Gone(_) => WakeError::Gone,
            Phase::Open | Phase::Draining | Phase::Stopping { .. } => WakeError::Draining,
        }
    }

    /// Stores what the session's backend would have to be told if it crashed now. To be called when
    /// a request has changed that (a log level, a subscription), before its client is told that it
    /// was done: what was told then survives everything. Costs a comparison if nothing changed.
    ///
    /// Sessions fall asleep only with their last state stored, so this is about crashes alone. One
    /// that has no snapshot any more has no record any more either when this returns: its client
    /// would come back to a state from before.
    ///
    /// # Errors
    /// The store is out of reach; or the lease's backend has ended since, with this state not
    /// stored, and the session goes on from an older one.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the old state or the new one.
    pub async fn save(&self, lease: &Lease<B>) -> Result<(), RecordsError> {
        if self.shared.save(lease.entry()).await? {
            return Ok(());
        }
        self.shared.unrecord(lease.entry()).await
    }
}
