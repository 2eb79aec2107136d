//! Makes backends: for a session that is opened, and for one that wakes.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, atomic::AtomicU64},
};

use auth::upstream::Vault;
use bridge::{
    Accepts, Bridge, InitializeError, Message, ResumeError, Snapshot, SnapshotError,
    modern::to_legacy,
};
use session::{BoxFuture, Owner, WakeFailure};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, field, info, info_span, warn};

use super::{
    cache::Caches,
    child_session::ChildSession,
    children::Children,
    handshake_timeout::Times,
    inheritance::InheritedChild,
    ledgers::Ledgers,
    spawn_failure::{SpawnFailure, error_code},
    startup::{Speech, Startup},
};
use crate::{
    clock::Clock,
    config::{Environment, IsolationLevel},
    egress::proxy::EgressProxy,
    error_chain::error_chain,
    server::{Era, Server, Settings, Whose},
};

/// What a session is opened for.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    pub(crate) server: Arc<Server>,
    /// The client's `initialize`.
    pub(crate) initialize: Message,
    /// Who uses the child.
    pub(crate) users: Users,
    /// A child that another session has left.
    pub(crate) inherited: Option<InheritedChild>,
}

/// Who uses a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Users {
    /// One session.
    Session,
    /// The calls of one client that has no session.
    Calls,
}

/// Makes backends. Owns the tasks that move them.
#[derive(Debug)]
pub(crate) struct Spawner {
    pub(crate) tasks: TaskTracker,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) children: Arc<Children>,
    pub(crate) caches: Arc<Caches>,
    pub(crate) ledgers: Arc<Ledgers>,
    /// Has users' credentials at upstreams; `None` when sign-in is off.
    pub(crate) vault: Option<Arc<Vault>>,
    /// The way of children to their upstreams.
    pub(crate) egress: Arc<EgressProxy>,
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
                let inherited = ask.inherited.and_then(|child| startup.go_on_with(child));
                if let Some(live) = inherited {
                    return Ok(live);
                }
                let greeting = match ask.users {
                    Users::Session => Greeting::Initialize(ask.initialize),
                    Users::Calls => Greeting::Share(ask.initialize),
                };
                let result = bring_up(&startup, &greeting).await;
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
                let result = bring_up(&startup, &Greeting::Resume(snapshot)).await;
                if let Ok(live) = &result {
                    live.visit.note_return();
                }
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
            // It was no attempt.
            SpawnFailure::Paused(_) => WakeFailure::RetryNow,
            SpawnFailure::Directory(_)
            | SpawnFailure::TokenFile(_)
            | SpawnFailure::Egress(_)
            | SpawnFailure::Environment(_)
            | SpawnFailure::Start(_)
            | SpawnFailure::Initialize(_)
            | SpawnFailure::Discover(_)
            | SpawnFailure::Snapshot(_)
            | SpawnFailure::Resume(_) => WakeFailure::Backoff,
        }
    }
}

impl Spawner {
    /// A backend that is about to be made.
    pub(super) fn startup(&self, owner: &Owner, server: Arc<Server>) -> Startup {
        let settings = server.settings();
        Startup {
            inherited: self.inherited(&settings),
            owner: owner.clone(),
            vault: self.vault.clone(),
            egress: Arc::clone(&self.egress),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            children: Arc::clone(&self.children),
            caches: Arc::clone(&self.caches),
            ledgers: Arc::clone(&self.ledgers),
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
            started_with: AtomicU64::new(0),
            settings,
            server,
        }
    }

    /// What the child gets of the broker's own environment.
    fn inherited(&self, settings: &Settings) -> supervisor::Environment {
        let names = settings.server.pass_env.iter();
        names.filter_map(|name| Some((name.into(), self.environment.variable(name)?))).collect()
    }
}

/// What a child hears first.
enum Greeting {
    /// A client's `initialize`.
    Initialize(Message),
    /// A discovery, or where that leads to nothing this `initialize`; calls share the child.
    Share(Message),
    /// What its predecessor was told.
    Resume(Arc<[u8]>),
}

