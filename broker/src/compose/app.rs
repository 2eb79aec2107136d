//! What is running: the pieces of the other crates, joined by the choices of the configuration.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use auth::oauth::StoreError;
use session::{Calendar, Registry, StopReason, WakeReason};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

use super::{
    admission,
    auth_stack::AuthStack,
    background,
    blocked_people::BlockedPeople,
    http_clients::HttpClients,
    identity::IdentityServices,
    providers::{self, Maker},
    revocations::EndSessions,
    start_error::StartError,
    state::{State, session_limits},
};
use crate::{
    admissions::Admissions,
    body_budget::BodyBudget,
    calls::Calls,
    clock::Clock,
    config::{Change, Config, ConfigError, Environment},
    egress::{proxy::EgressProxy, rights::LackingRights},
    metrics::{Metrics, ReasonLabel, StateLabels},
    server::Settings,
    sessions::{
        acquire::Acquirer,
        cache::Caches,
        child_session::ChildSession,
        children::Children,
        credential::VaultSource,
        credential_changes,
        credential_looks::{self, LookSender},
        parked::ParkedCalls,
        registry::Sessions,
        reuse::IdleChildren,
        run_directory::RunDirectory,
        spawner::{OpenRequest, Spawner},
        tasks::Tasks,
        token_delivery::TokenDelivery,
        warm::WarmChildren,
    },
    store::{DataLock, Store},
    tokens,
};

/// How long the store has to be closed: as long as it waits for another process.
const CLOSING: Duration = Duration::from_secs(5);

/// A running broker, apart from its listener.
#[derive(Debug)]
pub(crate) struct App {
    base: String,
    /// What time it is, for people and for others' tokens.
    pub(crate) clock: Clock,
    state: ArcSwap<State>,
    pub(crate) sessions: Sessions,
    /// Gives idle children to new sessions.
    pub(crate) idle_children: IdleChildren,
    /// Gives leases on those sessions.
    pub(crate) acquirer: Acquirer<OpenRequest, ChildSession, VaultSource>,
    /// Takes the credentials of calls that failed.
    pub(crate) looks: LookSender,
    pub(crate) access: AuthStack,
    /// Whom the operator keeps out.
    pub(crate) blocked: Arc<BlockedPeople>,
    /// What lets clients in, and what of theirs ends with it.
    pub(crate) admissions: Arc<Admissions>,
    /// No other broker serves from the data directory meanwhile.
    _lock: DataLock,
    _run: RunDirectory,
    /// What outlives this process: people, their credentials, sessions.
    store: Arc<Store>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) children: Arc<Children>,
    /// Children that calls without a session share.
    pub(crate) warm: WarmChildren,
    /// What people's tokens lack, by the word of upstreams.
    pub(crate) lacking_rights: Arc<LackingRights>,
    /// Calls that wait for their client's answers.
    pub(crate) parked: Arc<ParkedCalls>,
    /// Calls that go on in the background.
    pub(crate) background: Arc<Tasks>,
    pub(crate) calls: Arc<Calls>,
    /// For bodies of clients that are not signed in.
    pub(crate) stranger_bodies: BodyBudget,
    draining: AtomicBool,
    /// Cancelled to end what runs in `tasks` besides sessions.
    stopping: CancellationToken,
    /// What moves sessions; a shutdown waits for it.
    tasks: TaskTracker,
    /// What watches the outside; it ends with the broker.
    followers: Mutex<JoinSet<()>>,
}

