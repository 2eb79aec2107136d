//! Who may connect, put together from the configuration: verifiers, ways to sign in, the
//! authorization server, and where they keep what they know.

use std::{collections::BTreeMap, sync::Arc};

use auth::{
    CacheLimits, Challenge, Denied, Gate, StaticTokens, TokenVerifier, Verified,
    oauth::ResourceMetadata,
};
use tokio::task::JoinSet;

use super::{
    background,
    http_clients::HttpClients,
    identity::IdentityServices,
    metadata,
    providers::Maker,
    revocations::{self, EndSessions, Revocations, Tokens},
    server_config::resources,
    sign_in_ui::SignInUi,
    start_error::StartError,
};
use crate::{clock::Clock, config::Config, sessions::registry::Sessions, store::Store};

/// Who may connect.
#[derive(Debug)]
pub(crate) struct AuthStack {
    pub(crate) gate: Gate,
    endpoints: BTreeMap<String, Endpoint>,
    people: Option<SignInUi>,
    /// For clients that get their tokens elsewhere.
    metadata: Option<ResourceMetadata>,
}

/// What a server's endpoint tells those it does not let in.
#[derive(Debug)]
struct Endpoint {
    /// Its canonical address, which tokens must be meant for.
    resource: String,
    /// What a token must have been granted, separated by spaces.
    scope: String,
    /// For `/{name}/mcp`.
    own: Challenge,
    /// For `/mcp`.
    root: Challenge,
}

impl AuthStack {
    /// Opens what is needed and sets going what watches for changes; those tasks go to `followers`.
    /// `base` is the address people and clients use.
    pub(crate) fn open(
        config: &Config,
        base: &str,
        (outside, kept): (&HttpClients, Option<IdentityServices>),
        store: &Arc<Store>,
        sessions: &Sessions,
        clock: &Clock,
        followers: &mut JoinSet<()>,
    ) -> Result<Self, StartError> {
        let people = match kept {
            Some(kept) => Some(SignInUi::new(config, base, &outside.roots, kept, sessions)?),
            None => None,
        };
        followers.spawn(background::removals(sessions.clone()));
        if let Some(people) = &people {
            followers.spawn(revocations::follow(people.revocations(), clock.clone()));
            followers.spawn(background::sweeps(people.server(), clock.clone()));
            followers.spawn(background::documents(people.server(), clock.clone()));
            followers.spawn(background::seals(people.vault(), clock.clone()));
        }
        let maker = Maker::new(config, base, &outside.fetch);
        let mut verifiers: Vec<Arc<dyn TokenVerifier>> = Vec::new();
        for table in config.auth.verifier_tables() {
            verifiers.push(match table.kind {
                "oauth" => people.as_ref().expect("opened above").tokens(),
                "static" => {
                    let limits = CacheLimits::default();
                    let tokens = Arc::new(StaticTokens::new(store.clone(), limits));
                    let revocations = Revocations {
                        source: Box::new(Tokens(store.clone())),
                        // First the token is refused, then what it opened ends.
                        listeners: vec![tokens.clone(), Arc::new(EndSessions(sessions.clone()))],
                    };
                    followers.spawn(revocations::follow(revocations, clock.clone()));
                    tokens
                }
                _ => match maker.verifier(table)? {
                    Some(verifier) => verifier,
                    None => continue,
                },
            });
        }
        let metadata = metadata::outside(config, base)?;
        let challenge = |path: &str| {
            let own = people.as_ref().map(|people| people.server().resource_metadata_url(path));
            let url = own.or_else(|| metadata.as_ref().map(|metadata| metadata.url(path)));
            Challenge::new(url.as_deref())
        };
        let (resources, _) = resources(config);
        let endpoints = resources.into_iter().map(|server| {
            let endpoint = Endpoint {
                resource: format!("{base}{}", server.paths[0]),
                scope: server.scope,
                own: challenge(&format!("/{}/mcp", server.name)),
                root: challenge("/mcp"),
            };
            (server.name, endpoint)
        });
        let endpoints = endpoints.collect();
        Ok(Self { gate: Gate::new(verifiers), endpoints, people, metadata })
    }

    /// The metadata at this path, when they are not [`people`](Self::people)'s.
    pub(crate) fn metadata_at(&self, path: &str) -> Option<&ResourceMetadata> {
        self.metadata.as_ref().filter(|metadata| metadata.claims(path))
    }

    /// Whether a client that finds this broker learns where to sign in.
    pub(crate) fn signs_in(&self) -> bool {
        self.people.is_some() || self.metadata.is_some()
    }

    /// Those who sign people in, if they can.
    pub(crate) fn people(&self) -> Option<&SignInUi> {
        self.people.as_ref()
    }

    /// Whether the token is for this server and may be used for it (RFC 8707 §2, RFC 6750 §3.1).
    pub(crate) fn may_use(&self, server: &str, verified: &Verified) -> Result<(), Denied> {
        let endpoint = self.endpoint(server);
        verified.meant_for(&endpoint.resource)?;
        verified.require(&endpoint.scope)
    }

    /// What to tell those who are not let in at a server's endpoint.
    pub(crate) fn challenge(&self, server: &str, at_root: bool) -> &Challenge {
        let endpoint = self.endpoint(server);
        if at_root { &endpoint.root } else { &endpoint.own }
    }

    /// The canonical address of a server.
    #[cfg(test)]
    pub(super) fn resource(&self, server: &str) -> &str {
        &self.endpoint(server).resource
    }

    fn endpoint(&self, server: &str) -> &Endpoint {
        self.endpoints.get(server).expect("servers are laid out once")
    }
}
