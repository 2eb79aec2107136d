//! What the operator chooses.

use std::{collections::HashSet, time::Duration};

use super::{
    config_error::ConfigError,
    cookie::Cookies,
    limiter::Rate,
    page::ScopeView,
    record::Client,
    redirect::{DESKTOP_SCHEMES, RedirectPolicy},
    resource::Resource,
    resource_metadata::ResourceMetadata,
};
use crate::TokenHash;

/// Everything the authorization server can be told. [`Config::new`] has the defaults.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the broker is reached from outside, http or https, perhaps with a path. Without its
    /// slash at the end it is the issuer; metadata, redirects and cookies come from here and from
    /// nothing a request says.
    pub public_url: String,
    /// The servers behind the broker; at least one.
    pub resources: Vec<Resource>,
    /// Which of them is meant when a client names none: an index.
    pub default_resource: usize,
    /// What may be granted, each with a sentence for the consent page; at least one.
    pub scopes: Vec<ScopeView>,
    /// Life of an access token. Default 1 hour.
    pub access_ttl: Duration,
    /// Life of a refresh token, counted anew with each rotation. Default 30 days.
    pub refresh_ttl: Duration,
    /// How long a rotation may be repeated. Default 60 seconds; zero allows no repetition.
    pub refresh_grace: Duration,
    /// How many grants of one user for one client at one server live at a time. A new one beyond that
    /// revokes the one that was refreshed longest ago. Default 20; zero counts as one.
    pub max_grants: usize,
    /// Authorizations that one browser gets without being asked, because the user approved the same
    /// before. Default 20, then one per 3 seconds; each also counts as a sign-in from its address.
    pub silent_rate: Rate,
    /// Life of a code. Default 60 seconds, which is also the most that should be used.
    pub code_ttl: Duration,
    /// Time for approval and sign-in together. Default 10 minutes.
    pub transaction_ttl: Duration,
    /// How long a browser stays signed in. Default 12 hours.
    pub browser_ttl: Duration,
    /// How many sign-ins may be under way. Default 10 000.
    pub max_transactions: usize,
    /// Sign-ins started from one address (a /64 of IPv6). Default 120, then one per second; so one
    /// stranger cannot take all of `max_transactions`.
    pub sign_in_rate: Rate,
    /// Steps of sign-ins from one address: pages, forms, and ways back from an upstream. Each may
    /// change the store, and a stranger's are as dear as anybody's. Default 300, then ten per second.
    pub step_rate: Rate,
    /// Requests of programs that fail, from one address and for each kind (refresh, revocation and
    /// so on); beyond that, that kind has to wait there. The exchange of a code never has to: it is
    /// what ends the trouble of a client whose refresh token is dead. Default 300, then ten per
    /// second.
    pub failure_rate: Rate,
    /// Who may register clients. Default open.
    pub registration: Registration,
    /// How long a registered client is kept without use. Default 24 hours.
    pub unused_client_ttl: Duration,
    /// How many unused clients are kept. Default 10 000.
    pub max_unused_clients: usize,
    /// Registrations from one address (a /64 of IPv6). Default 60, then one per 5 seconds.
    pub registration_rate: Rate,
    /// Registrations altogether. Default 600, then one per second.
    pub registration_rate_total: Rate,
    /// Whether client identifiers may be addresses of metadata documents. Default
    /// [`ClientIdMetadata::Auto`].
    pub client_id_metadata: ClientIdMetadata,
    /// Fetches of metadata documents from one host. Default 10, then one per 6 seconds.
    pub document_rate: Rate,
    /// Metadata documents that one address (a /64 of IPv6) asks for and that are not at hand.
    /// Default 20, then one per 5 seconds; so one stranger cannot take all of
    /// `document_rate_total`.
    pub document_rate_peer: Rate,
    /// Fetches of metadata documents altogether. Default 60, then one per second.
    pub document_rate_total: Rate,
    /// Private-use schemes welcome in redirect addresses. Default
    /// [`DESKTOP_SCHEMES`](super::DESKTOP_SCHEMES).
    pub redirect_schemes: Vec<String>,
    /// Other addresses of the same broker, such as `http://localhost:8080` beside
    /// `http://127.0.0.1:8080`. Requests may name servers by them, and
    /// [`AuthServer::under`](super::AuthServer::under) answers under them.
    pub aliases: Vec<String>,
    /// Clients the operator wrote down.
    pub clients: Vec<Client>,
}

/// Whether client identifiers may be addresses of metadata documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientIdMetadata {
    /// They may, and the metadata say so as long as documents can be fetched, or when clients have no
    /// other way: where they may not register.
    Auto,
    /// They may, and the metadata say so.
    On,
    /// They may not.
    Off,
}

