//! What the registry's handles, its driver and the sessions' tasks have in common.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::counts::Counts;
use crate::driver::Report;
use crate::entry::{Acquired, Arrival, Ending, Entry, Kept, Snapshot};
use crate::error::NoPlace;
use crate::id::Mint;
use crate::keeper::Keeper;
use crate::opening::{Openings, Ticket};
use crate::place::{Denied, Heir, OwnerSeat, Place, Places, Seat};
use crate::queue::Queue;
use crate::reason::Tally;
use crate::table::Table;
use crate::{Lease, Limits, OpenError, Owner, SessionId, StopReason};

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
    pub(crate) queue: Queue,
    pub(crate) openings: Arc<Openings>,
    /// `None`: nothing is recorded, and nothing sleeps.
    pub(crate) keeper: Option<Keeper>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) tally: Tally,
    pub(crate) counts: Arc<Counts>,
    limits: watch::Sender<Limits>,
    /// `Limits::lifetime` again, in nanoseconds: lookups read it without a lock.
    lifetime: AtomicU64,
    mint: Mint,
}

impl<B> Shared<B> {
    pub(crate) fn new(limits: Limits, mint: Mint, keeper: Option<Keeper>) -> Self {
        let counts = Arc::<Counts>::default();
        let shared = Self {
            table: Table::new(),
            places: Arc::new(Places::new(Arc::clone(&counts))),
            queue: Queue::new(Arc::clone(&counts)),
            openings: Arc::default(),
            keeper,
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

    /// Takes a place for `owner`, waiting for it if need be: until a session that makes room has
    /// ended, and in the queue for as long as `Limits::place_wait`.
    ///
    /// # Cancel safety
    /// Dropping the future gives the place back, whether it has come already or comes later.
    pub(crate) async fn place(&self, owner: &Owner) -> Result<Place, NoPlace> {
        let limits = self.limits();
        let until = Instant::now() + limits.place_wait;
        loop {
            // Whoever comes while others wait does not pass them.
            let passed = match (self.queue.is_empty(), limits.max_sessions, limits.max_per_owner) {
                (false, Some(max), _) => Some(NoPlace::Full { max }),
                (false, None, Some(max)) => Some(NoPlace::OwnerFull { max }),
                _ => None,
            };
            let refused = match passed.map_or_else(|| self.reserve(owner), Err) {
                Ok(reserved) => match reserved.place().await {
                    Some(place) => return Ok(place),
                    // The session that was to make room could not be saved and lives on.
                    None => continue,
                },
                Err(refused) => refused,
            };
            if Instant::now() >= until {
                return Err(refused);
            }
            let Some(place) = self.queue.join(owner, limits.max_waiting_per_owner) else {
                return Err(refused);
            };
            match timeout_at(until, place).await {
                Ok(Ok(reserved)) => {
                    if let Some(place) = reserved.place().await {
                        return Ok(place);
                    }
                }
                // The queue goes with the registry, which the caller notices by itself.
                Ok(Err(_)) | Err(_) => return Err(refused),
            }
        }
    }

    /// Takes a place for `owner`, or the promise of one that an idle session is made to leave.
    pub(crate) fn reserve(&self, owner: &Owner) -> Result<Reserved, NoPlace> {
        let limits = self.limits();
        match self.places.reserve(owner, &limits) {
            Ok(place) => Ok(Reserved::Now(place)),
            Err(Denied::Owner { max }) => {
                let (heir, place) = oneshot::channel();
                let own = |entry: &Entry<B>| entry.owner() == owner;
                match self.evict(&limits, Some(Heir::SameOwner(heir)), own) {
                    true => Ok(Reserved::Place(place)),
                    false => Err(NoPlace::OwnerFull { max }),
                }
            }
            Err(Denied::Total { max, own }) => {
                let (heir, seat) = oneshot::channel();
                match self.evict(&limits, Some(Heir::Anyone(heir)), |_| true) {
                    true => Ok(Reserved::Seat(seat, own)),
                    false => Err(NoPlace::Full { max }),
                }
            }
        }
    }

    /// Puts the longest-idle session that satisfies `wanted` and has been idle long enough to
    /// sleep, or ends it if it cannot sleep, and promises its place to `heir`. Says whether there was one.
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

    /// An id that nobody has, as far as the table knows.
    pub(crate) fn free_id(&self) -> Option<SessionId> {
        (0..MINTS).map(|_| self.mint.next()).find(|id| !self.table.contains(id))
    }

    /// Enters a session, with one lease held. Without an `id` it gets a new one.
    pub(crate) fn admit(
        &self,
        ticket: Ticket,
        id: Option<SessionId>,
        newcomer: Newcomer<B>,
    ) -> Result<Admitted<B>, (StopReason, B)> {
        self.enter(ticket, newcomer, None, || match id {
            // Sessions enter one at a time, so an id that is free stays so until it is used.
            Some(id) => (!self.table.contains(&id)).then_some(id),
            None => self.free_id(),
        })
    }

    /// Enters a session's next stay, idle as `before` was, in the place of that one.
    pub(crate) fn succeed(
        &self,
        ticket: Ticket,
        before: &Entry<B>,
        newcomer: Newcomer<B>,
    ) -> Result<Admitted<B>, (StopReason, B)> {
        let idle_since = Some(before.last_active());
        let admitted = self.enter(ticket, newcomer, idle_since, || Some(*before.id()))?;
        if let Err(why) = before.replaced() {
            // It was ended for good, a moment too early to find this one in its place.
            self.end(&admitted.entry, why);
        }
        Ok(admitted)
    }

    fn enter(
        &self,
        ticket: Ticket,
        newcomer: Newcomer<B>,
        idle_since: Option<Instant>,
        id: impl FnOnce() -> Option<SessionId>,
    ) -> Result<Admitted<B>, (StopReason, B)> {
        let Newcomer { owner, backend, age, kept } = newcomer;
        let mut backend = Some(backend);
        let admitted = ticket.admit(|| {
            let id = id()?;
            let arrival = Arrival { id, owner, backend: backend.take()?, age, kept, idle_since };
            let (entry, orders) = Entry::new(arrival, Arc::clone(&self.counts), Instant::now());
            let entry = Arc::new(entry);
            self.table.put(Arc::clone(&entry));
            Some(Admitted { entry, orders })
        });
        match (admitted, backend) {
            (Ok(Some(admitted)), _) => Ok(admitted),
            (Ok(None), Some(backend)) => Err((StopReason::Collision, backend)),
            (Err(why), Some(backend)) => Err((why, backend)),
            (_, None) => unreachable!("the backend goes into an entry or comes back"),
        }
    }

    /// Takes a lease on a session that is live, for its owner alone.
    pub(crate) fn lease(&self, id: &SessionId, owner: &Owner) -> Found<B> {
        let Some(entry) = self.table.find(id) else { return Found::Nothing };
        if entry.owner() != owner {
            return Found::Foreign;
        }
        match entry.acquire(self.lifetime()) {
            Acquired::Leased => Found::Live(Lease::counted(entry)),
            Acquired::Moving => Found::Moving(entry),
            Acquired::Over => Found::Over,
            Acquired::Outlived => {
                self.ended(&entry);
                Found::Over
            }
        }
    }

    /// Ends a session's stay if `judge` finds a reason: it is not live for lookups when this
    /// returns, and its task stops the backend.
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

    /// Ends a session whatever its state, in this stay or a later one, unless it is asleep: a lookup
    /// does not find it then, and its record is to be removed. Says whether this call did it.
    pub(crate) fn end(&self, entry: &Entry<B>, why: StopReason) -> bool {
        if self.end_if(entry, None, |_| Some(why)).is_ok() {
            return true;
        }
        if why.sleeps() {
            return false;
        }
        if self.doom(entry, why) {
            return true;
        }
        // The session may have another stay by now: it was replaced, or fell asleep and was woken.
        let next = entry.is_past().then(|| self.table.find(entry.id())).flatten();
        next.filter(|next| !std::ptr::eq(&raw const **next, entry))
            .is_some_and(|next| self.end(&next, why))
    }

    /// Makes the end of a session that is about to sleep one for good. Says whether this call did it.
    pub(crate) fn doom(&self, entry: &Entry<B>, why: StopReason) -> bool {
        let doomed = entry.doom(why);
        if doomed {
            self.ended(entry);
        }
        doomed
    }

    /// Takes a session off the table if it is over for good. One that will sleep stays until its
    /// backend has ended, so that nobody wakes another beside it. For the same reason the record of
    /// one that is over wakes nothing from here on, though it may stay until then.
    pub(crate) fn ended(&self, entry: &Entry<B>) {
        if entry.is_gone() {
            if let (Some(keeper), Some(kept)) = (&self.keeper, entry.kept()) {
                keeper.doom(kept.key);
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
            let surplus = self.live().saturating_sub(max.get());
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
            .field("counts", &self.counts)
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

/// What a lookup finds.
pub(crate) enum Found<B> {
    Live(Lease<B>),
    /// Without a backend at the moment, or about to be.
    Moving(Arc<Entry<B>>),
    /// Not in the table: asleep, or unknown.
    Nothing,
    /// It has just ended for good.
    Over,
    Foreign,
}

/// A session on its way into the table.
pub(crate) struct Newcomer<B> {
    pub(crate) owner: Owner,
    pub(crate) backend: B,
    /// How old the session is.
    pub(crate) age: Duration,
    pub(crate) kept: Option<Kept>,
}

/// A session in the table and the way its ending is ordered.
pub(crate) struct Admitted<B> {
    pub(crate) entry: Arc<Entry<B>>,
    pub(crate) orders: oneshot::Receiver<Ending>,
}
