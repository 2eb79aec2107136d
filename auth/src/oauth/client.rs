//! Which client is it, and can it prove that?

use crate::{UnixTime, cache::Span};
use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{
    HeaderValue, Request, StatusCode,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use url::form_urlencoded;

use super::{
    Answer, AuthServer, Client, Origin, Params, Secret, StoreError, document::DocumentError,
};

/// Why a client identifier leads to no client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("the client is unknown")]
    Unknown,
    #[error("the client's metadata document cannot be used")]
    Document(#[source] DocumentError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A client at one of the endpoints for programs.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) id: String,
    /// Whether it proved itself with a secret.
    pub(crate) proven: bool,
    pub(crate) refreshes: bool,
    pub(crate) origin: Origin,
}

impl Caller {
    /// Whether it may ask what tokens of others are worth: one that the operator made, and that has
    /// shown its secret. For all others the answer would be an oracle.
    pub(crate) fn introspects(&self) -> bool {
        self.proven && self.origin == Origin::Operator
    }
}

/// How long the store's word counts on whether anybody may introspect.
const INTROSPECTORS_AGE: Duration = Duration::from_secs(10);

impl AuthServer {
    /// Whether there is anybody who may introspect. While the store cannot be asked there is nobody
    /// who could be recognised.
    pub(crate) async fn has_introspectors(&self, now: SystemTime) -> bool {
        if self.config.clients.iter().any(|client| !client.is_public()) {
            return true;
        }
        if let Some(known) = self.introspects.get(&(), now) {
            return known;
        }
        let epoch = self.introspects.epoch();
        let Ok(found) = self.store.has_confidential_client().await else { return false };
        let span = Span { from: now, until: now + INTROSPECTORS_AGE };
        self.introspects.insert((), found, span, epoch);
        found
    }

    /// The client called `id`, with its metadata document fetched if it has one.
    pub(crate) async fn find_client(
        &self,
        id: &str,
        peer: IpAddr,
        now: SystemTime,
    ) -> Result<Client, ClientError> {
        if id.starts_with("https://") {
            let documents = self.documents.as_ref().ok_or(ClientError::Unknown)?;
            return documents.client(id, peer, now).await.map_err(ClientError::Document);
        }
        self.known_client(id, now).await?.ok_or(ClientError::Unknown)
    }

    /// The client called `id`, if the operator or the store knows it.
    async fn known_client(&self, id: &str, now: SystemTime) -> Result<Option<Client>, StoreError> {
        if let Some(client) = self.config.clients.iter().find(|client| client.id == id) {
            return Ok(Some(client.clone()));
        }
        if id.len() > 256 {
            return Ok(None);
        }
        self.store.client(id, UnixTime::of(now)).await
    }

    /// Who calls the token, revocation or introspection endpoint (RFC 6749 §2.3, OAuth 2.1 §2.4):
    /// Basic or a secret in the form, not both; public clients only name themselves.
    pub(crate) async fn caller(
        &self,
        request: &Request<Bytes>,
        form: &Params,
        now: SystemTime,
    ) -> Result<Caller, Answer> {
        let repeated = |_| Answer::bad("invalid_request", "a parameter is repeated");
        let named = form.one("client_id").map_err(repeated)?;
        let posted = form.one("client_secret").map_err(repeated)?;
        let basic = basic(request)?;
        let by_header = basic.is_some();
        let (id, secret) = match (basic, posted) {
            (Some(_), Some(_)) => {
                return Err(Answer::bad(
                    "invalid_request",
                    "use one way of client authentication, not two",
                ));
            }
            (Some((id, secret)), None) => {
                if named.is_some_and(|named| named != id) {
                    return Err(Answer::bad(
                        "invalid_request",
                        "client_id differs from the authorization header",
                    ));
                }
                (id, Some(secret).filter(|secret| !secret.expose().is_empty()))
            }
            (None, posted) => {
                let id = named.ok_or_else(|| invalid_client(false, "client_id is missing"))?;
                (id.to_owned(), posted.map(Secret::new))
            }
        };
        // A client that is an address is public, and what it may redeem is bound to its identifier:
        // its document has nothing more to say here, so this leg depends on nobody else's server.
        if id.starts_with("https://") {
            if self.documents.is_none() || secret.is_some() {
                return Err(invalid_client(by_header, "the client cannot be authenticated"));
            }
            return Ok(Caller { id, proven: false, refreshes: true, origin: Origin::Document });
        }
        let client = self
            .known_client(&id, now)
            .await
            .map_err(|error| Answer::store_down(&error))?
            .ok_or_else(|| invalid_client(by_header, "the client is unknown"))?;
        let proven = match (&client.secret, secret) {
            (None, None) => false,
            // Compared as hashes, in constant time.
            (Some(expected), Some(secret)) if *expected == secret.hash() => true,
            _ => return Err(invalid_client(by_header, "the client cannot be authenticated")),
        };
        Ok(Caller { id, proven, refreshes: client.refreshes, origin: client.origin })
    }
}

impl Client {
    /// A public client the operator wrote down.
    #[must_use]
    pub fn public(id: impl Into<String>, redirect_uris: Vec<String>) -> Self {
        Self {
            id: id.into(),
            origin: Origin::Operator,
            name: None,
            uri: None,
            redirect_uris,
            secret: None,
            refreshes: true,
            created: UnixTime::default(),
            unused_until: None,
        }
    }

    /// The same with a secret, of which only the hash is kept.
    #[must_use]
    pub fn confidential(
        id: impl Into<String>,
        secret: &Secret,
        redirect_uris: Vec<String>,
    ) -> Self {
        Self { secret: Some(secret.hash()), ..Self::public(id, redirect_uris) }
    }

    /// What it calls itself, or else what it is called: never empty.
    #[must_use]
    pub fn display_name(&self) -> String {
        let name = self.name.as_deref().map(|name| super::page::plain(name, 200));
        match name.filter(|name| !name.is_empty()) {
            Some(name) => name,
            None if self.origin == Origin::Document => super::redirect::shown(&self.id),
            None if self.origin == Origin::Operator => self.id.clone(),
            None => "An application".into(),
        }
    }
}

/// 401, or what RFC 6749 §5.2 asks for when the header was used: with a challenge.
pub(crate) fn invalid_client(by_header: bool, description: &str) -> Answer {
    let answer = Answer::refuse(StatusCode::UNAUTHORIZED, "invalid_client", description);
    if by_header {
        return answer
            .with(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"mcp-broker\""));
    }
    answer
}

