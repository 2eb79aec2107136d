//! Back-off: a server whose processes fail to start again and again is given a rest.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The first pause. It doubles with each further failure.
const FIRST: Duration = Duration::from_secs(1);
/// How many people's failures are remembered. Beyond it a crash loop is noticed later.
const MOST_PEOPLE: usize = 4096;

/// Whose failure it was: the server's, or one that may have come of a person's credential, data or
/// client. `None` is everybody's. Another person's failure never pauses one's own starts.
pub(crate) type Whose = Option<(Box<str>, Box<str>)>;

/// When starts pause, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pausing {
    /// Failures in a row for one reason; 0: never.
    pub(crate) after: usize,
    /// The longest pause.
    pub(crate) longest: Duration,
}

/// Starts of one server that failed of late, by person and reason.
#[derive(Debug, Default)]
pub(crate) struct StartPauses(Mutex<HashMap<Whose, HashMap<&'static str, Failures>>>);

#[derive(Debug)]
struct Failures {
    in_a_row: usize,
    last: Instant,
    /// No start before this.
    until: Instant,
}

/// A start that is refused without an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paused {
    /// Why the starts before failed: lowercase and stable, as for metrics.
    pub(crate) reason: &'static str,
    pub(crate) retry_in: Duration,
}

impl StartPauses {
    /// Whether a process may be started for this person now. When a pause is over, the next start is a
    /// trial: others wait for as long again as the first pause, or until it succeeded.
    pub(crate) fn admit(&self, person: &Whose, pausing: Pausing) -> Result<(), Paused> {
        let now = Instant::now();
        let mut failures = self.lock();
        for whose in [&None, person] {
            for (reason, failures) in failures.get(whose).into_iter().flatten() {
                if is_pausing(failures, pausing) && failures.until > now {
                    return Err(Paused { reason, retry_in: failures.until - now });
                }
            }
        }
        for whose in [&None, person] {
            for failures in failures.get_mut(whose).into_iter().flat_map(HashMap::values_mut) {
                if is_pausing(failures, pausing) {
                    failures.until = now + FIRST;
                }
            }
        }
        Ok(())
    }

    /// Notes a start that failed; answers with the pause that begins.
    pub(crate) fn record_failure(
        &self,
        whose: Whose,
        reason: &'static str,
        pausing: Pausing,
    ) -> Option<Duration> {
        let now = Instant::now();
        let mut all = self.lock();
        let stale = pausing.longest.saturating_mul(2).max(Duration::from_secs(60));
        all.retain(|_, reasons| {
            reasons.retain(|_, failures| now - failures.last < stale);
            !reasons.is_empty()
        });
        if all.len() > MOST_PEOPLE && !all.contains_key(&whose) {
            return None;
        }
        let reasons = all.entry(whose).or_default();
        let failures =
            reasons.entry(reason).or_insert(Failures { in_a_row: 0, last: now, until: now });
        failures.in_a_row += 1;
        failures.last = now;
        if !is_pausing(failures, pausing) {
            return None;
        }
        let doublings = u32::try_from(failures.in_a_row - pausing.after).unwrap_or(u32::MAX);
        let pause = FIRST.saturating_mul(1 << doublings.min(16)).min(pausing.longest);
        failures.until = now + pause;
        Some(pause)
    }

    /// Notes a start that succeeded: what failed before is over, for this person and for the server.
    pub(crate) fn record_success(&self, person: &Whose) {
        let mut all = self.lock();
        all.remove(&None);
        all.remove(person);
    }

    /// Forgets what failed for one person: their credential is another one.
    pub(crate) fn forget_person(&self, issuer: &str, subject: &str) {
        let is_theirs = |whose: &Whose| {
            whose.as_ref().is_some_and(|(own, name)| **own == *issuer && **name == *subject)
        };
        self.lock().retain(|whose, _| !is_theirs(whose));
    }

    /// Forgets everything: the settings are others.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Whose, HashMap<&'static str, Failures>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_pausing(failures: &Failures, pausing: Pausing) -> bool {
    pausing.after > 0 && failures.in_a_row >= pausing.after
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSING: Pausing = Pausing { after: 3, longest: Duration::from_secs(5) };

    fn person(name: &str) -> Whose {
        Some(("https://id".into(), name.into()))
    }

    #[tokio::test(start_paused = true)]
    async fn starts_pause_after_failures_in_a_row_and_longer_each_time() {
        let pauses = StartPauses::default();
        let ada = person("ada");
        for _ in 0..2 {
            assert_eq!(pauses.record_failure(None, "missing", PAUSING), None);
            assert_eq!(pauses.admit(&ada, PAUSING), Ok(()));
        }
        for seconds in [1, 2, 4, 5, 5] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(pauses.record_failure(None, "missing", PAUSING), Some(pause));
            let refused = Paused { reason: "missing", retry_in: pause };
            assert_eq!(pauses.admit(&ada, PAUSING), Err(refused));
            tokio::time::advance(pause).await;
            assert_eq!(pauses.admit(&ada, PAUSING), Ok(()), "one tries");
            assert!(pauses.admit(&person("bob"), PAUSING).is_err(), "the others wait for it");
        }
        pauses.record_success(&ada);
        assert_eq!(pauses.admit(&person("bob"), PAUSING), Ok(()));
        assert_eq!(pauses.record_failure(None, "missing", PAUSING), None, "the first one again");
    }

    #[tokio::test(start_paused = true)]
    async fn one_persons_failures_pause_nobody_elses_starts() {
        let pauses = StartPauses::default();
        for _ in 0..9 {
            pauses.record_failure(person("ada"), "died", PAUSING);
        }
        assert!(pauses.admit(&person("ada"), PAUSING).is_err());
        assert_eq!(pauses.admit(&person("bob"), PAUSING), Ok(()));
        pauses.record_success(&person("bob"));
        assert!(pauses.admit(&person("ada"), PAUSING).is_err(), "hers are hers");
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_who_signs_in_anew_waits_for_no_pause_and_nobody_else_is_spared_one() {
        let pauses = StartPauses::default();
        for _ in 0..9 {
            for whose in [None, person("ada"), person("bob")] {
                pauses.record_failure(whose, "died", PAUSING);
            }
        }
        pauses.forget_person("https://id", "ada");
        assert!(pauses.admit(&person("ada"), PAUSING).is_err(), "the server's own failures count");
        tokio::time::advance(PAUSING.longest).await;
        assert_eq!(pauses.admit(&None, PAUSING), Ok(()));
        pauses.record_success(&None);
        assert_eq!(pauses.admit(&person("ada"), PAUSING), Ok(()));
        pauses.record_failure(person("bob"), "died", PAUSING);
        assert!(pauses.admit(&person("bob"), PAUSING).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_different_reasons_are_counted_apart() {
        let pauses = StartPauses::default();
        for reason in ["died", "timeout", "missing", "died", "timeout", "missing"] {
            assert_eq!(pauses.record_failure(None, reason, PAUSING), None, "{reason}");
        }
        assert_eq!(pauses.admit(&None, PAUSING), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_may_be_tried_without_end() {
        let pauses = StartPauses::default();
        let never = Pausing { after: 0, ..PAUSING };
        for _ in 0..99 {
            assert_eq!(pauses.record_failure(None, "died", never), None);
            assert_eq!(pauses.admit(&None, never), Ok(()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn old_failures_say_nothing_about_now() {
        let pauses = StartPauses::default();
        for _ in 0..2 {
            pauses.record_failure(None, "died", PAUSING);
        }
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(pauses.record_failure(None, "died", PAUSING), None);
    }
}