impl App {
    /// Puts the pieces together and sets them going; nothing listens yet.
    /// `base` is the address people and clients use.
    pub(crate) async fn start(
        config: Config,
        environment: Arc<dyn Environment>,
        base: &str,
        clock: Clock,
    ) -> Result<Arc<Self>, StartError> {
        // Before anything in the data directory is touched: the directories of children that run now
        // are another broker's only if that one is gone.
        let lock = DataLock::take(&config.data_dir)?;
        let run = RunDirectory::open(&config.data_dir)?;
        let tasks = TaskTracker::new();
        let metrics = Arc::new(Metrics::new());
        let children = Arc::new(Children::new(&config.data_dir));
        children.check(&config).map_err(StartError::Unmet)?;
        children.name_mechanisms(&config, &metrics);
        let outside = HttpClients::new(&config)?;
        let stopping = CancellationToken::new();
        let store = Arc::new(Store::open(&config.data_dir).await?);
        store.put_sessions_to_rest().await?;
        if config.auth.verifies("static") {
            tokens::import(&store, config.auth.tokens_file(), clock.now()).await?;
        }
        providers::check_issuers(&config)?;
        if config.auth.signs_in() {
            admission::tell(&config);
        }
        let maker = Maker::new(&config, base, &outside.fetch);
        let (changes, changed) = mpsc::unbounded_channel();
        let (renewals, renewed) = mpsc::unbounded_channel();
        let opened = IdentityServices::open(&config, &store, &maker, &metrics, (changes, renewals));
        let kept = opened.await?.map(|(kept, driver)| {
            tasks.spawn(driver.run(stopping.clone().cancelled_owned()));
            kept
        });
        let vault = kept.as_ref().map(|kept| Arc::clone(&kept.vault));
        let limits = session_limits(&config);
        let stranger_bodies = BodyBudget::of(&config.http);
        let state = State::of(config, None, &metrics);
        let config = &state.config;
        let caches = Arc::new(Caches::new(clock.clone()));
        let egress = Arc::new(EgressProxy::new(
            vault.clone(),
            clock.clone(),
            &outside.roots,
            Arc::clone(&metrics),
            tasks.clone(),
            stopping.clone(),
        ));
        let spawner = Spawner {
            tasks: tasks.clone(),
            environment,
            children: Arc::clone(&children),
            caches: Arc::clone(&caches),
            ledgers: Arc::default(),
            vault: vault.clone(),
            egress: Arc::clone(&egress),
            clock: clock.clone(),
            providers: provider_names(config),
            servers: state.servers.clone(),
        };
        let calendar = {
            let clock = clock.clone();
            Calendar::new(move || clock.now())
        };
        let (sessions, driver) =
            Registry::with_records(Arc::new(spawner), limits, store.clone(), calendar);
        tasks.spawn(driver.run());
        let mut followers = JoinSet::new();
        let stale = Arc::<Notify>::default();
        if let Some(keep) = config.cache_keep {
            followers.spawn(background::caches(
                caches,
                Settings::caches_in(&config.data_dir),
                keep,
            ));
        }
        followers.spawn(credential_changes::follow(
            changed,
            sessions.clone(),
            Arc::clone(&stale),
            state.servers.clone(),
        ));
        if let Some(vault) = &vault
            && config.server.values().any(|server| server.token_file.is_some())
        {
            let (sessions, vault) = (sessions.clone(), Arc::clone(vault));
            let clock = clock.clone();
            followers.spawn(TokenDelivery { sessions, vault, clock, stale }.run());
        }
        let blocked = BlockedPeople::load(store.clone()).await?;
        followers.spawn(Arc::clone(&blocked).follow());
        let (looks, wanted) = credential_looks::channel();
        followers.spawn(credential_looks::follow(wanted, vault.clone(), clock.clone()));
        if let Some(kept) = &kept {
            followers.spawn(background::inspect(kept.identities.clone(), base.to_owned()));
        }
        let idle_children = IdleChildren { sessions: sessions.clone(), vault: vault.clone() };
        let acquirer = Acquirer::new(sessions.clone(), VaultSource(vault));
        let pieces = (&outside, kept);
        let admissions = Arc::<Admissions>::default();
        let parked = Arc::new(ParkedCalls::new());
        let ends = EndSessions {
            sessions: sessions.clone(),
            admissions: Arc::clone(&admissions),
            parked: Arc::clone(&parked),
        };
        let access = AuthStack::open(config, base, pieces, &store, ends, &clock, &mut followers)?;
        if let Some(people) = access.people() {
            followers.spawn(background::judge(people.server(), renewed, clock.clone()));
        }
        Ok(Arc::new(Self {
            base: base.to_owned(),
            clock,
            state: ArcSwap::from_pointee(state),
            sessions,
            acquirer,
            idle_children,
            looks,
            access,
            blocked,
            admissions,
            _lock: lock,
            _run: run,
            store,
            metrics,
            children,
            warm: WarmChildren::default(),
            lacking_rights: Arc::clone(egress.lacking_rights()),
            parked,
            background: Arc::default(),
            calls: Arc::default(),
            stranger_bodies,
            draining: AtomicBool::new(false),
            stopping,
            tasks,
            followers: Mutex::new(followers),
        }))
    }

