//! One session in the table: its backend, its leases, and what becomes of it.
//!
//! Every change of a session's state is a method of [`Entry`], made under its lock.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::activity::Activity;
use crate::counts::Counts;
use crate::id::SessionId;
use crate::owner::Owner;
use crate::purpose::Purpose;
use crate::reason::StopReason;
use crate::record_handle::RecordHandle;
use crate::replacement::{AfterStop, Replacement, StopWhen};
use crate::slot::Waiter;

/// One incarnation of a session in the table: the time of one backend. A session that is woken
/// gets another entry.
pub(crate) struct Entry<B> {
    id: SessionId,
    owner: Owner,
    backend: B,
    born: Instant,
    /// How old the session was when this backend came.
    age: Duration,
    record: Option<RecordHandle>,
    /// What `Backend::is_disposable` said.
    is_disposable: bool,
    counts: Arc<Counts>,
    stage: watch::Sender<Stage>,
    usage: Mutex<Usage>,
}

/// What lease holders and lookups may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Here,
    /// Live, but no new lease is given.
    Draining,
    /// Its backend is being stopped.
    Leaving,
    /// This incarnation is over: look the session up again.
    Finished,
}

struct Usage {
    /// Leases for calls, which make the session busy.
    calls: usize,
    /// Leases of clients that only listen.
    streams: usize,
    /// When the last lease was dropped; of no meaning while one is held.
    last_active: Instant,
    /// The same of leases for calls.
    last_called: Instant,
    /// When it was last to sleep and could not be stored.
    unstored_at: Option<Instant>,
    /// The time of last use that the store knows or is about to.
    reported: Option<Instant>,
    /// A replacement that waits for the session to become idle.
    replacement: Option<Replacement>,
    /// The session was over before its backend was to stop.
    was_retired: bool,
    state: State,
}

enum State {
    /// With the way to the session's task. Taking the sender out ends the incarnation. There is one
    /// sender, so an incarnation ends once.
    Live(oneshot::Sender<StopOrder>),
    /// The session is over for good, and the backend waits for the next one of the owner.
    Spare(oneshot::Sender<StopOrder>),
    /// Its backend is being stopped, and its record will outlive that.
    Leaving,
    /// Over for good, for this reason.
    Gone(StopReason),
    /// Its backend has ended; the record is all there is.
    Asleep,
    /// Another entry stands in its place.
    Replaced,
}

/// The order to end an incarnation.
#[derive(Debug)]
pub(crate) struct StopOrder {
    pub(crate) why: StopReason,
    /// The open or wake that gets the slot.
    pub(crate) waiter: Option<Waiter>,
    pub(crate) then: AfterStop,
}

/// What became of a session when an incarnation of it was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IncarnationOutcome {
    Gone(StopReason),
    Asleep,
    Replaced,
}

/// What a new entry is made of.
pub(crate) struct NewEntry<B> {
    pub(crate) id: SessionId,
    pub(crate) owner: Owner,
    pub(crate) backend: B,
    /// How old the session is.
    pub(crate) age: Duration,
    pub(crate) record: Option<RecordHandle>,
    pub(crate) is_disposable: bool,
    /// Since when no lease is held; `None` to begin with one.
    pub(crate) idle_since: Option<Instant>,
}

