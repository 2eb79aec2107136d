//! Opening a session: spawn, record, admit.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::admission::Newcomer;
use crate::backend::Backend;
use crate::context::Context;
use crate::error::OpenError;
use crate::first_lease::FirstLease;
use crate::incarnation::Incarnation;
use crate::openings::Ticket;
use crate::owner::Owner;
use crate::reason::StopReason;
use crate::recording::Refused;
use crate::respawn;
use crate::rollback::roll_back;
use crate::slot::Slot;

/// An order to open one session.
pub(crate) struct OpenJob<A, B, E> {
    pub(crate) ticket: Ticket,
    pub(crate) owner: Owner,
    pub(crate) ask: A,
    pub(crate) slot: Slot,
    pub(crate) reply: oneshot::Sender<Result<FirstLease<B>, OpenError<E>>>,
}

/// Spawns the backend, gives its first lease to the request that opened the session, and runs the
/// session until it sleeps or is gone. Says whether there was a backend.
pub(crate) async fn run<A, B, E>(context: Context<A, B, E>, job: OpenJob<A, B, E>) -> bool
where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    let OpenJob { ticket, owner, ask, slot, reply } = job;
    let shared = Arc::clone(&context.shared);
    if reply.is_closed() {
        return false; // The request left before anything was started.
    }
    if let Err(why) = ticket.admit(|| ()) {
        drop(reply.send(Err(refusal(why))));
        return false;
    }
    let spawned = context.spawn.spawn(&owner, ask).await;
    let backend = match spawned {
        Ok(backend) => backend,
        Err(error) => {
            // The slot first: a client that sees the failure may try again at once.
            drop((slot, ticket));
            if let Err(Err(OpenError::Spawn(error))) = reply.send(Err(OpenError::Spawn(error))) {
                warn!(
                    owner = owner.subject(),
                    error = &error as &dyn std::error::Error,
                    "a backend did not start; the request that asked for it has left"
                );
            }
            return false;
        }
    };
    // The record first: no id is given out that a crash could make unknown.
    let (id, record) = match shared.record(&owner, &backend).await {
        Ok(recorded) => recorded.unzip(),
        Err(refused) => {
            let (why, error) = match refused {
                Refused::NoSlot(none) => (StopReason::Failed, none.into()),
                Refused::NoFreeId => (StopReason::Collision, OpenError::NoFreeId),
                Refused::Records(error) => (StopReason::Failed, OpenError::Records(error)),
            };
            drop((reply.send(Err(error)), ticket));
            roll_back(&shared, why, backend).await;
            drop(slot);
            return true;
        }
    };
    let key = record.as_ref().map(|record| record.key);
    let newcomer = Newcomer { owner, backend, age: Duration::ZERO, record };
    match shared.admit(ticket, id, newcomer) {
        Ok(admitted) => {
            let entry = Arc::clone(&admitted.entry);
            info!(session = %entry.id().short(), owner = entry.owner().subject(), "session opened");
            let first = FirstLease::new(entry, Arc::clone(&shared));
            let incarnation = Incarnation::new(&context, admitted, slot);
            // If the request has left, the lease comes back, and its drop ends the session.
            drop(reply.send(Ok(first)));
            drop(shared);
            respawn::run(context, incarnation).await;
        }
        Err((why, backend)) => {
            drop(reply.send(Err(refusal(why))));
            if let (Some(writer), Some(key)) = (&shared.writer, key) {
                writer.mark_deleted(key);
            }
            roll_back(&shared, why, backend).await;
            drop(slot);
            shared.forget(key).await;
        }
    }
    true
}

/// The answer to the request whose session could not enter the table.
fn refusal<E>(why: StopReason) -> OpenError<E> {
    match why {
        StopReason::Revoked => OpenError::Revoked,
        StopReason::Collision => OpenError::NoFreeId,
        _ => OpenError::Draining,
    }
}
