//! The task that keeps one session with a backend, from its spawn until its place is given back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::counts::Counts;
use crate::desk::{Desk, SETTLED};
use crate::entry::{Concluded, Ending, Entry};
use crate::lease::FirstLease;
use crate::opening::Ticket;
use crate::place::Place;
use crate::reason::Tally;
use crate::recording::Refused;
use crate::replacement::AfterStop;
use crate::shared::{Admitted, Newcomer, Shared};
use crate::wake::wake_anew;
use crate::{Backend, OpenError, Owner, Spawn, StopReason};

/// What the driver is asked to do: open one session.
pub(crate) struct Open<A, B, E> {
    pub(crate) ticket: Ticket,
    pub(crate) owner: Owner,
    pub(crate) ask: A,
    pub(crate) place: Place,
    pub(crate) reply: oneshot::Sender<Result<FirstLease<B>, OpenError<E>>>,
}

/// What every task of a session works with.
pub(crate) struct Means<A, B, E> {
    pub(crate) shared: Arc<Shared<B>>,
    pub(crate) desk: Arc<Desk<B, E>>,
    pub(crate) spawn: Arc<dyn Spawn<A, B, E>>,
}

impl<A, B, E> Clone for Means<A, B, E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            desk: Arc::clone(&self.desk),
            spawn: Arc::clone(&self.spawn),
        }
    }
}

/// Spawns the backend, hands it to the opener, and sees it to its end. Says whether there was one.
pub(crate) async fn live<A, B, E>(means: Means<A, B, E>, job: Open<A, B, E>) -> bool
where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    let Open { ticket, owner, ask, place, reply } = job;
    let shared = Arc::clone(&means.shared);
    if reply.is_closed() {
        return false; // The opener left before anything was started.
    }
    if let Err(why) = ticket.admit(|| ()) {
        drop(reply.send(Err(refusal(why))));
        return false;
    }
    let spawned = means.spawn.spawn(&owner, ask).await;
    let backend = match spawned {
        Ok(backend) => backend,
        Err(error) => {
            // The place first: an opener that sees the failure may try again at once.
            drop((place, ticket));
            if let Err(Err(OpenError::Spawn(error))) = reply.send(Err(OpenError::Spawn(error))) {
                warn!(owner = ?owner.subject(), error = &error as &dyn std::error::Error,
                    "a backend nobody waits for any more did not start");
            }
            return false;
        }
    };
    // The record first: no id is given out that a crash could make unknown.
    let (id, kept) = match shared.record(&owner, &backend).await {
        Ok(recorded) => recorded.unzip(),
        Err(refused) => {
            let (why, error) = match refused {
                Refused::NoPlace(none) => (StopReason::Failed, none.into()),
                Refused::NoFreeId => (StopReason::Collision, OpenError::NoFreeId),
                Refused::Records(error) => (StopReason::Failed, OpenError::Records(error)),
            };
            drop((reply.send(Err(error)), ticket));
            roll_back(&shared, why, backend).await;
            drop(place);
            return true;
        }
    };
    let key = kept.as_ref().map(|kept| kept.key);
    let newcomer = Newcomer { owner, backend, age: Duration::ZERO, kept };
    match shared.admit(ticket, id, newcomer) {
        Ok(admitted) => {
            let entry = Arc::clone(&admitted.entry);
            info!(session = %entry.id().short(), owner = ?entry.owner().subject(), "session opened");
            let first = FirstLease::new(entry, Arc::clone(&shared));
            let stay = Stay::new(&means, admitted, place);
            // If the opener has left, the lease comes back, and its drop ends the session.
            drop(reply.send(Ok(first)));
            drop(shared);
            keep(means, stay).await;
        }
        Err((why, backend)) => {
            drop(reply.send(Err(refusal(why))));
            if let (Some(keeper), Some(key)) = (&shared.keeper, key) {
                keeper.doom(key);
            }
            roll_back(&shared, why, backend).await;
            drop(place);
            shared.forget(key).await;
        }
    }
    true
}

