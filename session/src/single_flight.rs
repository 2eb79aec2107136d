//! Single-flight: one wake per session, however many requests wait for it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::error::WakeError;
use crate::id::SessionId;
use crate::lease::Lease;
use crate::owner::Owner;
use crate::purpose::Purpose;

/// The wakes under way.
pub(crate) struct SingleFlight<B, E>(Mutex<Wakes<B, E>>);

type Wakes<B, E> = HashMap<WakeKey, WakeUnderWay<B, E>>;

struct WakeUnderWay<B, E> {
    outcome: watch::Sender<WakeOutcome<B, E>>,
    purpose: Purpose,
}

/// What a wake is asked for. The same id with another owner or kind is another wake, which ends
/// when the record is read: the question of a stranger cannot answer the owner's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct WakeKey {
    pub(crate) id: SessionId,
    pub(crate) owner: Owner,
    pub(crate) kind: Arc<str>,
}

/// How far a wake is. The lease in it is held for the waiting requests until the last of them has
/// looked, so that the session is not idle before they have theirs.
pub(crate) enum WakeOutcome<B, E> {
    Pending,
    Awake(Arc<Lease<B>>),
    Failed(WakeError<E>),
}

/// How a waiting request learns the outcome.
pub(crate) struct Follower<B, E> {
    outcome: watch::Receiver<WakeOutcome<B, E>>,
    purpose: Purpose,
}

impl<B, E> Follower<B, E> {
    /// What the request that began the wake began it for.
    pub(crate) fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Waits for the outcome; `None` when the wake was dropped without one.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn outcome(&mut self) -> Option<Result<Arc<Lease<B>>, WakeError<E>>> {
        let decided =
            self.outcome.wait_for(|outcome| !matches!(outcome, WakeOutcome::Pending)).await.ok()?;
        match &*decided {
            WakeOutcome::Pending => None,
            WakeOutcome::Awake(lease) => Some(Ok(Arc::clone(lease))),
            WakeOutcome::Failed(error) => Some(Err(error.clone())),
        }
    }
}

impl<B, E> SingleFlight<B, E> {
    pub(crate) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Follows the wake under way, or begins one for `purpose`, which the caller then hands to the
    /// driver.
    pub(crate) fn join(
        self: &Arc<Self>,
        key: &WakeKey,
        purpose: Purpose,
    ) -> (Follower<B, E>, Option<InFlight<B, E>>) {
        let mut wakes = self.lock();
        if let Some(WakeUnderWay { outcome, purpose }) = wakes.get(key) {
            return (Follower { outcome: outcome.subscribe(), purpose: *purpose }, None);
        }
        let (outcome, follower) = watch::channel(WakeOutcome::Pending);
        wakes.insert(key.clone(), WakeUnderWay { outcome: outcome.clone(), purpose });
        let wakes = Arc::clone(self);
        let in_flight = InFlight { wakes, key: key.clone(), purpose, outcome, is_complete: false };
        (Follower { outcome: follower, purpose }, Some(in_flight))
    }

    /// How many wakes are under way.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Wakes<B, E>> {
        self.0.lock().expect("nothing panics while it holds the wakes")
    }
}

/// One wake under way. If it is dropped before it is complete, its followers hear that it panicked.
pub(crate) struct InFlight<B, E> {
    wakes: Arc<SingleFlight<B, E>>,
    pub(crate) key: WakeKey,
    pub(crate) purpose: Purpose,
    outcome: watch::Sender<WakeOutcome<B, E>>,
    is_complete: bool,
}

impl<B, E> InFlight<B, E> {
    /// Resolves once the last follower has left, and no other can join any more.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn abandoned(&self) {
        loop {
            self.outcome.closed().await;
            // A follower joins under this lock.
            let mut wakes = self.wakes.lock();
            if self.outcome.is_closed() {
                self.remove_from(&mut wakes);
                return;
            }
        }
    }

    /// Gives the outcome to every follower. Later requests begin another wake.
    pub(crate) fn complete(mut self, with: Result<Lease<B>, WakeError<E>>) {
        self.is_complete = true;
        self.remove_from(&mut self.wakes.lock());
        let outcome = match with {
            Ok(lease) => WakeOutcome::Awake(Arc::new(lease)),
            Err(error) => WakeOutcome::Failed(error),
        };
        // The old value is dropped outside of the channel's lock.
        drop(self.outcome.send_replace(outcome));
    }

    /// No request joins from here on. An abandoned wake may have a successor by now, which stays.
    fn remove_from(&self, wakes: &mut Wakes<B, E>) {
        let is_it = |wake: &WakeUnderWay<B, E>| wake.outcome.same_channel(&self.outcome);
        if wakes.get(&self.key).is_some_and(is_it) {
            wakes.remove(&self.key);
        }
    }
}

impl<B, E> Drop for InFlight<B, E> {
    fn drop(&mut self) {
        if !self.is_complete {
            self.remove_from(&mut self.wakes.lock());
            self.outcome.send_replace(WakeOutcome::Failed(WakeError::Panicked));
        }
    }
}

impl<B, E> fmt::Debug for SingleFlight<B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").field("wakes", &self.len()).finish_non_exhaustive()
    }
}
