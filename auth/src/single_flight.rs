//! One run of a piece of work for all who ask for it meanwhile.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// The runs that are under way, one for each key at most.
///
/// ```text
///            join: nothing there              complete
///  (nothing) ───────────────────► Running ───────────────► (nothing), and all waiters have it
///      ▲                           │    ▲
///      │ the leader or the last    │    │ a waiter, or the next who joins,
///      │ waiter leaves             ▼    │ leads from here on
///      └──────────────────────── Abandoned
/// ```
///
/// The first caller to [`join`](Self::join) is the [`Leader`], who does the work and completes it;
/// all who join meanwhile are [`Waiter`]s and get a clone of the outcome. When the leader leaves, one
/// of the waiters takes its place, and the others go on waiting for the same run. A caller that joins
/// after the end leads a new run: nothing is kept here.
#[derive(Clone)]
pub(crate) struct SingleFlight<K, T> {
    /// Every change of a run's state is made under this lock.
    runs: Arc<Mutex<Runs<K, T>>>,
}

type Runs<K, T> = HashMap<K, Run<T>>;
type Run<T> = Arc<watch::Sender<State<T>>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State<T> {
    Running,
    Abandoned,
    Done(T),
}

/// What a caller is to do.
#[derive(Debug)]
pub(crate) enum Joined<K: Hash + Eq, T> {
    /// Do the work, and [`complete`](Leader::complete) it.
    Leader(Leader<K, T>),
    /// Await the outcome.
    Waiter(Waiter<K, T>),
}

/// What waiting came to.
#[derive(Debug)]
pub(crate) enum Turn<K: Hash + Eq, T> {
    /// The run has ended.
    Outcome(T),
    /// The leader has left: do the work in its place.
    Lead(Leader<K, T>),
}

/// The right and the duty to do the work. Dropped without an outcome, it leaves the run to one of
/// those who wait.
pub(crate) struct Leader<K: Hash + Eq, T> {
    flight: SingleFlight<K, T>,
    key: K,
    run: Run<T>,
}

/// A place among those who wait for one run.
pub(crate) struct Waiter<K: Hash + Eq, T> {
    flight: SingleFlight<K, T>,
    key: K,
    run: Run<T>,
    state: watch::Receiver<State<T>>,
}

impl<K: Hash + Eq + Clone, T: Clone> SingleFlight<K, T> {
    /// No run is under way.
    pub(crate) fn new() -> Self {
        Self { runs: Arc::default() }
    }

    /// Leads a run for `key`, or waits for the one that is under way.
    pub(crate) fn join<Q>(&self, key: &Q) -> Joined<K, T>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let mut runs = self.lock();
        let run = runs.get(key).cloned();
        match run {
            Some(run) if !matches!(*run.borrow(), State::Abandoned) => {
                Joined::Waiter(Waiter::new(self, key.to_owned(), run))
            }
            Some(run) => {
                run.send_replace(State::Running);
                Joined::Leader(Leader { flight: self.clone(), key: key.to_owned(), run })
            }
            None => {
                let run = Arc::new(watch::Sender::new(State::Running));
                runs.insert(key.to_owned(), Arc::clone(&run));
                Joined::Leader(Leader { flight: self.clone(), key: key.to_owned(), run })
            }
        }
    }

    /// Waits for the run that is under way for `key`, if there is one.
    pub(crate) fn waiter(&self, key: &K) -> Option<Waiter<K, T>> {
        let run =
            self.lock().get(key).filter(|run| !matches!(*run.borrow(), State::Abandoned))?.clone();
        Some(Waiter::new(self, key.clone(), run))
    }
}

impl<K: Hash + Eq, T> SingleFlight<K, T> {
    fn lock(&self) -> MutexGuard<'_, Runs<K, T>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone, T: Clone> Leader<K, T> {
    /// What the run is for.
    pub(crate) fn key(&self) -> &K {
        &self.key
    }

    /// A place among those who wait for this run.
    pub(crate) fn waiter(&self) -> Waiter<K, T> {
        Waiter::new(&self.flight, self.key.clone(), Arc::clone(&self.run))
    }

    /// Gives `outcome` to all who wait, and to those who join before the end. The run goes on.
    pub(crate) fn report(&self, outcome: T) {
        self.run.send_replace(State::Done(outcome));
    }

    /// Ends the run and gives `outcome` to all who wait.
    pub(crate) fn complete(self, outcome: T) {
        self.report(outcome);
    }
}

impl<K: Hash + Eq, T> Drop for Leader<K, T> {
    fn drop(&mut self) {
        let mut runs = self.flight.lock();
        let is_done = matches!(*self.run.borrow(), State::Done(_));
        if is_done || self.run.receiver_count() == 0 {
            runs.remove(&self.key);
        } else {
            self.run.send_replace(State::Abandoned);
        }
    }
}

impl<K: Hash + Eq + Clone, T: Clone> Waiter<K, T> {
    fn new(flight: &SingleFlight<K, T>, key: K, run: Run<T>) -> Self {
        let state = run.subscribe();
        Self { flight: flight.clone(), key, run, state }
    }

    /// The outcome, or the lead when the leader has left.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives the place up and changes nothing for the others.
    pub(crate) async fn turn(mut self) -> Turn<K, T> {
        loop {
            if let Some(outcome) = self.settled().await {
                return Turn::Outcome(outcome);
            }
            let _runs = self.flight.lock();
            if matches!(*self.run.borrow(), State::Abandoned) {
                self.run.send_replace(State::Running);
                let (flight, run) = (self.flight.clone(), Arc::clone(&self.run));
                return Turn::Lead(Leader { flight, key: self.key.clone(), run });
            }
        }
    }

