//! A backend on its way: what its child gets, and the start of it.

use std::{
    ffi::OsString,
    io,
    os::unix::fs::chown,
    path::Path,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use auth::upstream::{Credential, Look, Vault};
use bridge::{Bridge, Surroundings};
use session::Owner;
use supervisor::{Environment, SpawnError};
use tokio::{sync::watch, task::spawn_blocking, time::Instant};
use tokio_util::task::TaskTracker;
use tracing::{Span, info, warn};

use super::{
    cache::{Cache, Caches, person_key},
    child_credential::{ChildCredential, Delivery},
    child_session::ChildSession,
    children::{Children, Counted},
    credential::{credential, key},
    directory::Directory,
    handshake::complete_handshake,
    handshake_timeout::{HandshakeTimeout, Times},
    inheritance::{Handover, InheritedChild},
    isolation::Granted,
    ledgers::Ledgers,
    limits::limits,
    session_observer::SessionObserver,
    session_span::SessionSpan,
    spawn_failure::SpawnFailure,
    token_file::TokenFile,
    visit::Visit,
};
use crate::{
    clock::Clock,
    config::{IsolationLevel, ServerCommand, UnfitValue, Variable},
    egress::{
        admission::{Admission, Admitted, AdmittedToken},
        proxy::EgressProxy,
    },
    metrics::ReasonLabels,
    server::{Server, Settings},
};

/// How a session is spoken for to its child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    /// In the words of the clients that use the child.
    Own,
    /// A session's words are translated for a child that knows the modern era alone.
    Translated,
}

/// Makes the directories the user's who runs the child.
fn give(directories: [Option<&Path>; 2], user: Option<u32>) -> io::Result<()> {
    for path in directories.into_iter().flatten().filter(|_| user.is_some()) {
        chown(path, user, user)?;
    }
    Ok(())
}

/// A backend on its way, and all it is made with.
pub(super) struct Startup {
    pub(super) server: Arc<Server>,
    pub(super) settings: Arc<Settings>,
    pub(super) owner: Owner,
    /// What the child gets of the broker's own environment.
    pub(super) inherited: Environment,
    pub(super) vault: Option<Arc<Vault>>,
    pub(super) egress: Arc<EgressProxy>,
    pub(super) clock: Clock,
    pub(super) tasks: TaskTracker,
    pub(super) caches: Arc<Caches>,
    pub(super) ledgers: Arc<Ledgers>,
    pub(super) children: Arc<Children>,
    pub(super) span: Span,
    pub(super) begun: Instant,
    /// The version of the credential that the last child was started with; 0 when it had none.
    pub(super) started_with: AtomicU64,
}

/// What a child is given of its user's.
struct Given<'a> {
    credential: Option<&'a Credential>,
    file: Option<&'a TokenFile>,
    admitted: Option<&'a Admitted>,
}

impl Startup {
    /// A session on the child that another one has left; `None` when it has ended meanwhile.
    pub(super) fn go_on_with(&self, child: InheritedChild) -> Option<ChildSession> {
        if let Some(login) = &child.login {
            self.span.record("login", login);
        }
        let Handover {
            bridge,
            welcome,
            child,
            credential,
            counted,
            ended,
            surroundings,
            current_span,
            settings,
        } = child.take()?;
        current_span.set(self.span.clone());
        counted.goes_on();
        self.span.in_scope(|| info!(pid = child.pid(), "session starts with an idle child"));
        Some(ChildSession {
            server: Arc::clone(&self.server),
            bridge,
            credential,
            stateful: settings.server.stateful,
            child,
            welcome: Mutex::new(Some(welcome)),
            why: OnceLock::new(),
            counted,
            ended,
            left: watch::Sender::new(false),
            promised_to: Mutex::default(),
            surroundings,
            settings,
            span: self.span.clone(),
            current_span,
            visit: Visit::default(),
            is_retired: AtomicBool::new(false),
        })
    }

    /// Starts child and bridge, with what they need of the user's, and the task that moves both.
    pub(super) async fn start(
        &self,
        speech: Speech,
        cache: Option<&Cache>,
    ) -> Result<ChildSession, SpawnFailure> {
        let Self { server, settings, owner, .. } = self;
        let vault = self.vault.as_deref();
        let credential = credential(vault, &server.name, settings, owner, self.clock.now());
        self.start_with(speech, credential.await?, cache).await
    }

