//! Dynamic client registration (RFC 7591).

use std::{net::IpAddr, time::SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header::WWW_AUTHENTICATE};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Answer, AuthServer, Client, Origin, Registered, Registration, Secret, StoreError,
    client_metadata::{MAX_NAME, MAX_REDIRECTS, is_web},
    page::plain,
    redirect::without_port,
    secret::CLIENT_SECRET,
    server::is_media,
};
use crate::{Bearer, TokenHash, UnixTime};

/// The longest body, in bytes.
const MAX_BODY: usize = 16 * 1024;

/// The metadata that means something here. Everything else may be sent and is ignored
/// (RFC 7591 §2).
#[derive(Debug, Deserialize)]
struct Metadata {
    redirect_uris: Option<Vec<String>>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    client_name: Option<String>,
    client_uri: Option<String>,
    logo_uri: Option<String>,
    tos_uri: Option<String>,
    policy_uri: Option<String>,
    jwks_uri: Option<String>,
    scope: Option<String>,
    software_id: Option<String>,
    software_version: Option<String>,
}

fn bad_metadata(description: &'static str) -> Answer {
    Answer::bad("invalid_client_metadata", description)
}

impl AuthServer {
    pub(crate) async fn register(
        &self,
        request: &Request<Bytes>,
        peer: IpAddr,
        now: SystemTime,
    ) -> Answer {
        if let Err(answer) = self.may_register(request) {
            return answer;
        }
        if let Err(wait) = self.registrations.take(peer, (), now) {
            return Answer::too_many(wait);
        }
        if request.body().len() > MAX_BODY {
            return Answer::refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                "invalid_client_metadata",
                "the metadata is too long",
            );
        }
        if !is_media(request, "application/json") {
            return Answer::refuse(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "invalid_client_metadata",
                "the body must be application/json",
            );
        }
        let Ok(metadata) = serde_json::from_slice::<Metadata>(request.body()) else {
            return bad_metadata("the body is not the JSON object that was expected");
        };
        match self.admit_client(metadata, now).await {
            Ok(answer) | Err(answer) => answer,
        }
    }

    fn may_register(&self, request: &Request<Bytes>) -> Result<(), Answer> {
        let tokens = match &self.config.registration {
            Registration::Open => return Ok(()),
            Registration::Token(tokens) => tokens,
            Registration::Off => {
                return Err(Answer::refuse(
                    StatusCode::FORBIDDEN,
                    "access_denied",
                    "clients cannot register here",
                ));
            }
        };
        let known = Bearer::from_headers(request.headers()).ok().flatten().is_some_and(|bearer| {
            let hash = TokenHash::of(bearer.expose());
            // All of them, so that the time does not tell which one it was.
            tokens.iter().fold(false, |known, own| known | (*own == hash))
        });
        if known {
            return Ok(());
        }
        Err(Answer::refuse(
            StatusCode::UNAUTHORIZED,
            "invalid_token",
            "registration needs an initial access token",
        )
        .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"mcp-broker\"")))
    }

    async fn admit_client(&self, metadata: Metadata, now: SystemTime) -> Result<Answer, Answer> {
        let redirect_uris = self.checked_redirects(&metadata)?;
        let (method, refreshes) = checked_uses(&metadata)?;
        check_texts(&metadata)?;
        let moment = UnixTime::of(now);
        let secret = (method != "none").then(|| self.minter.secret(CLIENT_SECRET));
        let client = Client {
            id: format!("dcr-{}", self.minter.name()),
            origin: Origin::Registration,
            name: metadata.client_name.clone(),
            uri: metadata.client_uri.clone(),
            redirect_uris: redirect_uris.clone(),
            secret: secret.as_ref().map(Secret::hash),
            refreshes,
            created: moment,
            unused_until: Some(moment.plus(self.config.unused_client_ttl)),
        };
        let fingerprint = secret.is_none().then(|| fingerprint(&metadata, &redirect_uris));
        let store_down = |error: StoreError| Answer::store_down(&error);
        // An application that is known does not wait for others that make new ones up.
        let is_known = match &fingerprint {
            Some(own) => self.store.has_fingerprint(own, moment).await.map_err(store_down)?,
            None => false,
        };
        if !is_known {
            self.registrations_total.take((), now).map_err(Answer::too_many)?;
        }
        let registered = self
            .store
            .register_client(client.clone(), fingerprint, self.config.max_unused_clients, moment)
            .await
            .map_err(store_down)?;
        let client = match registered {
            Registered::New => client,
            Registered::Known(known) => *known,
            Registered::Full => {
                return Err(Answer::refuse(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "temporarily_unavailable",
                    "too many clients are waiting for their first use",
                )
                .retry_after(600));
            }
        };
        let mut grant_types = vec!["authorization_code"];
        grant_types.extend(refreshes.then_some("refresh_token"));
        let mut body = json!({
            "client_id": client.id,
            "client_id_issued_at": client.created.0,
            // As they were sent, without those that cannot be used: a known client with other
            // loopback ports means the same ones.
            "redirect_uris": redirect_uris,
            "grant_types": grant_types,
            "response_types": ["code"],
            "token_endpoint_auth_method": method,
        });
        if let Some(name) = &metadata.client_name {
            body["client_name"] = Value::from(name.as_str());
        }
        if let Some(uri) = &metadata.client_uri {
            body["client_uri"] = Value::from(uri.as_str());
        }
        if let Some(scope) = &metadata.scope {
            body["scope"] = Value::from(scope.as_str());
        }
        if let Some(secret) = &secret {
            body["client_secret"] = Value::from(secret.expose());
            body["client_secret_expires_at"] = Value::from(0);
        }
        Ok(Answer::json(StatusCode::CREATED, &body))
    }

    fn checked_redirects(&self, metadata: &Metadata) -> Result<Vec<String>, Answer> {
        let addresses = metadata.redirect_uris.clone().unwrap_or_default();
        if addresses.is_empty() {
            return Err(Answer::bad("invalid_redirect_uri", "redirect_uris is missing"));
        }
        if addresses.len() > MAX_REDIRECTS {
            return Err(Answer::bad("invalid_redirect_uri", "too many redirect_uris"));
        }
        let sorted = self.urls.redirects.sort(addresses);
        let sorted = sorted.map_err(|bad| Answer::bad("invalid_redirect_uri", &bad.to_string()))?;
        if let Some(schemes) = sorted.unknown() {
            tracing::info!(
                client = metadata.client_name.as_deref().map(|name| plain(name, MAX_NAME)),
                %schemes,
                "a client asked for redirect addresses whose schemes are not in \
                 oauth.redirect_schemes; they were left out"
            );
            if sorted.usable.is_empty() {
                let description = format!(
                    "this server allows the scheme of no redirect address ({schemes}); its \
                     operator can add it to oauth.redirect_schemes"
                );
                return Err(Answer::bad("invalid_redirect_uri", &description));
            }
        }
        Ok(sorted.usable)
    }
}

