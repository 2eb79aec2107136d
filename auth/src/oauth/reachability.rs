//! Whether the metadata documents of clients can be fetched from here.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use url::Url;

/// How long one fetched document proves that the broker can reach out, so that a failure is put down
/// to the one host that did not answer.
const PROOF: Duration = Duration::from_secs(3600);
/// How many failures in a row outweigh that proof.
const OUTWEIGH: u32 = 3;
/// How long to wait before trying again by oneself; doubled each time, up to the other.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How many identifiers are tried again, each of another host: one that was made up must not keep
/// the others from being found.
const TRIED: usize = 3;

/// What was learnt from fetching. It starts with the best hopes.
#[derive(Default)]
pub(crate) struct Reachability(Mutex<State>);

#[derive(Default)]
struct State {
    last_success: Option<SystemTime>,
    /// Since the last success.
    failures: u32,
    failed: VecDeque<String>,
    outage: Option<Outage>,
}

struct Outage {
    try_at: SystemTime,
    pause: Duration,
}

/// What one more failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// That of one host, as far as can be told.
    Single,
    /// From now on nothing counts as reachable.
    OutageBegins,
    /// That was known.
    OutageGoesOn,
}

impl Reachability {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a client may be told to bring a document.
    pub(crate) fn is_given(&self) -> bool {
        self.state().outage.is_none()
    }

    /// A host answered, whatever it said. Whether that ends an outage.
    pub(crate) fn succeeded(&self, now: SystemTime) -> bool {
        let mut state = self.state();
        state.last_success = Some(now);
        state.failures = 0;
        state.failed.clear();
        state.outage.take().is_some()
    }

    /// The host of `id` was not reached.
    pub(crate) fn failed(&self, id: &str, now: SystemTime) -> Failure {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        state.failed.retain(|own| host(own) != host(id));
        state.failed.push_back(id.to_owned());
        if state.failed.len() > TRIED {
            state.failed.pop_front();
        }
        if state.outage.is_some() {
            return Failure::OutageGoesOn;
        }
        // A clock that was set back makes a success no younger.
        let is_proven = state
            .last_success
            .is_some_and(|at| now.duration_since(at).is_ok_and(|age| age < PROOF));
        if is_proven && state.failures < OUTWEIGH {
            return Failure::Single;
        }
        state.outage = Some(Outage { try_at: now + FIRST_PAUSE, pause: FIRST_PAUSE });
        Failure::OutageBegins
    }

    /// The identifiers to try now, if it is time to try again. Takes the turn: the next one is after
    /// a pause that is twice as long.
    pub(crate) fn take_turn(&self, now: SystemTime) -> Vec<String> {
        let mut state = self.state();
        let Some(outage) = &mut state.outage else { return Vec::new() };
        // A clock that was set back must not make anybody wait for longer than the pause.
        if now < outage.try_at && outage.try_at <= now + outage.pause {
            return Vec::new();
        }
        outage.pause = (outage.pause * 2).min(LONGEST_PAUSE);
        outage.try_at = now + outage.pause;
        state.failed.iter().cloned().collect()
    }
}

fn host(id: &str) -> Option<String> {
    Url::parse(id).ok()?.host_str().map(str::to_owned)
}

/// Without the identifiers, which strangers chose.
impl fmt::Debug for Reachability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reachability").field("is_given", &self.is_given()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::now;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_broker_that_never_reached_out_believes_the_first_failure() {
        let own = Reachability::default();
        assert!(own.is_given(), "it has not been tried");
        assert_eq!(own.failed("https://a.example/c", now()), Failure::OutageBegins);
        assert_eq!(own.failed("https://b.example/c", now()), Failure::OutageGoesOn);
        assert!(!own.is_given());
        assert!(own.succeeded(now()), "any answer ends it");
        assert!(own.is_given());
        assert!(!own.succeeded(now()), "once");
    }

    #[test]
    fn one_host_that_is_down_stops_no_broker_that_reaches_others() {
        let own = Reachability::default();
        own.succeeded(now());
        for _ in 1..OUTWEIGH {
            assert_eq!(own.failed("https://a.example/c", now() + MINUTE), Failure::Single);
        }
        assert!(own.is_given());
        assert_eq!(own.failed("https://b.example/c", now() + MINUTE), Failure::OutageBegins);
        own.succeeded(now());
        let later = now() + PROOF;
        assert_eq!(own.failed("https://a.example/c", later), Failure::OutageBegins, "long ago");
    }

    #[test]
    fn it_tries_again_after_pauses_that_double_with_hosts_that_differ() {
        let own = Reachability::default();
        assert!(own.take_turn(now()).is_empty(), "there is nothing to try");
        for id in ["https://a.example/1", "https://a.example/2", "https://b.example/1"] {
            own.failed(id, now());
        }
        assert!(own.take_turn(now() + MINUTE - Duration::from_secs(1)).is_empty());
        let ids = own.take_turn(now() + MINUTE);
        assert_eq!(ids, ["https://a.example/2", "https://b.example/1"]);
        assert!(own.take_turn(now() + 2 * MINUTE).is_empty(), "one turn, one try");
        assert_eq!(own.take_turn(now() + 3 * MINUTE).len(), 2);
        let mut tries = 0;
        for minute in 0..24 * 60 {
            own.failed("https://c.example/1", now() + minute * MINUTE);
            tries += usize::from(!own.take_turn(now() + (3 + minute) * MINUTE).is_empty());
        }
        assert!((24..=32).contains(&tries), "hourly in the end: {tries}");
        for n in 0..100 {
            own.failed(&format!("https://{n}.example/1"), now());
        }
        assert!(own.state().failed.len() <= TRIED);
    }

    #[test]
    fn a_clock_that_was_set_back_delays_no_try() {
        let own = Reachability::default();
        own.failed("https://a.example/1", now());
        assert_eq!(own.take_turn(now() - 1000 * MINUTE).len(), 1);
    }
}
