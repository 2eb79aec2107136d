//! What there is: live sessions, recorded ones, and figures over all of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::backend::Backend;
use crate::entry::Entry;
use crate::id::SessionId;
use crate::owner::Owner;
use crate::reason::{StopReason, WakeReason};
use crate::record::{RecordKey, RecordsError, Selection, Summary};
use crate::registry::Registry;

/// A live session, or a backend without one, for lists.
#[derive(Debug)]
pub struct View<'a, B> {
    /// Its id, which is a secret of its owner's.
    pub id: &'a SessionId,
    /// Its owner.
    pub owner: &'a Owner,
    /// What answers it.
    pub backend: &'a B,
    /// When it was opened or last woken.
    pub opened: Instant,
    /// Since when no lease is held; `None` while one is.
    pub idle_since: Option<Instant>,
    /// Whether it would sleep rather than end.
    pub sleeps: bool,
    /// Whether the session is over, and its backend waits for the next one of its owner.
    pub is_spare: bool,
}

impl<'a, B> View<'a, B> {
    pub(crate) fn of(entry: &'a Entry<B>) -> Option<Self> {
        let usage = entry.peek()?;
        Some(Self {
            id: entry.id(),
            owner: entry.owner(),
            backend: entry.backend(),
            opened: entry.born(),
            idle_since: usage.idle_since,
            sleeps: entry.record().is_some(),
            is_spare: usage.is_spare,
        })
    }
}

/// A recorded session, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What the store says.
    pub summary: Summary,
    /// Whether it has a backend, or is about to.
    pub awake: bool,
}

impl<A, B, E> Registry<A, B, E>
where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    /// Looks at every live session, and every backend without one, whose owner satisfies `wanted`, in no particular order. No lock
    /// is held while either function runs, so a session may be over by the time it is looked at.
    pub fn look<T>(
        &self,
        wanted: impl Fn(&Owner) -> bool,
        look: impl Fn(&View<'_, B>) -> T,
    ) -> Vec<T> {
        let entries = self.shared.table.select(|_| true);
        let wanted = entries.iter().filter(|entry| wanted(entry.owner()));
        wanted.filter_map(|entry| Some(look(&View::of(entry)?))).collect()
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
        let Some(writer) = &self.shared.writer else { return Ok(Vec::new()) };
        let summaries = writer.records.list(which, after, limit).await?;
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
        match &self.shared.writer {
            Some(writer) => writer.records.count(which).await,
            None => Ok(0),
        }
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
        let Some(writer) = &self.shared.writer else { return Ok(Vec::new()) };
        let mut kinds = writer.records.kinds().await?;
        for entry in self.shared.table.select(|entry| entry.record().is_some()) {
            let own = kinds.iter_mut().find(|(kind, _)| **kind == *entry.backend().kind());
            if let Some((_, count)) = own {
                *count = count.saturating_sub(1);
            }
        }
        Ok(kinds)
    }

    /// Whether there is such a session, awake or asleep, and it is another person's. Reads one record
    /// at most, and wakes nothing.
    ///
    /// # Errors
    /// The store is out of reach.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn is_anothers(&self, id: &SessionId, asker: &Owner) -> Result<bool, RecordsError> {
        if let Some(entry) = self.shared.table.find(id) {
            return Ok(!entry.owner().is_same_person(asker));
        }
        let (Some(writer), key) = (&self.shared.writer, id.key()) else { return Ok(false) };
        let record = writer.records.find(&key).await?;
        let record = record.filter(|_| !writer.is_marked_deleted(&key));
        Ok(record.is_some_and(|record| !record.owner.is_same_person(asker)))
    }

    /// When the session was last used: now, while a lease is held, else when the last one was
    /// dropped. `None` for an unknown session.
    pub fn last_active(&self, id: &SessionId) -> Option<Instant> {
        let snapshot = self.shared.table.find(id)?.peek()?;
        Some(snapshot.idle_since.unwrap_or_else(Instant::now))
    }

    /// Live sessions: those a lookup finds.
    pub fn active(&self) -> usize {
        self.shared.live()
    }

    /// Sessions that have been asked to stop and whose backend has not ended yet.
    pub fn stopping(&self) -> usize {
        self.shared.counts.stopping.load(Ordering::Relaxed)
    }

    /// Backends without a session, which wait for the next one of their owner.
    pub fn spares(&self) -> usize {
        self.shared.spares()
    }

    /// Slots taken: backends without a session, and sessions being spawned, live and stopping. This is what the cap limits.
    pub fn slots(&self) -> usize {
        self.shared.slots.taken()
    }

    /// Backends that have ended for this reason since the registry was made, or whose session has and
    /// they were kept. Their sessions are gone or asleep; see [`StopReason::sleeps`].
    pub fn ended(&self, why: StopReason) -> u64 {
        self.shared.tally.of(why)
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

    /// Opens and wakes that wait in the queue for a slot.
    pub fn waiting(&self) -> usize {
        self.shared.counts.waiting.load(Ordering::Relaxed)
    }

    /// What is kept in memory of sessions that have no backend, in pieces.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        let records = self
            .shared
            .writer
            .as_ref()
            .map_or(0, |writer| writer.noted().len() + writer.marked_deleted().len());
        let entries = self.shared.table.select(|_| true).len();
        let wakes = self.wakes.len() + self.failures.len();
        let slots = self.shared.slots.taken() + self.shared.starts.len();
        records + entries + wakes + self.waiting() + slots
    }
}
