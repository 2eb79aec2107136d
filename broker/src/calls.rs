//! Calls under way, so that a shutdown can let them finish.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// How many calls are under way.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    count: AtomicUsize,
    changed: Notify,
}

/// One call under way; dropping it ends the count.
#[derive(Debug)]
pub(crate) struct Counted(Arc<Calls>);

impl Counted {
    pub(crate) fn new(calls: &Arc<Calls>) -> Self {
        calls.count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(calls))
    }
}

impl Calls {
    pub(crate) fn under_way(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until none is under way.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn none(&self) {
        loop {
            let changed = self.changed.notified();
            if self.under_way() == 0 {
                return;
            }
            changed.await;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::Release) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}
