//! The authorization server as a whole: its parts, and who answers which path.

use crate::{
    TokenHash, UnixTime,
    admission::{Admission, Admitted},
    cache::Cache,
};
use std::{net::IpAddr, ops::Deref, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use rand_chacha::ChaCha20Rng;

use super::{
    Answer, AuthStore, ClientIdMetadata, Config, ConfigError, CredentialSink, Fetch, Grant,
    IdentityProvider, Params, RevocationListener, Revoked, ServerKey, StoreError, Transaction,
    User,
    config::ServerUrls,
    document::Documents,
    faults,
    left::left_after,
    limiter::{Limiter, PeerLimiter},
    repeats::Repeats,
    secret::Minter,
    verifier::token_id,
};

/// The longest query or form that is read, in bytes.
const MAX_FORM: usize = 16 * 1024;

/// What the authorization server is made of.
#[derive(Debug)]
pub struct Parts {
    /// Durable state.
    pub store: Arc<dyn AuthStore>,
    /// Ways to sign in, in the order of their buttons.
    pub providers: Vec<Arc<dyn IdentityProvider>>,
    /// Gets metadata documents; without it there are no client identifiers that are addresses.
    pub fetch: Option<Arc<dyn Fetch>>,
    /// Takes upstream credentials; without it they are dropped.
    pub credentials: Option<Arc<dyn CredentialSink>>,
    /// Whom the operator lets in; without it everyone is.
    pub admission: Option<Arc<Admission>>,
    /// Hear about revocations, in order. The verifier of our own tokens belongs here.
    pub listeners: Vec<Arc<dyn RevocationListener>>,
    /// What successors and form tokens are derived with; the same for all brokers on one store.
    pub key: ServerKey,
    /// Mints codes, tokens and names; outside of tests [`os_rng`](crate::os_rng).
    pub rng: ChaCha20Rng,
}

/// An OAuth 2.1 authorization server: requests in, answers out. It listens to nothing and reads no
/// clock.
#[derive(Debug)]
pub struct AuthServer {
    pub(crate) urls: ServerUrls,
    core: Arc<Core>,
}

/// What an authorization server is under each of its names.
#[derive(Debug)]
#[expect(
    unnameable_types,
    reason = "the target of `Deref`, which only this module reads fields of"
)]
pub struct Core {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn AuthStore>,
    pub(crate) providers: Vec<Arc<dyn IdentityProvider>>,
    pub(crate) credentials: Option<Arc<dyn CredentialSink>>,
    pub(crate) admission: Option<Arc<Admission>>,
    listeners: Vec<Arc<dyn RevocationListener>>,
    pub(crate) key: ServerKey,
    pub(crate) minter: Minter,
    pub(crate) documents: Option<Documents>,
    pub(crate) sign_ins: PeerLimiter,
    /// By the browser's cookie.
    pub(crate) silent: Limiter<[u8; 32]>,
    steps: PeerLimiter,
    failures: PeerLimiter<Kind>,
    pub(crate) registrations: PeerLimiter,
    pub(crate) registrations_total: Limiter<()>,
    pub(crate) repeats: Repeats,
    /// Whether anybody may introspect, as the store said last.
    pub(crate) introspects: Cache<(), bool>,
}

/// Requests of programs whose failures are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Code,
    Refresh,
    OtherGrant,
    Revoke,
    Introspect,
}

