//! Back-off: how often a session failed to wake of late, and how long the next attempt waits.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::error::WakeError;
use crate::id::SessionId;
use crate::limits::Limits;
use crate::owner::Owner;

/// A backend that lives this long after its start has not failed.
pub(crate) const STABLE_AFTER: Duration = Duration::from_secs(10);

/// How many failing sessions are remembered. Beyond it a crash loop is noticed later.
const MAX_TRACKED: usize = 4096;

/// Counts, per session, the wakes in a row that failed or whose backend crashed soon after.
pub(crate) struct FailureTracker<E>(Mutex<HashMap<SessionId, Failures<E>>>);

struct Failures<E> {
    owner: Owner,
    in_a_row: u32,
    last: Option<Arc<E>>,
    at: Instant,
}

impl<E> FailureTracker<E> {
    pub(crate) fn new() -> Self {
        Self(Mutex::default())
    }

    /// How long the next wake must wait, or why it is refused without an attempt.
    pub(crate) fn backoff(
        &self,
        id: &SessionId,
        owner: &Owner,
        limits: &Limits,
    ) -> Result<Duration, WakeError<E>> {
        let tracked = self.lock();
        // The record was not read yet. Another owner must not learn from the answer that the
        // session exists.
        let Some(failures) = tracked.get(id).filter(|failures| failures.owner == *owner) else {
            return Ok(Duration::ZERO);
        };
        let since = failures.at.elapsed();
        if limits.max_wake_failures > 0 && failures.in_a_row >= limits.max_wake_failures {
            return match limits.wake_pause.saturating_sub(since) {
                Duration::ZERO => Ok(Duration::ZERO),
                retry_in => Err(WakeError::Failing { last: failures.last.clone(), retry_in }),
            };
        }
        let doublings = failures.in_a_row.saturating_sub(1).min(16);
        let wait = limits.wake_backoff.saturating_mul(1 << doublings).min(limits.wake_pause);
        Ok(wait.saturating_sub(since))
    }

    /// Notes a wake that failed with `last`, or a backend that crashed soon after its start.
    pub(crate) fn record_failure(
        &self,
        id: SessionId,
        owner: &Owner,
        last: Option<Arc<E>>,
        limits: &Limits,
    ) {
        self.forget_old(limits);
        let mut tracked = self.lock();
        if tracked.len() >= MAX_TRACKED && !tracked.contains_key(&id) {
            return;
        }
        let in_a_row = tracked.get(&id).map_or(0, |failures| failures.in_a_row) + 1;
        tracked.insert(id, Failures { owner: owner.clone(), in_a_row, last, at: Instant::now() });
    }

    /// Notes that the session's backend is stable: the next failure is the first one again.
    pub(crate) fn record_success(&self, id: &SessionId) {
        self.lock().remove(id);
    }

    /// Forgets failures too old to say anything about now. The reaper calls this too, since a
    /// session that failed may never be asked for again.
    pub(crate) fn forget_old(&self, limits: &Limits) {
        let stale = limits.wake_pause.saturating_mul(2).max(STABLE_AFTER);
        self.lock().retain(|_, failures| failures.at.elapsed() < stale);
    }

    /// How many sessions are tracked.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Failures<E>>> {
        self.0.lock().expect("nothing panics while it holds the failures")
    }
}

impl<E> fmt::Debug for FailureTracker<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailureTracker").field("sessions", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId::from_bytes([7; 24]);

    fn ada() -> Owner {
        Owner::new("https://id", "ada", "client")
    }

    fn limits() -> Limits {
        Limits {
            max_wake_failures: 3,
            wake_backoff: Duration::from_secs(1),
            wake_pause: Duration::from_secs(30),
            ..Limits::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_backoff_doubles_with_each_failure_until_attempts_pause() {
        let tracker = FailureTracker::<()>::new();
        let backoff = || tracker.backoff(&ID, &ada(), &limits());
        assert_eq!(backoff().expect("nothing failed"), Duration::ZERO);
        for expected in [1, 2] {
            tracker.record_failure(ID, &ada(), None, &limits());
            assert_eq!(backoff().expect("below the cap"), Duration::from_secs(expected));
        }
        tracker.record_failure(ID, &ada(), None, &limits());
        let refused = backoff();
        assert!(
            matches!(refused, Err(WakeError::Failing { retry_in, .. }) if retry_in == limits().wake_pause)
        );
        tokio::time::advance(limits().wake_pause).await;
        assert_eq!(backoff().expect("the pause is over"), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn another_owner_does_not_learn_of_failures() {
        let tracker = FailureTracker::<()>::new();
        for _ in 0..5 {
            tracker.record_failure(ID, &ada(), None, &limits());
        }
        let eve = Owner::new("https://id", "eve", "client");
        assert_eq!(tracker.backoff(&ID, &eve, &limits()).expect("unknown"), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_makes_the_next_failure_the_first_one() {
        let tracker = FailureTracker::<()>::new();
        for _ in 0..2 {
            tracker.record_failure(ID, &ada(), None, &limits());
        }
        tracker.record_success(&ID);
        tracker.record_failure(ID, &ada(), None, &limits());
        let wait = tracker.backoff(&ID, &ada(), &limits()).expect("below the cap");
        assert_eq!(wait, limits().wake_backoff);
    }
}
