//! Clients whose identifier is the address of their metadata document.

use std::{
    iter::successors,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, Request, StatusCode,
    header::{ACCEPT, AGE, CACHE_CONTROL},
};
use serde::Deserialize;
use serde_json::Value;
use url::{Host, Url};

use super::{
    client_metadata::{MAX_NAME, MAX_REDIRECTS, is_web},
    fetch::{Fetch, FetchError, FetchLimits},
    limiter::{Limiter, PeerLimiter, Rate},
    reachability::{Failure, Reachability},
    record::{Client, Origin},
    redirect::RedirectPolicy,
};
use crate::{
    cache::{Cache, Span},
    single_flight::{Joined, SingleFlight, Turn},
    unix_time::UnixTime,
};

/// What a document may cost.
const LIMITS: FetchLimits = FetchLimits { max_bytes: 5 * 1024, timeout: Duration::from_secs(5) };
/// How long a good document is kept: what its host says, within these.
const MIN_AGE: Duration = Duration::from_secs(30);
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// When its host says nothing.
const DEFAULT_AGE: Duration = Duration::from_secs(3600);
/// How long a copy serves again after its host did not answer.
const STALE_AGE: Duration = Duration::from_secs(60);
/// How long after it was fetched a document may still serve as such a copy.
const STALE_MEMORY: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many documents are kept.
const CAPACITY: usize = 1000;
/// The longest identifier.
const MAX_ID: usize = 1024;

/// Why a document cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DocumentError {
    /// The identifier is not an address that is fetched. Nothing was fetched.
    #[error("the address is not acceptable")]
    Address,
    /// Too many fetches; nothing was fetched.
    #[error("too many documents are being asked for")]
    TooMany { retry_after: u64 },
    /// It could not be fetched. Why is not told: who asks may have chosen the address to find out
    /// what is there.
    #[error("it cannot be reached from here")]
    Unreachable,
    /// Longer than 5 KiB.
    #[error("it is too long")]
    TooLong,
    /// The host answered with something else than 200.
    #[error("its host answers with status {}", .0.as_u16())]
    Status(StatusCode),
    /// All of its redirect addresses have schemes that are not on the list.
    #[error("this server does not allow the schemes of its redirect_uris: {0}")]
    Schemes(String),
    /// The document breaks a rule.
    #[error("{0}")]
    Invalid(&'static str),
}

impl DocumentError {
    /// Whether nothing was learnt about the document, so that it may be what it was.
    pub(crate) fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable => true,
            Self::Status(status) => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::Address
            | Self::TooMany { .. }
            | Self::TooLong
            | Self::Schemes(_)
            | Self::Invalid(_) => false,
        }
    }
}

/// Fetches, checks and keeps documents.
#[derive(Debug)]
pub(crate) struct Documents {
    fetch: Arc<dyn Fetch>,
    redirects: RedirectPolicy,
    per_peer: PeerLimiter,
    per_host: Limiter<String>,
    total: Limiter<()>,
    fetched: Cache<String, Arc<Client>>,
    /// What documents said when they were fetched last, for when they cannot be.
    stale: Cache<String, Arc<Client>>,
    reachability: Reachability,
    fetches: SingleFlight<String, Result<Arc<Client>, DocumentError>>,
}

impl Documents {
    pub(crate) fn new(
        fetch: Arc<dyn Fetch>,
        redirects: RedirectPolicy,
        (per_peer, per_host, total): (Rate, Rate, Rate),
    ) -> Self {
        Self {
            fetch,
            redirects,
            per_peer: PeerLimiter::new(per_peer, 10_000),
            per_host: Limiter::new(per_host, 10_000),
            total: Limiter::new(total, 1),
            fetched: Cache::new(CAPACITY),
            stale: Cache::new(CAPACITY),
            reachability: Reachability::default(),
            fetches: SingleFlight::new(),
        }
    }