/// Identifier and secret from a Basic header: base64 of two form-encoded texts (RFC 6749 §2.3.1).
fn basic(request: &Request<Bytes>) -> Result<Option<(String, Secret)>, Answer> {
    let mut values = request.headers().get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Answer::bad("invalid_request", "more than one authorization header"));
    }
    let malformed = || invalid_client(true, "the authorization header cannot be read");
    let value = value.to_str().map_err(|_| malformed())?;
    let (scheme, encoded) = value.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed());
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim()).map_err(|_| malformed())?;
    let decoded = zeroize::Zeroizing::new(String::from_utf8(decoded).map_err(|_| malformed())?);
    let (id, secret) = decoded.split_once(':').ok_or_else(malformed)?;
    Ok(Some((form_decoded(id), Secret::new(form_decoded(secret)))))
}

fn form_decoded(text: &str) -> String {
    // A bare text is a form of one name without a value; what would split it is encoded.
    if text.contains(['&', '=']) {
        return text.to_owned();
    }
    form_urlencoded::parse(text.as_bytes())
        .next()
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basic_header_carries_two_form_encoded_texts() {
        let request = |value: &str| {
            Request::builder().header(AUTHORIZATION, value).body(Bytes::new()).unwrap()
        };
        let encoded = BASE64_STANDARD.encode("a%3Ab:s%20%2B+c");
        let (id, secret) = basic(&request(&format!("bAsIc {encoded}"))).unwrap().unwrap();
        assert_eq!((id.as_str(), secret.expose()), ("a:b", "s + c"));
        for bad in ["Basic", "Basic %%%", "Bearer x", "Basic YWJj"] {
            let answer = basic(&request(bad)).unwrap_err();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{bad}");
        }
    }
}
