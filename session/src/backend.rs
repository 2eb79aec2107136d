//! What the registry calls: the traits of backends and of what makes them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::id::SessionId;
use crate::owner::Owner;
use crate::reason::StopReason;

/// A boxed future, as traits meant for `dyn` return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Makes backends. `A` is what the spawner needs to know beside the owner, `E` its own error.
pub trait Spawn<A, B, E>: fmt::Debug + Send + Sync {
    /// Starts a backend for `owner`.
    ///
    /// The registry polls the future in its driver, whatever becomes of the request that asked,
    /// and drops it early only when the driver itself is dropped or its last deadline passes. A
    /// dropped future must release what it had started, as well as it can without waiting.
    ///
    /// There is no deadline here: a spawner that may hang brings its own.
    fn spawn(&self, owner: &Owner, ask: A) -> BoxFuture<'static, Result<B, E>>;

    /// Starts a backend for a session that sleeps: it must answer as the one did that `kind` and
    /// `snapshot` describe. `None` when this spawner cannot wake such a session (by default, any);
    /// the session is unknown then.
    ///
    /// Everything that [`spawn`](Self::spawn) says holds here too.
    fn wake(
        &self,
        owner: &Owner,
        kind: &str,
        snapshot: Arc<[u8]>,
    ) -> Option<BoxFuture<'static, Result<B, E>>> {
        let _ = (owner, kind, snapshot);
        None
    }

    /// Whether this program can read `snapshot` at all. Asked before a slot is taken for the wake.
    ///
    /// An error refuses the wake and changes nothing: the record stays as it is, no other session
    /// makes room, and the next request asks again. It is for a snapshot that a newer version of the
    /// program wrote: after a rollback the older one must leave it alone. By default every snapshot
    /// can be read.
    fn can_wake(&self, kind: &str, snapshot: &[u8]) -> Result<(), E> {
        let _ = (kind, snapshot);
        Ok(())
    }

    /// What a failed [`wake`](Self::wake) means for the session.
    fn judge(&self, error: &E) -> WakeFailure {
        let _ = error;
        WakeFailure::Backoff
    }
}

/// What a failed wake means for the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakeFailure {
    /// The backend is in trouble: the session stays asleep, and further attempts are spaced out
    /// (`Limits::wake_backoff`, `Limits::max_wake_failures`).
    Backoff,
    /// The reason lies elsewhere and may be gone at any moment, such as a credential that is to be
    /// renewed: the session stays asleep, and the next request tries at once.
    RetryNow,
    /// The session can never be woken again, such as when the new backend speaks another version:
    /// it ends, and its record is removed.
    Permanent,
}

/// What answers for one session.
///
/// `testing::contract` (feature `test-util`) holds an implementation to the words below.
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Asks the backend to end, and returns at once. Only the first call has an effect; a call on
    /// a backend that has ended does nothing.
    fn stop(&self, why: StopReason);

    /// Resolves once everything the backend owned is released: for every waiter, however late it
    /// asks, and whether the backend was stopped or ended by itself. The session's slot is given
    /// back then and not earlier. Dropping the future changes nothing.
    fn ended(&self) -> BoxFuture<'static, ()>;

    /// A short, stable name of what kind of backend this is, kept with the record and given to
    /// `Spawn::wake`.
    fn kind(&self) -> &str {
        ""
    }

    /// All a later backend needs to be told to answer in this one's place; `None` (the default)
    /// when the state is in the backend itself. Such a session cannot sleep and is ended instead.
    ///
    /// Answered from memory and at once, also after the backend has ended: this is how a session
    /// survives its crash. The registry compares what it gets with what it kept, so two snapshots
    /// of the same state should have the same bytes.
    fn snapshot(&self) -> Option<Vec<u8>> {
        None
    }

    /// Whether another backend serves as well as this one, so that nothing is lost when the session ends
    /// with it. Such a session ends where another one falls asleep: when it is idle, makes room, or the
    /// registry stops. It is woken only after a crash, and replaced like any. By default none is.
    fn is_disposable(&self) -> bool {
        false
    }

    /// The client has ended the session. Says whether the backend is fit for another session of the
    /// same owner as it is, and if so forgets what it holds for this one's clients, whose streams end.
    /// It may be asked to [`stop`](Self::stop) all the same. By default none is.
    fn retire(&self) -> bool {
        false
    }

    /// Tells the backend the id of the session it answers for, for its log. Called once, before the
    /// first lease.
    fn named(&self, id: &SessionId) {
        let _ = id;
    }

    /// Takes over from `before`, which was to be replaced and has ended: what clients have not
    /// fetched from it yet, for example. Called once, before the first lease, on a backend that
    /// was woken in the place of another; one that wakes a session that slept has nothing to take
    /// over. By default nothing is.
    fn succeed(&self, before: &Self)
    where
        Self: Sized,
    {
        let _ = before;
    }
}