impl<B> Entry<B> {
    /// A live entry, and the receiver of the order to end it.
    pub(crate) fn new(
        new: NewEntry<B>,
        counts: Arc<Counts>,
        now: Instant,
    ) -> (Self, oneshot::Receiver<StopOrder>) {
        let NewEntry { id, owner, backend, age, record, is_disposable, idle_since } = new;
        let (order, orders) = oneshot::channel();
        counts.live.fetch_add(1, Ordering::Relaxed);
        let usage = Mutex::new(Usage {
            calls: usize::from(idle_since.is_none()),
            streams: 0,
            last_active: idle_since.unwrap_or(now),
            last_called: idle_since.unwrap_or(now),
            unstored_at: None,
            reported: None,
            replacement: None,
            was_retired: false,
            state: State::Live(order),
        });
        let stage = watch::Sender::new(Stage::Here);
        let entry = Self {
            id,
            owner,
            backend,
            born: now,
            age,
            record,
            is_disposable,
            counts,
            stage,
            usage,
        };
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
    pub(crate) fn record(&self) -> Option<&RecordHandle> {
        self.record.as_ref().filter(|record| !record.is_removed())
    }

    /// Counts one more lease, unless the session is over or `lifetime` has passed while no lease was
    /// held; in the latter case it is ended here and the caller takes it off the table.
    pub(crate) fn acquire(&self, lifetime: Duration, purpose: Purpose) -> Acquired {
        let mut usage = self.lock();
        match usage.state {
            State::Live(_) => {}
            State::Spare(_) | State::Gone(_) => return Acquired::Ended,
            State::Leaving | State::Asleep | State::Replaced => return Acquired::InTransition,
        }
        if usage.replacement.is_some_and(|replacement| replacement.when >= StopWhen::Drained) {
            return Acquired::InTransition;
        }
        // Without a lifetime the clock need not be read.
        if !lifetime.is_zero() && self.activity(&usage).outlived(lifetime, Instant::now()) {
            self.leave(&mut usage, StopReason::Lifetime, None, AfterStop::Asleep);
            return Acquired::Expired;
        }
        *usage.leases_for(purpose) += 1;
        Acquired::Leased
    }

    /// Gives one lease back; the idle time begins anew. A replacement that waited for the last
    /// one begins.
    pub(crate) fn release(&self, purpose: Purpose) {
        let now = Instant::now();
        let mut usage = self.lock();
        *usage.leases_for(purpose) -= 1;
        if usage.is_spare() {
            // It has been idle since its session was over.
            return;
        }
        // Two drops may read the clock in one order and take the lock in the other.
        usage.last_active = usage.last_active.max(now);
        if purpose == Purpose::Call {
            usage.last_called = usage.last_called.max(now);
        }
        if usage.calls > 0 {
            return;
        }
        if !usage.is_leased()
            && let Some(replacement) = usage.replacement
            && usage.has_backend()
        {
            self.leave(&mut usage, StopReason::Replaced, None, replacement.then);
        }
        drop(usage);
        self.counts.notify();
    }

    /// Ends the incarnation if `judge` finds a reason, deciding and ending under one lock. The waiter
    /// comes back if this call did not end it.
    pub(crate) fn end_if(
        &self,
        waiter: Option<Waiter>,
        judge: impl FnOnce(Activity) -> Option<StopReason>,
    ) -> Result<StopReason, Option<Waiter>> {
        let mut usage = self.lock();
        if !usage.has_backend() {
            return Err(waiter);
        }
        let Some(why) = judge(self.activity(&usage)) else {
            return Err(waiter);
        };
        self.leave(&mut usage, why, waiter, AfterStop::Asleep);
        Ok(why)
    }

    /// Has the backend replaced, now or as soon as the replacement allows. One without a session ends.
    /// `false` for a session that is over or cannot sleep.
    pub(crate) fn replace(&self, replacement: Replacement) -> bool {
        let mut usage = self.lock();
        if usage.is_spare() {
            self.leave(&mut usage, StopReason::Replaced, None, AfterStop::Asleep);
            return true;
        }
        if !usage.has_backend() || self.record().is_none() {
            return false;
        }
        let replacement = replacement.and(usage.replacement);
        if !usage.is_leased() || replacement.when == StopWhen::Now {
            self.leave(&mut usage, StopReason::Replaced, None, replacement.then);
        } else {
            usage.replacement = Some(replacement);
            if replacement.when == StopWhen::Drained {
                self.stage.send_replace(Stage::Draining);
            }
        }
        true
    }

    /// Ends a live session for good and keeps its backend, whose idle time begins. Its record must have
    /// been removed. `false`, and nothing has changed, when its incarnation is over or is to be.
    pub(crate) fn set_spare(&self) -> bool {
        let mut usage = self.lock();
        if usage.replacement.is_some() {
            return false;
        }
        let before = std::mem::replace(&mut usage.state, State::Replaced);
        let (state, is_kept) = match before {
            State::Live(order) => (State::Spare(order), true),
            other => (other, false),
        };
        usage.state = state;
        if is_kept {
            usage.was_retired = true;
            let now = Instant::now();
            (usage.last_active, usage.last_called) = (now, now);
            self.counts.live.fetch_sub(1, Ordering::Relaxed);
            self.counts.spare.fetch_add(1, Ordering::Relaxed);
        }
        is_kept
    }

    /// Whether the session was over before its backend was to stop, and was counted then.
    pub(crate) fn was_retired(&self) -> bool {
        self.lock().was_retired
    }

    /// Whether the backend waits for the next session of its owner.
    pub(crate) fn is_spare(&self) -> bool {
        self.lock().is_spare()
    }

    /// Ends a session for good that is about to sleep. `false` if it is live, or sleeps or was
    /// replaced already, or is gone.
    pub(crate) fn mark_gone(&self, why: StopReason) -> bool {
        let mut usage = self.lock();
        let is_leaving = matches!(usage.state, State::Leaving);
        if is_leaving {
            usage.state = State::Gone(why);
        }
        is_leaving
    }

    /// Takes an order back because the snapshot could not be saved. The idle time begins anew, so
    /// that the same decision is not made again at once. `None` if the session was ended for good
    /// meanwhile.
    pub(crate) fn resume(&self) -> Option<oneshot::Receiver<StopOrder>> {
        let mut usage = self.lock();
        if !matches!(usage.state, State::Leaving) {
            return None;
        }
        let (order, orders) = oneshot::channel();
        usage.state = State::Live(order);
        usage.replacement = None;
        let now = Instant::now();
        (usage.last_active, usage.last_called, usage.unstored_at) = (now, now, Some(now));
        self.counts.stopping.fetch_sub(1, Ordering::Relaxed);
        self.counts.live.fetch_add(1, Ordering::Relaxed);
        self.stage.send_replace(Stage::Here);
        Some(orders)
    }

    /// Notes that another entry stands in this one's place. The reason comes back if this one was
    /// ended for good meanwhile; the caller then ends the other one.
    pub(crate) fn set_replaced(&self) -> Result<(), StopReason> {
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
            State::Live(_) | State::Spare(_) | State::Leaving | State::Asleep | State::Replaced => {
                None
            }
        }
    }