    /// The client at `id`: from what is kept, or by one fetch that all wait for who ask in the
    /// meantime. Those who wait share its outcome, errors included; later ones try anew.
    ///
    /// # Cancel safety
    ///
    /// When the one whose future fetches leaves, another one of those who wait takes over.
    pub(crate) async fn client(
        &self,
        id: &str,
        peer: IpAddr,
        now: SystemTime,
    ) -> Result<Client, DocumentError> {
        let url = address(id).ok_or(DocumentError::Address)?;
        if let Some(client) = self.fetched.get(id, now) {
            return Ok(Client::clone(&client));
        }
        let leader = match self.fetches.join(id) {
            Joined::Leader(leader) => {
                // Another fetch may have ended since the look.
                if let Some(client) = self.fetched.get(id, now) {
                    return Ok(Client::clone(&client));
                }
                // Refused here, it is no outcome for those who wait: what one peer has used up is
                // not theirs.
                let taken = self.per_peer.take(peer, (), now);
                taken.map_err(|retry_after| DocumentError::TooMany { retry_after })?;
                leader
            }
            Joined::Waiter(waiter) => match waiter.turn().await {
                Turn::Lead(leader) => leader,
                Turn::Outcome(outcome) => return outcome.map(|client| Client::clone(&client)),
            },
        };
        let outcome = self.fetch(id, &url, now).await;
        let outcome = match outcome {
            Err(error) if error.is_outage() => self.stale(id, now).ok_or(error),
            other => other,
        };
        leader.complete(outcome.clone());
        outcome.map(|client| Client::clone(&client))
    }

    /// Whether documents can be fetched, as far as is known.
    pub(crate) fn are_reachable(&self) -> bool {
        self.reachability.is_given()
    }

    /// Tries again what failed, if it is time.
    pub(crate) async fn retry(&self, now: SystemTime) {
        for id in self.reachability.take_turn(now) {
            if let Some(url) = address(&id)
                // What comes of it is noted on the way.
                && self.fetch(&id, &url, now).await.is_ok()
            {
                return;
            }
        }
    }

    /// The copy of a document that does not answer. It is good for a while, so that not everybody
    /// waits for the host again.
    fn stale(&self, id: &str, now: SystemTime) -> Option<Arc<Client>> {
        let client = self.stale.get(id, now)?;
        tracing::info!(client = id, "the last copy of a client metadata document is used");
        self.keep(&self.fetched, &client, now, STALE_AGE);
        Some(client)
    }

    fn keep(
        &self,
        cache: &Cache<String, Arc<Client>>,
        client: &Arc<Client>,
        now: SystemTime,
        age: Duration,
    ) {
        let (epoch, span) = (cache.epoch(), Span { from: now, until: now + age });
        cache.insert(client.id.clone(), Arc::clone(client), span, epoch);
    }

    async fn fetch(
        &self,
        id: &str,
        url: &Url,
        now: SystemTime,
    ) -> Result<Arc<Client>, DocumentError> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let too_many = |retry_after| DocumentError::TooMany { retry_after };
        self.per_host.take(host, now).map_err(too_many)?;
        self.total.take((), now).map_err(too_many)?;
        let request = Request::builder()
            .uri(id)
            .header(ACCEPT, "application/json")
            .body(Bytes::new())
            .map_err(|_| DocumentError::Address)?;
        let response = match self.fetch.fetch(request, LIMITS).await {
            Ok(response) => response,
            Err(FetchError::TooLong) => {
                self.reached(now);
                return Err(DocumentError::TooLong);
            }
            Err(error @ (FetchError::Forbidden | FetchError::TimedOut | FetchError::Failed(_))) => {
                self.not_reached(id, &error, now);
                return Err(DocumentError::Unreachable);
            }
        };
        self.reached(now);
        if response.status() != StatusCode::OK {
            return Err(DocumentError::Status(response.status()));
        }
        if response.body().len() > LIMITS.max_bytes {
            return Err(DocumentError::TooLong);
        }
        let client = Arc::new(read(id, response.body(), &self.redirects, now)?);
        self.keep(&self.fetched, &client, now, age(response.headers()));
        self.keep(&self.stale, &client, now, STALE_MEMORY);
        Ok(client)
    }

    fn reached(&self, now: SystemTime) {
        if self.reachability.succeeded(now) {
            tracing::info!("client metadata documents can be fetched again");
        }
    }

    fn not_reached(&self, id: &str, error: &FetchError, now: SystemTime) {
        let cause = causes(error);
        match self.reachability.failed(id, now) {
            Failure::OutageBegins => tracing::warn!(
                client = id,
                %error,
                cause,
                "this server cannot fetch the metadata documents of clients; allow it to connect to \
                 their hosts, or set oauth.client_id_metadata = false"
            ),
            Failure::Single | Failure::OutageGoesOn => {
                tracing::info!(client = id, %error, cause, "client metadata document not fetched");
            }
        }
    }
}

