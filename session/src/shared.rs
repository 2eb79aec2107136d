//! What the registry's handles, its driver and the sessions' tasks have in common.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::driver::Report;
use crate::entry::{Ending, Entry, Snapshot};
use crate::id::Mint;
use crate::opening::{Openings, Ticket};
use crate::place::{Denied, Heir, OwnerSeat, Place, Places, Seat};
use crate::reason::Tally;
use crate::table::Table;
use crate::{Limits, OpenError, Owner, StopReason};

/// How many ids are tried before a session is given up.
const MINTS: usize = 4;

/// Where the registry stands; it only moves downward.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Phase {
    Open,
    Draining,
    Stopping { deadline: Instant },
    Gone(Report),
}

impl Phase {
    /// Why nothing can be opened in this phase.
    pub(crate) fn refusal<E>(&self) -> Option<OpenError<E>> {
        match self {
            Self::Open => None,
            Self::Draining | Self::Stopping { .. } => Some(OpenError::Draining),
            Self::Gone(_) => Some(OpenError::Gone),
        }
    }

    /// Whether opens under way are refused too.
    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self, Self::Stopping { .. } | Self::Gone(_))
    }
}

/// Resolves once opens under way are refused.
pub(crate) async fn stopping(phase: &mut watch::Receiver<Phase>) {
    // What `wait_for` returns is a read lock. It ends here, so that no caller takes a second one
    // beside it. The sender is never dropped while somebody watches.
    let _ = phase.wait_for(Phase::is_stopping).await;
}

pub(crate) struct Shared<B> {
    pub(crate) table: Table<B>,
    pub(crate) places: Arc<Places>,
    pub(crate) openings: Arc<Openings>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) tally: Tally,
    pub(crate) stopping: AtomicUsize,
    limits: watch::Sender<Limits>,
    /// `Limits::lifetime` again, in nanoseconds: lookups read it without a lock.
    lifetime: AtomicU64,
    mint: Mint,
}