    /// The address people and clients use.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// What is in force now. Costs no lock; hold it for one request, not longer.
    pub(crate) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Puts another configuration in force, as far as that goes without a restart: what runs is the
    /// running configuration with the keys that are live, and nothing else of the new one.
    pub(crate) fn reload(&self, new: &Config) -> Vec<Change> {
        let old = self.state.load_full();
        let (config, changes) = old.config.reloaded(new);
        self.children.name_mechanisms(&config, &self.metrics);
        self.sessions.set_limits(session_limits(&config));
        for ConfigError { key, what, hint, .. } in
            self.children.check(&config).err().unwrap_or_default()
        {
            error!(key, hint, "{what}: the server's processes do not start");
        }
        let state = State::of(config, Some(&old), &self.metrics);
        self.state.store(Arc::new(state));
        changes
    }

    /// Whether this system can give the processes of servers what they would get by a reload.
    ///
    /// # Errors
    /// Everything that it cannot.
    pub(crate) fn check_reload(&self, new: &Config) -> Result<(), StartError> {
        let (config, _) = self.state.load().config.reloaded(new);
        let unmet = self.children.unmet(&config, None);
        if unmet.is_empty() { Ok(()) } else { Err(StartError::Unmet(unmet)) }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Refuses what is new from now on.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.sessions.drain();
    }

    /// Lets calls finish, then ends all sessions together; nothing of it lasts beyond `deadline`.
    pub(crate) async fn stop(&self, deadline: Instant) {
        self.drain();
        let state = self.state();
        // A child that keeps its time needs two graces to be gone.
        let graces = state.config.server.values().map(|server| server.stop_grace * 2).max();
        let left = deadline.saturating_duration_since(Instant::now());
        let reserve = graces.unwrap_or_default().min(left / 2);
        let finished = tokio::time::timeout_at(deadline - reserve, self.calls.none()).await;
        let unfinished = self.calls.under_way();
        let report = self.sessions.stop(deadline).await;
        self.stopping.cancel();
        self.tasks.close();
        info!(
            calls_cut_off = if finished.is_ok() { 0 } else { unfinished },
            sessions_ended = report.ended,
            sessions_abandoned = report.abandoned,
            "all sessions have been asked to end"
        );
        if tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_err() {
            warn!("some children outlived the drain and are killed");
        }
    }

    /// Closes what is kept, after the last request: what was changed is on the disk, whatever
    /// becomes of the process, and the next start finds no log to work off.
    pub(crate) async fn close(&self) {
        let mut followers =
            std::mem::take(&mut *self.followers.lock().unwrap_or_else(PoisonError::into_inner));
        // No session is left that a revocation would end.
        followers.shutdown().await;
        if tokio::time::timeout(CLOSING, self.store.close()).await.is_err() {
            warn!("the store was not closed in time; the next start goes through its log");
        }
    }

    /// Whether what people do, and their sessions, can be kept.
    pub(crate) async fn ready(&self) -> Result<(), StoreError> {
        self.store.ready().await
    }

    /// The page of `/metrics`.
    pub(crate) async fn metrics_page(&self) -> String {
        for why in StopReason::ALL {
            let counter = self.metrics.reaped.get_or_create(&ReasonLabel { reason: why.as_str() });
            counter.inc_by(self.sessions.ended(why).saturating_sub(counter.get()));
        }
        for why in WakeReason::ALL {
            let counter = self.metrics.wakes.get_or_create(&ReasonLabel { reason: why.as_str() });
            counter.inc_by(self.sessions.woken(why).saturating_sub(counter.get()));
        }
        if let Some(people) = self.access.people() {
            let counter = &self.metrics.repeated_refreshes;
            counter.inc_by(people.server.repeated_refreshes().saturating_sub(counter.get()));
        }
        // A store that does not answer leaves the numbers as they were.
        if let Ok(asleep) = self.sessions.asleep().await {
            for name in self.state().servers.keys() {
                let own = asleep.iter().find(|(kind, _)| **kind == **name);
                let count = own.map_or(0, |(_, count)| i64::try_from(*count).unwrap_or(i64::MAX));
                let labels = StateLabels { server: name.clone(), state: "asleep" };
                self.metrics.sessions.get_or_create(&labels).set(count);
            }
        }
        self.metrics.page(self.children.resident_bytes())
    }
}

/// The names of the identity providers, by the issuer of their users.
fn provider_names(config: &Config) -> BTreeMap<String, String> {
    let tables = config.auth.identity_tables();
    tables.filter_map(|own| Some((own.issuer()?, own.name.as_str().to_owned()))).collect()
}
