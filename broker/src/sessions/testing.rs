//! Fake children, whose credentials come from a fake vault: no process, no socket, no file unless a
//! test brings one. The calendar follows tokio's clock, which tests pause.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use auth::{
    oauth::Secret,
    upstream::{Credential, CredentialError, CredentialKey, CredentialRealm},
};
use session::{
    Backend, BoxFuture, Lease, Limits, Owner, Purpose, Registry, SessionId, Spawn, StopReason,
    testing::MemoryRecords,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    acquire::{AcquireError, Acquirer},
    child::{Child, CredentialSource},
    child_credential::{ChildCredential, Delivery},
    spawn_failure::SpawnFailure,
};
use crate::config::Upstream;

pub(super) const SERVER: &str = "notes";

/// One fake child, shared by the registry and the test.
#[derive(Debug, Clone)]
pub(super) struct FakeChild(Arc<State>);

#[derive(Debug)]
struct State {
    credential: Option<Arc<ChildCredential>>,
    stateful: bool,
    closed: AtomicBool,
    stopped: Mutex<Option<StopReason>>,
    ended: watch::Sender<bool>,
}

impl FakeChild {
    /// It ends by itself: first its pipes close, a moment later the registry hears of it.
    pub(super) fn crash(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.ended.send_replace(true);
    }

    pub(super) fn stopped(&self) -> Option<StopReason> {
        *self.0.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn version_is_before(&self, version: u64) -> bool {
        self.0.credential.as_ref().is_some_and(|own| own.is_before(version))
    }
}

impl Backend for FakeChild {
    fn stop(&self, why: StopReason) {
        self.0.stopped.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.crash();
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        let mut ended = self.0.ended.subscribe();
        Box::pin(async move {
            let _ = ended.wait_for(|ended| *ended).await;
        })
    }

    fn kind(&self) -> &str {
        SERVER
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        (!self.0.stateful).then(Vec::new)
    }
}

impl Child for FakeChild {
    fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::SeqCst)
    }

    fn credential(&self) -> Option<&Arc<ChildCredential>> {
        self.0.credential.as_ref()
    }

    fn is_stateful(&self) -> bool {
        self.0.stateful
    }
}

/// What the fake vault answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// A credential with a version of its own, whenever the one before is about to end.
    Renews,
    SignInAgain,
    Unavailable,
}

/// The fake vault, and how children are started from it.
#[derive(Debug)]
pub(super) struct World {
    begun: Instant,
    answer: Mutex<Answer>,
    /// How long a credential lives.
    pub(super) lives: Duration,
    /// How long a child takes to start.
    pub(super) start: Duration,
    /// Where children read their token; `None`: from their environment.
    pub(super) file: Option<std::path::PathBuf>,
    pub(super) stateful: bool,
    /// Children that end while they start.
    pub(super) crashing: bool,
    version: AtomicU64,
    expires: Mutex<SystemTime>,
    asked: AtomicUsize,
    looks: AtomicUsize,
    /// The upstream takes no token any more, so far as a look shows.
    dead: AtomicBool,
    made: mpsc::UnboundedSender<FakeChild>,
}

impl World {
    pub(super) fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.begun.elapsed()
    }

    pub(super) fn answer(&self, answer: Answer) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
    }

    /// How often the vault was asked for a call.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// How often the upstream was asked about a credential.
    pub(super) fn looks(&self) -> usize {
        self.looks.load(Ordering::SeqCst)
    }

    /// From now on a look finds the token dead; the next one is good.
    pub(super) fn kill_token(&self) {
        self.dead.store(true, Ordering::SeqCst);
        *self.expires.lock().unwrap_or_else(PoisonError::into_inner) = self.now();
    }

    fn stored(&self) -> Credential {
        let mut expires = self.expires.lock().unwrap_or_else(PoisonError::into_inner);
        if *expires <= self.now() + super::child_credential::NEEDED_LIFE.min(self.lives / 2) {
            *expires = self.now() + self.lives;
            self.version.fetch_add(1, Ordering::SeqCst);
        }
        let version = self.version.load(Ordering::SeqCst);
        Credential {
            access_token: Secret::new(format!("token {version}")),
            username: None,
            scope: None,
            expires: Some(*expires),
            version,
        }
    }

    fn start(
        self: &Arc<Self>,
        owner: &Owner,
    ) -> BoxFuture<'static, Result<FakeChild, SpawnFailure>> {
        let (world, owner) = (Arc::clone(self), owner.clone());
        Box::pin(async move {
            let credential = world.stored();
            let now = world.now();
            sleep(world.start).await;
            let delivery = world.file.as_ref().map(|directory| {
                let wanted = crate::config::TokenFile { name: "token".to_owned(), signal: None };
                let file = super::token_file::TokenFile::new(directory, &wanted, None);
                Delivery::File { file, notify: Box::new(|| {}) }
            });
            let own = ChildCredential::new(key(&owner), &credential, now, delivery);
            let child = FakeChild(Arc::new(State {
                credential: Some(Arc::new(own)),
                stateful: world.stateful,
                closed: AtomicBool::new(world.crashing),
                stopped: Mutex::default(),
                ended: watch::Sender::new(world.crashing),
            }));
            let _ = world.made.send(child.clone());
            Ok(child)
        })
    }
}

