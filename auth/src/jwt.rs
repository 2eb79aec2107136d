//! The verifier for access tokens that somebody else signed (RFC 9068, and what came before it).

use std::{fmt, sync::Arc, time::SystemTime};

use tracing::debug;

mod algorithms;
mod audience;
mod claims;
mod signature;
mod signed;

pub use algorithms::Algorithms;
pub use audience::AudienceRule;
pub(crate) use claims::{Claims, Date, Words};
pub(crate) use signed::{Flaw, LEEWAY, Signed};

use crate::{
    Bearer, BoxFuture, Principal, Refusal, Scopes, SetupError, TokenVerifier, Verdict,
    VerifierUnavailable,
    jwks::Jwks,
    oauth::Fetch,
    providers::{
        discovery::Discovery,
        setup::{self, same_issuer, trimmed},
    },
};

/// The client of tokens that name none.
pub(crate) const UNNAMED_CLIENT: &str = "unnamed";
/// The longest subject or client, in bytes.
const MAX_NAME: usize = 255;

/// Whose tokens are accepted, and which of them.
#[derive(Debug, Clone)]
pub struct JwtConfig {
    /// The verifier's name: [`JwtTokens::NAME`], or another word where there are several issuers.
    pub name: String,
    /// The issuer. Without a trailing slash it is the issuer of the principals.
    pub issuer: String,
    /// Where its keys are.
    pub keys: KeySource,
    /// The audiences that are accepted, at least one; the first that a token has decides where it
    /// may be used. Without this check any token of the issuer would do, one for a game included.
    pub audiences: Vec<AudienceRule>,
    /// The signature algorithms that are accepted.
    pub algorithms: Algorithms,
    /// A scope that every token must have.
    pub required_scope: Option<String>,
}

/// Where the keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// Where its OpenID metadata say.
    Discovered,
    /// At this address.
    At(String),
}

/// Judges access tokens in the form of JWTs against the issuer's public keys.
///
/// What is no JWT, or names another issuer, is left to others. Everything else is this issuer's or
/// forged: accepted or refused, or, when its key is unknown and the issuer does not answer, not
/// judged. Nothing is remembered of a token.
///
/// The principal is (issuer, `sub`) and the client (`client_id`, or `azp`, or `unnamed`), with the
/// scopes of `scope` or `scp`. A token that must be shown together with a key (`cnf`, RFC 7800) is
/// refused: nobody here asks for that key.
pub struct JwtTokens {
    name: String,
    issuer: Arc<str>,
    signed: Signed,
    audiences: Vec<AudienceRule>,
    required_scope: Option<String>,
}

impl JwtTokens {
    /// The usual name.
    pub const NAME: &str = "jwt";

    /// A verifier that asks for keys through `fetch`.
    ///
    /// # Errors
    ///
    /// [`SetupError`] when the configuration cannot be right; nothing was asked yet.
    pub fn new(config: JwtConfig, fetch: Arc<dyn Fetch>) -> Result<Self, SetupError> {
        let base = setup::address("the issuer", &config.issuer)?;
        if config.audiences.is_empty() {
            return Err(SetupError::Empty { what: "the list of audiences" });
        }
        let keys = match &config.keys {
            KeySource::At(address) => {
                Jwks::at(setup::address("the keys' address", address)?, fetch)
            }
            KeySource::Discovered => {
                let discovery = Discovery::new(&config.issuer, &base, Arc::clone(&fetch));
                Jwks::discovered(Arc::new(discovery), fetch)
            }
        };
        let issuer = trimmed(&config.issuer);
        Ok(Self {
            name: setup::name(config.name)?,
            issuer: issuer.into(),
            signed: Signed {
                issuer: issuer.to_owned(),
                keys,
                algorithms: config.algorithms,
                types: &["jwt", "at+jwt"],
            },
            audiences: config.audiences,
            required_scope: config.required_scope,
        })
    }

    async fn verdict(
        &self,
        token: &Bearer,
        now: SystemTime,
    ) -> Result<Verdict, VerifierUnavailable> {
        let claimed = signed::claimed_issuer(token.expose());
        if !claimed.is_some_and(|issuer| same_issuer(&issuer, &self.issuer)) {
            return Ok(Verdict::Abstain);
        }
        let claims = self.signed.claims(token.expose(), now).await;
        match claims.and_then(|claims| self.principal(&claims)) {
            Ok(principal) => Ok(Verdict::Accept(principal)),
            Err(Flaw::Keys(outage)) => Err(VerifierUnavailable::new(outage)),
            Err(flaw) => {
                debug!(issuer = %self.issuer, %flaw, "token refused");
                Ok(Verdict::Refuse(match flaw {
                    Flaw::Expired => Refusal::Expired,
                    Flaw::Misused(_) => Refusal::WrongAudience,
                    Flaw::Bad(_) | Flaw::Keys(_) => Refusal::Unknown,
                }))
            }
        }
    }

    fn principal(&self, claims: &Claims) -> Result<Principal, Flaw> {
        if claims.cnf.is_some() {
            return Err(Flaw::Misused("it is bound to a key"));
        }
        // An id token says who signed in; it does not allow anything.
        if claims.nonce.is_some() {
            return Err(Flaw::Misused("it is an id token"));
        }
        let audience = AudienceRule::first(&self.audiences, |claim| claims.aud.contain(claim));
        let audience = audience.ok_or(Flaw::Misused("its audience is another one"))?;
        let scopes = Scopes::listed(&claims.granted());
        if !self.required_scope.as_deref().is_none_or(|scope| scopes.cover(scope)) {
            return Err(Flaw::Misused("it lacks the required scope"));
        }
        let client = claims.client_id.as_deref().or(claims.azp.as_deref());
        Ok(Principal {
            issuer: Arc::clone(&self.issuer),
            subject: claims.sub.as_deref().and_then(named).ok_or(Flaw::Bad("it has no subject"))?,
            client: match client {
                Some(client) => named(client).ok_or(Flaw::Bad("its client has no name"))?,
                None => UNNAMED_CLIENT.into(),
            },
            scopes,
            audience,
            grant_id: None,
            token_id: None,
            expires: claims.exp.and_then(|exp| exp.0.plus(LEEWAY).to_system()),
        })
    }
}

/// A name that can be half of a key: there, not too long, and without control characters.
pub(crate) fn named(name: &str) -> Option<Arc<str>> {
    let fine = !name.is_empty() && name.len() <= MAX_NAME && !name.contains(char::is_control);
    fine.then(|| name.into())
}

impl TokenVerifier for JwtTokens {
    fn name(&self) -> &str {
        &self.name
    }

    fn judge<'a>(
        &'a self,
        token: &'a Bearer,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Verdict, VerifierUnavailable>> {
        Box::pin(self.verdict(token, now))
    }
}

impl fmt::Debug for JwtTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtTokens")
            .field("name", &self.name)
            .field("issuer", &self.issuer)
            .field("audiences", &self.audiences)
            .field("required_scope", &self.required_scope)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod signer;
#[cfg(test)]
mod tests;
