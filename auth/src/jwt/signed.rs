//! Whether a JWT is signed by its issuer, and for this time.
//!
//! Keys and the names of algorithms are the `jsonwebtoken` crate's, signatures are verified by `ring`,
//! and the claims are checked here: that crate would ask the system's clock.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;

use super::{Algorithms, claims::Claims, signature};
use crate::{
    UnixTime,
    jwks::{Jwks, KeySet},
    providers::{outgoing::Outage, setup::same_issuer},
};

/// How far the issuer's clock may be off, in either direction.
pub(crate) const LEEWAY: Duration = Duration::from_secs(60);

/// Why a JWT does not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Flaw {
    /// It is not what its issuer signs.
    #[error("the token is not acceptable: {0}")]
    Bad(&'static str),
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// It is for something or somebody else.
    #[error("the token is meant for something else: {0}")]
    Misused(&'static str),
    /// Nothing can be said: its key is unknown and the issuer does not answer.
    #[error("the keys of the issuer are unavailable")]
    Keys(#[source] Outage),
}

/// Verifies the tokens of one issuer.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) issuer: String,
    pub(crate) keys: Jwks,
    pub(crate) algorithms: Algorithms,
    /// The values of `typ` that are accepted, in lower case and without `application/`.
    pub(crate) types: &'static [&'static str],
}

/// What is used of a header (RFC 7515 §4.1), and what is refused when it is there.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// Keys that a token brings along are keys of whoever made it.
    jwk: Option<Value>,
    jku: Option<Value>,
    x5u: Option<Value>,
    /// No extension is understood here, so none may be critical (§4.1.11).
    crit: Option<Value>,
    /// The body of the signed thing is not what it seems (RFC 7797).
    b64: Option<Value>,
    zip: Option<Value>,
}

/// The one claim that is read without a look at the signature.
#[derive(Deserialize)]
struct Peek {
    iss: Option<String>,
}

/// The issuer that a token claims, if it is a JWT at all. It decides whose token this is; it is no
/// reason to believe any of it.
pub(crate) fn claimed_issuer(token: &str) -> Option<String> {
    let (header, payload, _) = parts(token)?;
    let _: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let peek: Peek = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    peek.iss
}

fn parts(token: &str) -> Option<(&str, &str, &str)> {
    let mut parts = token.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(payload), Some(signature), None) => Some((header, payload, signature)),
        _ => None,
    }
}

enum Signature {
    Good(Box<Claims>),
    /// No key verifies it.
    Bad,
    /// There is no key to try.
    NoKey,
}

impl Signed {
    /// The claims of `token`: signed by the issuer with an accepted algorithm, naming it, and within
    /// their time. Whom they are for is the caller's to check.
    pub(crate) async fn claims(&self, token: &str, now: SystemTime) -> Result<Claims, Flaw> {
        let header = self.header(token)?;
        let algorithm = self.algorithms.accepted(&header.alg);
        let algorithm = algorithm.ok_or(Flaw::Bad("its algorithm is not accepted"))?;
        let keys = self.keys.keys(now).await.map_err(Flaw::Keys)?;
        let claims = match verify(token, &header, algorithm, &keys)? {
            Signature::Good(claims) => claims,
            // A key was named and is not this one's: no other set will change that.
            Signature::Bad if header.kid.is_some() => {
                return Err(Flaw::Bad("its signature is wrong"));
            }
            Signature::Bad | Signature::NoKey => {
                let newer: Option<Arc<KeySet>> =
                    self.keys.newer(&keys, now).await.map_err(Flaw::Keys)?;
                let newer = newer.ok_or(Flaw::Bad("its key is unknown"))?;
                match verify(token, &header, algorithm, &newer)? {
                    Signature::Good(claims) => claims,
                    Signature::Bad => return Err(Flaw::Bad("its signature is wrong")),
                    Signature::NoKey => return Err(Flaw::Bad("its key is unknown")),
                }
            }
        };
        if !claims.iss.as_deref().is_some_and(|issuer| same_issuer(issuer, &self.issuer)) {
            return Err(Flaw::Bad("it is of another issuer"));
        }
        in_time(&claims, now)?;
        Ok(*claims)
    }

    fn header(&self, token: &str) -> Result<Header, Flaw> {
        let (header, ..) = parts(token).ok_or(Flaw::Bad("it is no JWT"))?;
        let header =
            URL_SAFE_NO_PAD.decode(header).map_err(|_| Flaw::Bad("its header is broken"))?;
        let header: Header =
            serde_json::from_slice(&header).map_err(|_| Flaw::Bad("its header is broken"))?;
        if header.jwk.is_some() || header.jku.is_some() || header.x5u.is_some() {
            return Err(Flaw::Bad("it brings its own key"));
        }
        if header.crit.is_some() || header.b64.is_some() || header.zip.is_some() {
            return Err(Flaw::Bad("it asks for an extension"));
        }
        if let Some(typ) = &header.typ {
            // RFC 7515 §4.1.9: a media type, whose case does not matter.
            let typ = typ.to_ascii_lowercase();
            let typ = typ.strip_prefix("application/").unwrap_or(&typ);
            if !self.types.contains(&typ) {
                return Err(Flaw::Misused("its type is another one"));
            }
        }
        Ok(header)
    }
}

fn verify(
    token: &str,
    header: &Header,
    algorithm: Algorithm,
    keys: &KeySet,
) -> Result<Signature, Flaw> {
    let (message, signature) = token.rsplit_once('.').ok_or(Flaw::Bad("it is no JWT"))?;
    let mut outcome = Signature::NoKey;
    for key in keys.candidates(header.kid.as_deref(), algorithm) {
        if signature::is_good(algorithm, key, message, signature) {
            // Claims that are broken nevertheless are so with every key.
            let (_, payload, _) = parts(token).ok_or(Flaw::Bad("it is no JWT"))?;
            let payload = URL_SAFE_NO_PAD.decode(payload).ok();
            let claims = payload.and_then(|payload| serde_json::from_slice(&payload).ok());
            return claims.map(Signature::Good).ok_or(Flaw::Bad("its claims are broken"));
        }
        outcome = Signature::Bad;
    }
    Ok(outcome)
}

/// RFC 7519 §4.1.4 to §4.1.6. A clock before 1970 cannot be trusted with a deadline.
fn in_time(claims: &Claims, now: SystemTime) -> Result<(), Flaw> {
    let sane = now.duration_since(SystemTime::UNIX_EPOCH).is_ok();
    let now = UnixTime::of(now);
    let exp = claims.exp.ok_or(Flaw::Bad("it never expires"))?.0;
    if !sane || now.is_past(exp.plus(LEEWAY)) {
        return Err(Flaw::Expired);
    }
    let latest = now.plus(LEEWAY);
    if claims.nbf.is_some_and(|nbf| nbf.0 > latest) {
        return Err(Flaw::Bad("its time has not come"));
    }
    if claims.iat.is_some_and(|iat| iat.0 > latest) {
        return Err(Flaw::Bad("it was made in the future"));
    }
    Ok(())
}