/// What led to `error`, outermost first.
fn causes(error: &dyn std::error::Error) -> String {
    let chain = successors(error.source(), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// `id` as an address that is fetched: https, with a path, spelled as every parser spells it; no
/// user, no fragment, no dot segments; a name and not a number as its host.
fn address(id: &str) -> Option<Url> {
    if id.len() > MAX_ID || !id.starts_with("https://") || id.contains('#') {
        return None;
    }
    let url = Url::parse(id).ok()?;
    // What a parser had to repair (case, default port, blanks, backslashes, dot segments also as
    // %2e) is not the same identifier for everybody.
    let plain = url.as_str() == id
        && url.username().is_empty()
        && url.password().is_none()
        && matches!(url.host(), Some(Host::Domain(_)))
        && url.path() != "/";
    plain.then_some(url)
}

#[derive(Deserialize)]
struct Document {
    client_id: String,
    client_name: Option<String>,
    client_uri: Option<String>,
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: Option<String>,
    client_secret: Option<Value>,
    client_secret_expires_at: Option<Value>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    jwks: Option<Value>,
}

/// The client a document describes.
pub(super) fn read(
    id: &str,
    body: &[u8],
    redirects: &RedirectPolicy,
    now: SystemTime,
) -> Result<Client, DocumentError> {
    use DocumentError::Invalid;

    // Looked at as a whole, since members that are not read may be any bytes to the parser.
    let text = str::from_utf8(body).map_err(|_| Invalid("it is not UTF-8"))?;
    let document: Document = serde_json::from_str(text)
        .map_err(|_| Invalid("it is not a JSON object with client_id and redirect_uris"))?;
    if document.client_id != id {
        return Err(Invalid("its client_id is not its address"));
    }
    if document.client_secret.is_some() || document.client_secret_expires_at.is_some() {
        return Err(Invalid("it contains a client secret"));
    }
    let method = document.token_endpoint_auth_method.as_deref().unwrap_or("none");
    if method != "none" {
        return Err(Invalid("its token_endpoint_auth_method is not supported"));
    }
    if document.jwks.as_ref().is_some_and(has_private_key) {
        return Err(Invalid("it contains a private key"));
    }
    if document.grant_types.as_ref().is_some_and(|all| !has(all, "authorization_code")) {
        return Err(Invalid("it does not use the authorization_code grant"));
    }
    if document.response_types.as_ref().is_some_and(|all| !has(all, "code")) {
        return Err(Invalid("it does not use the response type code"));
    }
    if document.client_name.as_ref().is_some_and(|name| name.chars().count() > MAX_NAME) {
        return Err(Invalid("its client_name is too long"));
    }
    if document.redirect_uris.len() > MAX_REDIRECTS {
        return Err(Invalid("it has too many redirect_uris"));
    }
    let sorted = redirects
        .sort(document.redirect_uris)
        .map_err(|_| Invalid("one of its redirect_uris is not acceptable"))?;
    if sorted.usable.is_empty() {
        return Err(match sorted.unknown() {
            Some(schemes) => DocumentError::Schemes(schemes),
            None => Invalid("it has no redirect_uris"),
        });
    }
    Ok(Client {
        id: id.to_owned(),
        origin: Origin::Document,
        name: document.client_name,
        uri: document.client_uri.filter(|uri| is_web(uri)),
        redirect_uris: sorted.usable,
        secret: None,
        // What is left out means no less here than what we do for everybody.
        refreshes: document.grant_types.is_none_or(|all| has(&all, "refresh_token")),
        created: UnixTime::of(now),
        unused_until: None,
    })
}

fn has(all: &[String], wanted: &str) -> bool {
    all.iter().any(|one| one == wanted)
}

/// A member only private (RFC 7518 §6.2.2, §6.3.2) or symmetric (§6.4) keys have.
fn has_private_key(jwks: &Value) -> bool {
    let keys = jwks.get("keys").and_then(Value::as_array).into_iter().flatten();
    keys.chain([jwks]).any(|key| ["d", "p", "q", "k"].iter().any(|part| key.get(part).is_some()))
}

/// How long the answer may be kept.
fn age(headers: &HeaderMap) -> Duration {
    let mut age = None;
    for line in headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()) {
        for directive in line.split(',').map(str::trim) {
            let directive = directive.to_ascii_lowercase();
            if matches!(directive.as_str(), "no-store" | "no-cache") {
                return MIN_AGE;
            }
            if let Some(seconds) = directive.strip_prefix("max-age=") {
                age = seconds.trim_matches('"').parse().ok().map(Duration::from_secs);
            }
        }
    }
    let spent = headers.get(AGE).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
    age.map_or(DEFAULT_AGE, |age| age.saturating_sub(Duration::from_secs(spent)))
        .clamp(MIN_AGE, MAX_AGE)
}
