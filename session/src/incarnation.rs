//! One incarnation of a session: the life of one backend, from its entry into the table until its
//! slot is given back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::admission::Admitted;
use crate::backend::Backend;
use crate::context::Context;
use crate::entry::{Entry, IncarnationOutcome, StopOrder};
use crate::failures::STABLE_AFTER;
use crate::reason::StopReason;
use crate::replacement::AfterStop;
use crate::slot::Slot;

/// One backend's time in the table. Whatever ends the task, `Drop` makes sure that the backend was
/// asked to stop, settles whether the session sleeps or is gone, and gives the slot back.
pub(crate) struct Incarnation<A, B: Backend, E> {
    context: Context<A, B, E>,
    pub(crate) entry: Arc<Entry<B>>,
    orders: oneshot::Receiver<StopOrder>,
    order: Option<StopOrder>,
    pub(crate) slot: Option<Slot>,
    /// The backend was asked to stop.
    was_stopped: bool,
    has_ended: bool,
    is_finished: bool,
}

impl<A, B: Backend, E> Incarnation<A, B, E> {
    pub(crate) fn new(context: &Context<A, B, E>, admitted: Admitted<B>, slot: Slot) -> Self {
        let Admitted { entry, orders } = admitted;
        entry.backend().named(entry.id());
        let context = context.clone();
        let slot = Some(slot);
        Self {
            context,
            entry,
            orders,
            order: None,
            slot,
            was_stopped: false,
            has_ended: false,
            is_finished: false,
        }
    }

    /// Returns when the backend has ended and what a later one must know is stored, as far as the
    /// store can be reached.
    pub(crate) async fn run(&mut self) -> AfterStop {
        let entry = Arc::clone(&self.entry);
        let shared = Arc::clone(&self.context.shared);
        let mut ended = entry.backend().ended();
        loop {
            let ordered = tokio::select! {
                biased;
                () = &mut ended => None,
                // The other end is in the entry, which this task keeps, until an order is sent.
                order = &mut self.orders => order.ok(),
            };
            let Some(order) = ordered else {
                self.has_ended = true;
                // An order that was given in the same moment stands.
                shared.end(&entry, StopReason::Exited);
                self.order = self.orders.try_recv().ok();
                break;
            };
            let (why, then) = (order.why, order.then);
            if why.sleeps() && entry.record().is_some() && !entry.is_gone() {
                // Nothing is taken from a client that cannot be given back: the snapshot is stored
                // before the backend is stopped, or the backend stays. A shutdown does not ask.
                let saved = shared.save(&entry).await;
                let cannot_sleep = match saved {
                    Ok(can_sleep) => !can_sleep,
                    Err(error) if why == StopReason::Shutdown => {
                        warn!(session = %entry.id().short(), %error, "the last snapshot was not stored");
                        false
                    }
                    Err(error) => match entry.resume() {
                        Some(orders) => {
                            warn!(session = %entry.id().short(), %error, reason = %why,
                                "the session stays awake, since it cannot be stored");
                            self.orders = orders;
                            continue; // The waiter hears of it by the end of its channel.
                        }
                        None => false,
                    },
                };
                if cannot_sleep {
                    self.end_for_good(why);
                }
            }
            self.order = Some(order);
            self.was_stopped = true;
            entry.backend().stop(why);
            ended.await;
            self.has_ended = true;
            // Holders of leases may have changed its state until the very end.
            self.store_last(why).await;
            return then;
        }
        self.note_exit().await;
        self.order.as_ref().map_or(AfterStop::Asleep, |order| order.then)
    }

    /// The backend has ended by itself.
    async fn note_exit(&mut self) {
        let (entry, shared) = (Arc::clone(&self.entry), Arc::clone(&self.context.shared));
        if entry.record().is_none() {
            return;
        }
        let why = self.order.as_ref().map_or(StopReason::Exited, |order| order.why);
        if why == StopReason::Exited && entry.born().elapsed() < STABLE_AFTER {
            self.context.failures.record_failure(
                *entry.id(),
                entry.owner(),
                None,
                &shared.limits(),
            );
        }
        self.store_last(why).await;
    }

