//! Fakes, as pairs of a thing and the handle that drives it, and the contract of [`Backend`](crate::Backend).
//!
//! ```
//! use session::{Limits, StopReason, testing};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let (registry, mut backends) = testing::registry(Limits::default());
//! let lease = registry.open(testing::owner("ada"), ()).await.expect("there is room");
//! let backend = backends.next().await;
//! registry.end(lease.id(), lease.owner(), testing::KIND, StopReason::Deleted).await.expect("it is ada's");
//! assert_eq!(backend.asked_to_stop().await, StopReason::Deleted);
//! assert_eq!(registry.stopping(), 1);
//! backend.end();
//! # });
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::{BoxFuture, Limits, Owner, Registry, Spawn, WakeFailure};

mod backend;
pub mod contract;
mod records;
mod records_contract;

use backend::State;
pub use backend::{BackendHandle, FakeBackend};
pub use records::MemoryRecords;
pub use records_contract::records_contract;

/// A registry of fake backends.
pub type FakeRegistry = Registry<(), FakeBackend, FakeError>;

/// The owner `name`, vouched for by the same issuer and through the same client each time.
pub fn owner(name: &str) -> Owner {
    Owner::new("https://issuer.example", name, "test-client")
}

/// A registry of fake backends whose driver runs until the `Backends` are dropped.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn registry(limits: Limits) -> (FakeRegistry, Backends) {
    let (spawner, mut backends) = fakes();
    let (registry, driver) = Registry::new(Arc::new(spawner), limits);
    backends.tasks.spawn(driver.run());
    (registry, backends)
}

/// The same with records: a second one over the same records is what a restart leads to.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn recorded(limits: Limits, records: &MemoryRecords) -> (FakeRegistry, Backends) {
    let (spawner, mut backends) = fakes();
    let (registry, driver) = Registry::with_records(
        Arc::new(spawner),
        limits,
        Arc::new(records.clone()),
        records.calendar(),
    );
    backends.tasks.spawn(driver.run());
    (registry, backends)
}

/// A spawner of fake backends and the handle to all of them.
pub fn fakes() -> (FakeSpawner, Backends) {
    let (made, new) = mpsc::unbounded_channel();
    let (held, waiting) = mpsc::unbounded_channel();
    let script = Arc::new(Script {
        answer: Mutex::new(Answer::Succeed),
        wake_failure: Mutex::new(WakeFailure::Backoff),
        stateful: AtomicBool::new(false),
        number: Mutex::new(None),
        census: Mutex::default(),
        made,
        held,
    });
    let backends = Backends { script: Arc::clone(&script), new, waiting, tasks: JoinSet::new() };
    (FakeSpawner { script }, backends)
}

/// What a [`FakeBackend`] calls itself.
pub const KIND: &str = "fake";

/// How long a handle waits, by tokio's clock, before it panics: a test that waits for what never
/// comes must fail and not hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

async fn patiently<T>(failure: &str, awaited: impl Future<Output = T>) -> T {
    timeout(PATIENCE, awaited).await.unwrap_or_else(|_| panic!("{failure} in {PATIENCE:?}"))
}

/// What becomes of a spawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A backend that ends when its handle says so, and not when it is stopped.
    Succeed,
    /// A backend that ends as soon as it is stopped.
    SucceedAndObey,
    /// The spawner's error.
    Fail,
    /// A panic.
    Panic,
    /// Nothing, until the [`HeldSpawn`] is answered.
    Hold,
}

/// The error of a spawn that was told to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("told to fail")]
pub struct FakeError;

#[derive(Debug)]
struct Script {
    answer: Mutex<Answer>,
    wake_failure: Mutex<WakeFailure>,
    stateful: AtomicBool,
    /// The number of the next new session, if they are numbered.
    number: Mutex<Option<usize>>,
    census: Mutex<Census>,
    made: mpsc::UnboundedSender<BackendHandle>,
    held: mpsc::UnboundedSender<HeldSpawn>,
}

impl Script {
    fn next_number(&self) -> Option<usize> {
        let mut next = self.number.lock().expect("no test panics while it holds it");
        let number = (*next)?;
        *next = Some(number + 1);
        Some(number)
    }
}

