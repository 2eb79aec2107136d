//! The task that keeps one session from its spawn until its place is given back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::entry::{Ending, Entry};
use crate::lease::FirstLease;
use crate::opening::Ticket;
use crate::place::Place;
use crate::shared::{Admitted, Shared};
use crate::{Backend, OpenError, Owner, Spawn, StopReason};

/// What the driver is asked to do: open one session.
pub(crate) struct Job<A, B, E> {
    pub(crate) ticket: Ticket,
    pub(crate) owner: Owner,
    pub(crate) ask: A,
    pub(crate) place: Place,
    pub(crate) reply: oneshot::Sender<Result<FirstLease<B>, OpenError<E>>>,
}

/// Spawns the backend, hands it to the opener, and sees it to its end.
pub(crate) async fn live<A, B, E>(
    shared: Arc<Shared<B>>,
    spawn: Arc<dyn Spawn<A, B, E>>,
    job: Job<A, B, E>,
) where
    B: Backend,
    E: std::error::Error + Send + 'static,
{
    let Job { ticket, owner, ask, place, reply } = job;
    if reply.is_closed() {
        return; // The opener left before anything was started.
    }
    if let Err(why) = ticket.admit(|| ()) {
        drop(reply.send(Err(refusal(why))));
        return;
    }
    let spawned = spawn.spawn(&owner, ask).await;
    drop(spawn);
    let backend = match spawned {
        Ok(backend) => backend,
        Err(error) => {
            // The place first: an opener that sees the failure may try again at once.
            drop((place, ticket));
            if let Err(Err(OpenError::Spawn(error))) = reply.send(Err(OpenError::Spawn(error))) {
                warn!(owner = ?owner.subject(), error = &error as &dyn std::error::Error,
                    "a backend nobody waits for any more did not start");
            }
            return;
        }
    };
    match shared.admit(ticket, owner, backend) {
        Ok(Admitted { entry, orders }) => {
            info!(session = %entry.id().short(), owner = ?entry.owner().subject(), "session opened");
            let first = FirstLease::new(Arc::clone(&entry), Arc::clone(&shared));
            let life = Life {
                shared,
                entry,
                orders,
                ending: None,
                place: Some(place),
                asked: false,
                over: false,
            };
            // If the opener has left, the lease comes back, and its drop ends the session.
            drop(reply.send(Ok(first)));
            life.see_to_the_end().await;
        }
        Err((why, backend)) => {
            drop(reply.send(Err(refusal(why))));
            roll_back(&shared, why, backend).await;
            drop(place);
        }
    }
}

/// The answer to an opener whose session could not enter the table.
fn refusal<E>(why: StopReason) -> OpenError<E> {
    match why {
        StopReason::Revoked => OpenError::Revoked,
        StopReason::Collision => OpenError::NoFreeId,
        _ => OpenError::Draining,
    }
}

/// Ends a backend that never became a session.
async fn roll_back<B: Backend>(shared: &Shared<B>, why: StopReason, backend: B) {
    struct Counted<'a, B>(&'a Shared<B>, StopReason);
    impl<B> Drop for Counted<'_, B> {
        fn drop(&mut self) {
            self.0.stopping.fetch_sub(1, Ordering::Relaxed);
            self.0.tally.count(self.1);
        }
    }

    shared.stopping.fetch_add(1, Ordering::Relaxed);
    let _counted = Counted(shared, why);
    backend.stop(why);
    backend.ended().await;
    info!(reason = %why, "a new backend was rolled back");
}

/// A session's stay in the table. Whatever ends the task, `Drop` takes the session off the table,
/// sees that its backend was asked to stop, and gives the place back.
struct Life<B: Backend> {
    shared: Arc<Shared<B>>,
    entry: Arc<Entry<B>>,
    orders: oneshot::Receiver<Ending>,
    ending: Option<Ending>,
    place: Option<Place>,
    /// The backend was asked to stop.
    asked: bool,
    /// The backend has ended.
    over: bool,
}

impl<B: Backend> Life<B> {
    async fn see_to_the_end(mut self) {
        let mut ended = self.entry.backend().ended();
        let ordered = tokio::select! {
            biased;
            () = &mut ended => None,
            // The other end is in the entry, which this task keeps, until an order is sent.
            order = &mut self.orders => order.ok(),
        };
        if let Some(ending) = ordered {
            let why = ending.why;
            self.ending = Some(ending);
            self.asked = true;
            self.entry.backend().stop(why);
            ended.await;
        }
        self.over = true;
    }
}

impl<B: Backend> Drop for Life<B> {
    fn drop(&mut self) {
        let own_reason = match (self.over, std::thread::panicking()) {
            (true, _) => StopReason::Exited,
            (false, true) => StopReason::Panicked,
            (false, false) => StopReason::Shutdown,
        };
        // Ends a session nobody else has ended, and then there is an order in any case.
        self.shared.end(&self.entry, own_reason);
        let ending = self.ending.take().or_else(|| self.orders.try_recv().ok());
        let (mut why, heir) = match ending {
            Some(ending) => (ending.why, ending.heir),
            None => (own_reason, None),
        };
        if own_reason == StopReason::Panicked {
            why = own_reason;
        }
        if !self.over && !self.asked {
            // The task was aborted, or the wait for the backend's end has panicked. A second
            // panic while the first one unwinds would take the whole process down.
            let stop = AssertUnwindSafe(|| self.entry.backend().stop(why));
            if catch_unwind(stop).is_err() {
                warn!(session = %self.entry.id().short(), "a backend panicked when stopped");
            }
        }
        self.shared.stopping.fetch_sub(1, Ordering::Relaxed);
        self.shared.tally.count(why);
        info!(
            session = %self.entry.id().short(),
            owner = ?self.entry.owner().subject(),
            reason = %why,
            "session ended"
        );
        if let Some(place) = self.place.take() {
            place.leave_to(heir);
        }
    }
}
