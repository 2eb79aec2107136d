//! Those who sign people in: the authorization server with its store, its ways to sign in and the
//! vault of upstream credentials.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::SystemTime};

use auth::{
    TokenVerifier,
    local::Local,
    oauth::{
        AuthServer, CacheLimits, Config as ServerConfig, OAuthTokens, Parts, Registration,
        Resource, RevocationListener, ScopeView,
    },
    upstream::Vault,
};
use bytes::Bytes;
use http::{Request, Response};

use super::{
    AccessError, Kept, account,
    follow::{EndSessions, Revocations},
    kept::Credentials,
    setup,
};
use crate::{
    app::{App, Sessions},
    config::{Config, Registration as Registrations},
    fetch::{Roots, Stranger},
    pages::{self, Pages},
    store::Store,
};

/// Everything that has to do with people.
#[derive(Debug)]
pub(crate) struct People {
    pub(super) server: Arc<AuthServer>,
    pub(super) store: Arc<Store>,
    pub(super) vault: Arc<Vault>,
    tokens: Arc<OAuthTokens>,
    listeners: Vec<Arc<dyn RevocationListener>>,
    pub(super) pages: Pages,
    /// Where local accounts are made, if people sign in with them.
    pub(super) local: Option<Arc<Local>>,
    /// What people call the ways to sign in, by name.
    pub(super) labels: BTreeMap<String, String>,
    /// What people call the servers, by canonical address.
    pub(super) titles: BTreeMap<String, String>,
}

/// The servers as protected resources, in the order of the configuration, and which of them is the
/// default one. What a token is bound to is the path with the server's name: which server is the
/// default one may change, and what was allowed at the former one is not allowed at the next.
pub(super) fn resources(config: &Config) -> (Vec<Resource>, usize) {
    let resources = config.server.iter().map(|(name, server)| {
        let mut paths = vec![format!("/{name}/mcp")];
        if *name == config.default_server {
            paths.push("/mcp".to_owned());
        }
        let title = server.title.clone().unwrap_or_else(|| name.as_str().to_owned());
        Resource { name: name.as_str().to_owned(), title, paths, scope: server.scope.clone() }
    });
    let default = config.server.keys().position(|name| *name == config.default_server);
    (resources.collect(), default.unwrap_or(0))
}

/// Whether an authorization server can be made of the configuration.
pub(super) fn check(config: &Config, base: &str) -> Result<(), AccessError> {
    Ok(server_config(config, base).check()?)
}

fn server_config(config: &Config, base: &str) -> ServerConfig {
    let (resources, default) = resources(config);
    let mut own = ServerConfig::new(base, resources);
    own.default_resource = default;
    for server in config.server.values() {
        if !own.scopes.iter().any(|known| known.name == server.scope) {
            let description = format!("Use the servers that ask for “{}” as you", server.scope);
            own.scopes.push(ScopeView { name: server.scope.clone(), description });
        }
    }
    let oauth = &config.oauth;
    own.access_ttl = oauth.access_ttl;
    own.refresh_ttl = oauth.refresh_ttl;
    own.refresh_grace = oauth.refresh_grace;
    own.browser_ttl = oauth.browser_ttl;
    own.registration = match oauth.registration {
        Registrations::Open => Registration::Open,
        Registrations::Token => {
            let token = oauth.registration_token.value.iter();
            Registration::Token(token.map(|own| auth::TokenHash::of(own.expose())).collect())
        }
        Registrations::Off => Registration::Off,
    };
    own.client_id_metadata = oauth.client_id_metadata;
    own.redirect_schemes.clone_from(&oauth.redirect_schemes);
    own
}

impl People {
    pub(super) fn new(
        config: &Config,
        base: &str,
        roots: &Roots,
        kept: Kept,
        sessions: &Sessions,
    ) -> Result<Self, AccessError> {
        let Kept { store, vault, identities, local, key, .. } = kept;
        let tokens = Arc::new(OAuthTokens::new(store.clone(), CacheLimits::default()));
        // First nobody is let in any more, then whoever is in has to go.
        let listeners: Vec<Arc<dyn RevocationListener>> =
            vec![tokens.clone(), Arc::new(EndSessions(sessions.clone()))];
        let (resources, _) = resources(config);
        let address = |resource: &Resource| format!("{base}{}", resource.paths[0]);
        let upstreams = resources.iter().filter_map(|resource| {
            Some((address(resource), config.server.get(resource.name.as_str())?.upstream?))
        });
        let credentials = Credentials { vault: Arc::clone(&vault), upstreams: upstreams.collect() };
        let titles = resources.iter().map(|own| (address(own), own.title.clone())).collect();
        let labels = identities.iter();
        let labels = labels.map(|own| (own.name().to_owned(), own.label().to_owned())).collect();
        let parts = Parts {
            store: store.clone(),
            providers: identities,
            fetch: Some(Arc::new(Stranger::new(roots))),
            credentials: Some(Arc::new(credentials)),
            listeners: listeners.clone(),
            key,
            rng: auth::os_rng()?,
        };
        let server = Arc::new(AuthServer::new(server_config(config, base), parts)?);
        let pages = Pages::at(base);
        Ok(Self { server, store, vault, tokens, listeners, pages, local, labels, titles })
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
        Revocations { store: self.store.clone(), listeners: self.listeners.clone() }
    }

    /// Whether [`answer`](Self::answer) has one for this path.
    pub(crate) fn claims(&self, path: &str) -> bool {
        [account::PATH, setup::PATH].contains(&path) || self.server.claims(path)
    }

    /// Answers what is for people, or for OAuth clients.
    pub(crate) async fn answer(
        &self,
        app: &App,
        request: &Request<Bytes>,
        peer: IpAddr,
        now: SystemTime,
    ) -> Response<Bytes> {
        match request.uri().path() {
            account::PATH => return self.account(app, request, now).await,
            setup::PATH => return self.setup(request, now).await,
            _ => {}
        }
        let answer = self.server.handle(request, peer, now).await;
        let answer = answer.expect("the authorization server claimed the path");
        let mut is_page = false;
        let mut response = answer.into_response(|page| {
            is_page = true;
            self.pages.render(page)
        });
        if is_page {
            pages::finish(response.headers_mut());
        }
        response
    }
}
