//! Those who sign people in: the authorization server with its store, its ways to sign in and the
//! vault of upstream credentials.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use auth::{
    TokenVerifier,
    oauth::{
        AuthServer, CacheLimits, Config as ServerConfig, OAuthTokens, Parts, Registration,
        Resource, RevocationListener, ScopeView,
    },
};
use bytes::Bytes;
use http::{Request, Response};

use super::{
    AccessError,
    follow::{EndSessions, Revocations},
    providers,
};
use crate::{
    app::{App, Sessions},
    config::{Config, Registration as Registrations},
    fetch::{Configured, Roots, Stranger},
    metrics::Metrics,
    pages::{self, Pages},
    store::{Store, keys},
};

/// Everything that has to do with people.
#[derive(Debug)]
pub(crate) struct People {
    server: Arc<AuthServer>,
    store: Arc<Store>,
    tokens: Arc<OAuthTokens>,
    listeners: Vec<Arc<dyn RevocationListener>>,
    pages: Pages,
}

pub(super) async fn open(
    config: &Config,
    base: &str,
    roots: &Roots,
    fetch: Arc<Configured>,
    sessions: &Sessions,
    _metrics: &Arc<Metrics>,
) -> Result<People, AccessError> {
    let store = Arc::new(Store::open(&config.data_dir).await?);
    let key = keys::server_key(&config.data_dir)?;
    let tokens = Arc::new(OAuthTokens::new(store.clone(), CacheLimits::default()));
    // First nobody is let in any more, then whoever is in has to go.
    let listeners: Vec<Arc<dyn RevocationListener>> =
        vec![tokens.clone(), Arc::new(EndSessions(sessions.clone()))];
    let parts = Parts {
        store: store.clone(),
        providers: providers::identities(config, &store, fetch)?,
        fetch: Some(Arc::new(Stranger::new(roots))),
        credentials: None,
        listeners: listeners.clone(),
        key,
        rng: auth::os_rng()?,
    };
    let server = Arc::new(AuthServer::new(server_config(config, base), parts)?);
    Ok(People { server, store, tokens, listeners, pages: Pages::at(base) })
}

fn server_config(config: &Config, base: &str) -> ServerConfig {
    let resources = config.server.iter().map(|(name, server)| {
        let mut paths = vec![format!("/{name}/mcp")];
        if *name == config.default_server {
            paths.insert(0, "/mcp".to_owned());
        }
        let title = server.title.clone().unwrap_or_else(|| name.as_str().to_owned());
        Resource { name: name.as_str().to_owned(), title, paths, scope: server.scope.clone() }
    });
    let mut own = ServerConfig::new(base, resources.collect());
    let default = config.server.keys().position(|name| *name == config.default_server);
    own.default_resource = default.unwrap_or(0);
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
    pub(crate) fn server(&self) -> Arc<AuthServer> {
        Arc::clone(&self.server)
    }

    pub(super) fn tokens(&self) -> Arc<dyn TokenVerifier> {
        self.tokens.clone()
    }

    pub(super) fn revocations(&self, _sessions: &Sessions) -> Revocations {
        Revocations { store: Arc::clone(&self.store), listeners: self.listeners.clone() }
    }

    /// Whether [`answer`](Self::answer) has one for this path.
    pub(crate) fn claims(&self, path: &str) -> bool {
        path == pages::stylesheet().0 || self.server.claims(path)
    }

    /// Answers what is for people, or for OAuth clients.
    pub(crate) async fn answer(
        &self,
        _app: &App,
        request: &Request<Bytes>,
        peer: IpAddr,
        now: SystemTime,
    ) -> Response<Bytes> {
        if request.uri().path() == pages::stylesheet().0 {
            return pages::stylesheet_response();
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