/// Brings a child up, unless those before have failed again and again.
async fn bring_up(startup: &Startup, greeting: &Greeting) -> Result<ChildSession, SpawnFailure> {
    let Startup { server, settings, owner, .. } = startup;
    let person: Whose = Some((owner.issuer().into(), owner.subject().into()));
    let pausing = settings.pausing();
    server.pauses.admit(&person, pausing).map_err(SpawnFailure::Paused)?;
    let era = settings.server.era;
    let result = try_with_newer_credential(startup, greeting).await;
    let result = result.map_err(|failure| failure.of_a_server_said_to_be(era));
    match &result {
        Ok(_) => server.pauses.record_success(&person),
        Err(failure) => {
            let whose = failure.pauses(&person);
            let reason = failure.reason();
            let is_apart = settings.server.isolation_level() != IsolationLevel::None;
            let hints = [failure.hint(is_apart), failure.era_hint(era)];
            for (key, hint) in hints.into_iter().flatten() {
                let (key, cause) = (format!("server.{}.{key}", server.name), error_chain(failure));
                warn!(key, error = %failure, cause, hint, "no child came up");
            }
            if let Some(whose) = whose
                && let Some(pause) = server.pauses.record_failure(whose, reason, pausing)
            {
                warn!(reason, ?pause, "starts of the server fail again and again and pause now");
            }
        }
    }
    result
}

/// Brings a child up. One that fails in its handshake may have failed for want of a good credential:
/// then the failure says so, or another child gets a newer one, once.
async fn try_with_newer_credential(
    startup: &Startup,
    greeting: &Greeting,
) -> Result<ChildSession, SpawnFailure> {
    let failure = match greet(startup, greeting).await {
        Err(failure) if failure.is_in_the_handshake() => failure,
        result => return result,
    };
    if startup.credential_was_replaced().await? {
        return greet(startup, greeting).await;
    }
    Err(failure)
}

/// Starts a child and goes through its handshake.
async fn greet(startup: &Startup, greeting: &Greeting) -> Result<ChildSession, SpawnFailure> {
    match greeting {
        Greeting::Initialize(initialize) => {
            greet_session(startup, &First::Initialize(initialize)).await
        }
        Greeting::Share(initialize) => share(startup, initialize).await,
        Greeting::Resume(snapshot) => {
            let snapshot = Snapshot::from_bytes(snapshot)?;
            if snapshot.is_of_a_session() {
                return greet_session(startup, &First::Resume(&snapshot)).await;
            }
            let resumed = open_session(startup, Speech::Own, &First::Resume(&snapshot)).await;
            if resumed.as_ref().is_err_and(|failure| failure.refusal().is_some()) {
                // It may be of another era than it was.
                startup.server.note_child_era(None);
            }
            resumed
        }
    }
}

