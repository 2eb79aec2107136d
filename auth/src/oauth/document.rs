//! Clients whose identifier is the address of their metadata document.

use std::{
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
    limiter::{Limiter, Rate, rate_limit_key},
    record::{Client, Origin},
    redirect::{BadRedirect, RedirectPolicy},
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

/// Fetches, checks and keeps documents.
#[derive(Debug)]
pub(crate) struct Documents {
    fetch: Arc<dyn Fetch>,
    redirects: RedirectPolicy,
    per_peer: Limiter<IpAddr>,
    per_host: Limiter<String>,
    total: Limiter<()>,
    fetched: Cache<String, Arc<Client>>,
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
            per_peer: Limiter::new(per_peer, 10_000),
            per_host: Limiter::new(per_host, 10_000),
            total: Limiter::new(total, 1),
            fetched: Cache::new(CAPACITY),
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
                let taken = self.per_peer.take(rate_limit_key(peer), now);
                taken.map_err(|retry_after| DocumentError::TooMany { retry_after })?;
                leader
            }
            Joined::Waiter(waiter) => match waiter.turn().await {
                Turn::Lead(leader) => leader,
                Turn::Outcome(outcome) => return outcome.map(|client| Client::clone(&client)),
            },
        };
        let outcome = self.fetch(id, &url, now).await;
        leader.complete(outcome.clone());
        outcome.map(|client| Client::clone(&client))
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
        let (epoch, span) = (self.fetched.epoch(), Span { from: now, until });
        self.fetched.insert(id.to_owned(), Arc::clone(&client), span, epoch);
        Ok(client)
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
        uri: document.client_uri.filter(|uri| is_web(uri)),
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