/// The number a numbered session's snapshot begins with.
fn number_in(snapshot: &[u8]) -> Option<usize> {
    std::str::from_utf8(snapshot).ok()?.split(' ').next()?.parse().ok()
}

/// Spawns that are under way and backends that have not ended, now and at most.
#[derive(Debug, Default)]
struct Census {
    spawns: usize,
    alive: Count,
    by_owner: HashMap<Owner, Count>,
    by_number: HashMap<usize, Count>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    now: usize,
    peak: usize,
}

impl Count {
    fn add(&mut self) {
        self.now += 1;
        self.peak = self.peak.max(self.now);
    }
}

/// Counts one spawn or backend until it is dropped.
#[derive(Debug)]
struct Counted {
    script: Arc<Script>,
    owner: Owner,
    number: Option<usize>,
}

impl Counted {
    fn new(script: &Arc<Script>, owner: &Owner, number: Option<usize>) -> Self {
        let mut census = script.census.lock().expect("no test panics while it holds the census");
        census.spawns += 1;
        census.alive.add();
        census.by_owner.entry(owner.clone()).or_default().add();
        if let Some(number) = number {
            census.by_number.entry(number).or_default().add();
        }
        Self { script: Arc::clone(script), owner: owner.clone(), number }
    }

    /// The session has got its number only now.
    fn named(&mut self, number: usize) {
        let mut census =
            self.script.census.lock().expect("no test panics while it holds the census");
        census.by_number.entry(number).or_default().add();
        self.number = Some(number);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut census = self.script.census.lock().expect("no test panics while it holds it");
        census.alive.now -= 1;
        census.by_owner.entry(self.owner.clone()).or_default().now -= 1;
        if let Some(number) = self.number {
            census.by_number.entry(number).or_default().now -= 1;
        }
    }
}

/// Makes [`FakeBackend`]s as [`Backends::answer`] says.
#[derive(Debug)]
pub struct FakeSpawner {
    script: Arc<Script>,
}

impl FakeSpawner {
    fn make(
        &self,
        owner: &Owner,
        snapshot: Option<Arc<[u8]>>,
    ) -> BoxFuture<'static, Result<FakeBackend, FakeError>> {
        let (script, owner) = (Arc::clone(&self.script), owner.clone());
        let number = snapshot.as_deref().and_then(number_in);
        let mut counted = Counted::new(&script, &owner, number);
        Box::pin(async move {
            let mut answer = *script.answer.lock().expect("no test panics while it holds it");
            if answer == Answer::Hold {
                let (go, wait) = oneshot::channel();
                let held = HeldSpawn { owner: owner.clone(), number, go };
                let _ = script.held.send(held);
                // A test that drops the held spawn lets it fail.
                answer = wait.await.unwrap_or(Answer::Fail);
            }
            let obeys = match answer {
                Answer::Succeed => false,
                Answer::SucceedAndObey => true,
                Answer::Fail | Answer::Hold => return Err(FakeError),
                Answer::Panic => panic!("told to panic"),
            };
            let woken = snapshot.is_some();
            let stateful = script.stateful.load(Ordering::SeqCst);
            let snapshot = match snapshot {
                Some(bytes) => bytes.to_vec(),
                None => match script.next_number() {
                    Some(number) => {
                        counted.named(number);
                        number.to_string().into_bytes()
                    }
                    None => b"fresh".to_vec(),
                },
            };
            let state = Arc::new(State {
                owner,
                obeys,
                woken,
                made: Instant::now(),
                snapshot: Mutex::new((!stateful).then_some(snapshot)),
                stops: watch::Sender::new(Vec::new()),
                over: watch::Sender::new(false),
                counted: Mutex::new(Some(counted)),
                panics_in_stop: AtomicBool::new(false),
                panics_in_ended: watch::Sender::new(false),
                dropped: AtomicBool::new(false),
                before: OnceLock::new(),
            });
            let _ = script.made.send(BackendHandle(Arc::clone(&state)));
            Ok(FakeBackend(state))
        })
    }
}