/// Keeps a session through all its backends, until it sleeps or is gone.
pub(crate) async fn keep<A, B, E>(means: Means<A, B, E>, mut stay: Stay<A, B, E>)
where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    loop {
        let then = stay.see_to_the_end().await;
        if then == AfterStop::Awake
            && let Some(place) = stay.place.take()
        {
            match wake_anew(&means, &stay.entry, place).await {
                // The old stay is dropped here: whoever waits for its end finds the new one.
                Ok(next) => {
                    stay = next;
                    continue;
                }
                Err(place) => stay.place = place,
            }
        }
        let key = stay.entry.kept().map(|kept| kept.key);
        let gone = stay.settle();
        drop(stay);
        if gone {
            means.shared.forget(key).await;
        }
        return;
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

/// Ends a backend that never became a session's.
pub(crate) async fn roll_back<B: Backend>(shared: &Shared<B>, why: StopReason, backend: B) {
    struct Stopping<'a>(&'a Counts);
    impl Drop for Stopping<'_> {
        fn drop(&mut self) {
            self.0.stopping.fetch_sub(1, Ordering::Relaxed);
        }
    }

    shared.counts.stopping.fetch_add(1, Ordering::Relaxed);
    let _stopping = Stopping(&shared.counts);
    take_back(shared, why, backend).await;
}

/// The same for a backend in whose place another one is counted as stopping.
pub(crate) async fn take_back<B: Backend>(shared: &Shared<B>, why: StopReason, backend: B) {
    struct Tallied<'a>(&'a Tally, StopReason);
    impl Drop for Tallied<'_> {
        fn drop(&mut self) {
            self.0.count(self.1);
        }
    }

    let _tallied = Tallied(&shared.tally, why);
    backend.stop(why);
    backend.ended().await;
    info!(reason = %why, "a new backend was rolled back");
}

/// One backend's stay in the table. Whatever ends the task, `Drop` sees that the backend was asked
/// to stop, settles whether the session sleeps or is gone, and gives the place back.
pub(crate) struct Stay<A, B: Backend, E> {
    means: Means<A, B, E>,
    pub(crate) entry: Arc<Entry<B>>,
    orders: oneshot::Receiver<Ending>,
    ending: Option<Ending>,
    pub(crate) place: Option<Place>,
    /// The backend was asked to stop.
    asked: bool,
    /// The backend has ended.
    over: bool,
    settled: bool,
}

impl<A, B: Backend, E> Stay<A, B, E> {
    pub(crate) fn new(means: &Means<A, B, E>, admitted: Admitted<B>, place: Place) -> Self {
        let Admitted { entry, orders } = admitted;
        let means = means.clone();
        let place = Some(place);
        Self {
            means,
            entry,
            orders,
            ending: None,
            place,
            asked: false,
            over: false,
            settled: false,
        }
    }

    /// Returns when the backend has ended and what a later one must know is stored, as far as the
    /// store can be reached.
    async fn see_to_the_end(&mut self) -> AfterStop {
        let entry = Arc::clone(&self.entry);
        let shared = Arc::clone(&self.means.shared);
        let mut ended = entry.backend().ended();
        loop {
            let ordered = tokio::select! {
                biased;
                () = &mut ended => None,
                // The other end is in the entry, which this task keeps, until an order is sent.
                order = &mut self.orders => order.ok(),
            };
            let Some(ending) = ordered else {
                self.over = true;
                // An order that was given in the same moment stands.
                shared.end(&entry, StopReason::Exited);
                self.ending = self.orders.try_recv().ok();
                break;
            };
            let (why, then) = (ending.why, ending.then);
            if why.sleeps() && entry.kept().is_some() {
                // Nothing is taken from a client that cannot be given back: the snapshot is stored
                // before the backend is stopped, or the backend stays. A shutdown does not ask.
                let saved = shared.save(&entry).await;
                let lost = match saved {
                    Ok(can_sleep) => !can_sleep,
                    Err(error) if why == StopReason::Shutdown => {
                        warn!(session = %entry.id().short(), %error, "the last snapshot was not stored");
                        false
                    }
                    Err(error) => match entry.revive() {
                        Some(orders) => {
                            warn!(session = %entry.id().short(), %error, reason = %why,
                                "the session stays awake, since it cannot be stored");
                            self.orders = orders;
                            continue; // An heir hears of it by the end of its channel.
                        }
                        None => false,
                    },
                };
                if lost {
                    self.lost(why);
                }
            }
            self.ending = Some(ending);
            self.asked = true;
            entry.backend().stop(why);
            ended.await;
            self.over = true;
            // Those who still used it may have changed its state until the very end.
            self.store_last(why).await;
            return then;
        }
        self.has_exited().await;
        self.ending.as_ref().map_or(AfterStop::Asleep, |ending| ending.then)
    }