    /// As [`start`](Self::start), with this credential instead of the one that the vault has.
    pub(super) async fn start_with(
        &self,
        speech: Speech,
        credential: Option<Credential>,
        cache: Option<&Cache>,
    ) -> Result<ChildSession, SpawnFailure> {
        let Self { server, settings, owner, tasks, span, .. } = self;
        let now = self.clock.now();
        let version = credential.as_ref().map_or(0, |own| own.version);
        self.started_with.store(version, Ordering::Relaxed);
        if let Some(login) = credential.as_ref().and_then(|own| own.username.as_deref()) {
            span.record("login", login);
        }
        let granted = Granted::to(&settings.server, self.children.containment.as_ref());
        let granted = granted.map_err(|none| SpawnFailure::Start(none.lacking))?;
        let user = self.user(&granted).await?;
        let directory =
            Directory::create(&settings.directories).await.map_err(SpawnFailure::Directory)?;
        give([Some(directory.path()), cache.map(Cache::path)], user)
            .map_err(|error| SpawnFailure::Start(SpawnError::Other(error)))?;
        let file = match settings.server.token_file().as_ref().zip(credential.as_ref()) {
            Some((wanted, credential)) => {
                let file = TokenFile::new(directory.path(), wanted, user);
                file.write(&credential.access_token).await.map_err(SpawnFailure::TokenFile)?;
                Some(file)
            }
            None => None,
        };
        let doubted = Arc::<AtomicBool>::default();
        let admitted = self.admit(credential.as_ref(), &granted, &doubted).await?;
        let given = Given {
            credential: credential.as_ref(),
            file: file.as_ref(),
            admitted: admitted.as_ref(),
        };
        let env = self.environment(&directory, cache, &given);
        let mut spec = self.spec(&directory, env.map_err(SpawnFailure::Environment)?)?;
        let own = [Some(directory.path()), cache.map(Cache::path)];
        let own: Vec<_> = own.into_iter().flatten().collect();
        let way = admitted.as_ref().map(Admitted::port);
        granted.isolate(&mut spec, settings, &own, user, way);
        let started = supervisor::start(spec).await.map_err(SpawnFailure::Start)?;
        if let Some((listener, admitted)) = started.listener.zip(admitted.as_ref()) {
            self.egress.serve(admitted, listener).map_err(SpawnFailure::Egress)?;
        }
        let child = started.child;
        let delivery = file.map(|file| {
            let (signal, child) = (file.signal(), child.clone());
            let notify = move || signal.into_iter().for_each(|signal| child.reload(signal));
            Delivery::File { file, notify: Box::new(notify) }
        });
        let delivery =
            delivery.or_else(|| admitted.is_some().then_some(Delivery::Egress { doubted }));
        let own =
            settings.server.upstream.as_ref().zip(credential).map(|(upstream, credential)| {
                let key = key(upstream, &server.name, owner);
                Arc::new(ChildCredential::new(key, &credential, now, delivery))
            });

        let current_span = SessionSpan::new(span.clone());
        let surroundings = Surroundings {
            ledger: self.ledgers.of(owner, settings.max_unread_per_owner),
            observer: Some(Arc::new(SessionObserver::new(server, current_span.clone()))),
        };
        let attach = match speech {
            Speech::Own => Bridge::attach_with,
            Speech::Translated => Bridge::attach_translated,
        };
        let (bridge, bridge_driver) =
            attach(started.stdout, started.stdin, settings.bridge.clone(), surroundings.clone());
        let cache_in_use = cache.map(Cache::in_use);
        let (over, ended) = watch::channel(false);
        let counted = Counted::new(server, &self.children, child.pid());
        let running = child.clone();
        let counting = Arc::clone(&counted);
        // A task of its own: the process has news once in its life, the bridge at every message.
        tasks.spawn(current_span.follow(started.driver.run()));
        let run = async move {
            let why = bridge_driver.run().await;
            // A child without pipes is of no use, however alive it is.
            running.stop();
            let exit = running.ended().await;
            if exit == supervisor::Exit::OutOfMemory {
                counting.ran_out_of_memory();
            }
            if why != bridge::Closed::Stopped {
                warn!(%exit, because = %why, pid = running.pid(), "the child ended by itself");
            }
            drop(admitted);
            counting.over();
            directory.remove().await;
            drop(cache_in_use);
            over.send_replace(true);
        };
        tasks.spawn(current_span.follow(run));
        Ok(ChildSession {
            server: Arc::clone(server),
            bridge,
            credential: own,
            stateful: settings.server.stateful,
            child,
            welcome: Mutex::default(),
            why: OnceLock::new(),
            counted,
            ended,
            left: watch::Sender::new(false),
            promised_to: Mutex::default(),
            surroundings,
            settings: Arc::clone(settings),
            span: span.clone(),
            current_span,
            visit: Visit::default(),
            is_retired: AtomicBool::new(false),
        })
    }