impl<A: Send + 'static> Spawn<A, FakeBackend, FakeError> for FakeSpawner {
    fn spawn(&self, owner: &Owner, _: A) -> BoxFuture<'static, Result<FakeBackend, FakeError>> {
        self.make(owner, None)
    }

    fn wake(
        &self,
        owner: &Owner,
        kind: &str,
        snapshot: Arc<[u8]>,
    ) -> Option<BoxFuture<'static, Result<FakeBackend, FakeError>>> {
        (kind == KIND).then(|| self.make(owner, Some(snapshot)))
    }

    fn judge(&self, _: &FakeError) -> WakeFailure {
        *self.script.wake_failure.lock().expect("no test panics while it holds it")
    }
}

/// Drives the spawner and receives the handles of its backends.
#[derive(Debug)]
pub struct Backends {
    script: Arc<Script>,
    new: mpsc::UnboundedReceiver<BackendHandle>,
    waiting: mpsc::UnboundedReceiver<HeldSpawn>,
    tasks: JoinSet<()>,
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

    /// Numbers new sessions from `first` on: in place of `fresh` each one's first snapshot is its
    /// number. Whatever a test changes, a snapshot keeps beginning with that, so that every backend
    /// tells which session it serves.
    pub fn number_from(&self, first: usize) {
        *self.script.number.lock().expect("no test panics while it holds it") = Some(first);
    }

    /// The next backend that was made.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> BackendHandle {
        let made = patiently("no backend was made", self.new.recv()).await;
        made.expect("this handle keeps the script, which keeps the sender")
    }

    /// The next backend, if one was made.
    pub fn try_next(&mut self) -> Option<BackendHandle> {
        self.new.try_recv().ok()
    }

    /// The next spawn that is held.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn held(&mut self) -> HeldSpawn {
        let held = patiently("no spawn was held", self.waiting.recv()).await;
        held.expect("this handle keeps the script, which keeps the sender")
    }

    /// The next held spawn, if there is one.
    pub fn try_held(&mut self) -> Option<HeldSpawn> {
        self.waiting.try_recv().ok()
    }

    /// Spawns so far.
    pub fn spawns(&self) -> usize {
        self.census(|census| census.spawns)
    }

    /// Spawns under way and backends that have not ended.
    pub fn alive(&self) -> usize {
        self.census(|census| census.alive.now)
    }

    /// The most there ever were alive.
    pub fn peak(&self) -> usize {
        self.census(|census| census.alive.peak)
    }

    /// The most one owner ever had alive.
    pub fn peak_of(&self, owner: &Owner) -> usize {
        self.census(|census| census.by_owner.get(owner).map_or(0, |count| count.peak))
    }

    /// The most that any one numbered session ever had alive.
    pub fn peak_of_any_session(&self) -> usize {
        self.census(|census| census.by_number.values().map(|count| count.peak).max().unwrap_or(0))
    }

    /// Drops the registry's driver, as a runtime that shuts down does.
    pub async fn drop_driver(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Waits for the registry's driver to return.
    ///
    /// # Panics
    /// After [`PATIENCE`].
    pub async fn driver_ended(&mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        patiently("the driver did not return", all).await;
    }

    fn census<T>(&self, read: impl FnOnce(&Census) -> T) -> T {
        read(&self.script.census.lock().expect("no test panics while it holds the census"))
    }
}

/// A spawn that waits for the test. Dropping it lets the spawn fail.
#[derive(Debug)]
pub struct HeldSpawn {
    owner: Owner,
    number: Option<usize>,
    go: oneshot::Sender<Answer>,
}

impl HeldSpawn {
    /// Whom the backend is for.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The number of the session that wakes; a new one has none yet.
    pub fn number(&self) -> Option<usize> {
        self.number
    }

    /// Whether the spawn is still wanted.
    pub fn is_wanted(&self) -> bool {
        !self.go.is_closed()
    }

    /// Lets the spawn go on.
    pub fn answer(self, answer: Answer) {
        let _ = self.go.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_fake_backend_keeps_the_contract() {
        let (spawner, backends) = fakes();
        backends.answer(Answer::SucceedAndObey);
        contract::all(async || {
            spawner.spawn(&owner("ada"), ()).await.expect("the spawner was told to succeed")
        })
        .await;
        assert_eq!(backends.alive(), 0);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "did not end")]
    async fn a_backend_that_ignores_stop_breaks_the_contract() {
        let (spawner, _backends) = fakes();
        contract::all(async || {
            spawner.spawn(&owner("ada"), ()).await.expect("the spawner was told to succeed")
        })
        .await;
    }
}
