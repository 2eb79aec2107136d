//! What every task of a session works with.

use std::sync::Arc;

use crate::backend::Spawn;
use crate::failures::FailureTracker;
use crate::shared::Shared;

/// The registry's state, the failures of wakes, and what makes backends.
pub(crate) struct Context<A, B, E> {
    pub(crate) shared: Arc<Shared<B>>,
    pub(crate) failures: Arc<FailureTracker<E>>,
    pub(crate) spawn: Arc<dyn Spawn<A, B, E>>,
}

impl<A, B, E> Clone for Context<A, B, E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            failures: Arc::clone(&self.failures),
            spawn: Arc::clone(&self.spawn),
        }
    }
}
