//! Waking a session from its record, when a request asks for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::sleep;

use crate::admission::Newcomer;
use crate::backend::Backend;
use crate::context::Context;
use crate::error::{LeaseError, WakeError};
use crate::incarnation::Incarnation;
use crate::lease::Lease;
use crate::openings::Ticket;
use crate::phase::stopping;
use crate::purpose::Purpose;
use crate::reason::{StopReason, WakeReason};
use crate::record::Record;
use crate::record_handle::RecordHandle;
use crate::respawn::{self, note_woken, record_failure};
use crate::rollback::roll_back;
use crate::shared::Lookup;
use crate::single_flight::{InFlight, WakeKey};
use crate::slot::Slot;

/// What a wake found before it started anything.
enum Prepared<B> {
    /// It is awake already.
    Live(Lease<B>),
    /// It sleeps, and all that it takes is there.
    Asleep { ticket: Ticket, record: Box<Record>, slot: Slot },
}

/// Wakes one session for every request that asked, and runs it until it sleeps or is gone. Says
/// whether there was a backend.
pub(crate) async fn run<A, B, E>(context: Context<A, B, E>, wake: InFlight<B, E>) -> bool
where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    let shared = Arc::clone(&context.shared);
    let mut phase = shared.phase.subscribe();
    let prepared = tokio::select! {
        biased;
        prepared = prepare(&context, &wake) => prepared,
        // Nothing was started yet, and the last request that asked has left.
        () = wake.abandoned() => return false,
        () = stopping(&mut phase) => Err(WakeError::Draining),
    };
    let (ticket, record, slot) = match prepared {
        Ok(Prepared::Asleep { ticket, record, slot }) => (ticket, *record, slot),
        Ok(Prepared::Live(lease)) => {
            wake.complete(Ok(lease));
            return false;
        }
        Err(error) => {
            wake.complete(Err(error));
            return false;
        }
    };
    drop(phase);
    let (id, key) = (wake.key.id, record.key);
    let handle = RecordHandle::new(key, &record.snapshot);
    let writer = shared.writer.as_ref();
    let age = writer.map_or_else(Default::default, |writer| writer.age(record.created));
    let why = WakeReason::after(record.asleep);
    let Some(waking) = context.spawn.wake(&record.owner, &record.kind, record.snapshot) else {
        wake.complete(Err(WakeError::Unknown));
        return false;
    };
    let backend = match waking.await {
        Ok(backend) => backend,
        Err(error) => {
            let error = Arc::new(error);
            let given_up = record_failure(&context, &wake.key.id, &wake.key.owner, &error);
            // The slot first: a client that sees the failure may try again at once.
            drop((slot, ticket));
            if given_up && let Some(writer) = &shared.writer {
                writer.mark_deleted(key);
            }
            wake.complete(Err(WakeError::Spawn(error)));
            if given_up {
                shared.forget(Some(key)).await;
            }
            return false;
        }
    };
    let newcomer = Newcomer { owner: record.owner, backend, age, record: Some(handle) };
    match shared.admit(ticket, Some(id), newcomer) {
        Ok(admitted) => {
            note_woken(&shared, &admitted.entry, why);
            let lease = Lease::counted(Arc::clone(&admitted.entry), Purpose::Call);
            let incarnation = Incarnation::new(&context, admitted, slot);
            wake.complete(Ok(lease));
            drop(shared);
            respawn::run(context, incarnation).await;
        }
        Err((why, backend)) => {
            wake.complete(Err(refusal(why)));
            roll_back(&shared, why, backend).await;
            drop(slot);
        }
    }
    true
}

/// Everything up to the spawn. Nothing of it lasts if it is dropped.
async fn prepare<A, B, E>(
    context: &Context<A, B, E>,
    wake: &InFlight<B, E>,
) -> Result<Prepared<B>, WakeError<E>>
where
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    let shared = &context.shared;
    let WakeKey { id, owner, kind } = &wake.key;
    let writer = shared.writer.as_ref().ok_or(WakeError::Unknown)?;
    loop {
        // The wake before this one may have completed just before this one was asked for.
        match shared.lease(id, owner, Purpose::Call) {
            Lookup::Live(lease) => return Ok(Prepared::Live(lease)),
            Lookup::InTransition(entry) => entry.settled().await,
            Lookup::NotFound => break,
            Lookup::Ended => return Err(WakeError::Unknown),
            Lookup::Anothers(error) => return Err(error.into()),
        }
    }
    let wait = context.failures.backoff(id, owner, &shared.limits())?;
    if !wait.is_zero() {
        sleep(wait).await;
    }
    let key = id.key();
    // From here on a deletion or a revocation finds this wake, whatever the record says.
    let ticket = shared.openings.begin_wake(key).ok_or(WakeError::Draining)?;
    let record = writer.find(&key).await.map_err(WakeError::Records)?;
    let record = record.filter(|_| !writer.is_marked_deleted(&key)).ok_or(WakeError::Unknown)?;
    if record.owner != *owner {
        return Err(LeaseError::of_another(&record.owner, owner).into());
    }
    if record.kind != *kind {
        return Err(WakeError::Unknown);
    }
    let lifetime = shared.lifetime();
    if !lifetime.is_zero() && writer.age(record.created) >= lifetime {
        return Err(WakeError::Unknown);
    }
    ticket.belongs_to(&record.owner, record.created).map_err(refusal)?;
    if let Err(error) = context.spawn.can_wake(&record.kind, &record.snapshot) {
        shared.counts.wake_failures.fetch_add(1, Ordering::Relaxed);
        return Err(WakeError::Spawn(Arc::new(error)));
    }
    let slot = shared.slot(&record.owner, wake.purpose).await?;
    ticket.admit(|| ()).map_err(refusal)?;
    Ok(Prepared::Asleep { ticket, record: Box::new(record), slot })
}

/// The answer to the requests whose wake was refused.
fn refusal<E>(why: StopReason) -> WakeError<E> {
    match why {
        StopReason::Shutdown => WakeError::Draining,
        // Deleted, revoked, or removed for another while it was being woken.
        _ => WakeError::Unknown,
    }
}