    /// When the session was last used: now, while a lease is held.
    pub(crate) fn last_active(&self) -> Instant {
        let usage = self.lock();
        if usage.is_leased() { Instant::now() } else { usage.last_active }
    }

    /// Whether the session goes on without this incarnation, asleep or in another one.
    pub(crate) fn is_superseded(&self) -> bool {
        matches!(self.lock().state, State::Asleep | State::Replaced)
    }

    /// Settles what becomes of the session when an incarnation, which must have been ended, is over.
    /// From here on nothing changes.
    pub(crate) fn outcome(&self) -> IncarnationOutcome {
        let mut usage = self.lock();
        match usage.state {
            State::Live(_) | State::Spare(_) => {
                unreachable!("an incarnation is ended before its outcome is settled")
            }
            State::Leaving => {
                usage.state = State::Asleep;
                IncarnationOutcome::Asleep
            }
            State::Asleep => IncarnationOutcome::Asleep,
            State::Gone(why) => IncarnationOutcome::Gone(why),
            State::Replaced => IncarnationOutcome::Replaced,
        }
    }

    /// Tells every task that waits for the end of this incarnation.
    pub(crate) fn finish(&self) {
        self.stage.send_replace(Stage::Finished);
    }

    /// Resolves when it is worth looking the session up again: the incarnation is over, or was
    /// resumed.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn settled(&self) {
        let mut stage = self.stage.subscribe();
        // The sender is in `self`.
        let _ =
            stage.wait_for(|stage| matches!(stage, Stage::Here | Stage::Finished)).await.is_ok();
    }

    /// Resolves when holders of leases should give them back.
    pub(crate) async fn asked_to_leave(&self) {
        let mut stage = self.stage.subscribe();
        let _ = stage.wait_for(|&stage| stage >= Stage::Draining).await.is_ok();
    }

    /// The state of a session that is live, or of a backend without one.
    pub(crate) fn peek(&self) -> Option<Activity> {
        let usage = self.lock();
        usage.has_backend().then(|| self.activity(&usage))
    }

    /// Gives `note` the time of last use, if the session is live and the time has changed since the
    /// last call. Under the lock, so that no such note comes after the one that the session sleeps.
    pub(crate) fn report_use(&self, note: impl FnOnce(Instant)) -> bool {
        let mut usage = self.lock();
        if !usage.has_backend() {
            return false;
        }
        let used = if usage.is_leased() { Instant::now() } else { usage.last_active };
        let has_changed = usage.reported.replace(used) != Some(used);
        if has_changed {
            note(used);
        }
        has_changed
    }

    fn activity(&self, usage: &Usage) -> Activity {
        let is_spare = usage.is_spare();
        // Leases on a session that is over end with its streams, and keep nothing awake.
        let idle_since = (is_spare || !usage.is_leased()).then_some(usage.last_active);
        let quiet_since = (is_spare || usage.calls == 0).then_some(usage.last_called);
        let unstored_at = usage.unstored_at;
        Activity { is_spare, idle_since, quiet_since, unstored_at, born: self.born, age: self.age }
    }

    /// From live to leaving or gone. The order is sent under the lock: where the sender is gone the
    /// order was delivered.
    fn leave(&self, usage: &mut Usage, why: StopReason, waiter: Option<Waiter>, then: AfterStop) {
        let sleeps = why.sleeps() && !(self.is_disposable && why.disposes());
        let next = match sleeps && self.record().is_some() {
            true => State::Leaving,
            false => State::Gone(why),
        };
        let (order, counted) = match std::mem::replace(&mut usage.state, next) {
            State::Live(order) => (order, &self.counts.live),
            State::Spare(order) => (order, &self.counts.spare),
            _ => unreachable!("the callers have looked"),
        };
        counted.fetch_sub(1, Ordering::Relaxed);
        self.counts.stopping.fetch_add(1, Ordering::Relaxed);
        // The task keeps its end open until it has taken this order itself.
        let _ = order.send(StopOrder { why, waiter, then });
        self.stage.send_replace(Stage::Leaving);
    }

    fn lock(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().expect("nothing panics while it holds the usage")
    }
}

