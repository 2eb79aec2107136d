//! Waking: from a record, when a request asks, and in the old backend's place, after a replacement.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::desk::{Flight, Wanted};
use crate::entry::{Entry, Kept};
use crate::life::{Means, Stay, keep, roll_back, take_back};
use crate::opening::Ticket;
use crate::place::Place;
use crate::shared::{Found, Newcomer, Shared, stopping};
use crate::{Backend, Lease, Record, StopReason, WakeError, WakeFailure, WakeReason};

/// What a wake found before it started anything.
enum Prepared<B> {
    /// It is awake already.
    Live(Lease<B>),
    /// It sleeps, and all that it takes is there.
    Asleep { ticket: Ticket, record: Box<Record>, place: Place },
}

/// Wakes one session for everybody who asked, and keeps it then. Says whether there was a backend.
pub(crate) async fn fly<A, B, E>(means: Means<A, B, E>, flight: Flight<B, E>) -> bool
where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    let shared = Arc::clone(&means.shared);
    let mut phase = shared.phase.subscribe();
    let prepared = tokio::select! {
        biased;
        prepared = prepare(&means, &flight.wanted) => prepared,
        // Nothing was started yet, and nobody is left to start it for.
        () = flight.abandoned() => return false,
        () = stopping(&mut phase) => Err(WakeError::Draining),
    };
    let (ticket, record, place) = match prepared {
        Ok(Prepared::Asleep { ticket, record, place }) => (ticket, *record, place),
        Ok(Prepared::Live(lease)) => {
            flight.lands(Ok(lease));
            return false;
        }
        Err(error) => {
            flight.lands(Err(error));
            return false;
        }
    };
    drop(phase);
    let (id, key) = (flight.wanted.id, record.key);
    let kept = Kept::new(key, &record.snapshot);
    let keeper = shared.keeper.as_ref();
    let age = keeper.map_or_else(Default::default, |keeper| keeper.age(record.created));
    let why = WakeReason::after(keeper.and_then(|keeper| keeper.asleep(&record)));
    let Some(waking) = means.spawn.wake(&record.owner, &record.kind, record.snapshot) else {
        flight.lands(Err(WakeError::Unknown));
        return false;
    };
    let backend = match waking.await {
        Ok(backend) => backend,
        Err(error) => {
            let error = Arc::new(error);
            let given_up = failed(&means, &flight.wanted, &error);
            // The place first: whoever sees the failure may try again at once.
            drop((place, ticket));
            if given_up && let Some(keeper) = &shared.keeper {
                keeper.doom(key);
            }
            flight.lands(Err(WakeError::Spawn(error)));
            if given_up {
                shared.forget(Some(key)).await;
            }
            return false;
        }
    };
    let newcomer = Newcomer { owner: record.owner, backend, age, kept: Some(kept) };
    match shared.admit(ticket, Some(id), newcomer) {
        Ok(admitted) => {
            shared.has_woken(&admitted.entry, why);
            let lease = Lease::counted(Arc::clone(&admitted.entry));
            let stay = Stay::new(&means, admitted, place);
            flight.lands(Ok(lease));
            drop(shared);
            keep(means, stay).await;
        }
        Err((why, backend)) => {
            flight.lands(Err(refusal(why)));
            roll_back(&shared, why, backend).await;
            drop(place);
        }
    }
    true
}

/// Everything up to the spawn. Nothing of it lasts if it is dropped.
async fn prepare<A, B, E>(
    means: &Means<A, B, E>,
    wanted: &Wanted,
) -> Result<Prepared<B>, WakeError<E>>
where
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    let shared = &means.shared;
    let Wanted { id, owner, kind } = wanted;
    let keeper = shared.keeper.as_ref().ok_or(WakeError::Unknown)?;
    loop {
        // A wake that has just landed may have been missed by whoever asked for this one.
        match shared.lease(id, owner) {
            Found::Live(lease) => return Ok(Prepared::Live(lease)),
            Found::Moving(entry) => entry.settled().await,
            Found::Nothing => break,
            Found::Over => return Err(WakeError::Unknown),
            Found::Foreign => return Err(WakeError::Foreign),
        }
    }
    let wait = means.desk.hold(id, owner, &shared.limits())?;
    if !wait.is_zero() {
        sleep(wait).await;
    }
    let key = id.key();
    // From here on a deletion or a revocation finds this wake, whatever the record says.
    let ticket = shared.openings.begin_wake(key).ok_or(WakeError::Draining)?;
    let record = keeper.records.find(&key).await.map_err(WakeError::Records)?;
    let record = record.filter(|_| !keeper.is_doomed(&key)).ok_or(WakeError::Unknown)?;
    if record.owner != *owner {
        return Err(WakeError::Foreign);
    }
    if record.kind != *kind {
        return Err(WakeError::Unknown);
    }
    let lifetime = shared.lifetime();
    if !lifetime.is_zero() && keeper.age(record.created) >= lifetime {
        return Err(WakeError::Unknown);
    }
    ticket.belongs_to(&record.owner, record.created).map_err(refusal)?;
    let place = shared.place(&record.owner).await?;
    ticket.admit(|| ()).map_err(refusal)?;
    Ok(Prepared::Asleep { ticket, record: Box::new(record), place })
}

