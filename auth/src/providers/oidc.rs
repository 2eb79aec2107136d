//! Signing in at any OpenID provider.

use std::{sync::Arc, time::SystemTime};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{StatusCode, header::WWW_AUTHENTICATE};
use oauth2::AuthType;
use serde::Deserialize;
use serde_json::{Map, Value};
use tracing::warn;
use url::Url;

use super::{
    callback,
    code_flow::{CodeFlowProvider, Dialect, Person, sign_in_failed, unacceptable},
    discovery::{Discovery, Metadata},
    exchange::{Exchange, Tokens},
    outgoing::{LIMITS, Outage, get, json},
    scope_words,
    setup::{self, SetupError, same, same_issuer, trimmed},
};
use crate::{
    admission::{Facts, Wanted},
    jwks::Jwks,
    jwt::{Algorithms, Claims, Flaw, Signed, named},
    oauth::{Attempt, Fetch, Params, Secret, SignInError, TokenStanding},
};

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
pub type Oidc = CodeFlowProvider<OidcDialect>;

/// The ways of OpenID Connect.
#[derive(Debug)]
pub struct OidcDialect {
    discovery: Arc<Discovery>,
    signed: Signed,
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
        let signed = Signed {
            issuer: trimmed(&config.issuer).to_owned(),
            keys: Jwks::discovered(Arc::clone(&discovery), Arc::clone(&fetch)),
            algorithms: config.algorithms,
            types: &["jwt"],
        };
        let (names, client) =
            ((config.name, config.label), (config.client_id, config.client_secret));
        Self::assemble(names, client, scopes, OidcDialect { discovery, signed }, fetch)
    }
}

impl OidcDialect {
    /// Core §3.1.3.7, beyond what every signed token has to pass.
    async fn id_token(
        &self,
        id_token: &Secret,
        client_id: &str,
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
}

impl OidcDialect {
    /// What the userinfo endpoint says (Core §5.3.2).
    async fn user_info(
        &self,
        exchange: &Exchange,
        endpoint: &Url,
        access_token: &Secret,
    ) -> Result<Map<String, Value>, Outage> {
        let token = Some(access_token);
        json(&get(&*exchange.fetch, endpoint, token, "application/json", LIMITS).await?)
    }
}

/// The claims of an id token that was judged already.
fn payload(id_token: &str) -> Map<String, Value> {
    let part = id_token.split('.').nth(1).unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn person(subject: String, said: &Map<String, Value>, wanted: &Wanted) -> Person {
    let text = |name| said.get(name).and_then(Value::as_str).map(str::to_owned);
    let facts = Facts::of_claims(said, wanted, None);
    Person::new(subject, [text("name"), text("preferred_username")], facts)
}

impl Dialect for OidcDialect {
    const TAKES_NONCE: bool = true;

    fn issuer(&self) -> &str {
        &self.signed.issuer
    }

    async fn authorization(&self, now: SystemTime) -> Result<Url, Outage> {
        let endpoint = self.discovery.metadata(now).await?.authorization_endpoint.clone();
        endpoint.ok_or(Outage::Contradiction("the provider has no authorization endpoint"))
    }

    /// With `client_secret_basic`, which every provider has to take and which is what silence means
    /// (Core §9), unless only the other way is listed.
    async fn token(&self, exchange: &Exchange, now: SystemTime) -> Result<(Url, AuthType), Outage> {
        let metadata = self.discovery.metadata(now).await?;
        let endpoint = metadata.token_endpoint.clone();
        let endpoint =
            endpoint.ok_or(Outage::Contradiction("the provider has no token endpoint"))?;
        let lists = |method: &str| {
            metadata.auth_methods.as_ref().is_none_or(|list| list.iter().any(|own| own == method))
        };
        let auth = if exchange.client_secret.is_none() {
            AuthType::RequestBody
        } else if lists("client_secret_basic") {
            AuthType::BasicAuth
        } else if lists("client_secret_post") {
            AuthType::RequestBody
        } else {
            return Err(Outage::Contradiction("the provider takes no client secret"));
        };
        Ok((endpoint, auth))
    }

    async fn code<'r>(
        &'r self,
        attempt: &'r Attempt,
        reply: &'r Params,
        now: SystemTime,
    ) -> Result<&'r str, SignInError> {
        let metadata = self.discovery.metadata(now).await.map_err(sign_in_failed)?;
        check_issuer(reply, &metadata)?;
        callback::code(attempt, reply)
    }

