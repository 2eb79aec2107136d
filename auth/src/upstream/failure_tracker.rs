//! Failed renewals, and for how long each puts off the next attempt.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use super::CredentialKey;

/// Why no attempt is made for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    SignInAgain,
    Misconfigured,
    Unavailable,
}

/// Remembers failed renewals, at most `capacity` of them; beyond that, those whose time is over are
/// forgotten, and if none is, all are.
#[derive(Debug)]
pub(super) struct FailureTracker {
    first: Duration,
    longest: Duration,
    capacity: usize,
    failed: Mutex<HashMap<CredentialKey, Failed>>,
}

#[derive(Debug, Clone, Copy)]
struct Failed {
    /// A failure of one version says nothing about the next.
    version: u64,
    times: u32,
    since: SystemTime,
    until: SystemTime,
    reason: Reason,
}

impl FailureTracker {
    pub(super) fn new(first: Duration, longest: Duration, capacity: usize) -> Self {
        Self { first, longest, capacity, failed: Mutex::default() }
    }

    /// Why no attempt should be made for this version now, and for how much longer. One that is
    /// `urgent`, because the user can do nothing without it, waits for an upstream that was away no
    /// longer than after its first failure.
    pub(super) fn backoff(
        &self,
        key: &CredentialKey,
        version: u64,
        now: SystemTime,
        urgent: bool,
    ) -> Option<(Reason, Duration)> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let own = failed.get(key).filter(|own| own.version == version)?;
        let until = match own.reason {
            Reason::Unavailable if urgent => own.until.min(own.since + self.first),
            _ => own.until,
        };
        let left = until.duration_since(now).ok().filter(|left| !left.is_zero())?;
        // A clock that was set back must not put an attempt off for longer than a failure does.
        Some((own.reason, left.min(self.longest)))
    }

    /// Records a failure and says for how long no attempt is made: twice as long as the last time.
    pub(super) fn record_failure(
        &self,
        key: &CredentialKey,
        version: u64,
        reason: Reason,
        now: SystemTime,
    ) -> Duration {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.len() >= self.capacity && !failed.contains_key(key) {
            failed.retain(|_, own| own.until > now);
            if failed.len() >= self.capacity {
                failed.clear();
            }
        }
        let before =
            failed.get(key).filter(|own| own.version == version).map_or(0, |own| own.times);
        let span = match reason {
            Reason::SignInAgain => self.longest,
            Reason::Misconfigured | Reason::Unavailable => {
                self.first.saturating_mul(1 << before.min(16)).min(self.longest)
            }
        };
        let own = Failed { version, times: before + 1, since: now, until: now + span, reason };
        failed.insert(key.clone(), own);
        span
    }

    /// Forgets the failures: it works again.
    pub(super) fn record_success(&self, key: &CredentialKey) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::now;
    use crate::upstream::CredentialRealm;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(subject: &str) -> CredentialKey {
        let realm = CredentialRealm::Provider("p".into());
        CredentialKey { realm, issuer: "i".into(), subject: subject.into() }
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_the_longest() {
        let tracker = FailureTracker::new(5 * SECOND, 60 * SECOND, 8);
        let mut at = now();
        for seconds in [5, 10, 20, 40, 60, 60] {
            let span = tracker.record_failure(&key("ada"), 1, Reason::Unavailable, at);
            assert_eq!(span, seconds * SECOND);
            let wait = |at| tracker.backoff(&key("ada"), 1, at, false);
            assert_eq!(wait(at + SECOND), Some((Reason::Unavailable, span - SECOND)));
            assert_eq!(wait(at - 9999 * SECOND).map(|own| own.1), Some(60 * SECOND));
            at += span;
            assert_eq!(wait(at), None);
        }
        assert_eq!(tracker.record_failure(&key("ada"), 2, Reason::Unavailable, at), 5 * SECOND);
        assert_eq!(
            tracker.backoff(&key("ada"), 1, at, false),
            None,
            "an older version is not the failed one"
        );
        assert_eq!(tracker.backoff(&key("bob"), 2, at, false), None);
        tracker.record_success(&key("ada"));
        assert_eq!(tracker.backoff(&key("ada"), 2, at, false), None);
    }

    #[test]
    fn who_has_nothing_left_waits_for_an_upstream_that_was_away_no_longer_than_at_first() {
        let tracker = FailureTracker::new(5 * SECOND, 60 * SECOND, 8);
        for (reason, expected) in [(Reason::Unavailable, 5), (Reason::Misconfigured, 20)] {
            let at = now();
            for _ in 0..3 {
                tracker.record_failure(&key("ada"), 1, reason, at);
            }
            let wait = tracker.backoff(&key("ada"), 1, at, true);
            assert_eq!(wait, Some((reason, expected * SECOND)));
            tracker.record_success(&key("ada"));
        }
    }

    #[test]
    fn the_number_of_remembered_failures_is_bounded() {
        let tracker = FailureTracker::new(SECOND, SECOND, 10);
        for n in 0..1000 {
            tracker.record_failure(&key(&n.to_string()), 1, Reason::Misconfigured, now());
        }
        assert!(tracker.failed.lock().unwrap().len() <= 10);
    }
}
