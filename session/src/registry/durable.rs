//! What a registry can do for sessions that outlive their backend.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tracing::{Instrument, debug_span};

use super::{Registry, View};
use crate::desk::{Flight, News, Stage, Wanted};
use crate::driver::Job;
use crate::entry::{Acquired, Entry};
use crate::opening::Matches;
use crate::recording::Sweep;
use crate::shared::{Found, Phase, Shared, stopping};
use crate::{
    Backend, EndError, Lease, Owner, RecordKey, RecordsError, Replacement, Selection, SessionId,
    StopReason, Summary, WakeError, WakeReason,
};

impl<A, B, E> Registry<A, B, E>
where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    /// Takes a lease on a session, for its owner alone, waking it if it sleeps. For a live one this
    /// is [`lease`](Self::lease) and does not wait.
    ///
    /// `kind` is what the session's backend must call itself: a session of another kind is unknown,
    /// and is not woken. However many ask, one backend is woken and all get a lease on it. The
    /// owner is checked first. A place is found as `open` finds one.
    ///
    /// # Errors
    /// See [`WakeError`]. Whatever it is, a session that slept before sleeps on, unless the spawner
    /// gave it up.
    ///
    /// # Cancel safety
    /// Dropping the future leaks nothing. A wake that nobody waits for any more is given up if
    /// nothing was started yet; else it comes up, since its client is likely to ask again.
    pub async fn wake(
        &self,
        id: &SessionId,
        owner: &Owner,
        kind: &str,
    ) -> Result<Lease<B>, WakeError<E>> {
        let span = debug_span!(target: "session", "lease", session = %id.short());
        self.lease_awake(id, owner, kind).instrument(span).await
    }

    async fn lease_awake(
        &self,
        id: &SessionId,
        owner: &Owner,
        kind: &str,
    ) -> Result<Lease<B>, WakeError<E>> {
        loop {
            match self.shared.lease(id, owner) {
                Found::Live(lease) if lease.kind() == kind => return Ok(lease),
                Found::Live(_) | Found::Over => return Err(WakeError::Unknown),
                Found::Foreign => return Err(WakeError::Foreign),
                Found::Nothing if self.shared.keeper.is_none() => return Err(WakeError::Unknown),
                // The rest is rare, and large: it stays out of the future of every request.
                Found::Moving(entry) => Box::pin(self.settled(entry)).await?,
                Found::Nothing => {
                    let wanted = Wanted { id: *id, owner: owner.clone(), kind: kind.into() };
                    if let Some(lease) = Box::pin(self.rouse(&wanted)).await? {
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

    /// Has the driver wake a session. `None` when it fell asleep again at once.
    async fn rouse(&self, wanted: &Wanted) -> Result<Option<Lease<B>>, WakeError<E>> {
        let mut phase = self.shared.phase.subscribe();
        if !matches!(*phase.borrow(), Phase::Open) {
            return Err(self.no_wake());
        }
        let (mut news, flight): (_, Option<Flight<B, E>>) = self.desk.join(wanted);
        if let Some(flight) = flight
            && self.jobs.send(Job::Wake(flight)).is_err()
        {
            return Err(self.no_wake());
        }
        tokio::select! {
            biased;
            landed = landed(&mut news) => match landed {
                None => Err(self.no_wake()),
                // A flight whose driver is gone looks like one that panicked.
                Some(Err(WakeError::Panicked)) if self.shared.phase.borrow().is_stopping() => {
                    Err(self.no_wake())
                }
                Some(Err(error)) => Err(error),
                Some(Ok(first)) => match first.entry().acquire(self.shared.lifetime()) {
                    Acquired::Leased => Ok(Some(Lease::counted(Arc::clone(first.entry())))),
                    Acquired::Moving => Ok(None),
                    Acquired::Over | Acquired::Outlived => Err(WakeError::Unknown),
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

    /// Ends a session for good, awake or asleep, whether leases are held or not. Its record is
    /// removed before this returns; it is unknown then, and its place comes back when its backend
    /// has ended.
    ///
    /// `kind` is what the session's backend must call itself, as in [`wake`](Self::wake): a session
    /// of another kind is unknown, and goes on. Reads one record at most.
    ///
    /// # Errors
    /// See [`EndError`]: with any of them this call has ended nothing.
    ///
    /// # Cancel safety
    /// Dropping the future ends a live session and leaves one that sleeps either ended or not.
    pub async fn end(
        &self,
        id: &SessionId,
        owner: &Owner,
        kind: &str,
        why: StopReason,
    ) -> Result<(), EndError> {
        let there = self.shared.table.find(id);
        let allowed = |named: &Owner, its: &str| {
            if named != owner {
                Err(EndError::Foreign)
            } else if its != kind {
                Err(EndError::Unknown)
            } else {
                Ok(())
            }
        };
        self.end_known(there, &id.key(), allowed, why).await
    }

    /// Ends a session by its key, if `which` means its owner: for operators, and for owners who see
    /// their sessions without knowing their ids. Otherwise as [`end`](Self::end).
    ///
    /// # Errors
    /// See [`EndError`].
    ///
    /// # Cancel safety
    /// As [`end`](Self::end).
    pub async fn end_by_key(
        &self,
        key: &RecordKey,
        which: &Selection,
        why: StopReason,
    ) -> Result<(), EndError> {
        let there = self.by_key(key);
        let allowed =
            |named: &Owner, _: &str| which.matches(named).then_some(()).ok_or(EndError::Foreign);
        self.end_known(there, key, allowed, why).await
    }

    async fn end_known(
        &self,
        there: Option<Arc<Entry<B>>>,
        key: &RecordKey,
        allowed: impl Fn(&Owner, &str) -> Result<(), EndError>,
        why: StopReason,
    ) -> Result<(), EndError> {
        let shared = &self.shared;
        if let Some(entry) = there.filter(|entry| !entry.is_gone()) {
            allowed(entry.owner(), entry.backend().kind())?;
            let (Some(keeper), Some(kept)) = (&shared.keeper, entry.kept()) else {
                return if shared.end(&entry, why) { Ok(()) } else { Err(EndError::Unknown) };
            };
            // If this future is dropped now, nobody knows whether the record is still there. So
            // the session ends in any case, and with it, again, the record.
            let backstop = EndOnDrop { shared, entry: Some(&entry), why };
            let removed = shared.remove(keeper, &[kept.key], why).await;
            backstop.disarm();
            let removed = removed.map_err(EndError::Records)?;
            kept.lost.store(true, Ordering::SeqCst);
            // It may have fallen asleep meanwhile, and then the record was all there was; or have
            // crashed, or been looked at, and have been found without its record.
            return if shared.end(&entry, why) || removed > 0 || !entry.is_gone() {
                Ok(())
            } else {
                Err(EndError::Unknown)
            };
        }
        let Some(keeper) = &shared.keeper else { return Err(EndError::Unknown) };
        let record = keeper.records.find(key).await.map_err(EndError::Records)?;
        let record = record.filter(|_| !keeper.is_doomed(key)).ok_or(EndError::Unknown)?;
        allowed(&record.owner, &record.kind)?;
        let removed = shared.remove(keeper, &[*key], why).await.map_err(EndError::Records)?;
        // A wake that was admitted before it could be refused.
        let woken = self.by_key(key).is_some_and(|entry| shared.end(&entry, why));
        if removed > 0 || woken { Ok(()) } else { Err(EndError::Unknown) }
    }

    /// Ends every session whose owner satisfies `matches`, awake, asleep or on the way. Sessions
    /// opened later are not affected, so the right to open them is to be withdrawn first.
    ///
    /// It holds at once: when this returns, none of them can be leased or woken. The records are
    /// removed by the driver, which tries until it has done so; [`Revocation::durable`] tells
    /// when. Until then a restart could bring the sleeping ones back.
    ///
    /// `matches` runs without any lock held, once or more for an owner. Reading every record costs
    /// more than [`revoke_all`](Self::revoke_all), which says the same in the store's words.
    pub fn revoke(&self, matches: impl Fn(&Owner) -> bool + Send + Sync + 'static) -> Revocation {
        self.take_back(Arc::new(matches), None)
    }

    /// Ends every session that `which` means; see [`revoke`](Self::revoke).
    pub fn revoke_all(&self, which: Selection) -> Revocation {
        let meant = which.clone();
        self.take_back(Arc::new(move |owner| meant.matches(owner)), Some(which))
    }

    fn take_back(&self, matches: Matches, which: Option<Selection>) -> Revocation {
        let before = self.shared.keeper.as_ref().map(|keeper| keeper.tick());
        // This order and no other: an open that slips past the first is found by the second.
        let number = self.shared.openings.revoke(&matches, before);
        self.shared.end_all(StopReason::Revoked, |owner| matches(owner));
        let Some(before) = before else { return Revocation(None) };
        let (reply, outcome) = oneshot::channel();
        // Without a driver nothing is woken any more, and the receiver hears of it.
        let _ = self.jobs.send(Job::Sweep(Sweep { matches, which, before, number, reply }));
        Revocation(Some(outcome))
    }

    /// Has the backends of those sessions replaced, or only taken away, that satisfy `which`, and
    /// says how many. Sessions that cannot sleep are passed over: they are the caller's to end.
    ///
    /// One that is idle is replaced at once, one in use as `how` says; whoever asks for it while
    /// it has no backend waits for the new one. `which` runs without any lock held.
    pub fn replace(&self, which: impl Fn(&View<'_, B>) -> bool, how: Replacement) -> usize {
        let entries = self.shared.table.select(|_| true);
        let meant = entries.iter().filter(|entry| View::of(entry).is_some_and(|view| which(&view)));
        meant.filter(|entry| entry.replace(how)).count()
    }

    /// At most `limit` recorded sessions that `which` means, with a key above `after`, in the order
    /// of keys. Sessions that cannot sleep have no record; [`look`](Self::look) shows them.
    ///
    /// # Errors
    /// The store is out of reach.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn list(
        &self,
        which: &Selection,
        after: Option<&RecordKey>,
        limit: usize,
    ) -> Result<Vec<Listed>, RecordsError> {
        let Some(keeper) = &self.shared.keeper else { return Ok(Vec::new()) };
        let summaries = keeper.records.list(which, after, limit).await?;
        let awake = self.shared.awake();
        let listed = summaries.into_iter().map(|summary| {
            let awake = awake.contains(&summary.key);
            Listed { summary, awake }
        });
        Ok(listed.collect())
    }

    /// How many sessions are recorded, awake or asleep.
    ///
    /// # Errors
    /// The store is out of reach.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn recorded(&self, which: &Selection) -> Result<usize, RecordsError> {
        match &self.shared.keeper {
            Some(keeper) => keeper.records.count(which).await,
            None => Ok(0),
        }
    }

    /// Ends the sessions that are awake though another process on the same store has removed their
    /// record, and says how many. To be called every now and then: nothing else tells of that
    /// before such a session falls asleep. Costs nothing while all sleep.
    ///
    /// # Errors
    /// The store is out of reach, and nothing was ended.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn end_removed(&self) -> Result<usize, RecordsError> {
        self.shared.end_removed().await
    }

    /// How many recorded sessions of each kind have no backend, in any order. One that is falling
    /// asleep or waking up counts as awake.
    ///
    /// # Errors
    /// The store is out of reach.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn asleep(&self) -> Result<Vec<(Arc<str>, usize)>, RecordsError> {
        let Some(keeper) = &self.shared.keeper else { return Ok(Vec::new()) };
        let mut kinds = keeper.records.kinds().await?;
        for entry in self.shared.table.select(|entry| entry.kept().is_some()) {
            let own = kinds.iter_mut().find(|(kind, _)| **kind == *entry.backend().kind());
            if let Some((_, count)) = own {
                *count = count.saturating_sub(1);
            }
        }
        Ok(kinds)
    }

    /// Backends woken so far, for requests and after replacements, in the place of one that was gone
    /// for this reason.
    pub fn woken(&self, why: WakeReason) -> u64 {
        self.shared.counts.woken(why)
    }

    /// Wakes that failed so far.
    pub fn wake_failures(&self) -> u64 {
        self.shared.counts.wake_failures.load(Ordering::Relaxed)
    }

    /// Opens and wakes that wait in the queue for a place.
    pub fn waiting(&self) -> usize {
        self.shared.counts.awaited.load(Ordering::Relaxed)
    }

    /// What is kept in memory of sessions that have no backend, in pieces.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        let kept = self.shared.keeper.as_ref().map_or(0, |keeper| {
            let uses = keeper.take_uses();
            let pieces = uses.len() + keeper.doomed().len();
            keeper.give_back(uses);
            pieces
        });
        let entries = self.shared.table.select(|_| true).len();
        kept + entries + self.desk.remembered() + self.waiting() + self.shared.places.taken()
    }

    fn by_key(&self, key: &RecordKey) -> Option<Arc<Entry<B>>> {
        let entries = self.shared.table.select(|_| true);
        entries.into_iter().find(|entry| match entry.kept() {
            Some(kept) => kept.key == *key,
            None => entry.id().key() == *key,
        })
    }
}

/// The answer of a wake under way; `None` when it was dropped without one.
async fn landed<B, E>(news: &mut News<B, E>) -> Option<Result<Arc<Lease<B>>, WakeError<E>>> {
    let stage = news.wait_for(|stage| !matches!(stage, Stage::UnderWay)).await.ok()?;
    match &*stage {
        Stage::UnderWay => None,
        Stage::Awake(lease) => Some(Ok(Arc::clone(lease))),
        Stage::Failed(error) => Some(Err(error.clone())),
    }
}

/// Ends a session unless it is disarmed.
struct EndOnDrop<'a, B: Backend> {
    shared: &'a Shared<B>,
    entry: Option<&'a Entry<B>>,
    why: StopReason,
}

impl<B: Backend> EndOnDrop<'_, B> {
    fn disarm(mut self) {
        self.entry = None;
    }
}

impl<B: Backend> Drop for EndOnDrop<'_, B> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry {
            self.shared.end(entry, self.why);
        }
    }
}

/// A recorded session, for whoever lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What the store says.
    pub summary: Summary,
    /// Whether it has a backend, or is about to.
    pub awake: bool,
}

/// A revocation, which holds already; dropping this changes nothing.
#[derive(Debug)]
pub struct Revocation(Option<oneshot::Receiver<Result<usize, RecordsError>>>);

impl Revocation {
    /// Waits until the records are removed, and says how many there were.
    ///
    /// # Errors
    /// The first attempt failed. The driver goes on trying.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn durable(self) -> Result<usize, RecordsError> {
        let Some(outcome) = self.0 else { return Ok(0) };
        match outcome.await {
            Ok(removed) => removed,
            Err(_) => Err(RecordsError::new("the registry's driver has stopped")),
        }
    }
}
