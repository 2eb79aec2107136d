//! Wakes under way, one per session however many ask, and how the last ones went.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::{Lease, Limits, Owner, SessionId, WakeError};

/// A backend that lives this long after its start has not failed.
pub(crate) const SETTLED: Duration = Duration::from_secs(10);

/// How many sessions' troubles are remembered. Beyond it a crash loop is noticed later.
const MAX_TROUBLES: usize = 4096;

pub(crate) struct Desk<B, E> {
    flights: Mutex<HashMap<Wanted, watch::Sender<Stage<B, E>>>>,
    troubles: Mutex<HashMap<SessionId, Trouble<E>>>,
}

/// What a wake is asked for. Whoever asks under another name asks for another wake, and that one
/// ends when the record is read: a stranger's question cannot answer the owner's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub(crate) id: SessionId,
    pub(crate) owner: Owner,
    pub(crate) kind: Arc<str>,
}

/// How far a wake is. The lease in it is held for those who wait until the last of them has looked,
/// so that a session is not idle before they have theirs.
pub(crate) enum Stage<B, E> {
    UnderWay,
    Awake(Arc<Lease<B>>),
    Failed(WakeError<E>),
}

/// How those who wait hear of it.
pub(crate) type News<B, E> = watch::Receiver<Stage<B, E>>;

/// Wakes of one session that failed or did not last, in a row.
struct Trouble<E> {
    owner: Owner,
    times: u32,
    last: Option<Arc<E>>,
    at: Instant,
}

impl<B, E> Desk<B, E> {
    pub(crate) fn new() -> Self {
        Self { flights: Mutex::default(), troubles: Mutex::default() }
    }

    /// Joins the wake under way or begins one, which the caller then hands to the driver.
    pub(crate) fn join(self: &Arc<Self>, wanted: &Wanted) -> (News<B, E>, Option<Flight<B, E>>) {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(wanted) {
            return (flight.subscribe(), None);
        }
        let (stage, news) = watch::channel(Stage::UnderWay);
        flights.insert(wanted.clone(), stage.clone());
        (news, Some(Flight { desk: Arc::clone(self), wanted: wanted.clone(), stage, over: false }))
    }

    /// Whether a wake must wait, or is refused without an attempt.
    pub(crate) fn hold(
        &self,
        id: &SessionId,
        owner: &Owner,
        limits: &Limits,
    ) -> Result<Duration, WakeError<E>> {
        let troubles = self.lock_troubles();
        // Only the owner is known by name here; a stranger learns nothing.
        let Some(trouble) = troubles.get(id).filter(|trouble| trouble.owner == *owner) else {
            return Ok(Duration::ZERO);
        };
        let since = trouble.at.elapsed();
        if limits.max_wake_failures > 0 && trouble.times >= limits.max_wake_failures {
            return match limits.wake_pause.saturating_sub(since) {
                Duration::ZERO => Ok(Duration::ZERO),
                retry_in => Err(WakeError::Failing { last: trouble.last.clone(), retry_in }),
            };
        }
        let doublings = trouble.times.saturating_sub(1).min(16);
        let wait = limits.wake_backoff.saturating_mul(1 << doublings).min(limits.wake_pause);
        Ok(wait.saturating_sub(since))
    }

    /// Notes a wake that failed, or a backend that did not last.
    pub(crate) fn trouble(
        &self,
        id: SessionId,
        owner: &Owner,
        last: Option<Arc<E>>,
        limits: &Limits,
    ) {
        self.forget_old_troubles(limits);
        let mut troubles = self.lock_troubles();
        if troubles.len() >= MAX_TROUBLES && !troubles.contains_key(&id) {
            return;
        }
        let times = troubles.get(&id).map_or(0, |trouble| trouble.times) + 1;
        troubles.insert(id, Trouble { owner: owner.clone(), times, last, at: Instant::now() });
    }

    /// Forgets what is too old to say anything about now. Also called by the reaper: the session
    /// may never be asked for again.
    pub(crate) fn forget_old_troubles(&self, limits: &Limits) {
        let stale = limits.wake_pause.saturating_mul(2).max(SETTLED);
        self.lock_troubles().retain(|_, trouble| trouble.at.elapsed() < stale);
    }

    /// Notes that all is well.
    pub(crate) fn well(&self, id: &SessionId) {
        self.lock_troubles().remove(id);
    }

    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.lock().len() + self.lock_troubles().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Wanted, watch::Sender<Stage<B, E>>>> {
        self.flights.lock().expect("nothing panics while it holds the flights")
    }

    fn lock_troubles(&self) -> MutexGuard<'_, HashMap<SessionId, Trouble<E>>> {
        self.troubles.lock().expect("nothing panics while it holds the troubles")
    }
}

/// One wake under way. If it is dropped without an answer, those who wait hear that it panicked.
pub(crate) struct Flight<B, E> {
    desk: Arc<Desk<B, E>>,
    pub(crate) wanted: Wanted,
    stage: watch::Sender<Stage<B, E>>,
    over: bool,
}

impl<B, E> Flight<B, E> {
    /// Resolves once everybody has left, and nobody can join any more.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn abandoned(&self) {
        loop {
            self.stage.closed().await;
            // Who joins does so under this lock.
            let mut flights = self.desk.lock();
            if self.stage.is_closed() {
                self.leave(&mut flights);
                return;
            }
        }
    }

    pub(crate) fn lands(mut self, with: Result<Lease<B>, WakeError<E>>) {
        self.over = true;
        self.leave(&mut self.desk.lock());
        let stage = match with {
            Ok(lease) => Stage::Awake(Arc::new(lease)),
            Err(error) => Stage::Failed(error),
        };
        // The old value is dropped outside of the channel's lock.
        drop(self.stage.send_replace(stage));
    }
}

impl<B, E> Flight<B, E> {
    /// Nobody joins from here on. An abandoned flight may have a successor by now, which stays.
    fn leave(&self, flights: &mut HashMap<Wanted, watch::Sender<Stage<B, E>>>) {
        if flights.get(&self.wanted).is_some_and(|stage| stage.same_channel(&self.stage)) {
            flights.remove(&self.wanted);
        }
    }
}

impl<B, E> Drop for Flight<B, E> {
    fn drop(&mut self) {
        if !self.over {
            self.leave(&mut self.desk.lock());
            self.stage.send_replace(Stage::Failed(WakeError::Panicked));
        }
    }
}

impl<B, E> fmt::Debug for Desk<B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("flights", &self.lock().len()).finish_non_exhaustive()
    }
}
