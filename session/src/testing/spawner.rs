//! A spawner of fake backends that does as it is told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::backend::{BoxFuture, Spawn, WakeFailure};
use crate::owner::Owner;
use crate::testing::backend::{BackendHandle, FakeBackend, KIND, State};
use crate::testing::census::{Census, Counted, number_in};

/// How a snapshot begins that the fake spawner cannot read.
pub const NEWER: &[u8] = b"newer";

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
pub(super) struct Script {
    pub(super) answer: Mutex<Answer>,
    pub(super) wake_failure: Mutex<WakeFailure>,
    pub(super) stateful: AtomicBool,
    pub(super) disposable: AtomicBool,
    /// The number of the next new session, if they are numbered.
    pub(super) number: Mutex<Option<usize>>,
    pub(super) census: Census,
    pub(super) made: mpsc::UnboundedSender<BackendHandle>,
    pub(super) held: mpsc::UnboundedSender<HeldSpawn>,
}

impl Script {
    pub(super) fn next_number(&self) -> Option<usize> {
        let mut next = self.number.lock().expect("no test panics while it holds it");
        let number = (*next)?;
        *next = Some(number + 1);
        Some(number)
    }
}

/// Makes [`FakeBackend`]s as [`Backends::answer`](super::Backends::answer) says.
#[derive(Debug)]
pub struct FakeSpawner {
    pub(super) script: Arc<Script>,
}

impl FakeSpawner {
    fn make(
        &self,
        owner: &Owner,
        snapshot: Option<Arc<[u8]>>,
    ) -> BoxFuture<'static, Result<FakeBackend, FakeError>> {
        let (script, owner) = (Arc::clone(&self.script), owner.clone());
        let number = snapshot.as_deref().and_then(number_in);
        let mut counted = Counted::new(&script.census, &owner, number);
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
                disposable: script.disposable.load(Ordering::SeqCst),
                fit_for_another: AtomicBool::new(false),
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

    fn can_wake(&self, _: &str, snapshot: &[u8]) -> Result<(), FakeError> {
        if snapshot.starts_with(NEWER) { Err(FakeError) } else { Ok(()) }
    }

    fn judge(&self, _: &FakeError) -> WakeFailure {
        *self.script.wake_failure.lock().expect("no test panics while it holds it")
    }
}

/// A spawn that waits for the test. Dropping it lets the spawn fail.
#[derive(Debug)]
pub struct HeldSpawn {
    pub(super) owner: Owner,
    pub(super) number: Option<usize>,
    pub(super) go: oneshot::Sender<Answer>,
}

impl HeldSpawn {
    /// The owner that the backend is for.
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
