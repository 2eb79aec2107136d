//! The servers of a configuration, each started once with no broker around it.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use auth::{
    oauth::{Inspection, SignInError},
    upstream::Credential,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{http_clients::HttpClients, providers::Maker, start_error::StartError};
use crate::{
    clock::Clock,
    config::{Config, Environment},
    egress::proxy::EgressProxy,
    metrics::Metrics,
    server::{Server, Settings},
    sessions::{
        cache::Caches,
        children::Children,
        directory::{Directory, DirectoryError},
        spawner::Spawner,
        trial::{Answered, Failed},
    },
};

/// The address of a broker that has not been started.
const NOWHERE: &str = "http://localhost";

/// What each identity provider, by its name, says without a person.
pub(crate) type Inspected = Vec<(String, Result<Inspection, SignInError>)>;

/// Asks every configured identity provider that is not the broker itself.
///
/// # Errors
///
/// [`StartError`] when one cannot be made from its table.
pub(crate) async fn inspect_providers(config: &Config) -> Result<Inspected, StartError> {
    let outside = HttpClients::new(config)?;
    let url = config.public_url.as_ref().map(|url| url.origin().as_str().to_owned());
    let base = url.as_deref().unwrap_or(NOWHERE);
    let maker = Maker::new(config, base, &outside.fetch);
    let mut told = Inspected::new();
    for table in config.auth.identity_tables() {
        let Some(provider) = maker.identity(table)? else { continue };
        let name = provider.name().to_owned();
        let inspected = provider.inspect(&format!("{base}/callback/{name}")).await;
        told.push((name, inspected));
    }
    Ok(told)
}

/// Why servers cannot be tried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrialsError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Start(#[from] StartError),
}

/// What starts servers for a trial.
#[derive(Debug)]
pub(crate) struct Trials {
    spawner: Spawner,
    servers: BTreeMap<String, Arc<Server>>,
    /// The children's directories are in here and not in `data_dir`, which may belong to the account
    /// of a broker that runs.
    directory: Directory,
}

impl Trials {
    /// Lays out the servers of `config`; their directories will be in a new one below `parent`.
    ///
    /// # Errors
    ///
    /// [`TrialsError`] when that cannot be made, or the certificates cannot be read.
    pub(crate) async fn prepare(
        config: &Config,
        environment: Arc<dyn Environment>,
        clock: Clock,
        parent: &Path,
    ) -> Result<Self, TrialsError> {
        let directory = Directory::create(parent).await?;
        let metrics = Arc::new(Metrics::new());
        let egress = EgressProxy::new(
            None,
            clock.clone(),
            &HttpClients::new(config)?.roots,
            Arc::clone(&metrics),
            TaskTracker::new(),
            CancellationToken::new(),
        );
        let egress = Arc::new(egress);
        let server = |name: &str, server| {
            let mut settings = Settings::of(config, server);
            settings.directories = directory.path().to_owned();
            Arc::new(Server::new(name, settings, Arc::clone(&metrics)))
        };
        let servers = config.server.iter().map(|(name, own)| {
            let name = name.as_str().to_owned();
            let server = server(&name, own);
            (name, server)
        });
        let servers = servers.collect();
        let spawner = Spawner {
            tasks: TaskTracker::new(),
            environment,
            children: Arc::new(Children::of_trials()),
            caches: Arc::new(Caches::new(clock.clone())),
            ledgers: Arc::default(),
            vault: None,
            egress,
            clock,
            providers: BTreeMap::new(),
            servers: BTreeMap::new(),
        };
        Ok(Self { spawner, servers, directory })
    }

    /// Starts the server of this name, which the configuration has, and stops it again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future kills the child.
    pub(crate) async fn run(
        &self,
        name: &str,
        credential: Option<Credential>,
    ) -> Option<Result<Answered, Failed>> {
        let server = self.servers.get(name)?;
        Some(self.spawner.try_once(Arc::clone(server), credential).await)
    }

    /// Removes what the trials left.
    pub(crate) async fn close(self) {
        self.directory.remove().await;
    }
}
