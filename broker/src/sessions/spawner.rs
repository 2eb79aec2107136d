//! Makes backends: for a session that is opened, and for one that wakes.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    sync::{Arc, PoisonError},
};

use auth::upstream::Vault;
use bridge::{Bridge, Message, Snapshot, SnapshotError};
use session::{BoxFuture, Owner, WakeFailure};
use supervisor::Child;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, field, info_span, warn};

use super::{
    child_session::ChildSession, children::Children, spawn_failure::SpawnFailure, startup::Startup,
};
use crate::{
    clock::Clock,
    config::Environment,
    error_chain::error_chain,
    server::{Server, Settings},
};

/// What a session is opened for.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    pub(crate) server: Arc<Server>,
    /// The client's `initialize`.
    pub(crate) initialize: Message,
}

/// Makes backends. Owns the tasks that move them.
#[derive(Debug)]
pub(crate) struct Spawner {
    pub(crate) tasks: TaskTracker,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) children: Arc<Children>,
    /// Has users' credentials at upstreams; `None` when sign-in is off.
    pub(crate) vault: Option<Arc<Vault>>,
    pub(crate) clock: Clock,
    /// The names of the identity providers, by the issuer of their users; for the log.
    pub(crate) providers: BTreeMap<String, String>,
    /// Whose sessions can be woken, by name.
    pub(crate) servers: BTreeMap<String, Arc<Server>>,
}

impl session::Spawn<OpenRequest, ChildSession, SpawnFailure> for Spawner {
    fn spawn(
        &self,
        owner: &Owner,
        ask: OpenRequest,
    ) -> BoxFuture<'static, Result<ChildSession, SpawnFailure>> {
        let startup = self.startup(owner, ask.server);
        let span = startup.span.clone();
        Box::pin(
            async move {
                let patience = startup.settings.server.initialize_timeout;
                let brought_up = async {
                    let live = startup.start().await?;
                    let handshake = live.bridge.initialize(&ask.initialize, patience);
                    let shaken = async { handshake.await.map_err(SpawnFailure::Initialize) };
                    let welcome = complete_handshake(&live, shaken).await?;
                    *live.welcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(welcome);
                    Ok(live)
                };
                let result = brought_up.await;
                startup.record_outcome(&result, "session starts");
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
    ) -> Option<BoxFuture<'static, Result<ChildSession, SpawnFailure>>> {
        let startup = self.startup(owner, Arc::clone(self.servers.get(kind)?));
        let span = startup.span.clone();
        Some(Box::pin(
            async move {
                let patience = startup.settings.server.initialize_timeout;
                let brought_up = async {
                    let snapshot = Snapshot::from_bytes(&snapshot)?;
                    let live = startup.start().await?;
                    let resume = live.bridge.resume(&snapshot, patience);
                    let resumed = async { resume.await.map_err(SpawnFailure::Resume) };
                    complete_handshake(&live, resumed).await?;
                    Ok(live)
                };
                let result = brought_up.await;
                startup.record_outcome(&result, "session wakes");
                result
            }
            .instrument(span),
        ))
    }

    fn can_wake(&self, _kind: &str, snapshot: &[u8]) -> Result<(), SpawnFailure> {
        match Snapshot::check_version(snapshot) {
            Err(error @ SnapshotError::Newer { .. }) => Err(error.into()),
            // What no version can read is found by the wake, which gives the session up.
            Ok(()) | Err(SnapshotError::Garbage(_)) => Ok(()),
        }
    }

    fn judge(&self, failure: &SpawnFailure) -> WakeFailure {
        if failure.is_final() {
            return WakeFailure::Permanent;
        }
        match failure {
            // The user may sign in, or the upstream come back, at any moment.
            SpawnFailure::Credential { .. } => WakeFailure::RetryNow,
            // The newer version may run again at any moment.
            SpawnFailure::NewerSnapshot(_) => WakeFailure::RetryNow,
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
    fn startup(&self, owner: &Owner, server: Arc<Server>) -> Startup {
        let settings = server.settings();
        Startup {
            inherited: self.inherited(&settings),
            owner: owner.clone(),
            vault: self.vault.clone(),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            children: Arc::clone(&self.children),
            span: info_span!(
                "session",
                server = %server.name,
                provider = self.providers.get(owner.issuer()).map_or(owner.issuer(), String::as_str),
                // Known once the user's credential is.
                login = field::Empty,
                owner = owner.subject(),
                // Known once the session is in the registry.
                session = field::Empty,
            ),
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
async fn complete_handshake<T>(
    live: &ChildSession,
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
        let cause = error_chain(&failure);
        let last_words = live.child.stderr_tail();
        let last_words: Vec<_> = last_words.lines().rev().take(5).collect();
        let last_words = last_words.into_iter().rev().collect::<Vec<_>>().join("\n");
        // What is no message: a banner, another framing, a prompt.
        let read = live.bridge.unread_output().unwrap_or_default();
        warn!(error = %failure, %cause, exit = ?live.child.exit(), %last_words, %read, "the child failed to initialize");
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
