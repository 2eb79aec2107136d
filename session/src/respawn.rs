//! A session's backends, one after the other: when one was replaced, the next takes its slot.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};

use crate::admission::Newcomer;
use crate::backend::{Backend, WakeFailure};
use crate::context::Context;
use crate::entry::Entry;
use crate::id::SessionId;
use crate::incarnation::Incarnation;
use crate::owner::Owner;
use crate::reason::{StopReason, WakeReason};
use crate::replacement::AfterStop;
use crate::rollback::stop_and_wait;
use crate::shared::Shared;
use crate::slot::Slot;

/// Runs a session through all its backends, until it sleeps or is gone.
pub(crate) async fn run<A, B, E>(context: Context<A, B, E>, mut incarnation: Incarnation<A, B, E>)
where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    loop {
        let then = incarnation.run().await;
        if then == AfterStop::Awake
            && let Some(slot) = incarnation.slot.take()
        {
            match respawn(&context, &incarnation.entry, slot).await {
                // The old incarnation is dropped here: a task that waits for its end finds the new one.
                Ok(next) => {
                    incarnation = next;
                    continue;
                }
                Err(slot) => incarnation.slot = slot,
            }
        }
        let key = incarnation.entry.record().map(|record| record.key);
        let gone = incarnation.finish();
        drop(incarnation);
        if gone {
            context.shared.forget(key).await;
        }
        return;
    }
}

/// Wakes a session at once in the slot of its last backend. The slot comes back if that fails, and
/// the session sleeps.
async fn respawn<A, B, E>(
    context: &Context<A, B, E>,
    before: &Arc<Entry<B>>,
    slot: Slot,
) -> Result<Incarnation<A, B, E>, Option<Slot>>
where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    let shared = &context.shared;
    let (Some(record), Some(snapshot)) = (before.record(), before.backend().snapshot()) else {
        return Err(Some(slot));
    };
    let (key, kind) = (record.key, before.backend().kind().to_owned());
    let Some(ticket) = shared.openings.begin_respawn(before.owner(), key) else {
        return Err(Some(slot));
    };
    // Looked at after the ticket: an end that comes later finds that.
    if before.is_gone() {
        return Err(Some(slot));
    }
    let handle = record.successor(&snapshot);
    let Some(waking) = context.spawn.wake(before.owner(), &kind, snapshot.into()) else {
        return Err(Some(slot));
    };
    let backend = match waking.await {
        Ok(backend) => backend,
        Err(error) => {
            let error = Arc::new(error);
            warn!(session = %before.id().short(), error = &*error as &dyn std::error::Error,
                "the backend was not replaced");
            if record_failure(context, before.id(), before.owner(), &error) {
                shared.mark_gone(before, StopReason::Failed);
            }
            return Err(Some(slot));
        }
    };
    backend.succeed(before.backend());
    let age = before.age() + before.born().elapsed();
    let newcomer = Newcomer { owner: before.owner().clone(), backend, age, record: Some(handle) };
    match shared.admit_successor(ticket, before, newcomer) {
        Ok(admitted) => {
            note_woken(shared, &admitted.entry, WakeReason::Replaced);
            Ok(Incarnation::new(context, admitted, slot))
        }
        Err((why, backend)) => {
            // The ticket may have been refused because the record was deleted, and that has a reason.
            stop_and_wait(shared, before.why_gone().unwrap_or(why), backend).await;
            Err(Some(slot))
        }
    }
}

/// Notes that a session has a backend again, before its task can say that it has none.
pub(crate) fn note_woken<B>(shared: &Shared<B>, entry: &Entry<B>, why: WakeReason) {
    shared.counts.woke(why);
    if let (Some(writer), Some(record)) = (&shared.writer, entry.record()) {
        writer.note_use(record.key, entry.born(), None);
    }
    let owner = entry.owner().subject();
    info!(session = %entry.id().short(), owner, reason = %why, "session woken");
}

/// Notes a failed wake. Says whether the session can never be woken again.
pub(crate) fn record_failure<A, B, E>(
    context: &Context<A, B, E>,
    id: &SessionId,
    owner: &Owner,
    error: &Arc<E>,
) -> bool {
    context.shared.counts.wake_failures.fetch_add(1, Ordering::Relaxed);
    match context.spawn.judge(error) {
        WakeFailure::Backoff => {
            let (last, limits) = (Some(Arc::clone(error)), context.shared.limits());
            context.failures.record_failure(*id, owner, last, &limits);
            false
        }
        WakeFailure::RetryNow => false,
        WakeFailure::Permanent => true,
    }
}
