//! One session in the table: its backend, who uses it, and the order to end it.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::place::Heir;
use crate::{Limits, Owner, SessionId, StopReason};

pub(crate) struct Entry<B> {
    id: SessionId,
    owner: Owner,
    backend: B,
    born: Instant,
    usage: Mutex<Usage>,
}

struct Usage {
    leases: usize,
    /// When the last lease was dropped; of no meaning while one is held.
    last_active: Instant,
    /// The way to the task that keeps the session. Taking it out is what ends a session: it is
    /// there once, so a session ends once, and whoever finds it gone knows the session is over.
    order: Option<oneshot::Sender<Ending>>,
}

/// The order to end a session.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) why: StopReason,
    pub(crate) heir: Option<Heir>,
}

/// What a decision about a session may look at, frozen while it is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Snapshot {
    /// `None` while a lease is held.
    pub(crate) idle_since: Option<Instant>,
    born: Instant,
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
            && now.saturating_duration_since(self.born) >= lifetime
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

impl<B> Entry<B> {
    /// An entry with one lease held, and the way its ending will be ordered.
    pub(crate) fn leased(
        id: SessionId,
        owner: Owner,
        backend: B,
        now: Instant,
    ) -> (Self, oneshot::Receiver<Ending>) {
        let (order, orders) = oneshot::channel();
        let usage = Mutex::new(Usage { leases: 1, last_active: now, order: Some(order) });
        (Self { id, owner, backend, born: now, usage }, orders)
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

    /// Counts one more lease, unless the session is over or `lifetime` has passed while nobody
    /// used it; in the latter case it is ended here and the caller takes it off the table.
    pub(crate) fn acquire(&self, lifetime: Duration) -> Acquired {
        let mut usage = self.usage.lock().expect("nothing panics while it holds the usage");
        if usage.order.is_none() {
            return Acquired::Over;
        }
        // Without a lifetime the clock need not be read.
        if !lifetime.is_zero() && self.snapshot(&usage).outlived(lifetime, Instant::now()) {
            usage.end(StopReason::Lifetime, None);
            return Acquired::Outlived;
        }
        usage.leases += 1;
        Acquired::Leased
    }

    /// Gives one lease back; the idle time begins anew.
    pub(crate) fn release(&self) {
        let now = Instant::now();
        let mut usage = self.usage.lock().expect("nothing panics while it holds the usage");
        usage.leases -= 1;
        // Two drops may read the clock in one order and take the lock in the other.
        usage.last_active = usage.last_active.max(now);
    }

    /// Ends the session if `judge` finds a reason, deciding and ending under one lock. The heir
    /// comes back when the session was not ended by this call.
    pub(crate) fn end_if(
        &self,
        heir: Option<Heir>,
        judge: impl FnOnce(Snapshot) -> Option<StopReason>,
    ) -> Result<StopReason, Option<Heir>> {
        let mut usage = self.usage.lock().expect("nothing panics while it holds the usage");
        if usage.order.is_none() {
            return Err(heir);
        }
        let Some(why) = judge(self.snapshot(&usage)) else {
            return Err(heir);
        };
        usage.end(why, heir);
        Ok(why)
    }

    /// The state of a session that is not over.
    pub(crate) fn peek(&self) -> Option<Snapshot> {
        let usage = self.usage.lock().expect("nothing panics while it holds the usage");
        usage.order.as_ref().map(|_| self.snapshot(&usage))
    }

    fn snapshot(&self, usage: &Usage) -> Snapshot {
        Snapshot { idle_since: (usage.leases == 0).then_some(usage.last_active), born: self.born }
    }
}

impl Usage {
    /// The order is sent under the lock: whoever finds it taken finds it delivered, too.
    fn end(&mut self, why: StopReason, heir: Option<Heir>) {
        if let Some(order) = self.order.take() {
            // The task keeps its end open until it has taken this order itself.
            let _ = order.send(Ending { why, heir });
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    Leased,
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
        let (entry, orders) = Entry::leased(id, owner, (), Instant::now());
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
    fn t32_threads_that_lease_and_a_reaper_never_both_win() {
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
