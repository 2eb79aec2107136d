//! One document from elsewhere: kept, refreshed by whoever needs it, never asked for too often.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use tokio::sync::{Mutex, MutexGuard};

use crate::{BoxFuture, providers::outgoing::Outage};

/// When a document is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// For so long nobody asks again without a reason.
    pub(crate) fresh: Duration,
    /// For so long it may be used when asking fails.
    pub(crate) keep: Duration,
    /// Between two attempts there is at least this much, whatever the reason.
    pub(crate) pause: Duration,
    /// Each failure in a row doubles the pause, up to this.
    pub(crate) max_pause: Duration,
}

type Attempt<T> = BoxFuture<'static, Result<T, Outage>>;
type Load<T> = Box<dyn Fn(SystemTime) -> Attempt<T> + Send + Sync>;

/// A document that is loaded on demand.
///
/// Nothing runs by itself: an attempt advances while somebody awaits it. Whoever gives up leaves the
/// attempt where it is and the next one carries on with it, so hanging up early neither costs
/// another attempt nor wastes the one that is allowed per pause.
pub(crate) struct Cached<T> {
    load: Load<T>,
    policy: Policy,
    state: RwLock<State<T>>,
    pending: Mutex<Option<(SystemTime, Attempt<T>)>>,
}

struct State<T> {
    good: Option<(Arc<T>, SystemTime)>,
    tried: Option<SystemTime>,
    /// Attempts that failed since the last one that did not.
    failures: u32,
    failure: Option<Outage>,
    /// Counts attempts that ended.
    round: u64,
}

/// What is at hand.
struct Held<T> {
    value: Option<Arc<T>>,
    is_fresh: bool,
    failure: Option<Outage>,
    round: u64,
}

impl<T: Send + Sync + 'static> Cached<T> {
    pub(crate) fn new(
        policy: Policy,
        load: impl Fn(SystemTime) -> Attempt<T> + Send + Sync + 'static,
    ) -> Self {
        let state = State { good: None, tried: None, failures: 0, failure: None, round: 0 };
        Self { load: Box::new(load), policy, state: RwLock::new(state), pending: Mutex::new(None) }
    }

    /// The document, refreshed when it is no longer fresh. While somebody else refreshes one that
    /// can still be used, that one is returned at once.
    pub(crate) async fn get(&self, now: SystemTime) -> Result<Arc<T>, Outage> {
        let held = self.held(now);
        match held.value {
            Some(value) if held.is_fresh => return Ok(value),
            Some(_) => {
                if let Ok(pending) = self.pending.try_lock() {
                    self.attempt_once(pending, held.round, now).await;
                }
            }
            None => self.attempt_once(self.pending.lock().await, held.round, now).await,
        }
        let held = self.held(now);
        held.value.ok_or_else(|| held.failure.unwrap_or(Outage::Paused))
    }

    /// Another document than `known`, which lacks something: `None` when asking brought none, an
    /// error when asking fails, so that nothing can be said about what is lacking.
    pub(crate) async fn newer(
        &self,
        known: &Arc<T>,
        now: SystemTime,
    ) -> Result<Option<Arc<T>>, Outage> {
        let mut held = self.held(now);
        let is_known =
            |held: &Held<T>| held.value.as_ref().is_some_and(|own| Arc::ptr_eq(own, known));
        if is_known(&held) {
            self.attempt_once(self.pending.lock().await, held.round, now).await;
            held = self.held(now);
        }
        if is_known(&held) || held.value.is_none() {
            return held.failure.map_or(Ok(None), Err);
        }
        Ok(held.value)
    }

    fn held(&self, now: SystemTime) -> Held<T> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back to before the document tells no age: it is asked for again.
        let age = |from: SystemTime| now.duration_since(from).ok();
        let kept = |from| age(from).is_none_or(|age| age < self.policy.keep);
        let good = state.good.as_ref().filter(|(_, from)| kept(*from));
        Held {
            value: good.map(|(value, _)| Arc::clone(value)),
            is_fresh: good
                .is_some_and(|(_, from)| age(*from).is_some_and(|age| age < self.policy.fresh)),
            failure: state.failure.clone(),
            round: state.round,
        }
    }

    /// Makes one attempt, or carries on with the one that was left, unless an attempt ended since
    /// `seen` or it is too early for another one.
    async fn attempt_once(
        &self,
        mut pending: MutexGuard<'_, Option<(SystemTime, Attempt<T>)>>,
        seen: u64,
        now: SystemTime,
    ) {
        if self.state.read().unwrap_or_else(PoisonError::into_inner).round != seen {
            return;
        }
        if pending.is_none() {
            if !self.may_try(now) {
                return;
            }
            *pending = Some((now, (self.load)(now)));
        }
        let Some((started, running)) = pending.as_mut() else { return };
        let started = *started;
        let outcome = running.await;
        *pending = None;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.round += 1;
        match outcome {
            Ok(value) => {
                state.good = Some((Arc::new(value), started));
                state.failure = None;
                state.failures = 0;
            }
            Err(outage) => {
                state.failure = Some(outage);
                state.failures = state.failures.saturating_add(1);
            }
        }
    }

    /// Takes the one attempt that is allowed now.
    fn may_try(&self, now: SystemTime) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let doublings = state.failures.saturating_sub(1).min(16);
        let pause = (self.policy.pause * (1 << doublings)).min(self.policy.max_pause);
        // A clock set back must not forbid attempts for as long as it was set back.
        let since = state.tried.and_then(|tried| now.duration_since(tried).ok());
        if state.tried.is_some() && since.is_some_and(|since| since < pause) {
            return false;
        }
        state.tried = Some(now);
        true
    }
}

impl<T> fmt::Debug for Cached<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Cached")
            .field("policy", &self.policy)
            .field("held", &state.good.is_some())
            .field("failures", &state.failures)
            .finish_non_exhaustive()
    }
}
