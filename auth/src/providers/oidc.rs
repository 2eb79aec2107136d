//! Signing in at any OpenID provider.

use std::{error::Error, fmt, sync::Arc, time::SystemTime};

use http::{StatusCode, header::WWW_AUTHENTICATE};
use oauth2::AuthType;
use serde::Deserialize;
use tracing::warn;
use url::Url;

use super::{
    callback,
    discovery::{Discovery, Metadata},
    exchange::{Exchange, by_the_book},
    outgoing::{LIMITS, Outage, get, json},
    scope_words,
    setup::{self, SetupError, same, same_issuer, trimmed},
};
use crate::{
    BoxFuture,
    jwks::Jwks,
    jwt::{Algorithms, Claims, Flaw, Signed, named},
    oauth::{
        Attempt, Begin, Fetch, Identity, IdentityProvider, Params, RenewError, Secret, SignInError,
        TokenStanding, UpstreamCredential,
    },
};

type Cause = Box<dyn Error + Send + Sync>;

/// How to reach an OpenID provider, and as what.
#[derive(Debug, Clone)]
pub struct OidcConfig {
    /// The provider's name, usually [`Oidc::NAME`].
    pub name: String,
    /// What the button says.
    pub label: String,
    /// The issuer. Its metadata are at `{issuer}/.well-known/openid-configuration`; without a
    /// trailing slash it is the issuer of its users.
    pub issuer: String,
    /// The client ID, whose redirect address is `{public_url}/callback/{name}`.
    pub client_id: String,
    /// Its secret; a client without one is public and has PKCE alone.
    pub client_secret: Option<Secret>,
    /// What is asked for. `openid` is put in if it is missing; `profile` gives names,
    /// `offline_access` a refresh token where the provider wants to be asked for one.
    pub scopes: Vec<String>,
    /// How id tokens may be signed.
    pub algorithms: Algorithms,
}

/// Signs people in at an OpenID provider (OpenID Connect Core 1.0, code flow).
///
/// The endpoints come from the provider's metadata (Discovery 1.0), the identity from the signed id
/// token: signature with one of the provider's public keys, issuer, audience, authorized party,
/// time, and nonce are checked. The userinfo endpoint is asked for names alone, and believed only
/// if it speaks of the same `sub`.
pub struct Oidc {
    name: String,
    label: String,
    scopes: Vec<String>,
    discovery: Arc<Discovery>,
    signed: Signed,
    exchange: Exchange,
}

/// Names, and whose.
#[derive(Deserialize)]
struct UserInfo {
    sub: String,
    name: Option<String>,
    preferred_username: Option<String>,
}

/// An answer that is one of a userinfo endpoint.
#[derive(Deserialize)]
struct Subject {
    #[serde(rename = "sub")]
    _sub: String,
}

/// Scopes that name claims (Core §5.4, §11), and the one for refresh tokens.
const CLAIMS: [&str; 7] =
    ["openid", "profile", "email", "address", "phone", "groups", "offline_access"];

impl Oidc {
    /// The usual name.
    pub const NAME: &str = "oidc";

    /// A provider that is reached through `fetch`.
    ///
    /// # Errors
    ///
    /// [`SetupError`] when the configuration cannot be right; nothing was asked yet.
    pub fn new(config: OidcConfig, fetch: Arc<dyn Fetch>) -> Result<Self, SetupError> {
        let base = setup::address("the issuer", &config.issuer)?;
        if let Some(secret) = &config.client_secret {
            setup::filled("the client secret", secret.expose().to_owned())?;
        }
        let word = |scope: &&String| scope.is_empty() || !scope.bytes().all(is_scope_byte);
        if let Some(scope) = config.scopes.iter().find(word) {
            let known = "words without spaces, quotes and commas, one each".into();
            return Err(SetupError::Scope { scope: scope.clone(), known });
        }
        let mut scopes = config.scopes;
        if !scopes.iter().any(|scope| scope == "openid") {
            scopes.insert(0, "openid".into());
        }
        let discovery = Arc::new(Discovery::new(&config.issuer, &base, Arc::clone(&fetch)));
        Ok(Self {
            name: setup::name(config.name)?,
            label: setup::filled("the label", config.label)?,
            scopes,
            signed: Signed {
                issuer: trimmed(&config.issuer).to_owned(),
                keys: Jwks::discovered(Arc::clone(&discovery), Arc::clone(&fetch)),
                algorithms: config.algorithms,
                types: &["jwt"],
            },
            discovery,
            exchange: Exchange {
                fetch,
                client_id: setup::filled("the client id", config.client_id)?,
                client_secret: config.client_secret,
            },
        })
    }