    /// Stores the state in which the backend has ended, if it was not stored yet.
    async fn store_last(&self, why: StopReason) {
        if !why.sleeps() || self.entry.is_gone() || self.entry.record().is_none() {
            return;
        }
        match self.context.shared.save_last(&self.entry).await {
            Ok(true) => {}
            Ok(false) => self.end_for_good(why),
            // Whatever the client was told of is in the store: that was saved before it was told.
            Err(error) => {
                warn!(session = %self.entry.id().short(), %error, "the last snapshot was not stored");
            }
        }
    }

    /// The session cannot sleep any more.
    fn end_for_good(&self, why: StopReason) {
        self.context.shared.mark_gone(&self.entry, why);
    }

    /// Settles whether the session sleeps or is gone, and gives the slot back. Says whether it is
    /// gone for good.
    pub(crate) fn finish(&mut self) -> bool {
        self.is_finished = true;
        let shared = Arc::clone(&self.context.shared);
        let own_reason = match (self.has_ended, std::thread::panicking()) {
            (true, _) => StopReason::Exited,
            (false, true) => StopReason::Panicked,
            (false, false) => StopReason::Shutdown,
        };
        // Ends the session if no other task has. After this there is an order in any case.
        let _ = shared.end_if(&self.entry, None, |_| Some(own_reason));
        let order = self.order.take().or_else(|| self.orders.try_recv().ok());
        let (mut why, waiter) = match order {
            Some(order) => (order.why, order.waiter),
            None => (own_reason, None),
        };
        if own_reason == StopReason::Panicked {
            why = own_reason;
        }
        if !self.has_ended && !self.was_stopped {
            // The task was aborted, or the wait for the backend's end has panicked. A second
            // panic while the first one unwinds would take the whole process down.
            let stop = AssertUnwindSafe(|| self.entry.backend().stop(why));
            if catch_unwind(stop).is_err() {
                warn!(session = %self.entry.id().short(), "a backend panicked when stopped");
            }
        }
        if self.entry.born().elapsed() >= STABLE_AFTER || why != StopReason::Exited {
            self.context.failures.record_success(self.entry.id());
        }
        let outcome = self.entry.outcome();
        shared.counts.stopping.fetch_sub(1, Ordering::Relaxed);
        let key = self.entry.record().map(|record| record.key);
        let became = match (outcome, &shared.writer, key) {
            (IncarnationOutcome::Asleep, Some(writer), Some(key)) => {
                writer.note_use(key, self.entry.last_active(), Some(why));
                "asleep"
            }
            (IncarnationOutcome::Asleep, ..) => "asleep",
            (IncarnationOutcome::Gone(final_why), writer, key) => {
                // It may have been ended for good while it was falling asleep.
                if why.sleeps() && why != StopReason::Panicked {
                    why = final_why;
                }
                if let (Some(writer), Some(key)) = (writer, key) {
                    writer.mark_deleted(key);
                }
                "gone"
            }
            (IncarnationOutcome::Replaced, ..) => "replaced",
        };
        if !self.entry.was_retired() {
            shared.tally.count(why);
        }
        info!(
            session = %self.entry.id().short(),
            owner = self.entry.owner().subject(),
            reason = %why,
            became,
            "a session's backend has ended"
        );
        if let Some(slot) = self.slot.take() {
            slot.hand_to(waiter);
        }
        // Last: a task that waits for the end of this incarnation finds everything settled.
        shared.table.remove(&self.entry);
        self.entry.finish();
        matches!(outcome, IncarnationOutcome::Gone(_))
    }
}

impl<A, B: Backend, E> Drop for Incarnation<A, B, E> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.finish();
        }
    }
}
