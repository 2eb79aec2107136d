//! Ending sessions: one by its id or key, or every one that a revocation means.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::backend::Backend;
use crate::driver::Job;
use crate::entry::Entry;
use crate::error::{EndError, LeaseError};
use crate::id::SessionId;
use crate::openings::Matches;
use crate::owner::Owner;
use crate::reason::StopReason;
use crate::record::{RecordKey, RecordsError, Selection};
use crate::registry::Registry;
use crate::shared::Shared;
use crate::sweep::Sweep;

impl<A, B, E> Registry<A, B, E>
where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    /// Ends a session for good, awake or asleep, whether leases are held or not. Its record is
    /// removed before this returns; it is unknown then, and its slot comes back when its backend
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
        self.end_owned(id, owner, kind, (why, AfterEnd::Stop)).await
    }

    /// As [`end`](Self::end), for a client that is done with its session and may open another one: a
    /// backend that is [fit for that](Backend::retire) is kept for `Limits::spare` and keeps its slot,
    /// unless another session or wake needs that. [`vacate`](Self::vacate) finds it. To every client
    /// the session is unknown when this returns.
    ///
    /// # Errors
    /// As with `end`.
    ///
    /// # Cancel safety
    /// As with `end`.
    pub async fn retire(
        &self,
        id: &SessionId,
        owner: &Owner,
        kind: &str,
        why: StopReason,
    ) -> Result<(), EndError> {
        self.end_owned(id, owner, kind, (why, AfterEnd::Keep)).await
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
        self.end_known(there, key, allowed, (why, AfterEnd::Stop)).await
    }

    async fn end_owned(
        &self,
        id: &SessionId,
        owner: &Owner,
        kind: &str,
        end: (StopReason, AfterEnd),
    ) -> Result<(), EndError> {
        let there = self.shared.table.find(id);
        let allowed = |named: &Owner, its: &str| owned(named, owner, its, kind);
        self.end_known(there, &id.key(), allowed, end).await
    }

    async fn end_known(
        &self,
        there: Option<Arc<Entry<B>>>,
        key: &RecordKey,
        allowed: impl Fn(&Owner, &str) -> Result<(), EndError>,
        (why, then): (StopReason, AfterEnd),
    ) -> Result<(), EndError> {
        let shared = &self.shared;
        if let Some(entry) = there.filter(|entry| !entry.is_gone()) {
            allowed(entry.owner(), entry.backend().kind())?;
            let (Some(writer), Some(handle)) = (&shared.writer, entry.record()) else {
                return if shared.end(&entry, why) { Ok(()) } else { Err(EndError::Unknown) };
            };
            // If this future is dropped now, it is not known whether the record is still there.
            // So the session ends in any case, and with it, again, the record.
            let backstop = EndOnDrop { shared, entry: Some(&entry), why };
            let removed = shared.remove(writer, &[handle.key], why).await;
            backstop.disarm();
            let removed = removed.map_err(EndError::Records)?;
            handle.set_removed();
            if then == AfterEnd::Keep && shared.retire(&entry, why) {
                // Without a driver nothing is kept.
                let _ = self.jobs.send(Job::Expire(Arc::downgrade(&entry)));
                return Ok(());
            }
            // It may have fallen asleep meanwhile, and then the record was all there was; or have
            // crashed, or been looked at, and have been found without its record.
            return if shared.end(&entry, why) || removed > 0 || !entry.is_gone() {
                Ok(())
            } else {
                Err(EndError::Unknown)
            };
        }
        let Some(writer) = &shared.writer else { return Err(EndError::Unknown) };
        let record = writer.records.find(key).await.map_err(EndError::Records)?;
        let record = record.filter(|_| !writer.is_marked_deleted(key)).ok_or(EndError::Unknown)?;
        allowed(&record.owner, &record.kind)?;
        let removed = shared.remove(writer, &[*key], why).await.map_err(EndError::Records)?;
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
        self.revoke_matching(Arc::new(matches), None)
    }

    /// Ends every session that `which` means; see [`revoke`](Self::revoke).
    pub fn revoke_all(&self, which: Selection) -> Revocation {
        let meant = which.clone();
        self.revoke_matching(Arc::new(move |owner| meant.matches(owner)), Some(which))
    }

    fn revoke_matching(&self, matches: Matches, which: Option<Selection>) -> Revocation {
        let before = self.shared.writer.as_ref().map(|writer| writer.tick());
        // This order and no other: an open that slips past the first is found by the second.
        let number = self.shared.openings.revoke(&matches, before);
        self.shared.end_all(StopReason::Revoked, |owner| matches(owner));
        let Some(before) = before else { return Revocation(None) };
        let (reply, outcome) = oneshot::channel();
        // Without a driver nothing is woken any more, and the receiver hears of it.
        let _ = self.jobs.send(Job::Sweep(Sweep { matches, which, before, number, reply }));
        Revocation(Some(outcome))
    }

    /// Finds the sessions that are awake though another process on the same store has removed their
    /// record; [`Removed::end`] ends them. To be called every now and then: nothing else tells of that
    /// before such a session falls asleep. Costs nothing while all sleep.
    ///
    /// It takes two steps, so that whoever removed the records may be heard in between: a client
    /// whose token was revoked with its sessions must learn the former first.
    ///
    /// # Errors
    /// The store is out of reach.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn find_removed(&self) -> Result<Removed<B>, RecordsError> {
        let found = self.shared.find_removed().await?;
        Ok(Removed { shared: Arc::clone(&self.shared), found })
    }

    fn by_key(&self, key: &RecordKey) -> Option<Arc<Entry<B>>> {
        let entries = self.shared.table.select(|_| true);
        entries.into_iter().find(|entry| match entry.record() {
            Some(record) => record.key == *key,
            None => entry.id().key() == *key,
        })
    }
}

/// What becomes of the backend of a session that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterEnd {
    Stop,
    /// It is kept for the next session of the owner, if it is fit for that.
    Keep,
}

/// Whether the session of `named`, whose backend calls itself `its`, is the one that is meant.
fn owned(named: &Owner, owner: &Owner, its: &str, kind: &str) -> Result<(), EndError> {
    if named != owner {
        Err(LeaseError::of_another(named, owner).into())
    } else if its != kind {
        Err(EndError::Unknown)
    } else {
        Ok(())
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

/// Sessions that are awake and whose record is gone; dropping this changes nothing.
pub struct Removed<B> {
    shared: Arc<Shared<B>>,
    found: Vec<Arc<Entry<B>>>,
}

impl<B: Backend> Removed<B> {
    /// Ends them, and says how many this call has ended.
    pub fn end(self) -> usize {
        self.shared.end_removed(&self.found)
    }
}

impl<B> fmt::Debug for Removed<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Removed").field("sessions", &self.found.len()).finish_non_exhaustive()
    }
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
