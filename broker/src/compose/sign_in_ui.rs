//! Those who sign people in: the authorization server with its store, its ways to sign in and the
//! vault of upstream credentials.

use std::{collections::BTreeMap, sync::Arc};

use auth::{
    CacheLimits, TokenVerifier,
    local::Local,
    oauth::{AuthServer, OAuthTokens, Parts, Resource, RevocationListener, Withdrawal},
    upstream::Vault,
};

use super::{
    identity::{Credentials, IdentityServices},
    revocations::{EndSessions, Grants, Revocations},
    server_config::{resources, server_config},
    start_error::StartError,
};
use crate::{
    config::Config,
    fetch::{PublicFetcher, Roots},
    pages::Pages,
    store::Store,
};

/// Everything that has to do with people.
#[derive(Debug, Clone)]
pub(crate) struct SignInUi {
    pub(crate) server: Arc<AuthServer>,
    pub(crate) store: Arc<Store>,
    pub(crate) vault: Arc<Vault>,
    tokens: Arc<OAuthTokens>,
    listeners: Vec<Arc<dyn RevocationListener>>,
    pub(crate) pages: Pages,
    /// Where local accounts are made, if people sign in with them.
    pub(crate) local: Option<Arc<Local>>,
    /// What people call the ways to sign in, by name.
    pub(crate) labels: BTreeMap<String, String>,
    /// Where people withdraw a consent at a provider, by the provider's name.
    pub(crate) withdrawals: BTreeMap<String, Withdrawal>,
    /// What people call the servers, by canonical address.
    pub(crate) titles: BTreeMap<String, String>,
}

impl SignInUi {
    pub(super) fn new(
        config: &Config,
        base: &str,
        roots: &Roots,
        kept: IdentityServices,
        ends: &EndSessions,
    ) -> Result<Self, StartError> {
        let IdentityServices { store, vault, identities, local, admission, key } = kept;
        let tokens = Arc::new(OAuthTokens::new(store.clone(), CacheLimits::default()));
        // First the token is refused, then what it opened ends.
        let listeners: Vec<Arc<dyn RevocationListener>> =
            vec![tokens.clone(), Arc::new(ends.clone())];
        let (resources, _) = resources(config);
        let address = |resource: &Resource| format!("{base}{}", resource.paths[0]);
        let upstreams = resources.iter().filter_map(|resource| {
            Some((address(resource), config.server.get(resource.name.as_str())?.upstream.clone()?))
        });
        let credentials = Credentials { vault: Arc::clone(&vault), upstreams: upstreams.collect() };
        let titles = resources.iter().map(|own| (address(own), own.title.clone())).collect();
        let withdrawals = identities.iter();
        let withdrawals = withdrawals
            .filter_map(|own| Some((own.name().to_owned(), own.withdrawal()?)))
            .collect();
        let labels = identities.iter();
        let labels = labels.map(|own| (own.name().to_owned(), own.label().to_owned())).collect();
        let parts = Parts {
            store: store.clone(),
            providers: identities,
            fetch: Some(Arc::new(PublicFetcher::new(roots))),
            credentials: Some(Arc::new(credentials)),
            admission: Some(admission),
            listeners: listeners.clone(),
            key,
            rng: auth::os_rng()?,
        };
        let server = Arc::new(AuthServer::new(server_config(config, base), parts)?);
        let pages = Pages::at(base);
        Ok(Self {
            server,
            store,
            vault,
            tokens,
            listeners,
            pages,
            local,
            labels,
            withdrawals,
            titles,
        })
    }

    /// The same under another address of the broker.
    pub(super) fn under(&self, alias: &str) -> Result<Self, StartError> {
        let server = Arc::new(self.server.under(alias)?);
        Ok(Self { server, pages: Pages::at(alias), ..self.clone() })
    }

    pub(super) fn vault(&self) -> Arc<Vault> {
        Arc::clone(&self.vault)
    }

    pub(crate) fn server(&self) -> Arc<AuthServer> {
        Arc::clone(&self.server)
    }

    pub(super) fn tokens(&self) -> Arc<dyn TokenVerifier> {
        self.tokens.clone()
    }

    pub(super) fn revocations(&self) -> Revocations {
        Revocations {
            source: Box::new(Grants(self.store.clone())),
            listeners: self.listeners.clone(),
        }
    }
}
