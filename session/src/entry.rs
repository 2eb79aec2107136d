//! One session in the table: its backend, who uses it, and what becomes of it.
//!
//! Every change of a session's state is a method of [`Usage`] here, made under the entry's lock.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::counts::Counts;
use crate::place::Heir;
use crate::replacement::{AfterStop, Replacement, StopWhen};
use crate::{Limits, Owner, RecordKey, SessionId, StopReason};

/// One backend's stay in the table. A session that is woken gets another one.
pub(crate) struct Entry<B> {
    id: SessionId,
    owner: Owner,
    backend: B,
    born: Instant,
    /// How old the session was when this backend came.
    age: Duration,
    kept: Option<Kept>,
    counts: Arc<Counts>,
    stage: watch::Sender<Stage>,
    usage: Mutex<Usage>,
}

/// The record behind a session that can sleep.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) key: RecordKey,
    /// The SHA-256 of the snapshot in the store. Saves take turns by this lock, which is held
    /// while the store works: an older snapshot never overwrites a newer one.
    pub(crate) digest: tokio::sync::Mutex<[u8; 32]>,
    /// The backend has ended and had its last turn: what it still says is no news of the session.
    pub(crate) closed: AtomicBool,
    /// The record was removed: the session cannot sleep any more.
    pub(crate) lost: AtomicBool,
}

/// What others may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Here,
    /// Live, but no new lease is given.
    Draining,
    /// Its backend is being stopped.
    Leaving,
    /// This backend's stay is over: look again.
    Departed,
}

struct Usage {
    leases: usize,
    /// When the last lease was dropped; of no meaning while one is held.
    last_active: Instant,
    /// The time of last use that the store knows or is about to.
    told: Option<Instant>,
    /// A replacement that waits for the session to become idle.
    replacement: Option<Replacement>,
    state: State,
}

enum State {
    /// With the way to the task that keeps the session. Taking it out is what ends the stay: it
    /// is there once, so a stay ends once, and whoever finds it gone knows that.
    Live(oneshot::Sender<Ending>),
    /// Its backend is being stopped, and its record will outlive that.
    Leaving,
    /// Over for good, for this reason.
    Gone(StopReason),
    /// Its backend has ended; the record is all there is.
    Asleep,
    /// Another entry stands in its place.
    Replaced,
}

/// The order to end a session's stay.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) why: StopReason,
    pub(crate) heir: Option<Heir>,
    pub(crate) then: AfterStop,
}

/// How a stay went out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concluded {
    Gone(StopReason),
    Asleep,
    Replaced,
}

/// What a decision about a session may look at, frozen while it is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Snapshot {
    /// `None` while a lease is held.
    pub(crate) idle_since: Option<Instant>,
    born: Instant,
    age: Duration,
}

impl Snapshot {
    /// Whether nobody has used the session for at least `idle`.
    pub(crate) fn idle_for(&self, idle: Duration, now: Instant) -> bool {
        self.idle_since.is_some_and(|since| now.saturating_duration_since(since) >= idle)
    }

    /// Whether the session is as old as `lifetime` (zero: it never is) and nobody uses it.
    pub(crate) fn outlived(&self, lifetime: Duration, now: Instant) -> bool {
        self.idle_since.is_some()
            && !lifetime.is_zero()
            && self.age.saturating_add(now.saturating_duration_since(self.born)) >= lifetime
    }

    /// Why the reaper should end the session, if it should.
    pub(crate) fn due(&self, limits: &Limits, now: Instant) -> Option<StopReason> {
        if self.outlived(limits.lifetime, now) {
            Some(StopReason::Lifetime)
        } else if !limits.idle.is_zero() && self.idle_for(limits.idle, now) {
            Some(StopReason::Idle)
        } else {
            None
        }
    }
}

/// What a new entry is made of.
pub(crate) struct Arrival<B> {
    pub(crate) id: SessionId,
    pub(crate) owner: Owner,
    pub(crate) backend: B,
    /// How old the session is.
    pub(crate) age: Duration,
    pub(crate) kept: Option<Kept>,
    /// Since when nobody uses it; `None` to begin with one lease held.
    pub(crate) idle_since: Option<Instant>,
}

