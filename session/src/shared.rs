//! What the registry's handles, its driver and the sessions' tasks have in common, and how a session
//! is found and ended.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::activity::Activity;
use crate::backend::Backend;
use crate::counts::Counts;
use crate::entry::{Acquired, Entry};
use crate::error::LeaseError;
use crate::id::{Mint, SessionId};
use crate::lease::Lease;
use crate::limits::Limits;
use crate::openings::Openings;
use crate::owner::Owner;
use crate::phase::Phase;
use crate::purpose::Purpose;
use crate::queue::Queue;
use crate::reason::{StopReason, Tally};
use crate::record_writer::RecordWriter;
use crate::slot::{Slots, Waiter};
use crate::starts::Starts;
use crate::table::Table;

pub(crate) struct Shared<B> {
    pub(crate) table: Table<B>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) starts: Arc<Starts>,
    pub(crate) queue: Queue,
    pub(crate) openings: Arc<Openings>,
    /// `None`: nothing is recorded, and nothing sleeps.
    pub(crate) writer: Option<RecordWriter>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) tally: Tally,
    pub(crate) counts: Arc<Counts>,
    limits: watch::Sender<Limits>,
    /// `Limits::lifetime` again, in nanoseconds: lookups read it without a lock.
    lifetime: AtomicU64,
    pub(crate) mint: Mint,
}

impl<B> Shared<B> {
    pub(crate) fn new(limits: Limits, mint: Mint, writer: Option<RecordWriter>) -> Self {
        let counts = Arc::<Counts>::default();
        let shared = Self {
            table: Table::new(),
            slots: Arc::new(Slots::new(Arc::clone(&counts))),
            starts: Arc::default(),
            queue: Queue::new(Arc::clone(&counts)),
            openings: Arc::default(),
            writer,
            phase: watch::Sender::new(Phase::Open),
            tally: Tally::default(),
            counts,
            limits: watch::Sender::new(limits),
            lifetime: AtomicU64::new(0),
            mint,
        };
        shared.set_limits(limits);
        shared
    }

    pub(crate) fn limits(&self) -> Limits {
        *self.limits.borrow()
    }

    pub(crate) fn watch_limits(&self) -> watch::Receiver<Limits> {
        self.limits.subscribe()
    }

    pub(crate) fn set_limits(&self, limits: Limits) {
        // More than 584 years is as good as any number of years.
        let nanos = u64::try_from(limits.lifetime.as_nanos()).unwrap_or(u64::MAX);
        self.lifetime.store(nanos, Ordering::Relaxed);
        self.limits.send_replace(limits);
    }

    pub(crate) fn lifetime(&self) -> Duration {
        Duration::from_nanos(self.lifetime.load(Ordering::Relaxed))
    }

    /// Takes a lease on a session that is live, for its owner alone.
    pub(crate) fn lease(&self, id: &SessionId, owner: &Owner, purpose: Purpose) -> Lookup<B> {
        let Some(entry) = self.table.find(id) else { return Lookup::NotFound };
        if entry.owner() != owner {
            return Lookup::Anothers(LeaseError::of_another(entry.owner(), owner));
        }
        match entry.acquire(self.lifetime(), purpose) {
            Acquired::Leased => Lookup::Live(Lease::counted(entry, purpose)),
            Acquired::InTransition => Lookup::InTransition(entry),
            Acquired::Ended => Lookup::Ended,
            Acquired::Expired => {
                self.ended(&entry);
                Lookup::Ended
            }
        }
    }

    /// Ends a session's incarnation if `judge` finds a reason: it is not live for lookups when this
    /// returns, and its task stops the backend.
    pub(crate) fn end_if(
        &self,
        entry: &Entry<B>,
        waiter: Option<Waiter>,
        judge: impl FnOnce(Activity) -> Option<StopReason>,
    ) -> Result<(), Option<Waiter>> {
        entry.end_if(waiter, judge)?;
        self.ended(entry);
        Ok(())
    }

    /// Ends a session whatever its state, in this incarnation or a later one, unless it is asleep: a
    /// lookup does not find it then, and its record is to be removed. Says whether this call did it.
    pub(crate) fn end(&self, entry: &Entry<B>, why: StopReason) -> bool {
        if self.end_if(entry, None, |_| Some(why)).is_ok() {
            return true;
        }
        if why.sleeps() {
            return false;
        }
        if self.mark_gone(entry, why) {
            return true;
        }
        // The session may be in another incarnation by now: it was replaced, or fell asleep and was
        // woken.
        let next = entry.is_superseded().then(|| self.table.find(entry.id())).flatten();
        next.filter(|next| !std::ptr::eq(&raw const **next, entry))
            .is_some_and(|next| self.end(&next, why))
    }

    /// Ends a live session for good, whose record was removed, and keeps its backend for the next
    /// session of its owner, if it is fit for that. `false`, and the session is as it was, if not.
    pub(crate) fn retire(&self, entry: &Arc<Entry<B>>, why: StopReason) -> bool
    where
        B: Backend,
    {
        let is_open = matches!(*self.phase.borrow(), Phase::Open);
        let is_wanted = is_open && !self.limits().spare.is_zero();
        if !is_wanted || !entry.backend().retire() || !entry.set_spare() {
            return false;
        }
        self.tally.count(why);
        self.table.retire(entry);
        // Somebody else's end of it may have come in between.
        self.ended(entry);
        // Those who wait for a slot may have this one.
        self.counts.notify();
        true
    }

    /// Ends a session for good that is about to sleep. Says whether this call did it.
    pub(crate) fn mark_gone(&self, entry: &Entry<B>, why: StopReason) -> bool {
        let is_marked = entry.mark_gone(why);
        if is_marked {
            self.ended(entry);
        }
        is_marked
    }

    /// Takes a session off the table if it is over for good. One that will sleep stays until its
    /// backend has ended, so that no second backend is woken beside it. For the same reason no
    /// session wakes from here on from the record of one that is over, though it may stay until then.
    pub(crate) fn ended(&self, entry: &Entry<B>) {
        if entry.is_gone() {
            if let (Some(writer), Some(record)) = (&self.writer, entry.record()) {
                writer.mark_deleted(record.key);
            }
            self.table.remove(entry);
        }
    }

    /// Ends every session that satisfies `wanted`, which runs without any lock held.
    pub(crate) fn end_all(&self, why: StopReason, wanted: impl Fn(&Owner) -> bool) {
        for entry in self.table.select(|_| true) {
            if wanted(entry.owner()) {
                self.end(&entry, why);
            }
        }
    }

    /// Sessions with a backend that a lookup finds.
    pub(crate) fn live(&self) -> usize {
        self.counts.live.load(Ordering::Relaxed)
    }

    /// Backends without a session, which wait for the next one of their owner.
    pub(crate) fn spares(&self) -> usize {
        self.counts.spare.load(Ordering::Relaxed)
    }
}

impl<B> fmt::Debug for Shared<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("counts", &self.counts)
            .field("phase", &*self.phase.borrow())
            .finish_non_exhaustive()
    }
}

/// What a lookup finds.
pub(crate) enum Lookup<B> {
    Live(Lease<B>),
    /// Without a backend at the moment, or about to be.
    InTransition(Arc<Entry<B>>),
    /// Not in the table: asleep, or unknown.
    NotFound,
    /// It has just ended for good.
    Ended,
    /// Another owner's, and what the caller may know of it.
    Anothers(LeaseError),
}