    /// The outcome; `None` when the leader has left without one.
    ///
    /// # Cancel safety
    ///
    /// As [`turn`](Self::turn).
    pub(crate) async fn outcome(mut self) -> Option<T> {
        self.settled().await
    }

    /// Waits until nobody does the work: it is done, or (`None`) abandoned.
    async fn settled(&mut self) -> Option<T> {
        let settled = self.state.wait_for(|state| !matches!(state, State::Running)).await;
        match &*settled.expect("the waiter holds a sender itself") {
            State::Done(outcome) => Some(outcome.clone()),
            State::Abandoned | State::Running => None,
        }
    }
}

impl<K: Hash + Eq, T> Drop for Waiter<K, T> {
    fn drop(&mut self) {
        let mut runs = self.flight.lock();
        // The last one to leave a run that was abandoned takes it along.
        let is_last = self.run.receiver_count() == 1;
        if is_last && matches!(*self.run.borrow(), State::Abandoned) {
            runs.remove(&self.key);
        }
    }
}

impl<K: Hash + Eq, T> fmt::Debug for SingleFlight<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").field("runs", &self.lock().len()).finish()
    }
}

/// Neither key nor outcome: they may be secrets.
impl<K: Hash + Eq, T> fmt::Debug for Leader<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader").field("waiters", &self.run.receiver_count()).finish()
    }
}

impl<K: Hash + Eq, T> fmt::Debug for Waiter<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{task::JoinSet, time::sleep};

    use super::*;

    type Numbers = SingleFlight<String, u32>;

    fn lead(flight: &Numbers, key: &str) -> Leader<String, u32> {
        match flight.join(key) {
            Joined::Leader(leader) => leader,
            Joined::Waiter(_) => panic!("{key} has a leader"),
        }
    }

    fn wait(flight: &Numbers, key: &str) -> Waiter<String, u32> {
        match flight.join(key) {
            Joined::Waiter(waiter) => waiter,
            Joined::Leader(_) => panic!("{key} has no leader"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_join_meanwhile_get_the_outcome_of_the_one_run() {
        let flight = Numbers::new();
        let leader = lead(&flight, "a");
        let mut waiters = JoinSet::new();
        for _ in 0..100 {
            waiters.spawn(wait(&flight, "a").outcome());
        }
        waiters.spawn(leader.waiter().outcome());
        sleep(Duration::from_secs(5)).await;
        leader.complete(7);
        assert!(waiters.join_all().await.into_iter().all(|own| own == Some(7)));
    }

    #[test]
    fn another_key_and_a_later_caller_lead_runs_of_their_own() {
        let flight = Numbers::new();
        let leader = lead(&flight, "a");
        let other = lead(&flight, "b");
        assert!(flight.waiter(&"a".to_owned()).is_some());
        leader.complete(1);
        assert!(flight.waiter(&"a".to_owned()).is_none(), "nothing is kept");
        drop(lead(&flight, "a"));
        assert_eq!(other.key(), "b");
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_leader_leaves_one_waiter_takes_over_and_the_others_get_its_outcome() {
        let flight = Numbers::new();
        let leader = lead(&flight, "a");
        let mut waiters = JoinSet::new();
        for n in 0..100 {
            let waiter = wait(&flight, "a");
            waiters.spawn(async move {
                match waiter.turn().await {
                    Turn::Outcome(outcome) => (false, outcome),
                    Turn::Lead(leader) => {
                        sleep(Duration::from_secs(1)).await;
                        leader.complete(n);
                        (true, n)
                    }
                }
            });
        }
        sleep(Duration::from_secs(1)).await;
        drop(leader);
        let all = waiters.join_all().await;
        assert_eq!(all.iter().filter(|(led, _)| *led).count(), 1);
        assert!(all.iter().all(|(_, outcome)| *outcome == all[0].1), "{all:?}");
        assert!(flight.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_will_not_lead_learns_that_the_leader_left() {
        let flight = Numbers::new();
        let leader = lead(&flight, "a");
        let waiter = wait(&flight, "a");
        drop(leader);
        assert_eq!(waiter.outcome().await, None);
        assert!(flight.lock().is_empty(), "the last one takes the run along");
    }

    #[tokio::test(start_paused = true)]
    async fn an_abandoned_run_is_led_by_the_next_who_joins() {
        let flight = Numbers::new();
        let leader = lead(&flight, "a");
        let waiter = wait(&flight, "a");
        drop(leader);
        lead(&flight, "a").complete(2);
        assert_eq!(waiter.outcome().await, Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_reported_before_the_end_reaches_all_who_wait_and_all_who_join() {
        let flight = Numbers::new();
        let leader = lead(&flight, "a");
        let before = wait(&flight, "a");
        leader.report(1);
        let after = wait(&flight, "a");
        assert_eq!((before.outcome().await, after.outcome().await), (Some(1), Some(1)));
        leader.complete(2);
        assert!(flight.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_leaves_changes_nothing_for_the_others() {
        let flight = Numbers::new();
        let leader = lead(&flight, "a");
        let (leaving, staying) = (wait(&flight, "a"), wait(&flight, "a"));
        drop(leaving.outcome());
        leader.complete(3);
        assert_eq!(staying.outcome().await, Some(3));
    }

    #[test]
    fn neither_the_runs_nor_a_leader_show_key_or_outcome() {
        let flight = Numbers::new();
        let leader = lead(&flight, "canary");
        let shown = format!("{flight:?} {leader:?}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}