/// What a session's child hears first.
enum First<'a> {
    Initialize(&'a Message),
    Resume(&'a Snapshot),
}

/// Starts a child for a session. One that refuses the handshake may know the modern era alone: unless
/// that was found out before, another one is asked, and serves the session if it does.
async fn greet_session(startup: &Startup, first: &First<'_>) -> Result<ChildSession, SpawnFailure> {
    let server = &startup.server;
    if server.refuses_handshake() {
        match open_session(startup, Speech::Translated, first).await {
            // Another program stands there now.
            Err(failure) if failure.refusal().is_some() && server.era_is_found_out() => {
                server.note_child_era(None);
            }
            result => return result,
        }
    }
    let refused = match open_session(startup, Speech::Own, first).await {
        Err(failure) if failure.refusal().is_some() => failure,
        result => return result,
    };
    let names_versions = refused.refusal().is_some_and(is_unsupported_version);
    let may_be_modern = server.child_era() != Some(Era::Legacy) || names_versions;
    if !server.era_is_found_out() || !may_be_modern {
        return Err(refused);
    }
    match open_session(startup, Speech::Translated, first).await {
        Ok(live) => {
            info!(server = %server.name, "the server is one of the modern era alone");
            server.note_modern_alone();
            Ok(live)
        }
        Err(error) => {
            info!(server = %server.name, %error, "the server refuses the handshake");
            if error.is_in_the_handshake() && server.child_era().is_none() {
                server.note_child_era(Some(Era::Legacy));
            }
            Err(refused)
        }
    }
}

/// Whether the error, raw, says that the server speaks other versions of the protocol.
fn is_unsupported_version(error: &[u8]) -> bool {
    error_code(error) == Some(bridge::modern::UNSUPPORTED_VERSION.into())
}

/// Starts a child and begins or continues a session with it.
async fn open_session(
    startup: &Startup,
    speech: Speech,
    first: &First<'_>,
) -> Result<ChildSession, SpawnFailure> {
    let patience = move |times: Times| match speech {
        Speech::Own => times.initialize,
        Speech::Translated => times.discover,
    };
    match *first {
        First::Initialize(initialize) => {
            let initialize = initialize.clone();
            let handshake = move |bridge: Bridge, times| {
                Box::pin(async move {
                    let welcome = bridge.initialize(&initialize, patience(times)).await;
                    welcome.map_err(SpawnFailure::Initialize)
                })
            };
            let timed_out = SpawnFailure::Initialize(InitializeError::TimedOut);
            let (live, welcome) = startup.bring_up(speech, handshake, timed_out).await?;
            *live.welcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(welcome);
            Ok(live)
        }
        First::Resume(snapshot) => {
            let snapshot = snapshot.clone();
            let handshake = move |bridge: Bridge, times| {
                Box::pin(async move {
                    let resumed = bridge.resume(&snapshot, patience(times)).await;
                    resumed.map_err(SpawnFailure::Resume)
                })
            };
            let timed_out = SpawnFailure::Resume(ResumeError::TimedOut);
            let (live, ()) = startup.bring_up(speech, handshake, timed_out).await?;
            Ok(live)
        }
    }
}

/// Whether a child says that it knows no discovery.
fn contradicts(error: &InitializeError) -> bool {
    matches!(error, InitializeError::Refused(_) | InitializeError::Unreadable { .. })
}

/// Starts a child for calls. While it is not known which era the server's children are of, the first
/// one is asked; one that does not answer as a modern one does is thrown away, because some legacy
/// ones are of no use after a message that they do not expect.
async fn share(startup: &Startup, initialize: &Message) -> Result<ChildSession, SpawnFailure> {
    let server = &startup.server;
    let known = server.child_era();
    if known != Some(Era::Legacy) {
        let handshake = move |bridge: Bridge, times: Times| {
            Box::pin(async move {
                let discovered = bridge.discover(times.discover).await;
                discovered.map_err(SpawnFailure::Discover)
            })
        };
        let timed_out = SpawnFailure::Discover(InitializeError::TimedOut);
        match startup.bring_up(Speech::Own, handshake, timed_out).await {
            Ok((live, _)) => {
                server.note_child_era(Some(Era::Modern));
                return Ok(live);
            }
            // One that was found to be modern has to say that it is not, rather than nothing.
            Err(SpawnFailure::Discover(error))
                if known.is_none() || (server.era_is_found_out() && contradicts(&error)) =>
            {
                info!(server = %server.name, %error, "the server is one of the legacy era");
                server.note_child_era(Some(Era::Legacy));
            }
            Err(failure) => return Err(failure),
        }
    }
    let initialize = initialize.clone();
    let handshake = move |bridge: Bridge, times: Times| {
        Box::pin(async move {
            bridge.serve_calls();
            let welcome = bridge.initialize(&initialize, times.initialize).await;
            welcome.map_err(SpawnFailure::Initialize)?;
            let confirmed =
                bridge.post(to_legacy::initialized(), Accepts::Both, Box::new(drop)).await;
            confirmed.map_err(|_| {
                SpawnFailure::Initialize(InitializeError::Closed(bridge::Closed::ChildEnded))
            })?;
            Ok(())
        })
    };
    let timed_out = SpawnFailure::Initialize(InitializeError::TimedOut);
    let started = startup.bring_up(Speech::Own, handshake, timed_out).await;
    if let Err(SpawnFailure::Initialize(InitializeError::Refused(_))) = &started {
        // It may have been too slow to answer the discovery.
        server.note_child_era(None);
    }
    let (live, ()) = started?;
    Ok(live)
}