    async fn begin_at(&self, attempt: &Attempt, now: SystemTime) -> Result<Begin, SignInError> {
        let metadata = self.discovery.metadata(now).await.map_err(discovery_failed)?;
        let endpoint = metadata.authorization_endpoint.as_ref();
        let endpoint = endpoint.ok_or_else(|| missing("an authorization endpoint"))?;
        let address = self.exchange.authorize(endpoint, attempt, &self.scopes, true)?;
        Ok(Begin::Redirect(address))
    }

    async fn sign_in(
        &self,
        attempt: &Attempt,
        reply: &Params,
        now: SystemTime,
    ) -> Result<Identity, SignInError> {
        let metadata = self.discovery.metadata(now).await.map_err(discovery_failed)?;
        check_issuer(reply, &metadata)?;
        let code = callback::code(attempt, reply, callback::by_the_book)?;
        let (endpoint, auth) =
            self.token_endpoint(&metadata).map_err(SignInError::Misconfigured)?;
        let tokens = self.exchange.code(endpoint, auth, attempt, code).await;
        let tokens = tokens.map_err(|error| error.sign_in(by_the_book))?;
        let id_token = tokens.id_token.as_ref();
        let id_token = id_token.ok_or_else(|| missing("an id token in the token answer"))?;
        let claims = self.id_token(id_token, attempt, now).await?;
        let subject = claims.sub.as_deref().and_then(named);
        let subject = subject.ok_or_else(|| unacceptable("the id token names nobody"))?.to_string();

        let (mut name, mut username) = (filled(claims.name), filled(claims.preferred_username));
        if (name.is_none() || username.is_none())
            && let Some(endpoint) = &metadata.userinfo_endpoint
            && let Some(info) = self.names(endpoint, &tokens.access_token).await
        {
            // Core §5.3.2: an answer about somebody else must not be used.
            if info.sub != subject {
                return Err(unacceptable("the userinfo endpoint speaks of somebody else"));
            }
            name = name.or(filled(info.name));
            username = username.or(filled(info.preferred_username));
        }
        Ok(Identity {
            issuer: self.signed.issuer.clone(),
            display_name: name.or_else(|| username.clone()).unwrap_or_else(|| subject.clone()),
            subject,
            credential: Some(tokens.credential(now, username, None)),
        })
    }

    /// Core §3.1.3.7, beyond what every signed token has to pass.
    async fn id_token(
        &self,
        id_token: &Secret,
        attempt: &Attempt,
        now: SystemTime,
    ) -> Result<Claims, SignInError> {
        let claims =
            self.signed.claims(id_token.expose(), now).await.map_err(|flaw| match flaw {
                Flaw::Keys(_) => SignInError::Unavailable(Box::new(flaw)),
                Flaw::Bad(_) | Flaw::Expired | Flaw::Misused(_) => {
                    SignInError::Unacceptable(Box::new(flaw))
                }
            })?;
        let client_id = &self.exchange.client_id;
        if !claims.aud.contain(client_id) {
            return Err(unacceptable("the id token is meant for another client"));
        }
        let party = claims.azp.as_deref();
        if party.is_some_and(|party| party != client_id)
            || (party.is_none() && claims.aud.0.len() > 1)
        {
            return Err(unacceptable("the id token was given to another client"));
        }
        if claims.iat.is_none() {
            return Err(unacceptable("the id token does not say when it was made"));
        }
        if !claims.nonce.as_deref().is_some_and(|nonce| same(nonce, attempt.nonce.expose())) {
            return Err(unacceptable("the id token belongs to another attempt"));
        }
        Ok(claims)
    }

    /// Names are worth one question, and no failed sign-in.
    async fn names(&self, endpoint: &Url, access_token: &Secret) -> Option<UserInfo> {
        let fetch = &*self.exchange.fetch;
        let answer = get(fetch, endpoint, Some(access_token), "application/json", LIMITS).await;
        match answer.and_then(|answer| json(&answer)) {
            Ok(info) => Some(info),
            Err(outage) => {
                warn!(provider = %self.name, error = %outage, "no names from userinfo");
                None
            }
        }
    }

    /// Where tokens are, and how the client shows there who it is: with `client_secret_basic`, which
    /// every provider has to take and which is what silence means (Core §9), unless only the other
    /// way is listed.
    fn token_endpoint<'m>(&self, metadata: &'m Metadata) -> Result<(&'m Url, AuthType), Cause> {
        let endpoint = metadata.token_endpoint.as_ref();
        let endpoint = endpoint.ok_or("the provider has no token endpoint")?;
        let lists = |method: &str| {
            metadata.auth_methods.as_ref().is_none_or(|list| list.iter().any(|own| own == method))
        };
        if self.exchange.client_secret.is_none() {
            return Ok((endpoint, AuthType::RequestBody));
        }
        if lists("client_secret_basic") {
            Ok((endpoint, AuthType::BasicAuth))
        } else if lists("client_secret_post") {
            Ok((endpoint, AuthType::RequestBody))
        } else {
            Err("the provider takes no client secret".into())
        }
    }

    async fn exchange_refresh(
        &self,
        refresh_token: &Secret,
        now: SystemTime,
    ) -> Result<UpstreamCredential, RenewError> {
        let metadata = self.discovery.metadata(now).await.map_err(|outage| match outage {
            Outage::Contradiction(_) => RenewError::Misconfigured(Box::new(outage)),
            _ => RenewError::Unavailable(Box::new(outage)),
        })?;
        let (endpoint, auth) = self.token_endpoint(&metadata).map_err(RenewError::Misconfigured)?;
        let tokens = self.exchange.refresh(endpoint, auth, refresh_token).await;
        let tokens = tokens.map_err(|error| error.renew(by_the_book))?;
        Ok(tokens.credential(now, None, Some(refresh_token)))
    }
}

