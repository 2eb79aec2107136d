//! What is counted across all sessions, and the notification of the driver when a slot may be free.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::reason::WakeReason;

#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Sessions that a lookup finds with a backend.
    pub(crate) live: AtomicUsize,
    /// Backends without a session, which wait for the next one of their owner.
    pub(crate) spare: AtomicUsize,
    /// Backends that were asked to stop, by an order or a rollback, and have not ended.
    pub(crate) stopping: AtomicUsize,
    /// Opens and wakes that wait in the queue for a slot.
    pub(crate) waiting: AtomicUsize,
    /// Sessions woken so far, by reason.
    woken: [AtomicU64; WakeReason::ALL.len()],
    /// Wakes that failed so far.
    pub(crate) wake_failures: AtomicU64,
    slot_freed: Notify,
}

impl Counts {
    pub(crate) fn woke(&self, why: WakeReason) {
        self.woken[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn woken(&self, why: WakeReason) -> u64 {
        self.woken[why as usize].load(Ordering::Relaxed)
    }

    /// Notifies the driver that a slot has become free, or a session idle. Costs one read while the
    /// queue is empty.
    ///
    /// A request that joins the queue notifies too, after it was counted: a slot that was given back
    /// just before that, without a notification, is found then.
    pub(crate) fn notify(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.slot_freed.notify_one();
        }
    }

    /// Resolves after a notification, also one from before the call.
    pub(crate) async fn notified(&self) {
        self.slot_freed.notified().await;
    }
}
