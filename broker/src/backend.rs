//! A session's backend: one child process and the bridge on its pipes. The session may outlive it:
//! then another backend goes on where a snapshot says that this one was.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use auth::upstream::{CredentialError, Vault};
use bridge::{Bridge, InitializeError, Message, ResumeError, Snapshot, SnapshotError, Welcome};
use session::{BoxFuture, Owner, StopReason, WakeFailure};
use supervisor::{Child, SpawnError};
use tokio::{sync::watch, time::Instant};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, info, info_span, warn};

use crate::{
    config::{Environment, UnfitValue, Upstream},
    directory::DirectoryError,
    http::causes,
    server::{Server, Settings},
};

mod children;
mod coming;
mod own;
mod token_file;

pub(crate) use children::Children;
use children::Counted;
use coming::Coming;
pub(crate) use coming::credential;
pub(crate) use own::Own;

/// How long a credential must still live for a child to be started with it.
const NEEDED_LIFE: Duration = Duration::from_secs(60);

/// What a session is opened for.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) server: Arc<Server>,
    /// The client's `initialize`.
    pub(crate) initialize: Message,
}

/// Why a backend did not come up. The client gets a sentence by kind; this is for the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SpawnFailure {
    #[error("the child's directory could not be made")]
    Directory(#[source] DirectoryError),
    #[error("the file with the user's token could not be written")]
    TokenFile(#[source] io::Error),
    #[error("the child's environment could not be filled")]
    Environment(#[source] UnfitValue),
    #[error("there is no credential of the user at {}", .upstream.name())]
    Credential {
        upstream: Upstream,
        #[source]
        source: CredentialError,
    },
    #[error("the child did not start")]
    Start(#[source] SpawnError),
    #[error("the handshake failed")]
    Initialize(#[source] InitializeError),
    #[error("what was kept of the session cannot be read")]
    Snapshot(#[source] SnapshotError),
    #[error("the session did not go on with a new child")]
    Resume(#[source] ResumeError),
}

impl SpawnFailure {
    /// Lowercase and stable, for metrics.
    fn reason(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directory",
            Self::TokenFile(_) => "token_file",
            Self::Environment(_) => "environment",
            Self::Credential { .. } => "credential",
            Self::Start(SpawnError::Missing { .. }) => "missing",
            Self::Start(SpawnError::NotExecutable { .. }) => "not_executable",
            Self::Start(SpawnError::OutOfResources(_)) => "out_of_resources",
            Self::Start(_) => "start",
            Self::Initialize(InitializeError::Refused(_))
            | Self::Resume(ResumeError::Refused(_)) => "refused",
            Self::Initialize(InitializeError::TimedOut) | Self::Resume(ResumeError::TimedOut) => {
                "timeout"
            }
            Self::Initialize(InitializeError::Closed(_)) | Self::Resume(ResumeError::Closed(_)) => {
                "died"
            }
            Self::Snapshot(_) => "snapshot",
            Self::Resume(ResumeError::Changed(_)) => "changed",
        }
    }

    /// Whether no later attempt to wake the session will do better.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Snapshot(_) | Self::Resume(ResumeError::Changed(_) | ResumeError::Refused(_))
        )
    }

    /// Whether only the user can change that, by signing in.
    pub(crate) fn takes_the_user(&self) -> bool {
        matches!(
            self,
            Self::Credential {
                source: CredentialError::SignInAgain | CredentialError::Missing,
                ..
            }
        )
    }

    /// Whether the child's own log may say why.
    fn is_the_childs(&self) -> bool {
        match self {
            Self::Initialize(error) => !matches!(error, InitializeError::Refused(_)),
            Self::Resume(error) => {
                matches!(error, ResumeError::TimedOut | ResumeError::Closed(_))
            }
            _ => false,
        }
    }
}

/// Makes backends. Owns the tasks that move them.
#[derive(Debug)]
pub(crate) struct Spawner {
    pub(crate) tasks: TaskTracker,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) children: Arc<Children>,
    /// Has users' credentials at upstreams; `None` when nobody signs in here.
    pub(crate) vault: Option<Arc<Vault>>,
    /// Whose sessions can be woken, by name.
    pub(crate) servers: BTreeMap<String, Arc<Server>>,
}

/// One live session's child.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) server: Arc<Server>,
    pub(crate) bridge: Bridge,
    /// What the child has of its user's, if anything.
    pub(crate) own: Option<Arc<Own>>,
    /// Its state is in the process: the session ends with it.
    pub(crate) stateful: bool,
    child: Child,
    /// The handshake's result, for the client that opened the session.
    welcome: Mutex<Option<Welcome>>,
    why: OnceLock<StopReason>,
    counted: Arc<Counted>,
    ended: watch::Receiver<bool>,
    span: Span,
}

impl Live {
    /// The handshake's result, once.
    pub(crate) fn take_welcome(&self) -> Option<Welcome> {
        self.welcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl session::Backend for Live {
    fn stop(&self, why: StopReason) {
        if self.why.set(why).is_ok() {
            self.span.in_scope(|| info!(reason = %why, "session stops"));
            self.counted.stops();
        }
        self.bridge.close();
        self.child.stop();
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        let mut ended = self.ended.clone();
        Box::pin(async move {
            // An error means that the task is gone, and with it everything it owned.
            let _ = ended.wait_for(|ended| *ended).await;
        })
    }

    fn kind(&self) -> &str {
        &self.server.name
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        if self.stateful {
            return None;
        }
        self.bridge.snapshot().map(|snapshot| snapshot.to_bytes())
    }

    fn succeed(&self, before: &Self) {
        self.bridge.inherit(&before.bridge);
    }
}

impl session::Spawn<Ask, Live, SpawnFailure> for Spawner {
    fn spawn(&self, owner: &Owner, ask: Ask) -> BoxFuture<'static, Result<Live, SpawnFailure>> {
        let coming = self.coming(owner, ask.server);
        let span = coming.span.clone();
        Box::pin(
            async move {
                let patience = coming.settings.server.initialize_timeout;
                let brought_up = async {
                    let live = coming.start().await?;
                    let handshake = live.bridge.initialize(&ask.initialize, patience);
                    let shaken = async { handshake.await.map_err(SpawnFailure::Initialize) };
                    let welcome = see_through(&live, shaken).await?;
                    *live.welcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(welcome);
                    Ok(live)
                };
                let result = brought_up.await;
                coming.came(&result, "session starts");
                result
            }
            .instrument(span),
        )
    }

    fn wake(
        &self,
        owner: &Owner,
        kind: &str,
        snapshot: Arc<[u8]>,
    ) -> Option<BoxFuture<'static, Result<Live, SpawnFailure>>> {
        let coming = self.coming(owner, Arc::clone(self.servers.get(kind)?));
        let span = coming.span.clone();
        Some(Box::pin(
            async move {
                let patience = coming.settings.server.initialize_timeout;
                let brought_up = async {
                    let snapshot =
                        Snapshot::from_bytes(&snapshot).map_err(SpawnFailure::Snapshot)?;
                    let live = coming.start().await?;
                    let resume = live.bridge.resume(&snapshot, patience);
                    let resumed = async { resume.await.map_err(SpawnFailure::Resume) };
                    see_through(&live, resumed).await?;
                    Ok(live)
                };
                let result = brought_up.await;
                coming.came(&result, "session wakes");
                result
            }
            .instrument(span),
        ))
    }

    fn judge(&self, failure: &SpawnFailure) -> WakeFailure {
        if failure.is_final() {
            return WakeFailure::Permanent;
        }
        match failure {
            // Somebody may sign in, or the upstream come back, at any moment.
            SpawnFailure::Credential { .. } => WakeFailure::RetryNow,
            SpawnFailure::Directory(_)
            | SpawnFailure::TokenFile(_)
            | SpawnFailure::Environment(_)
            | SpawnFailure::Start(_)
            | SpawnFailure::Initialize(_)
            | SpawnFailure::Snapshot(_)
            | SpawnFailure::Resume(_) => WakeFailure::Backoff,
        }
    }
}

impl Spawner {
    /// A backend that is about to be made.
    fn coming(&self, owner: &Owner, server: Arc<Server>) -> Coming {
        let settings = server.settings();
        Coming {
            inherited: self.inherited(&settings),
            owner: owner.clone(),
            vault: self.vault.clone(),
            tasks: self.tasks.clone(),
            children: Arc::clone(&self.children),
            span: info_span!("session", server = %server.name, owner = ?owner.subject()),
            begun: Instant::now(),
            settings,
            server,
        }
    }

    /// What the child gets of the broker's own environment.
    fn inherited(&self, settings: &Settings) -> Vec<(OsString, OsString)> {
        let names = settings.server.pass_env.iter();
        names.filter_map(|name| Some((name.into(), self.environment.variable(name)?))).collect()
    }
}

/// Waits until the child can be used. When that fails, the child has ended before this returns: the
/// place it took is free then and not earlier.
async fn see_through<T>(
    live: &Live,
    handshake: impl Future<Output = Result<T, SpawnFailure>>,
) -> Result<T, SpawnFailure> {
    let guard = KillOnDrop(Some((live.bridge.clone(), live.child.clone())));
    let failure = match handshake.await {
        Ok(done) => {
            guard.disarm();
            return Ok(done);
        }
        Err(failure) => failure,
    };
    drop(guard);
    session::Backend::ended(live).await;
    if failure.is_the_childs() {
        let cause = causes(&failure);
        let last_words = live.child.stderr_tail();
        let last_words: Vec<_> = last_words.lines().rev().take(5).collect();
        let last_words = last_words.into_iter().rev().collect::<Vec<_>>().join("\n");
        warn!(error = %failure, %cause, exit = ?live.child.exit(), %last_words, "the child failed to initialize");
    }
    Err(failure)
}

/// The spawn may be given up at any await: the child must not stay behind.
struct KillOnDrop(Option<(Bridge, Child)>);

impl KillOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some((bridge, child)) = &self.0 {
            bridge.close();
            child.kill();
        }
    }
}
