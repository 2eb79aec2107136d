//! What is counted across all sessions, and the bell that calls the driver when a place may be had.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::WakeReason;

#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Sessions that a lookup finds with a backend.
    pub(crate) live: AtomicUsize,
    /// Backends that were asked to stop, by an order or a rollback, and have not ended.
    pub(crate) stopping: AtomicUsize,
    /// Opens and wakes that wait in the queue for a place.
    pub(crate) awaited: AtomicUsize,
    /// Sessions woken so far, by reason.
    woken: [AtomicU64; WakeReason::ALL.len()],
    /// Wakes that failed so far.
    pub(crate) wake_failures: AtomicU64,
    bell: Notify,
}

impl Counts {
    pub(crate) fn woke(&self, why: WakeReason) {
        self.woken[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn woken(&self, why: WakeReason) -> u64 {
        self.woken[why as usize].load(Ordering::Relaxed)
    }

    /// Says that a place has become free, or a session idle. Costs one read when nobody waits.
    ///
    /// Whoever joins the queue rings too, after being counted: a place that was given back
    /// unheard just before is found then.
    pub(crate) fn ring(&self) {
        if self.awaited.load(Ordering::SeqCst) > 0 {
            self.bell.notify_one();
        }
    }

    /// Resolves after a ring, also one from before the call.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }
}
