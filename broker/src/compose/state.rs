//! What is in force: the configuration, and what is laid out by it. A reload replaces it as a whole.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    config::Config,
    host_policy::HostPolicy,
    metrics::Metrics,
    server::{Server, Settings},
};

/// What a reload replaces.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: Config,
    pub(crate) host_policy: HostPolicy,
    pub(super) servers: BTreeMap<String, Arc<Server>>,
}

impl State {
    pub(super) fn of(config: Config, old: Option<&Self>, metrics: &Arc<Metrics>) -> Self {
        let servers = config.server.iter().filter_map(|(name, server)| {
            let settings = Settings::of(&config, server);
            let server = match old {
                // Routes, and what tokens are good for, are laid out once: a server that is new in
                // the file waits for a restart.
                Some(old) => {
                    let kept = old.servers.get(name.as_str())?;
                    kept.replace(settings);
                    Arc::clone(kept)
                }
                None => Arc::new(Server::new(name.as_str(), settings, Arc::clone(metrics))),
            };
            Some((name.as_str().to_owned(), server))
        });
        Self { servers: servers.collect(), host_policy: HostPolicy::of(&config), config }
    }

    /// The server of this name.
    pub(crate) fn server_named(&self, name: &str) -> Option<Arc<Server>> {
        self.servers.get(name).cloned()
    }

    /// The server whose MCP endpoint is at this path.
    pub(crate) fn server_at(&self, path: &str) -> Option<Arc<Server>> {
        let name = match path {
            "/mcp" => self.config.default_server.as_str(),
            _ => path.strip_prefix('/')?.strip_suffix("/mcp")?,
        };
        self.servers.get(name).cloned()
    }
}

pub(super) fn session_limits(config: &Config) -> session::Limits {
    let session = &config.session;
    session::Limits {
        max_sessions: session.max,
        max_per_owner: session.max_per_owner,
        max_per_client: session.max_per_client,
        // Here zero means "however short"; there it means "never".
        evict_idle: session.evict_idle.max(Duration::from_nanos(1)),
        idle: session.idle.unwrap_or(Duration::ZERO),
        spare: session.keep_ended,
        lifetime: session.lifetime.unwrap_or(Duration::ZERO),
        reap_interval: session.reap_interval,
        slot_wait: session.place_wait,
        max_records: session.max_records,
        max_records_per_owner: session.max_records_per_owner,
        max_records_per_client: session.max_records_per_client,
        start_burst: session.start_burst,
        start_interval: session.start_interval,
        ..session::Limits::default()
    }
}