impl Usage {
    /// Whether there is a backend that was not asked to stop.
    fn has_backend(&self) -> bool {
        matches!(self.state, State::Live(_) | State::Spare(_))
    }

    fn is_spare(&self) -> bool {
        matches!(self.state, State::Spare(_))
    }

    fn is_leased(&self) -> bool {
        self.calls + self.streams > 0
    }

    fn leases_for(&mut self, purpose: Purpose) -> &mut usize {
        match purpose {
            Purpose::Call => &mut self.calls,
            Purpose::Stream => &mut self.streams,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    Leased,
    /// Without a backend at the moment, or about to be: `settled` tells when to look again.
    InTransition,
    Ended,
    /// It was older than the lifetime and is ended by this lookup.
    Expired,
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

    fn entry() -> (Arc<Entry<()>>, oneshot::Receiver<StopOrder>) {
        let owner = Owner::new("https://id", "ada", "client");
        let id = SessionId::from_bytes([7; 24]);
        let new = NewEntry {
            id,
            owner,
            backend: (),
            age: Duration::ZERO,
            record: None,
            is_disposable: false,
            idle_since: None,
        };
        let (entry, orders) = Entry::new(new, Arc::default(), Instant::now());
        (Arc::new(entry), orders)
    }

    fn if_idle(activity: Activity) -> Option<StopReason> {
        activity.idle_since.map(|_| StopReason::Idle)
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
        assert_eq!(entry.acquire(Duration::ZERO, Purpose::Call), Acquired::Ended);
    }

    #[test]
    fn threads_that_lease_and_a_reaper_never_both_win() {
        for _ in 0..200 {
            let (entry, _orders) = entry();
            entry.release(Purpose::Call);
            let leased = AtomicUsize::new(0);
            let gate = std::sync::Barrier::new(3);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        gate.wait();
                        for _ in 0..20 {
                            if entry.acquire(Duration::ZERO, Purpose::Call) == Acquired::Leased {
                                leased.fetch_add(1, Ordering::SeqCst);
                                assert!(
                                    entry.end_if(None, if_idle).is_err(),
                                    "a session with a lease was reaped"
                                );
                                leased.fetch_sub(1, Ordering::SeqCst);
                                entry.release(Purpose::Call);
                            }
                        }
                    });
                }
                scope.spawn(|| {
                    gate.wait();
                    let ended = (0..100).any(|_| entry.end_if(None, if_idle).is_ok());
                    if ended {
                        assert_eq!(entry.acquire(Duration::ZERO, Purpose::Call), Acquired::Ended);
                        assert_eq!(leased.load(Ordering::SeqCst), 0);
                    }
                });
            });
        }
    }
}