/// Under what the fake vault has an owner's credential.
pub(super) fn key(owner: &Owner) -> CredentialKey {
    let (issuer, subject) = (owner.issuer().to_owned(), owner.subject().to_owned());
    CredentialKey { realm: CredentialRealm::Provider("forge".to_owned()), issuer, subject }
}

#[derive(Debug)]
struct FakeSpawner(Arc<World>);

impl Spawn<(), FakeChild, SpawnFailure> for FakeSpawner {
    fn spawn(&self, owner: &Owner, (): ()) -> BoxFuture<'static, Result<FakeChild, SpawnFailure>> {
        self.0.start(owner)
    }

    fn wake(
        &self,
        owner: &Owner,
        _kind: &str,
        _snapshot: Arc<[u8]>,
    ) -> Option<BoxFuture<'static, Result<FakeChild, SpawnFailure>>> {
        Some(self.0.start(owner))
    }
}

impl CredentialSource<FakeChild> for Arc<World> {
    fn credential<'a>(
        &'a self,
        _child: &'a FakeChild,
        _owner: &'a Owner,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Option<Credential>, SpawnFailure>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = *self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |source| Err(SpawnFailure::Credential { upstream: Upstream::User, source });
        let result = match answer {
            Answer::Renews => Ok(Some(self.stored())),
            Answer::SignInAgain => failed(CredentialError::SignInAgain),
            Answer::Unavailable => {
                failed(CredentialError::Unavailable { retry_after: Duration::from_secs(1) })
            }
        };
        Box::pin(async move { result })
    }

    fn look<'a>(&'a self, child: &'a FakeChild, _now: SystemTime) -> BoxFuture<'a, ()> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        if let (true, Some(own)) = (self.dead.load(Ordering::SeqCst), child.credential()) {
            own.mark_dead(own.version());
        }
        Box::pin(std::future::ready(()))
    }
}

/// A registry of fake children with an open session of one owner.
pub(super) struct Bench {
    pub(super) world: Arc<World>,
    pub(super) sessions: Registry<(), FakeChild, SpawnFailure>,
    acquirer: Acquirer<(), FakeChild, Arc<World>>,
    pub(super) owner: Owner,
    pub(super) id: SessionId,
    children: mpsc::UnboundedReceiver<FakeChild>,
    _driver: JoinSet<()>,
}

impl Bench {
    /// Opens a session in a world of credentials that live an hour, changed by `change`.
    pub(super) async fn new(change: impl FnOnce(&mut World)) -> Self {
        let (made, children) = mpsc::unbounded_channel();
        let mut world = World {
            begun: Instant::now(),
            answer: Mutex::new(Answer::Renews),
            lives: Duration::from_secs(3600),
            start: Duration::ZERO,
            file: None,
            stateful: false,
            crashing: false,
            version: AtomicU64::new(0),
            expires: Mutex::new(SystemTime::UNIX_EPOCH),
            asked: AtomicUsize::new(0),
            looks: AtomicUsize::new(0),
            dead: AtomicBool::new(false),
            made,
        };
        change(&mut world);
        let world = Arc::new(world);
        let records = MemoryRecords::new();
        let limits = Limits { idle: Duration::ZERO, ..Limits::default() };
        let (sessions, driver) = Registry::with_records(
            Arc::new(FakeSpawner(Arc::clone(&world))),
            limits,
            Arc::new(records.clone()),
            records.calendar(),
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run());
        let acquirer = Acquirer::new(sessions.clone(), Arc::clone(&world));
        let owner = session::testing::owner("ada");
        let lease = sessions.open(owner.clone(), ()).await.expect("there is room");
        let id = *lease.id();
        Self { world, sessions, acquirer, owner, id, children, _driver: tasks }
    }

    pub(super) async fn acquire(&self, purpose: Purpose) -> Result<Lease<FakeChild>, AcquireError> {
        let now = self.world.now();
        self.acquirer.acquire(&self.id, &self.owner, SERVER, purpose, now).await
    }

    /// The next child that was started, in order.
    pub(super) fn next_child(&mut self) -> Option<FakeChild> {
        self.children.try_recv().ok()
    }
}