impl<B> Entry<B> {
    /// A live entry, and the way its ending will be ordered.
    pub(crate) fn new(
        arrival: Arrival<B>,
        counts: Arc<Counts>,
        now: Instant,
    ) -> (Self, oneshot::Receiver<Ending>) {
        let Arrival { id, owner, backend, age, kept, idle_since } = arrival;
        let (order, orders) = oneshot::channel();
        counts.live.fetch_add(1, Ordering::Relaxed);
        let usage = Mutex::new(Usage {
            leases: usize::from(idle_since.is_none()),
            last_active: idle_since.unwrap_or(now),
            told: None,
            replacement: None,
            state: State::Live(order),
        });
        let stage = watch::Sender::new(Stage::Here);
        let entry = Self { id, owner, backend, born: now, age, kept, counts, stage, usage };
        (entry, orders)
    }

    pub(crate) fn id(&self) -> &SessionId {
        &self.id
    }

    pub(crate) fn owner(&self) -> &Owner {
        &self.owner
    }

    pub(crate) fn backend(&self) -> &B {
        &self.backend
    }

    pub(crate) fn born(&self) -> Instant {
        self.born
    }

    /// How old the session was when this backend came.
    pub(crate) fn age(&self) -> Duration {
        self.age
    }

    /// The record, if there is one.
    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref().filter(|kept| !kept.lost.load(Ordering::SeqCst))
    }

    /// Counts one more lease, unless the session is over or `lifetime` has passed while nobody
    /// used it; in the latter case it is ended here and the caller takes it off the table.
    pub(crate) fn acquire(&self, lifetime: Duration) -> Acquired {
        let mut usage = self.lock();
        match usage.state {
            State::Live(_) => {}
            State::Gone(_) => return Acquired::Over,
            State::Leaving | State::Asleep | State::Replaced => return Acquired::Moving,
        }
        if usage.replacement.is_some_and(|replacement| replacement.when >= StopWhen::Drained) {
            return Acquired::Moving;
        }
        // Without a lifetime the clock need not be read.
        if !lifetime.is_zero() && self.snapshot(&usage).outlived(lifetime, Instant::now()) {
            self.leave(&mut usage, StopReason::Lifetime, None, AfterStop::Asleep);
            return Acquired::Outlived;
        }
        usage.leases += 1;
        Acquired::Leased
    }

    /// Gives one lease back; the idle time begins anew. A replacement that waited for the last
    /// one begins.
    pub(crate) fn release(&self) {
        let now = Instant::now();
        let mut usage = self.lock();
        usage.leases -= 1;
        // Two drops may read the clock in one order and take the lock in the other.
        usage.last_active = usage.last_active.max(now);
        if usage.leases > 0 {
            return;
        }
        if let Some(replacement) = usage.replacement
            && usage.is_live()
        {
            self.leave(&mut usage, StopReason::Replaced, None, replacement.then);
        }
        drop(usage);
        self.counts.ring();
    }

    /// Ends a stay if `judge` finds a reason, deciding and ending under one lock. The heir comes
    /// back when the stay was not ended by this call.
    pub(crate) fn end_if(
        &self,
        heir: Option<Heir>,
        judge: impl FnOnce(Snapshot) -> Option<StopReason>,
    ) -> Result<StopReason, Option<Heir>> {
        let mut usage = self.lock();
        if !usage.is_live() {
            return Err(heir);
        }
        let Some(why) = judge(self.snapshot(&usage)) else {
            return Err(heir);
        };
        self.leave(&mut usage, why, heir, AfterStop::Asleep);
        Ok(why)
    }

    /// Has the backend replaced, now or as soon as the replacement allows. `false` for a session that
    /// is over or cannot sleep.
    pub(crate) fn replace(&self, replacement: Replacement) -> bool {
        let mut usage = self.lock();
        if !usage.is_live() || self.kept().is_none() {
            return false;
        }
        let replacement = replacement.and(usage.replacement);
        if usage.leases == 0 || replacement.when == StopWhen::Now {
            self.leave(&mut usage, StopReason::Replaced, None, replacement.then);
        } else {
            usage.replacement = Some(replacement);
            if replacement.when == StopWhen::Drained {
                self.stage.send_replace(Stage::Draining);
            }
        }
        true
    }

    /// Makes the end of a session that is about to sleep one for good. `false` if it is live, or
    /// sleeps or was replaced already, or is gone.
    pub(crate) fn doom(&self, why: StopReason) -> bool {
        let mut usage = self.lock();
        let leaving = matches!(usage.state, State::Leaving);
        if leaving {
            usage.state = State::Gone(why);
        }
        leaving
    }

    /// Takes an ending back whose snapshot could not be saved. The idle time begins anew, so that
    /// the same decision is not made again at once. `None` if it was ended for good meanwhile.
    pub(crate) fn revive(&self) -> Option<oneshot::Receiver<Ending>> {
        let mut usage = self.lock();
        if !matches!(usage.state, State::Leaving) {
            return None;
        }
        let (order, orders) = oneshot::channel();
        usage.state = State::Live(order);
        usage.replacement = None;
        usage.last_active = Instant::now();
        self.counts.stopping.fetch_sub(1, Ordering::Relaxed);
        self.counts.live.fetch_add(1, Ordering::Relaxed);
        self.stage.send_replace(Stage::Here);
        Some(orders)
    }

    /// Notes that another entry stands in this one's place. The reason comes back if this one was
    /// ended for good meanwhile, which is then to be done to the other.
    pub(crate) fn replaced(&self) -> Result<(), StopReason> {
        let mut usage = self.lock();
        if let State::Gone(why) = usage.state {
            return Err(why);
        }
        usage.state = State::Replaced;
        Ok(())
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.why_gone().is_some()
    }

    /// Why the session is over for good, if it is.
    pub(crate) fn why_gone(&self) -> Option<StopReason> {
        match self.lock().state {
            State::Gone(why) => Some(why),
            State::Live(_) | State::Leaving | State::Asleep | State::Replaced => None,
        }
    }

    /// When the session was last used: now, while a lease is held.
    pub(crate) fn last_active(&self) -> Instant {
        let usage = self.lock();
        if usage.leases == 0 { usage.last_active } else { Instant::now() }
    }

    /// Whether the session goes on without this stay, asleep or in another one.
    pub(crate) fn is_past(&self) -> bool {
        matches!(self.lock().state, State::Asleep | State::Replaced)
    }

    /// Settles how a stay, which must have been ended, went out. From here on nothing changes.
    pub(crate) fn conclude(&self) -> Concluded {
        let mut usage = self.lock();
        match usage.state {
            State::Live(_) => unreachable!("a stay is ended before it is concluded"),
            State::Leaving => {
                usage.state = State::Asleep;
                Concluded::Asleep
            }
            State::Asleep => Concluded::Asleep,
            State::Gone(why) => Concluded::Gone(why),
            State::Replaced => Concluded::Replaced,
        }
    }

    /// Tells everybody who waits for the end of this stay.
    pub(crate) fn depart(&self) {
        self.stage.send_replace(Stage::Departed);
    }

    /// Resolves when it is worth looking the session up again: the stay is over, or was resumed.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn settled(&self) {
        let mut stage = self.stage.subscribe();
        // The sender is in `self`.
        let _ =
            stage.wait_for(|stage| matches!(stage, Stage::Here | Stage::Departed)).await.is_ok();
    }

    /// Resolves when holders of leases should give them back.
    pub(crate) async fn unwanted(&self) {
        let mut stage = self.stage.subscribe();
        let _ = stage.wait_for(|&stage| stage >= Stage::Draining).await.is_ok();
    }

    /// The state of a session that is live.
    pub(crate) fn peek(&self) -> Option<Snapshot> {
        let usage = self.lock();
        usage.is_live().then(|| self.snapshot(&usage))
    }

    /// Has `note` told when the session was last used, if it is awake and there is news. Under the
    /// lock, so that nothing of it comes after the word that the session sleeps.
    pub(crate) fn tell(&self, note: impl FnOnce(Instant)) -> bool {
        let mut usage = self.lock();
        if !usage.is_live() {
            return false;
        }
        let used = if usage.leases == 0 { usage.last_active } else { Instant::now() };
        let is_news = usage.told.replace(used) != Some(used);
        if is_news {
            note(used);
        }
        is_news
    }

    fn snapshot(&self, usage: &Usage) -> Snapshot {
        let idle_since = (usage.leases == 0).then_some(usage.last_active);
        Snapshot { idle_since, born: self.born, age: self.age }
    }

    /// From live to leaving or gone. The order is sent under the lock: whoever finds it taken
    /// finds it delivered, too.
    fn leave(&self, usage: &mut Usage, why: StopReason, heir: Option<Heir>, then: AfterStop) {
        let next = match why.sleeps() && self.kept().is_some() {
            true => State::Leaving,
            false => State::Gone(why),
        };
        if let State::Live(order) = std::mem::replace(&mut usage.state, next) {
            self.counts.live.fetch_sub(1, Ordering::Relaxed);
            self.counts.stopping.fetch_add(1, Ordering::Relaxed);
            // The task keeps its end open until it has taken this order itself.
            let _ = order.send(Ending { why, heir, then });
            self.stage.send_replace(Stage::Leaving);
        } else {
            unreachable!("the callers have looked");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().expect("nothing panics while it holds the usage")
    }
}