/// Who answers a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route<'a> {
    ResourceMetadata(&'a str),
    ServerMetadata,
    Authorize,
    Token,
    Register,
    Revoke,
    Introspect,
    Login,
    Consent,
    Callback(&'a str),
}

/// The parts are those of the server, under whichever name.
impl Deref for AuthServer {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl AuthServer {
    /// Puts the parts together.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the configuration contradicts itself.
    pub fn new(config: Config, parts: Parts) -> Result<Self, ConfigError> {
        let urls = config.urls()?;
        let is_known = |name: &String| parts.providers.iter().any(|own| own.name() == name);
        if !config.resources.iter().filter_map(|own| own.provider.as_ref()).all(is_known) {
            return Err(ConfigError::Resources("a server requires a provider that does not exist"));
        }
        let is_off = config.client_id_metadata == ClientIdMetadata::Off;
        let documents = parts.fetch.filter(|_| !is_off).map(|fetch| {
            Documents::new(
                fetch,
                urls.redirects.clone(),
                (config.document_rate_peer, config.document_rate, config.document_rate_total),
            )
        });
        let core = Core {
            store: parts.store,
            providers: parts.providers,
            credentials: parts.credentials,
            admission: parts.admission,
            listeners: parts.listeners,
            key: parts.key,
            minter: Minter::new(parts.rng),
            documents,
            sign_ins: PeerLimiter::new(config.sign_in_rate, 10_000),
            silent: Limiter::new(config.silent_rate, 10_000),
            steps: PeerLimiter::new(config.step_rate, 10_000),
            failures: PeerLimiter::new(config.failure_rate, 10_000),
            registrations: PeerLimiter::new(config.registration_rate, 10_000),
            registrations_total: Limiter::new(config.registration_rate_total, 1),
            repeats: Repeats::default(),
            introspects: Cache::new(2),
            config,
        };
        Ok(Self { urls, core: Arc::new(core) })
    }

    /// The same server under another of its addresses ([`Config::aliases`]): clients, grants, browsers
    /// and limits are the same, and addresses in answers are that one's. Tokens are bound to the
    /// canonical addresses, and good under each name.
    ///
    /// An upstream sends browsers back to one name. So where a provider has one, `name` describes the
    /// servers alone; the issuer keeps its name, and people who come to sign in are led there before
    /// they get a cookie.
    ///
    /// # Errors
    ///
    /// [`ConfigError::PublicUrl`].
    pub fn under(&self, name: &str) -> Result<Self, ConfigError> {
        let has_callback = self.providers.iter().any(|own| own.has_callback());
        let issuer = if has_callback { &self.config.public_url } else { name };
        Ok(Self { urls: self.config.urls_at(name, issuer)?, core: Arc::clone(&self.core) })
    }

    /// Puts another key in the place of the server's, as a restart with another one would.
    #[cfg(test)]
    pub(crate) fn set_key(&mut self, key: ServerKey) {
        Arc::get_mut(&mut self.core).expect("it has one name").key = key;
    }

    /// Leads a browser that comes to sign in to the name where that is done.
    fn lead_elsewhere(&self, request: &Request<Bytes>) -> Option<Answer> {
        if !self.urls.is_elsewhere {
            return None;
        }
        let asked = request.uri().path_and_query()?.as_str();
        Some(Answer::see_other(&self.urls.address(asked)))
    }

    /// The issuer: the address under which people sign in, without a slash at the end.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.urls.issuer
    }

    /// The canonical address of the server at `path`, which is the audience its tokens must have
    /// ([`Verified::meant_for`](crate::Verified::meant_for)).
    #[must_use]
    pub fn resource_at(&self, path: &str) -> Option<String> {
        self.urls.metadata.resource_at(path)
    }

    /// The address of the metadata of the endpoint at `path`, for its
    /// [`Challenge`](crate::Challenge).
    #[must_use]
    pub fn resource_metadata_url(&self, path: &str) -> String {
        self.urls.metadata.url(path)
    }

    /// Whether [`handle`](Self::handle) answers this path.
    #[must_use]
    pub fn claims(&self, path: &str) -> bool {
        self.route(path).is_some()
    }

    /// Answers `request`, whose body was read to its end, or returns `None` when its path is not
    /// ours. `peer` is the client's address as far as the operator trusts it.
    ///
    /// Host and forwarding headers are not looked at: addresses come from the configuration.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future may leave a change made whose answer nobody got: a code that is used,
    /// a refresh token that is rotated. The client then does what it does when an answer is lost:
    /// it repeats the refresh within the grace window, or starts over.
    pub async fn handle(
        &self,
        request: &Request<Bytes>,
        peer: IpAddr,
        now: SystemTime,
    ) -> Option<Answer> {
        let route = self.route(request.uri().path())?;
        if matches!(route, Route::Login | Route::Consent | Route::Callback(_))
            && let Err(wait) = self.steps.take(peer, (), now)
        {
            return Some(faults::too_many(wait));
        }
        if let (Route::Authorize | Route::Login, &Method::GET) = (route, request.method())
            && let Some(answer) = self.lead_elsewhere(request)
        {
            return Some(answer);
        }
        let answer = match (route, request.method()) {
            (Route::ResourceMetadata(path), &Method::GET | &Method::HEAD) => {
                self.urls.metadata.document(path)
            }
            (Route::ServerMetadata, &Method::GET | &Method::HEAD) => {
                self.server_metadata(now).await
            }
            (Route::Authorize, &Method::GET) => self.authorize(request, peer, now).await,
            (Route::Login, &Method::GET) => self.login(request, peer, now).await,
            (Route::Callback(provider), &Method::GET) => {
                self.callback(provider, request, peer, now).await
            }
            (Route::Login, &Method::POST) => match page_form(request) {
                Ok(form) => self.login_form(request, &form, peer, now).await,
                Err(answer) => answer,
            },
            (Route::Consent, &Method::POST) => match page_form(request) {
                Ok(form) => self.consent_form(request, &form, now).await,
                Err(answer) => answer,
            },
            (Route::Token, &Method::POST) => match form(request) {
                Ok(form) => {
                    let kind = match form.one("grant_type") {
                        Ok(Some("authorization_code")) => Kind::Code,
                        Ok(Some("refresh_token")) => Kind::Refresh,
                        _ => Kind::OtherGrant,
                    };
                    self.counted((peer, kind), now, self.token(request, &form, peer, now)).await
                }
                Err(answer) => answer,
            },
            (Route::Revoke, &Method::POST) => match form(request) {
                Ok(form) => {
                    let revoke = self.revoke(request, &form, now);
                    self.counted((peer, Kind::Revoke), now, revoke).await
                }
                Err(answer) => answer,
            },
            (Route::Introspect, &Method::POST) => match form(request) {
                Ok(form) => {
                    let introspect = self.introspect(request, &form, now);
                    self.counted((peer, Kind::Introspect), now, introspect).await
                }
                Err(answer) => answer,
            },
            (Route::Register, &Method::POST) => self.register(request, peer, now).await,
            (Route::ResourceMetadata(_) | Route::ServerMetadata, _) => {
                Answer::wrong_method("GET, HEAD")
            }
            (Route::Authorize | Route::Callback(_), _) => Answer::wrong_method("GET"),
            (Route::Login, _) => Answer::wrong_method("GET, POST"),
            (
                Route::Token | Route::Revoke | Route::Introspect | Route::Register | Route::Consent,
                _,
            ) => Answer::wrong_method("POST"),
        };
        Some(answer)
    }

    /// Answers, unless too much of this kind has failed from there. What succeeds is not counted:
    /// many people may be behind one address. A code is always looked at, because whoever has a
    /// good one must get on, whatever his neighbours or his own dead refresh token did before.
    async fn counted(
        &self,
        (peer, kind): (IpAddr, Kind),
        now: SystemTime,
        answer: impl Future<Output = Answer>,
    ) -> Answer {
        if kind == Kind::Code {
            return answer.await;
        }
        if let Err(wait) = self.failures.look(peer, kind, now) {
            return Answer::too_many(wait);
        }
        let answer = answer.await;
        if answer.status().is_client_error() {
            let _ = self.failures.take(peer, kind, now);
        }
        answer
    }

    /// Whether web pages of every origin may read what is at this path: what clients in a browser
    /// need before they have a token. No cookie is looked at there, so a page gets nothing from it
    /// that its author could not get without a browser.
    #[must_use]
    pub fn is_open_to_pages(&self, path: &str) -> bool {
        match self.route(path) {
            Some(
                Route::ResourceMetadata(_)
                | Route::ServerMetadata
                | Route::Token
                | Route::Register
                | Route::Revoke,
            ) => true,
            Some(
                Route::Authorize
                | Route::Introspect
                | Route::Login
                | Route::Consent
                | Route::Callback(_),
            )
            | None => false,
        }
    }

    fn route<'a>(&self, path: &'a str) -> Option<Route<'a>> {
        // Clients and people add a slash at the end; it names nothing else.
        let path = path.strip_suffix('/').unwrap_or(path);
        if let Some(endpoint) = self.urls.metadata.endpoint(path) {
            return Some(Route::ResourceMetadata(endpoint));
        }
        // RFC 8414 §3.1 puts the well-known part before the path; OpenID Connect puts it after. A
        // public address without a path makes them the same.
        for known in
            ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"]
        {
            if let Some(rest) = path.strip_prefix(known) {
                let rest = rest.strip_suffix('/').unwrap_or(rest);
                // Some clients insert the endpoint's path here as well; there is one issuer.
                let below = rest.strip_prefix(&*self.urls.path).unwrap_or(rest);
                return (below.is_empty() || self.urls.metadata.resources.by_path(below).is_some())
                    .then_some(Route::ServerMetadata);
            }
        }
        match path.strip_prefix(&*self.urls.path)? {
            "/.well-known/openid-configuration" => Some(Route::ServerMetadata),
            "/oauth/authorize" => Some(Route::Authorize),
            "/oauth/token" => Some(Route::Token),
            "/oauth/register" => Some(Route::Register),
            "/oauth/revoke" => Some(Route::Revoke),
            "/oauth/introspect" => Some(Route::Introspect),
            "/login" => Some(Route::Login),
            "/consent" => Some(Route::Consent),
            other => other.strip_prefix("/callback/").map(Route::Callback),
        }
    }

    /// Keeps a new sign-in, or says after how many seconds there may be one.
    pub(crate) async fn open_transaction(
        &self,
        transaction: Transaction,
        peer: IpAddr,
        now: SystemTime,
    ) -> Result<Result<(), u64>, StoreError> {
        if let Err(wait) = self.sign_ins.take(peer, (), now) {
            return Ok(Err(wait));
        }
        let max = self.config.max_transactions;
        let kept = self.store.open_transaction(transaction, max, UnixTime::of(now)).await?;
        Ok(if kept { Ok(()) } else { Err(60) })
    }

    /// Tells everybody that `grant` was revoked; the store has it already.
    pub(crate) async fn announce(&self, grant: &Grant, why: &'static str) {
        tracing::info!(client = %grant.client, grant_id = %grant.grant_id, why, "grant revoked");
        let mut revoked = Revoked::from(grant);
        match left_after(&*self.store, grant).await {
            Ok(left) => revoked.left = left,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "other grants not read; all sessions of this client end");
            }
        }
        for listener in &self.listeners {
            listener.revoked(&revoked);
        }
    }

    /// Tells everybody that an access token of `grant` was revoked alone.
    pub(crate) fn forget_access(&self, grant: &Grant, token: &TokenHash) {
        let token_id = token_id(token);
        for listener in &self.listeners {
            listener.access_revoked(&grant.grant_id, &token_id);
        }
    }

    /// Takes a grant back, for the account page and for administration. `false` when it was not
    /// live.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; the grant may then be revoked or not.
    pub async fn revoke_grant(&self, grant_id: &str, now: SystemTime) -> Result<bool, StoreError> {
        let revoked = self.store.revoke_grant(grant_id, UnixTime::of(now)).await?;
        if let Some(grant) = &revoked {
            self.announce(grant, "asked for").await;
            self.store.forget_consents(&grant.user, &grant.client).await?;
        }
        Ok(revoked.is_some())
    }

    /// Fetches documents that could not be fetched once more, if it is time for that, so that clients
    /// learn when they may bring them again. To be called every minute or so.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it for the next time.
    pub async fn retry_documents(&self, now: SystemTime) {
        if let Some(documents) = &self.documents {
            documents.retry(now).await;
        }
    }

    /// How many refreshes were repeated within the grace since the start, each answered as the first
    /// time.
    #[must_use]
    pub fn repeated_refreshes(&self) -> u64 {
        self.repeats.count()
    }

    /// The one provider that users of the server `resource` sign in with, if there is one.
    pub(crate) fn required_provider(&self, resource: &str) -> Option<&str> {
        self.urls.metadata.resources.by_address(resource)?.provider.as_deref()
    }

    /// Whether only another sign-in lets `user` use the server `resource`: with the provider that it
    /// requires, or once more at its upstream.
    pub(crate) async fn wants_sign_in(
        &self,
        user: &User,
        resource: &str,
        now: SystemTime,
    ) -> Result<bool, StoreError> {
        if self.required_provider(resource).is_some_and(|name| name != user.provider)
            || Box::pin(self.admitted(user, resource, now)).await? == Admitted::Stale
        {
            return Ok(true);
        }
        match &self.credentials {
            Some(credentials) => credentials.wants_sign_in(user, resource, now).await,
            None => Ok(false),
        }
    }

    /// The page for a user whom the operator's rules do not let in at the server `resource`, or whose
    /// account the upstream does not let in, if that is so.
    pub(crate) async fn refused_account(
        &self,
        user: &User,
        resource: &str,
        now: SystemTime,
    ) -> Result<Option<Answer>, StoreError> {
        if Box::pin(self.admitted(user, resource, now)).await? == Admitted::No {
            return Ok(Some(faults::not_admitted()));
        }
        let Some(credentials) = &self.credentials else { return Ok(None) };
        let refused = credentials.account_refused(user, now).await?;
        Ok(refused.map(|message| faults::account_refused(self.label(&user.provider), &message)))
    }

    pub(crate) fn provider(&self, name: &str) -> Option<&Arc<dyn IdentityProvider>> {
        self.providers.iter().find(|provider| provider.name() == name)
    }
}