    /// The backend has ended by itself.
    async fn has_exited(&mut self) {
        let (entry, shared) = (Arc::clone(&self.entry), Arc::clone(&self.means.shared));
        if entry.kept().is_none() {
            return;
        }
        let why = self.ending.as_ref().map_or(StopReason::Exited, |ending| ending.why);
        if why == StopReason::Exited && entry.born().elapsed() < SETTLED {
            self.means.desk.trouble(*entry.id(), entry.owner(), None, &shared.limits());
        }
        self.store_last(why).await;
    }

    /// Stores the state in which the backend has ended, if it was not stored yet.
    async fn store_last(&self, why: StopReason) {
        if !why.sleeps() || self.entry.is_gone() || self.entry.kept().is_none() {
            return;
        }
        match self.means.shared.save_last(&self.entry).await {
            Ok(true) => {}
            Ok(false) => self.lost(why),
            // Whatever the client was told of is in the store: that was saved before it was told.
            Err(error) => {
                warn!(session = %self.entry.id().short(), %error, "the last snapshot was not stored");
            }
        }
    }

    /// The session cannot sleep any more.
    fn lost(&self, why: StopReason) {
        self.means.shared.doom(&self.entry, why);
    }

    /// Settles whether the session sleeps or is gone, and gives the place back. Says whether it is
    /// gone for good.
    fn settle(&mut self) -> bool {
        self.settled = true;
        let shared = Arc::clone(&self.means.shared);
        let own_reason = match (self.over, std::thread::panicking()) {
            (true, _) => StopReason::Exited,
            (false, true) => StopReason::Panicked,
            (false, false) => StopReason::Shutdown,
        };
        // Ends a session nobody else has ended, and then there is an order in any case.
        let _ = shared.end_if(&self.entry, None, |_| Some(own_reason));
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
        if self.entry.born().elapsed() >= SETTLED || why != StopReason::Exited {
            self.means.desk.well(self.entry.id());
        }
        let concluded = self.entry.conclude();
        shared.counts.stopping.fetch_sub(1, Ordering::Relaxed);
        let key = self.entry.kept().map(|kept| kept.key);
        let became = match (concluded, &shared.keeper, key) {
            (Concluded::Asleep, Some(keeper), Some(key)) => {
                keeper.note_use(key, self.entry.last_active(), Some(why));
                "asleep"
            }
            (Concluded::Asleep, ..) => "asleep",
            (Concluded::Gone(final_why), keeper, key) => {
                // It may have been ended for good while it was falling asleep.
                if why.sleeps() && why != StopReason::Panicked {
                    why = final_why;
                }
                if let (Some(keeper), Some(key)) = (keeper, key) {
                    keeper.doom(key);
                }
                "gone"
            }
            (Concluded::Replaced, ..) => "replaced",
        };
        shared.tally.count(why);
        info!(
            session = %self.entry.id().short(),
            owner = ?self.entry.owner().subject(),
            reason = %why,
            became,
            "a session's backend has ended"
        );
        if let Some(place) = self.place.take() {
            place.leave_to(heir);
        }
        // Last: whoever waits for the end of this stay finds everything settled.
        shared.table.remove(&self.entry);
        self.entry.depart();
        matches!(concluded, Concluded::Gone(_))
    }
}

impl<A, B: Backend, E> Drop for Stay<A, B, E> {
    fn drop(&mut self) {
        if !self.settled {
            self.settle();
        }
    }
}