    async fn person(
        &self,
        exchange: &Exchange,
        tokens: &Tokens,
        attempt: &Attempt,
        now: SystemTime,
    ) -> Result<Person, SignInError> {
        let no_id_token = Outage::Contradiction("there is no id token in the token answer");
        let id_token = tokens.id_token.as_ref().ok_or_else(|| sign_in_failed(no_id_token))?;
        let claims = self.id_token(id_token, &exchange.client_id, attempt, now).await?;
        let subject = claims.sub.as_deref().and_then(named);
        let subject =
            subject.ok_or_else(|| unacceptable("the id token has no subject"))?.to_string();
        let mut said = payload(id_token.expose());
        let metadata = self.discovery.metadata(now).await.map_err(sign_in_failed)?;
        let is_missing =
            |name: &str| said.get(name).and_then(Value::as_str).is_none_or(str::is_empty);
        let wanted = &attempt.wanted;
        let asks_more = is_missing("name")
            || is_missing("preferred_username")
            || (wanted.groups && !said.contains_key("groups"))
            || (wanted.mails && !said.contains_key("email"))
            || wanted.claims.iter().any(|name| !said.contains_key(name));
        if asks_more && let Some(endpoint) = &metadata.userinfo_endpoint {
            match self.user_info(exchange, endpoint, &tokens.access_token).await {
                // Core §5.3.2: an answer about another subject must not be used.
                Ok(info) if info.get("sub").and_then(Value::as_str) != Some(&subject) => {
                    return Err(unacceptable(
                        "the subject of the userinfo answer is not that of the id token",
                    ));
                }
                // What is signed comes first, and an address with its own flag.
                Ok(info) => {
                    let has_mail = said.contains_key("email");
                    for (name, value) in info {
                        let is_of_mail = name == "email" || name == "email_verified";
                        let is_empty = said.get(&name).is_none_or(|own| own == "");
                        if is_empty && !(is_of_mail && has_mail) {
                            said.insert(name, value);
                        }
                    }
                }
                // Names are worth one question, and no failed sign-in.
                Err(outage) => {
                    warn!(issuer = %self.signed.issuer, error = %outage, "no names from userinfo");
                }
            }
        }
        Ok(person(subject, &said, wanted))
    }

    /// The userinfo endpoint alone is asked; it speaks of the bearer.
    async fn look_up(
        &self,
        exchange: &Exchange,
        access_token: &Secret,
        wanted: &Wanted,
        now: SystemTime,
    ) -> Result<Option<Person>, SignInError> {
        let metadata = self.discovery.metadata(now).await.map_err(sign_in_failed)?;
        let Some(endpoint) = &metadata.userinfo_endpoint else { return Ok(None) };
        let said = self.user_info(exchange, endpoint, access_token).await;
        let said = said.map_err(sign_in_failed)?;
        let subject =
            said.get("sub").and_then(Value::as_str).and_then(named).map(|own| own.to_string());
        Ok(subject.map(|subject| person(subject, &said, wanted)))
    }

    /// Asks the userinfo endpoint (Core §5.3).
    async fn standing(
        &self,
        exchange: &Exchange,
        token: &Secret,
        now: SystemTime,
    ) -> Result<TokenStanding, Outage> {
        let metadata = self.discovery.metadata(now).await?;
        let endpoint = metadata.userinfo_endpoint.as_ref();
        let endpoint = endpoint.ok_or(Outage::Shape("the provider has no userinfo endpoint"))?;
        let answer =
            get(&*exchange.fetch, endpoint, Some(token), "application/json", LIMITS).await?;
        // RFC 6750 §3.1: only this says that the token is to blame.
        let is_invalid =
            answer.headers().get_all(WWW_AUTHENTICATE).iter().any(|challenge| {
                challenge.to_str().is_ok_and(|text| text.contains("invalid_token"))
            });
        match answer.status() {
            StatusCode::OK => json::<Subject>(&answer).map(|_| TokenStanding::Stands),
            StatusCode::UNAUTHORIZED if is_invalid => Ok(TokenStanding::Dead),
            status => Err(Outage::Status(status)),
        }
    }

    /// The words of OpenID Connect name claims, and some providers leave them out of their answer or
    /// spell them otherwise; nothing that a server needs depends on them.
    fn missing(&self, asked: &[String], granted: &str) -> Vec<String> {
        scope_words::missing(asked, granted, |word| CLAIMS.contains(&word), |_, _| false)
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

/// RFC 6749 §3.3, without the comma: a list in one word is a mistake.
fn is_scope_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"\\,".contains(&byte)
}

#[cfg(test)]
mod tests;