    /// The user of the operating system that runs the child, if its person has one.
    async fn user(&self, granted: &Granted) -> Result<Option<u32>, SpawnFailure> {
        let (IsolationLevel::User, Some(range)) = (granted.level, self.settings.uids) else {
            return Ok(None);
        };
        let (children, owner) = (Arc::clone(&self.children), self.owner.clone());
        let found = spawn_blocking(move || children.uids.of(&owner, range)).await;
        let found = found.unwrap_or_else(|panic| Err(io::Error::other(panic)));
        found.map(Some).map_err(|error| SpawnFailure::Start(SpawnError::Other(error)))
    }

    /// Starts a child and waits for what `handshake` has to do with it, given the times that it may take.
    pub(super) async fn bring_up<T, F>(
        &self,
        speech: Speech,
        handshake: impl FnOnce(Bridge, Times) -> F,
        timed_out: SpawnFailure,
    ) -> Result<(ChildSession, T), SpawnFailure>
    where
        F: Future<Output = Result<T, SpawnFailure>>,
    {
        let Self { server, settings, owner, .. } = self;
        let cache = self.caches.prepare(settings, &server.name, owner).await;
        let cache = cache.map_err(SpawnFailure::Directory)?;
        let live = self.start(speech, cache.as_ref()).await?;
        let is_filling = cache.as_ref().is_some_and(Cache::is_filling);
        let handshake = handshake(live.bridge.clone(), Times::of(self.timeout(), is_filling));
        let shaken = async { self.in_time(&live, handshake).await.unwrap_or(Err(timed_out)) };
        let done = match complete_handshake(&live, shaken).await {
            Ok(done) => done,
            Err(failure) => {
                let is_whole = failure.is_after_the_download(live.child.exit());
                if let Some(cache) = cache.as_ref().filter(|_| is_whole) {
                    self.caches.uninterrupted(cache).await;
                }
                return Err(failure);
            }
        };
        if let Some(cache) = cache {
            self.caches.filled(cache).await;
        }
        Ok((live, done))
    }

    /// A child failed in its handshake: asks the upstream whether the credential that it had still
    /// stands. `Ok(true)` when there is a newer one, so that another child may do better.
    pub(super) async fn credential_was_replaced(&self) -> Result<bool, SpawnFailure> {
        let Self { server, settings, owner, started_with, .. } = self;
        let version = started_with.load(Ordering::Relaxed);
        let (Some(vault), Some(upstream)) = (&self.vault, &settings.server.upstream) else {
            return Ok(false);
        };
        if version == 0 {
            return Ok(false);
        }
        match vault.look(&key(upstream, &server.name, owner), self.clock.now()).await {
            Look::Stands | Look::Unknown => return Ok(false),
            // A look of a moment ago has left its mark in the vault.
            Look::Dead | Look::AccountRefused(_) | Look::Paused => {}
        }
        let now = self.clock.now();
        let newer = credential(Some(vault), &server.name, settings, owner, now).await?;
        Ok(newer.is_some_and(|newer| newer.version > version))
    }

    /// How long a handshake may take.
    pub(super) fn timeout(&self) -> HandshakeTimeout {
        HandshakeTimeout::of(&self.settings.server)
    }

    /// Waits for `handshake` while the child shows signs of life; `None` when it takes too long.
    pub(super) async fn in_time<T>(
        &self,
        live: &ChildSession,
        handshake: impl Future<Output = T>,
    ) -> Option<T> {
        let look = || {
            let child = live.child.clone();
            let looked = spawn_blocking(move || child.life());
            async { looked.await.unwrap_or_default() }
        };
        self.timeout().wait(look, handshake).await
    }