impl<B> Shared<B> {
    pub(crate) fn new(limits: Limits, mint: Mint) -> Self {
        let shared = Self {
            table: Table::new(),
            places: Arc::default(),
            openings: Arc::default(),
            phase: watch::Sender::new(Phase::Open),
            tally: Tally::default(),
            stopping: AtomicUsize::new(0),
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

    /// Takes a place for `owner`, or the promise of one that an idle session is made to leave.
    pub(crate) fn reserve<E>(&self, owner: &Owner) -> Result<Reserved, OpenError<E>> {
        let limits = self.limits();
        match self.places.reserve(owner, &limits) {
            Ok(place) => Ok(Reserved::Now(place)),
            Err(Denied::Owner { max }) => {
                let (heir, place) = oneshot::channel();
                let own = |entry: &Entry<B>| entry.owner() == owner;
                match self.evict(&limits, Some(Heir::SameOwner(heir)), own) {
                    true => Ok(Reserved::Place(place)),
                    false => Err(OpenError::OwnerFull { max }),
                }
            }
            Err(Denied::Total { max, own }) => {
                let (heir, seat) = oneshot::channel();
                match self.evict(&limits, Some(Heir::Anyone(heir)), |_| true) {
                    true => Ok(Reserved::Seat(seat, own)),
                    false => Err(OpenError::Full { max }),
                }
            }
        }
    }

    /// Ends the longest-idle session that satisfies `wanted` and has been idle long enough, and
    /// promises its place to `heir`. Says whether there was one.
    pub(crate) fn evict(
        &self,
        limits: &Limits,
        mut heir: Option<Heir>,
        wanted: impl Fn(&Entry<B>) -> bool,
    ) -> bool {
        if limits.evict_idle.is_zero() {
            return false;
        }
        let now = Instant::now();
        let idle = |snapshot: Snapshot| snapshot.idle_for(limits.evict_idle, now);
        loop {
            let victim = self.table.longest_idle(|entry, usage| idle(usage) && wanted(entry));
            let Some(victim) = victim else { return false };
            // Somebody may have leased or ended it since; then the next one is tried. Each round
            // that fails is one in which another caller got on.
            match self.end_if(&victim, heir, |usage| idle(usage).then_some(StopReason::Evicted)) {
                Ok(()) => return true,
                Err(back) => heir = back,
            }
        }
    }

    /// Enters a new session, with one lease held, under an id nobody has.
    pub(crate) fn admit(
        &self,
        ticket: Ticket,
        owner: Owner,
        backend: B,
    ) -> Result<Admitted<B>, (StopReason, B)> {
        let mut backend = Some(backend);
        let admitted = ticket.admit(|| {
            // Sessions enter one at a time, so a free id stays free until it is used below.
            let id = (0..MINTS).map(|_| self.mint.next()).find(|id| !self.table.contains(id))?;
            let (entry, orders) = Entry::leased(id, owner, backend.take()?, Instant::now());
            let entry = Arc::new(entry);
            self.table.insert(Arc::clone(&entry));
            Some(Admitted { entry, orders })
        });
        match (admitted, backend) {
            (Ok(Some(admitted)), _) => Ok(admitted),
            (Ok(None), Some(backend)) => Err((StopReason::Collision, backend)),
            (Err(why), Some(backend)) => Err((why, backend)),
            (_, None) => unreachable!("the backend goes into an entry or comes back"),
        }
    }

    /// Ends a session if `judge` finds a reason: it is gone for lookups when this returns, and
    /// its task stops the backend.
    pub(crate) fn end_if(
        &self,
        entry: &Entry<B>,
        heir: Option<Heir>,
        judge: impl FnOnce(Snapshot) -> Option<StopReason>,
    ) -> Result<(), Option<Heir>> {
        entry.end_if(heir, judge)?;
        self.ended(entry);
        Ok(())
    }

    /// Ends a session whatever its state. Says whether this call did it.
    pub(crate) fn end(&self, entry: &Entry<B>, why: StopReason) -> bool {
        self.end_if(entry, None, |_| Some(why)).is_ok()
    }

    /// Moves a session, whose ending has just been ordered, from live to stopping.
    pub(crate) fn ended(&self, entry: &Entry<B>) {
        self.table.remove(entry.id());
        self.stopping.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends every session that satisfies `wanted`, which runs without any lock held.
    pub(crate) fn end_all(&self, why: StopReason, wanted: impl Fn(&Owner) -> bool) {
        for entry in self.table.select(|_| true) {
            if wanted(entry.owner()) {
                self.end(&entry, why);
            }
        }
    }

    /// Ends what is too old or too long idle, and after the cap was lowered, what is idle enough
    /// to be evicted, as far as the cap asks for it.
    pub(crate) fn reap(&self) {
        let (limits, now) = (self.limits(), Instant::now());
        let due = |usage: Snapshot| usage.due(&limits, now);
        for entry in self.table.select(|entry| entry.peek().and_then(due).is_some()) {
            // A lease taken since the look wins.
            let _ = self.end_if(&entry, None, due);
        }
        if let Some(max) = limits.max_sessions {
            let surplus = self.table.live().saturating_sub(max.get());
            for _ in 0..surplus {
                if !self.evict(&limits, None, |_| true) {
                    break;
                }
            }
        }
    }
}

impl<B> fmt::Debug for Shared<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("live", &self.table.live())
            .field("stopping", &self.stopping)
            .field("phase", &*self.phase.borrow())
            .finish_non_exhaustive()
    }
}

/// A place, now or when a session that is ending leaves it.
#[derive(Debug)]
pub(crate) enum Reserved {
    Now(Place),
    Place(oneshot::Receiver<Place>),
    Seat(oneshot::Receiver<Seat>, OwnerSeat),
}

impl Reserved {
    /// Waits for the place. `None` when the driver went away before it was left.
    ///
    /// # Cancel safety
    /// Dropping the future gives the place back, whether it has come already or comes later.
    pub(crate) async fn place(self) -> Option<Place> {
        match self {
            Self::Now(place) => Some(place),
            Self::Place(left) => left.await.ok(),
            Self::Seat(left, own) => left.await.ok().map(|seat| Place::new(seat, own)),
        }
    }
}

/// A session in the table and the way its ending is ordered.
pub(crate) struct Admitted<B> {
    pub(crate) entry: Arc<Entry<B>>,
    pub(crate) orders: oneshot::Receiver<Ending>,
}