impl Usage {
    fn is_live(&self) -> bool {
        matches!(self.state, State::Live(_))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    Leased,
    /// Without a backend at the moment, or about to be: `settled` tells when to look again.
    Moving,
    Over,
    Outlived,
}

impl<B: fmt::Debug> fmt::Debug for Entry<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("id", &self.id)
            .field("owner", &self.owner)
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn entry() -> (Arc<Entry<()>>, oneshot::Receiver<Ending>) {
        let owner = Owner::new("https://id", "ada", "client");
        let id = SessionId::from_bytes([7; 24]);
        let arrival =
            Arrival { id, owner, backend: (), age: Duration::ZERO, kept: None, idle_since: None };
        let (entry, orders) = Entry::new(arrival, Arc::default(), Instant::now());
        (Arc::new(entry), orders)
    }

    fn if_idle(snapshot: Snapshot) -> Option<StopReason> {
        snapshot.idle_since.map(|_| StopReason::Idle)
    }

    #[test]
    fn a_session_ends_once() {
        let (entry, mut orders) = entry();
        assert_eq!(
            entry.end_if(None, |_| Some(StopReason::Deleted)).ok(),
            Some(StopReason::Deleted)
        );
        assert!(entry.end_if(None, |_| Some(StopReason::Idle)).is_err());
        assert_eq!(orders.try_recv().expect("delivered").why, StopReason::Deleted);
        assert_eq!(entry.acquire(Duration::ZERO), Acquired::Over);
    }

    #[test]
    fn threads_that_lease_and_a_reaper_never_both_win() {
        for _ in 0..200 {
            let (entry, _orders) = entry();
            entry.release();
            let leased = AtomicUsize::new(0);
            let gate = std::sync::Barrier::new(3);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        gate.wait();
                        for _ in 0..20 {
                            if entry.acquire(Duration::ZERO) == Acquired::Leased {
                                leased.fetch_add(1, Ordering::SeqCst);
                                assert!(
                                    entry.end_if(None, if_idle).is_err(),
                                    "a session with a lease was reaped"
                                );
                                leased.fetch_sub(1, Ordering::SeqCst);
                                entry.release();
                            }
                        }
                    });
                }
                scope.spawn(|| {
                    gate.wait();
                    let ended = (0..100).any(|_| entry.end_if(None, if_idle).is_ok());
                    if ended {
                        assert_eq!(entry.acquire(Duration::ZERO), Acquired::Over);
                        assert_eq!(leased.load(Ordering::SeqCst), 0);
                    }
                });
            });
        }
    }
}
