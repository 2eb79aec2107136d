//! What the registry calls: the two traits somebody else implements.

use std::fmt;
use std::pin::Pin;

use crate::{Owner, StopReason};

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
}

/// What answers for one session.
///
/// `testing::contract` (feature `test-util`) holds an implementation to the words below.
pub trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Asks the backend to end, and returns at once. Only the first call has an effect; a call on
    /// a backend that has ended does nothing.
    fn stop(&self, why: StopReason);

    /// Resolves once everything the backend owned is released: for every waiter, however late it
    /// asks, and whether the backend was stopped or ended by itself. The session's place is given
    /// back then and not earlier. Dropping the future changes nothing.
    fn ended(&self) -> BoxFuture<'static, ()>;
}