/// Who may register clients (RFC 7591).
#[derive(Debug, Clone)]
pub enum Registration {
    /// Anybody, within the rates.
    Open,
    /// Who has one of these initial access tokens.
    Token(Vec<TokenHash>),
    /// Nobody.
    Off,
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

impl Config {
    /// The defaults, for a broker at `public_url` with these servers, the first being the default.
    #[must_use]
    pub fn new(public_url: impl Into<String>, resources: Vec<Resource>) -> Self {
        Self {
            public_url: public_url.into(),
            resources,
            default_resource: 0,
            scopes: vec![ScopeView {
                name: "mcp".into(),
                description: "Use the server's tools, resources and prompts as you".into(),
            }],
            access_ttl: HOUR,
            refresh_ttl: 30 * 24 * HOUR,
            refresh_grace: 60 * SECOND,
            max_grants: 20,
            silent_rate: Rate { burst: 20, every: 3 * SECOND },
            code_ttl: 60 * SECOND,
            transaction_ttl: 600 * SECOND,
            browser_ttl: 12 * HOUR,
            max_transactions: 10_000,
            sign_in_rate: Rate { burst: 120, every: SECOND },
            step_rate: Rate { burst: 300, every: SECOND / 10 },
            failure_rate: Rate { burst: 300, every: SECOND / 10 },
            registration: Registration::Open,
            unused_client_ttl: 24 * HOUR,
            max_unused_clients: 10_000,
            registration_rate: Rate { burst: 60, every: 5 * SECOND },
            registration_rate_total: Rate { burst: 600, every: SECOND },
            client_id_metadata: ClientIdMetadata::Auto,
            document_rate: Rate { burst: 10, every: 6 * SECOND },
            document_rate_peer: Rate { burst: 20, every: 5 * SECOND },
            document_rate_total: Rate { burst: 60, every: SECOND },
            redirect_schemes: DESKTOP_SCHEMES.map(str::to_owned).into(),
            aliases: Vec::new(),
            clients: Vec::new(),
        }
    }

    /// What follows from the choices, if they can be used.
    /// Whether an [`AuthServer`](super::AuthServer) can be made of it.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when it contradicts itself.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.urls().map(drop)
    }

    pub(crate) fn urls(&self) -> Result<ServerUrls, ConfigError> {
        self.urls_at(&self.public_url, &self.public_url)
    }

    /// What follows from the address `name` where clients get their tokens from `issuer`.
    pub(crate) fn urls_at(&self, name: &str, issuer: &str) -> Result<ServerUrls, ConfigError> {
        let canonical = self.public_url.trim_end_matches('/');
        let issuer = issuer.trim_end_matches('/').to_owned();
        let metadata = ResourceMetadata::new(
            name,
            self.resources.clone(),
            self.default_resource,
            vec![issuer.clone()],
        )?
        .known_as(canonical, &self.aliases);

        for resource in &self.resources {
            let mut scopes = resource.scope.split_ascii_whitespace().peekable();
            if scopes.peek().is_none() {
                return Err(ConfigError::Scopes("a server has no scope"));
            }
            if !scopes.all(|scope| self.scopes.iter().any(|own| own.name == scope)) {
                return Err(ConfigError::Scopes("a server's scope is not among the scopes"));
            }
        }

        let redirects = RedirectPolicy::new(&self.redirect_schemes);
        let mut ids = HashSet::new();
        for client in &self.clients {
            let fine = !client.id.is_empty()
                && !client.redirect_uris.is_empty()
                && client.redirect_uris.iter().all(|uri| redirects.check(uri).is_ok())
                && ids.insert(&client.id);
            if !fine {
                return Err(ConfigError::Client(client.id.clone()));
            }
        }

        Ok(ServerUrls {
            cookies: Cookies { secure: metadata.origin().starts_with("https:") },
            origin: metadata.origin().to_owned(),
            path: metadata.path().to_owned(),
            metadata,
            is_elsewhere: name.trim_end_matches('/') != issuer,
            issuer,
            redirects,
        })
    }
}

/// What follows from the public address.
#[derive(Debug)]
pub(crate) struct ServerUrls {
    /// The public address without a slash at the end: `issuer` everywhere, byte by byte.
    pub(crate) issuer: String,
    /// Whether people sign in under another name than this one, which is the issuer's.
    pub(crate) is_elsewhere: bool,
    /// What a browser sends as `Origin` from our own pages.
    pub(crate) origin: String,
    /// The path of the public address without a slash at the end; mostly empty.
    pub(crate) path: String,
    pub(crate) cookies: Cookies,
    /// The servers, and what their clients are told.
    pub(crate) metadata: ResourceMetadata,
    pub(crate) redirects: RedirectPolicy,
}

impl ServerUrls {
    /// The absolute address of one of our own paths.
    pub(crate) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }
}