/// Wakes a session anew in the place its last backend has left. The place comes back if that
/// fails, and the session sleeps.
pub(crate) async fn wake_anew<A, B, E>(
    means: &Means<A, B, E>,
    before: &Arc<Entry<B>>,
    place: Place,
) -> Result<Stay<A, B, E>, Option<Place>>
where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    let shared = &means.shared;
    let (Some(kept), Some(snapshot)) = (before.kept(), before.backend().snapshot()) else {
        return Err(Some(place));
    };
    let (key, kind) = (kept.key, before.backend().kind().to_owned());
    let Some(ticket) = shared.openings.begin_anew(before.owner(), key) else {
        return Err(Some(place));
    };
    // Looked at after the ticket: an end that comes later finds that.
    if before.is_gone() {
        return Err(Some(place));
    }
    let kept = kept.next(&snapshot);
    let Some(waking) = means.spawn.wake(before.owner(), &kind, snapshot.into()) else {
        return Err(Some(place));
    };
    let backend = match waking.await {
        Ok(backend) => backend,
        Err(error) => {
            let wanted =
                Wanted { id: *before.id(), owner: before.owner().clone(), kind: kind.into() };
            let error = Arc::new(error);
            warn!(session = %before.id().short(), error = &*error as &dyn std::error::Error,
                "the backend was not replaced");
            if failed(means, &wanted, &error) {
                shared.doom(before, StopReason::Failed);
            }
            return Err(Some(place));
        }
    };
    backend.succeed(before.backend());
    let age = before.age() + before.born().elapsed();
    let newcomer = Newcomer { owner: before.owner().clone(), backend, age, kept: Some(kept) };
    match shared.succeed(ticket, before, newcomer) {
        Ok(admitted) => {
            shared.has_woken(&admitted.entry, WakeReason::Replaced);
            Ok(Stay::new(means, admitted, place))
        }
        Err((why, backend)) => {
            // The ticket may have been refused because a record was buried, and that for a reason.
            take_back(shared, before.why_gone().unwrap_or(why), backend).await;
            Err(Some(place))
        }
    }
}

impl<B> Shared<B> {
    /// Notes that a session has a backend again, before its task can say that it has none.
    fn has_woken(&self, entry: &Entry<B>, why: WakeReason) {
        self.counts.woke(why);
        if let (Some(keeper), Some(kept)) = (&self.keeper, entry.kept()) {
            keeper.note_use(kept.key, entry.born(), None);
        }
        let owner = entry.owner().subject();
        info!(session = %entry.id().short(), ?owner, reason = %why, "session woken");
    }
}

/// Notes a failed wake. Says whether the session can never be woken again.
fn failed<A, B, E>(means: &Means<A, B, E>, wanted: &Wanted, error: &Arc<E>) -> bool {
    means.shared.counts.wake_failures.fetch_add(1, Ordering::Relaxed);
    match means.spawn.judge(error) {
        WakeFailure::Backoff => {
            let (last, limits) = (Some(Arc::clone(error)), means.shared.limits());
            means.desk.trouble(wanted.id, &wanted.owner, last, &limits);
            false
        }
        WakeFailure::RetryNow => false,
        WakeFailure::Permanent => true,
    }
}

/// The answer to whoever waits for a wake that was refused.
fn refusal<E>(why: StopReason) -> WakeError<E> {
    match why {
        StopReason::Shutdown => WakeError::Draining,
        // Deleted, revoked, or removed for another while it was being woken.
        _ => WakeError::Unknown,
    }
}