impl Oidc {
    /// Asks the userinfo endpoint (Core §5.3).
    async fn judge(&self, access_token: &Secret, now: SystemTime) -> TokenStanding {
        let unknown = |why: Outage| TokenStanding::Unknown(Box::new(why));
        let metadata = match self.discovery.metadata(now).await {
            Ok(metadata) => metadata,
            Err(outage) => return unknown(outage),
        };
        let Some(endpoint) = &metadata.userinfo_endpoint else {
            return unknown(Outage::Shape("the provider has no userinfo endpoint"));
        };
        let fetch = &*self.exchange.fetch;
        let answer =
            match get(fetch, endpoint, Some(access_token), "application/json", LIMITS).await {
                Ok(answer) => answer,
                Err(outage) => return unknown(outage),
            };
        // RFC 6750 §3.1: only this says that the token is to blame.
        let is_invalid =
            answer.headers().get_all(WWW_AUTHENTICATE).iter().any(|challenge| {
                challenge.to_str().is_ok_and(|text| text.contains("invalid_token"))
            });
        match answer.status() {
            StatusCode::OK => match json::<Subject>(&answer) {
                Ok(_) => TokenStanding::Stands,
                Err(outage) => unknown(outage),
            },
            StatusCode::UNAUTHORIZED if is_invalid => TokenStanding::Dead,
            status => unknown(Outage::Status(status)),
        }
    }
}

impl IdentityProvider for Oidc {
    fn name(&self) -> &str {
        &self.name
    }

    fn label(&self) -> &str {
        &self.label
    }

    fn begin<'a>(
        &'a self,
        attempt: &'a Attempt,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Begin, SignInError>> {
        Box::pin(self.begin_at(attempt, now))
    }

    fn finish<'a>(
        &'a self,
        attempt: &'a Attempt,
        reply: &'a Params,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Identity, SignInError>> {
        Box::pin(self.sign_in(attempt, reply, now))
    }

    fn renew<'a>(
        &'a self,
        refresh_token: &'a Secret,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<UpstreamCredential, RenewError>> {
        Box::pin(self.exchange_refresh(refresh_token, now))
    }

    fn standing<'a>(
        &'a self,
        access_token: &'a Secret,
        now: SystemTime,
    ) -> BoxFuture<'a, TokenStanding> {
        Box::pin(self.judge(access_token, now))
    }

    /// The words of OpenID Connect name claims, and some providers leave them out of their answer or
    /// spell them otherwise; nothing that a server needs depends on them.
    fn missing(&self, granted: &str) -> Vec<String> {
        let names_claims = |word: &str| CLAIMS.contains(&word);
        scope_words::missing(&self.scopes, granted, names_claims, |_, _| false)
    }
}

impl fmt::Debug for Oidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oidc")
            .field("name", &self.name)
            .field("issuer", &self.signed.issuer)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// RFC 9207 §2.4: an answer of another issuer, or one that lacks the promised name, is a mix-up.
fn check_issuer(reply: &Params, metadata: &Metadata) -> Result<(), SignInError> {
    match callback::one(reply, "iss")? {
        Some(issuer) if same_issuer(issuer, &metadata.issuer) => Ok(()),
        Some(_) => Err(unacceptable("the answer is of another issuer")),
        None if metadata.sends_issuer => Err(unacceptable("the answer does not name its issuer")),
        None => Ok(()),
    }
}

fn discovery_failed(outage: Outage) -> SignInError {
    match outage {
        Outage::Contradiction(_) => SignInError::Misconfigured(Box::new(outage)),
        _ => SignInError::Unavailable(Box::new(outage)),
    }
}

fn missing(what: &str) -> SignInError {
    SignInError::Misconfigured(format!("the provider has not got {what}").into())
}

fn unacceptable(why: &'static str) -> SignInError {
    SignInError::Unacceptable(why.into())
}

fn filled(name: Option<String>) -> Option<String> {
    name.filter(|name| !name.is_empty())
}

/// RFC 6749 §3.3, without the comma: a list in one word is a mistake.
fn is_scope_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"\\,".contains(&byte)
}

#[cfg(test)]
mod tests;
