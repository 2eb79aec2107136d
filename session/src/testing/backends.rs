//! The handle that drives a spawner and receives the handles of its backends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::backend::WakeFailure;
use crate::owner::Owner;
use crate::testing::backend::BackendHandle;
use crate::testing::census::Census;
use crate::testing::spawner::{Answer, FakeSpawner, HeldSpawn, Script};
#[cfg(doc)]
use crate::testing::timeout::TIMEOUT;
use crate::testing::timeout::with_timeout;

/// A spawner of fake backends and the handle to all of them.
pub fn fakes() -> (FakeSpawner, Backends) {
    let (made, new) = mpsc::unbounded_channel();
    let (held, waiting) = mpsc::unbounded_channel();
    let script = Arc::new(Script {
        answer: Mutex::new(Answer::Succeed),
        wake_failure: Mutex::new(WakeFailure::Backoff),
        stateful: AtomicBool::new(false),
        disposable: AtomicBool::new(false),
        number: Mutex::new(None),
        census: Census::default(),
        made,
        held,
    });
    let backends = Backends { script: Arc::clone(&script), new, waiting, tasks: JoinSet::new() };
    (FakeSpawner { script }, backends)
}

/// Drives the spawner and receives the handles of its backends.
#[derive(Debug)]
pub struct Backends {
    script: Arc<Script>,
    new: mpsc::UnboundedReceiver<BackendHandle>,
    waiting: mpsc::UnboundedReceiver<HeldSpawn>,
    pub(super) tasks: JoinSet<()>,
}

impl Backends {
    /// Says how spawns go from now on; at first they [succeed](Answer::Succeed).
    pub fn answer(&self, answer: Answer) {
        *self.script.answer.lock().expect("no test panics while it holds it") = answer;
    }

    /// Says what a failed wake means from now on; at first [`WakeFailure::Backoff`].
    pub fn wake_failure(&self, wake_failure: WakeFailure) {
        *self.script.wake_failure.lock().expect("no test panics while it holds it") = wake_failure;
    }

    /// Says whether backends made from now on are stateful, and so have no snapshot.
    pub fn stateful(&self, stateful: bool) {
        self.script.stateful.store(stateful, Ordering::SeqCst);
    }

    /// Says whether backends made from now on are disposable.
    pub fn disposable(&self, disposable: bool) {
        self.script.disposable.store(disposable, Ordering::SeqCst);
    }

    /// Numbers new sessions from `first` on: in place of `fresh` each one's first snapshot is its
    /// number. Whatever a test changes, a snapshot keeps beginning with that, so that every backend
    /// tells which session it serves.
    pub fn number_from(&self, first: usize) {
        *self.script.number.lock().expect("no test panics while it holds it") = Some(first);
    }

    /// The next backend that was made.
    ///
    /// # Panics
    /// After [`TIMEOUT`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> BackendHandle {
        let made = with_timeout("no backend was made", self.new.recv()).await;
        made.expect("this handle keeps the script, which keeps the sender")
    }

    /// The next backend, if one was made.
    pub fn try_next(&mut self) -> Option<BackendHandle> {
        self.new.try_recv().ok()
    }

    /// The next spawn that is held.
    ///
    /// # Panics
    /// After [`TIMEOUT`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn held(&mut self) -> HeldSpawn {
        let held = with_timeout("no spawn was held", self.waiting.recv()).await;
        held.expect("this handle keeps the script, which keeps the sender")
    }

    /// The next held spawn, if there is one.
    pub fn try_held(&mut self) -> Option<HeldSpawn> {
        self.waiting.try_recv().ok()
    }

    /// Spawns so far.
    pub fn spawns(&self) -> usize {
        self.script.census.spawns()
    }

    /// Spawns under way and backends that have not ended.
    pub fn alive(&self) -> usize {
        self.script.census.alive()
    }

    /// The most there ever were alive.
    pub fn peak(&self) -> usize {
        self.script.census.peak()
    }

    /// The most the owner's person ever had alive, through all their clients.
    pub fn peak_of(&self, owner: &Owner) -> usize {
        self.script.census.peak_of(owner)
    }

    /// The most one owner ever had alive.
    pub fn peak_of_client(&self, owner: &Owner) -> usize {
        self.script.census.peak_of_client(owner)
    }

    /// The most that any one numbered session ever had alive.
    pub fn peak_of_any_session(&self) -> usize {
        self.script.census.peak_of_any_number()
    }

    /// Drops the registry's driver, as a runtime that shuts down does.
    pub async fn drop_driver(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Waits for the registry's driver to return.
    ///
    /// # Panics
    /// After [`TIMEOUT`].
    pub async fn driver_ended(&mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        with_timeout("the driver did not return", all).await;
    }
}