/// The way the client authenticates, and whether it gets refresh tokens.
fn checked_uses(metadata: &Metadata) -> Result<(&'static str, bool), Answer> {
    // RFC 7591 §2 names the default.
    let method = match metadata.token_endpoint_auth_method.as_deref() {
        Some("none") => "none",
        None | Some("client_secret_basic") => "client_secret_basic",
        Some("client_secret_post") => "client_secret_post",
        Some(_) => return Err(bad_metadata("the token_endpoint_auth_method is not supported")),
    };
    let refreshes = match &metadata.grant_types {
        // By RFC 7591 that would mean no refresh token, but clients that leave it away want one.
        None => true,
        Some(types) if !types.iter().any(|own| own == "authorization_code") => {
            return Err(bad_metadata("grant_types must contain authorization_code"));
        }
        Some(types) => types.iter().any(|own| own == "refresh_token"),
    };
    if metadata.response_types.as_ref().is_some_and(|types| !types.iter().any(|own| own == "code"))
    {
        return Err(bad_metadata("response_types must contain code"));
    }
    Ok((method, refreshes))
}

fn check_texts(metadata: &Metadata) -> Result<(), Answer> {
    if metadata.client_name.as_ref().is_some_and(|name| name.chars().count() > MAX_NAME) {
        return Err(bad_metadata("client_name is too long"));
    }
    let uris = [
        &metadata.client_uri,
        &metadata.logo_uri,
        &metadata.tos_uri,
        &metadata.policy_uri,
        &metadata.jwks_uri,
    ];
    if !uris.into_iter().flatten().all(|uri| uri.is_empty() || is_web(uri)) {
        return Err(bad_metadata("an address in the metadata is neither http nor https"));
    }
    Ok(())
}

/// What makes two registrations the same: all that was said, but for loopback ports, which change
/// from start to start and match anyway. Only public clients have one: a secret is not shared.
fn fingerprint(metadata: &Metadata, redirect_uris: &[String]) -> TokenHash {
    let mut addresses: Vec<String> = redirect_uris.iter().map(|uri| without_port(uri)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut grant_types = metadata.grant_types.clone();
    if let Some(types) = &mut grant_types {
        types.sort_unstable();
        types.dedup();
    }
    let said = json!([
        addresses,
        grant_types,
        metadata.client_name,
        metadata.client_uri,
        metadata.scope,
        metadata.software_id,
        metadata.software_version,
    ]);
    TokenHash::of(&said.to_string())
}