/// The query, if it is not too long.
pub(crate) fn query(request: &Request<Bytes>) -> Option<Params> {
    let query = request.uri().query().unwrap_or_default();
    (query.len() <= MAX_FORM).then(|| Params::parse(query.as_bytes()))
}

/// The form a program sent (RFC 6749 §3.2).
fn form(request: &Request<Bytes>) -> Result<Params, Answer> {
    if !is_media(request, "application/x-www-form-urlencoded") {
        return Err(Answer::bad(
            "invalid_request",
            "the body must be application/x-www-form-urlencoded",
        ));
    }
    if request.body().len() > MAX_FORM {
        return Err(Answer::refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            "invalid_request",
            "the body is too long",
        ));
    }
    Ok(Params::parse(request.body()))
}

/// The form a person sent.
fn page_form(request: &Request<Bytes>) -> Result<Params, Answer> {
    form(request).map_err(|_| faults::bad_form())
}

/// Whether the body is of this media type, parameters aside (RFC 9110 §8.3.1).
pub(crate) fn is_media(request: &Request<Bytes>, media: &str) -> bool {
    let mut types = request.headers().get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (types.next(), types.next()) else { return false };
    let Ok(value) = value.to_str() else { return false };
    value.split(';').next().is_some_and(|own| own.trim().eq_ignore_ascii_case(media))
}
