//! Clients whose identifier is the address of their metadata document.

use crate::UnixTime;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, Request, StatusCode,
    header::{ACCEPT, AGE, CACHE_CONTROL},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;
use url::{Host, Url};

use super::{
    BadRedirect, Client, Fetch, FetchError, FetchLimits, Origin, Rate, RedirectPolicy,
    limiter::{Limiter, rate_limit_key},
    registration::{MAX_NAME, MAX_REDIRECTS},
};

/// What a document may cost.
const LIMITS: FetchLimits = FetchLimits { max_bytes: 5 * 1024, timeout: Duration::from_secs(5) };
/// How long a good document is kept: what its host says, within these.
const MIN_AGE: Duration = Duration::from_secs(30);
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// When its host says nothing.
const DEFAULT_AGE: Duration = Duration::from_secs(3600);
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
    /// It could not be fetched.
    #[error("it could not be fetched")]
    Unreachable,
    /// Longer than 5 KiB.
    #[error("it is too long")]
    TooLong,
    /// The host answered with something else than 200.
    #[error("its host did not answer with status 200")]
    Status,
    /// The document breaks a rule.
    #[error("{0}")]
    Invalid(&'static str),
}

type Flight = Arc<OnceCell<Result<Arc<Client>, DocumentError>>>;

/// Fetches, checks and keeps documents.
#[derive(Debug)]
pub(crate) struct Documents {
    fetch: Arc<dyn Fetch>,
    redirects: RedirectPolicy,
    per_peer: Limiter<IpAddr>,
    per_host: Limiter<String>,
    total: Limiter<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: HashMap<String, Kept>,
    flights: HashMap<String, Flight>,
}

#[derive(Debug)]
struct Kept {
    client: Arc<Client>,
    from: SystemTime,
    until: SystemTime,
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
            per_peer: Limiter::new(per_peer, 10_000),
            per_host: Limiter::new(per_host, 10_000),
            total: Limiter::new(total, 1),
            state: Mutex::default(),
        }
    }

    /// The client at `id`: from what is kept, or by one fetch that everybody waits for who asks in
    /// the meantime. Those who wait share its outcome, errors included; later ones try anew.
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
        let flight = {
            let mut state = self.state();
            if let Some(kept) = state.kept.get(id) {
                // A clock that was set back must not keep a document for longer.
                if kept.from <= now && now < kept.until {
                    return Ok(Client::clone(&kept.client));
                }
                state.kept.remove(id);
            }
            // Before there is a fetch that others wait for as well: what one has used up is his
            // own trouble.
            if !state.flights.contains_key(id)
                && let Err(retry_after) = self.per_peer.take(rate_limit_key(peer), now)
            {
                return Err(DocumentError::TooMany { retry_after });
            }
            // Passengers that leave at the same moment may each believe that another one stays.
            if state.flights.len() >= CAPACITY {
                state.flights.retain(|_, flight| Arc::strong_count(flight) > 1);
            }
            Arc::clone(state.flights.entry(id.to_owned()).or_default())
        };
        let _landing = Landing { documents: self, id, flight: &flight };
        let outcome = flight.get_or_init(|| self.fetch(id, &url, now)).await;
        outcome.as_ref().map(|client| Client::clone(client)).map_err(Clone::clone)
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
        let response = self.fetch.fetch(request, LIMITS).await.map_err(|error| {
            tracing::info!(
                client = %url,
                error = &error as &dyn std::error::Error,
                "client metadata document not fetched"
            );
            match error {
                FetchError::TooLong => DocumentError::TooLong,
                FetchError::Forbidden | FetchError::TimedOut | FetchError::Failed(_) => {
                    DocumentError::Unreachable
                }
            }
        })?;
        if response.status() != StatusCode::OK {
            return Err(DocumentError::Status);
        }
        if response.body().len() > LIMITS.max_bytes {
            return Err(DocumentError::TooLong);
        }
        let client = Arc::new(read(id, response.body(), &self.redirects, now)?);
        let until = now + age(response.headers());
        let mut state = self.state();
        if state.kept.len() >= CAPACITY {
            state.kept.retain(|_, kept| now < kept.until);
        }
        if state.kept.len() >= CAPACITY
            && let Some(oldest) =
                state.kept.iter().min_by_key(|(_, kept)| kept.until).map(|(id, _)| id.clone())
        {
            state.kept.remove(&oldest);
        }
        let kept = Kept { client: Arc::clone(&client), from: now, until };
        state.kept.insert(id.to_owned(), kept);
        Ok(client)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a flight for those who come later, whoever of its passengers leaves first once it is over,
/// and the last one who gives it up.
struct Landing<'a> {
    documents: &'a Documents,
    id: &'a str,
    flight: &'a Flight,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        let mut state = self.documents.state();
        let ours = state.flights.get(self.id).is_some_and(|own| Arc::ptr_eq(own, self.flight));
        // Two references: the table's and this passenger's.
        if ours && (self.flight.initialized() || Arc::strong_count(self.flight) <= 2) {
            state.flights.remove(self.id);
        }
    }
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
fn read(
    id: &str,
    body: &[u8],
    redirects: &RedirectPolicy,
    now: SystemTime,
) -> Result<Client, DocumentError> {
    use DocumentError::Invalid;

    let document: Document = serde_json::from_slice(body)
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
    let mut kept = Vec::new();
    for address in document.redirect_uris {
        match redirects.check(&address) {
            Ok(_) => kept.push(address),
            // One document serves many servers; an installed application we do not know does not
            // make its other addresses worse.
            Err(BadRedirect::Scheme) => {}
            Err(_) => return Err(Invalid("one of its redirect_uris is not acceptable")),
        }
    }
    if kept.is_empty() {
        return Err(Invalid("none of its redirect_uris is acceptable"));
    }
    Ok(Client {
        id: id.to_owned(),
        origin: Origin::Document,
        name: document.client_name,
        uri: document.client_uri.filter(|uri| super::registration::is_web(uri)),
        redirect_uris: kept,
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