    /// Gives the child a dummy in the place of its user's credential, if its server is configured so.
    async fn admit(
        &self,
        credential: Option<&Credential>,
        granted: &Granted,
        doubted: &Arc<AtomicBool>,
    ) -> Result<Option<Admitted>, SpawnFailure> {
        let Self { server, settings, owner, .. } = self;
        let (Some(config), Some(credential)) = (settings.server.egress(), credential) else {
            return Ok(None);
        };
        let token = match (&self.vault, &settings.server.upstream) {
            (Some(_), Some(upstream)) => {
                AdmittedToken::OfPerson(key(upstream, &server.name, owner))
            }
            _ => AdmittedToken::Fixed(credential.clone()),
        };
        let listener = granted.listener();
        let (server, doubted) = (&*server.name, Arc::clone(doubted));
        let asked = Admission { server, config, listener, token, doubted };
        self.egress.admit(asked).await.map(Some).map_err(SpawnFailure::Egress)
    }

    /// What the child sees: the configured entries over those copied by name, a home, nothing else.
    fn environment(
        &self,
        directory: &Directory,
        cache: Option<&Cache>,
        given: &Given<'_>,
    ) -> Result<Environment, UnfitValue> {
        let Given { credential, file, admitted } = given;
        let path = file.map(TokenFile::path).map(Path::to_string_lossy).unwrap_or_default();
        let mut env = self.inherited.clone();
        let key = person_key(&self.owner);
        for (name, template) in &self.settings.server.env {
            let base_urls = admitted.map(|own| &own.base_urls);
            let filled = |variable| match variable {
                Variable::Subject => self.owner.subject(),
                Variable::Key => &key,
                Variable::Issuer => self.owner.issuer(),
                Variable::Client => self.owner.client(),
                Variable::AccessToken => credential.map_or("", |own| own.access_token.expose()),
                Variable::Username => {
                    credential.and_then(|own| own.username.as_deref()).unwrap_or_default()
                }
                Variable::TokenFile => &path,
                Variable::EgressBaseUrl => base_urls.map_or("", |own| own.own()),
                Variable::EgressToken => admitted.map_or("", |own| own.token.expose()),
            };
            let value = template.render(filled, |name| base_urls.map_or("", |own| own.of(name)))?;
            env.set(name, value);
        }
        for name in ["HOME", "TMPDIR"] {
            if !env.has(name) {
                env.set(name, directory.path());
            }
        }
        for (name, path) in cache.into_iter().flat_map(Cache::environment) {
            if !env.has(name) {
                env.set(name, path);
            }
        }
        Ok(env)
    }

    fn spec(
        &self,
        directory: &Directory,
        env: Environment,
    ) -> Result<supervisor::Spec, SpawnFailure> {
        let server = &self.settings.server;
        let (program, args) = match &server.command {
            ServerCommand::Program(program) => {
                (program.into(), server.args.iter().map(OsString::from).collect())
            }
            // Refused at the start; a reload may have brought it.
            ServerCommand::Demo => {
                let reason = "the built-in demo server runs in the program mcp-broker only";
                return Err(SpawnFailure::Start(SpawnError::BadSpec { reason }));
            }
        };
        let cwd = server.cwd.clone().unwrap_or_else(|| directory.path().to_owned());
        let containment = self.children.containment.clone();
        Ok(supervisor::Spec {
            program,
            args,
            env,
            cwd: Some(cwd),
            containment,
            isolation: supervisor::Isolation::default(),
            new_privs: server.new_privs,
            limits: limits(server),
        })
    }

    /// Whether children are in a sandbox that the operator may not have thought of.
    fn is_sandboxed_unasked(&self) -> bool {
        let server = &self.settings.server;
        server.isolation.level.is_none()
            && Granted::to(server, self.children.containment.as_ref())
                .is_ok_and(|granted| granted.level != IsolationLevel::None)
    }

    /// Counts how it went.
    pub(super) fn record_outcome(&self, result: &Result<ChildSession, SpawnFailure>, what: &str) {
        let metrics = &self.server.metrics;
        match result {
            Ok(live) => {
                let took = self.begun.elapsed();
                metrics.spawn_seconds.observe(took.as_secs_f64());
                info!(pid = live.child.pid(), took_ms = took.as_millis() as u64, "{what}");
            }
            Err(failure) => {
                let reason = failure.reason();
                let labels = ReasonLabels { server: self.server.name.to_string(), reason };
                metrics.spawn_failures.get_or_create(&labels).inc();
                if matches!(reason, "died" | "start") && self.is_sandboxed_unasked() {
                    info!(
                        "the process ran in a sandbox, as servers do by default: if it takes files in a \
                         home, a socket below /run, or to write to further paths, name them in \
                         server.{name}.isolation.read or .write; level = \"none\" there runs it without",
                        name = self.server.name
                    );
                }
            }
        }
    }
}
