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
use crate::{
    clock::Clock,
    config::Config,
    host_policy::{self, AskedAt},
    store::Store,
};

/// Who may connect.
#[derive(Debug)]
pub(crate) struct AuthStack {
    pub(crate) gate: Gate,
    endpoints: BTreeMap<String, Endpoint>,
    /// Under each name of the broker, the public one first; empty when nobody signs in here.
    people: Vec<SignInUi>,
    /// For clients that get their tokens elsewhere, under each name as well.
    metadata: Vec<ResourceMetadata>,
}

/// What a server's endpoint tells those it does not let in.
#[derive(Debug)]
struct Endpoint {
    /// Its canonical address, which tokens must be meant for.
    resource: String,
    /// What a token must have been granted, separated by spaces.
    scope: String,
    /// For `/{name}/mcp`, under each name of the broker.
    own: Vec<Challenge>,
    /// For `/mcp`, under each name of the broker.
    root: Vec<Challenge>,
    /// At the host of its own, if it has one.
    host: Option<OwnHost>,
}

/// What a server's own host tells.
#[derive(Debug)]
struct OwnHost {
    metadata: Option<ResourceMetadata>,
    challenge: Challenge,
}

impl AuthStack {
    /// Opens what is needed and sets going what watches for changes; those tasks go to `followers`.
    /// `base` is the address people and clients use.
    pub(super) fn open(
        config: &Config,
        base: &str,
        (outside, kept): (&HttpClients, Option<IdentityServices>),
        store: &Arc<Store>,
        ends: EndSessions,
        clock: &Clock,
        followers: &mut JoinSet<()>,
    ) -> Result<Self, StartError> {
        let aliases = host_policy::aliases(config, base);
        let mut people: Vec<SignInUi> = Vec::new();
        if let Some(kept) = kept {
            let main = SignInUi::new(config, base, &outside.roots, kept, &ends)?;
            for alias in &aliases {
                people.push(main.under(alias)?);
            }
            people.insert(0, main);
        }
        followers.spawn(background::sweeps(Arc::clone(store), clock.clone()));
        let mut followed = Vec::new();
        if let Some(people) = people.first() {
            followed.push(people.revocations());
            followers.spawn(background::documents(people.server(), clock.clone()));
            followers.spawn(background::seals(people.vault(), clock.clone()));
        }
        let maker = Maker::new(config, base, &outside.fetch);
        let mut verifiers: Vec<Arc<dyn TokenVerifier>> = Vec::new();
        for table in config.auth.verifier_tables() {
            verifiers.push(match table.kind {
                "oauth" => people.first().expect("opened above").tokens(),
                "static" => {
                    let limits = CacheLimits::default();
                    let tokens = Arc::new(StaticTokens::new(store.clone(), limits));
                    followed.push(Revocations {
                        source: Box::new(Tokens(store.clone())),
                        // First the token is refused, then what it opened ends.
                        listeners: vec![tokens.clone(), Arc::new(ends.clone())],
                    });
                    tokens
                }
                _ => match maker.verifier(table)? {
                    Some(verifier) => verifier,
                    None => continue,
                },
            });
        }
        followers.spawn(revocations::follow(followed, ends.sessions, clock.clone()));
        let metadata = metadata::outside(config, base)?;
        let challenges = |path: &str| -> Vec<Challenge> {
            let names = 0..=aliases.len();
            let url = |index: usize| {
                let own = people.get(index).map(|own| own.server().resource_metadata_url(path));
                own.or_else(|| metadata.get(index).map(|metadata| metadata.url(path)))
            };
            names.map(|index| Challenge::new(url(index).as_deref())).collect()
        };
        let (resources, _) = resources(config);
        let mut endpoints = BTreeMap::new();
        for resource in resources {
            let server = config.server.get(resource.name.as_str());
            let host = match server.and_then(|server| config.own_origin(server)) {
                Some(origin) => {
                    let metadata = metadata::at_own_host(config, base, &resource, &origin)?;
                    let url = metadata.as_ref().map(|metadata| metadata.url("/mcp"));
                    Some(OwnHost { metadata, challenge: Challenge::new(url.as_deref()) })
                }
                None => None,
            };
            let endpoint = Endpoint {
                resource: format!("{base}{}", resource.paths[0]),
                scope: resource.scope,
                own: challenges(&format!("/{}/mcp", resource.name)),
                root: challenges("/mcp"),
                host,
            };
            endpoints.insert(resource.name, endpoint);
        }
        Ok(Self { gate: Gate::new(verifiers), endpoints, people, metadata })
    }

    /// The metadata at this path of a name, when they are not [`people`](Self::people)'s.
    pub(crate) fn metadata_at(&self, at: AskedAt<'_>, path: &str) -> Option<&ResourceMetadata> {
        let metadata = match at {
            AskedAt::Server(server) => self.endpoints.get(server)?.host.as_ref()?.metadata.as_ref(),
            AskedAt::Broker => self.metadata.first(),
            AskedAt::Alias(index) => self.metadata.get(index + 1),
        };
        metadata.filter(|metadata| metadata.claims(path))
    }

    /// Whether a client that finds this broker learns where to sign in.
    pub(crate) fn signs_in(&self) -> bool {
        !self.people.is_empty() || !self.metadata.is_empty()
    }

    /// Those who sign people in, if they can.
    pub(crate) fn people(&self) -> Option<&SignInUi> {
        self.people.first()
    }

    /// The same under a name of the broker; the host of a server's own has none.
    pub(crate) fn people_at(&self, at: AskedAt<'_>) -> Option<&SignInUi> {
        match at {
            AskedAt::Broker => self.people.first(),
            AskedAt::Alias(index) => self.people.get(index + 1).or(self.people.first()),
            AskedAt::Server(_) => None,
        }
    }

    /// Whether the token is for this server and may be used for it (RFC 8707 §2, RFC 6750 §3.1).
    pub(crate) fn may_use(&self, server: &str, verified: &Verified) -> Result<(), Denied> {
        let endpoint = self.endpoint(server);
        verified.meant_for(&endpoint.resource)?;
        verified.require(&endpoint.scope)
    }

    /// What to tell those who are not let in at a server's endpoint.
    pub(crate) fn challenge(&self, server: &str, at: AskedAt<'_>, at_root: bool) -> &Challenge {
        let endpoint = self.endpoint(server);
        let named = if at_root { &endpoint.root } else { &endpoint.own };
        match (at, &endpoint.host) {
            (AskedAt::Server(_), Some(host)) => &host.challenge,
            (AskedAt::Alias(index), _) => named.get(index + 1).unwrap_or(&named[0]),
            (AskedAt::Broker | AskedAt::Server(_), _) => &named[0],
        }
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
