//! The public keys of an issuer (RFC 7517), kept and refreshed.
//!
//! A token may name a key nobody has heard of, and strangers make up such names. So an unknown name
//! leads to at most one request per 10 seconds in total, however many names there are, and nothing
//! is remembered per name. The last good set is used while the issuer does not answer, up to a day.

use std::{fmt, sync::Arc, time::Duration, time::SystemTime};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use crate::{
    oauth::{Fetch, FetchLimits},
    providers::{
        discovery::Discovery,
        outgoing::{Outage, get, json},
    },
};

pub(crate) mod cached;

use cached::{Cached, Policy};

/// What a set of keys may cost. Real ones are a few KiB.
const LIMITS: FetchLimits = FetchLimits { max_bytes: 64 * 1024, timeout: Duration::from_secs(5) };

const POLICY: Policy = Policy {
    fresh: Duration::from_secs(15 * 60),
    keep: Duration::from_secs(24 * 3600),
    pause: Duration::from_secs(10),
    max_pause: Duration::from_secs(10),
};

/// The keys of one issuer.
#[derive(Debug)]
pub(crate) struct Jwks {
    cached: Cached<KeySet>,
}

impl Jwks {
    /// The keys at `address`.
    pub(crate) fn at(address: Url, fetch: Arc<dyn Fetch>) -> Self {
        let cached = Cached::new(POLICY, move |_| {
            let (address, fetch) = (address.clone(), Arc::clone(&fetch));
            Box::pin(async move { load(&*fetch, &address).await })
        });
        Self { cached }
    }

    /// The keys that the issuer's metadata leads to.
    pub(crate) fn discovered(discovery: Arc<Discovery>, fetch: Arc<dyn Fetch>) -> Self {
        let cached = Cached::new(POLICY, move |now| {
            let (discovery, fetch) = (Arc::clone(&discovery), Arc::clone(&fetch));
            Box::pin(async move {
                let metadata = discovery.metadata(now).await?;
                load(&*fetch, &metadata.jwks_uri).await
            })
        });
        Self { cached }
    }

    /// The current set.
    pub(crate) async fn keys(&self, now: SystemTime) -> Result<Arc<KeySet>, Outage> {
        self.cached.get(now).await
    }

    /// Another set than `known`, which lacks a key; `None` when the issuer has no other.
    pub(crate) async fn newer(
        &self,
        known: &Arc<KeySet>,
        now: SystemTime,
    ) -> Result<Option<Arc<KeySet>>, Outage> {
        self.cached.newer(known, now).await
    }
}

async fn load(fetch: &dyn Fetch, address: &Url) -> Result<KeySet, Outage> {
    let response = get(fetch, address, None, "application/jwk-set+json, application/json", LIMITS);
    KeySet::of(json(&response.await?)?)
}

/// Keys that can verify a signature. Everything else in a set is skipped: a key of a kind that is
/// not known yet must not cost the others (RFC 7517 §5).
pub(crate) struct KeySet(Vec<Key>);

struct Key {
    id: Option<String>,
    /// The one algorithm it is for, if the set says so.
    only: Option<Algorithm>,
    kind: Kind,
    key: DecodingKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<Value>,
}

impl KeySet {
    fn of(raw: RawSet) -> Result<Self, Outage> {
        let keys: Vec<_> = raw.keys.into_iter().filter_map(Key::of).collect();
        if keys.is_empty() {
            return Err(Outage::Shape("no key in it can verify a signature"));
        }
        Ok(Self(keys))
    }

    /// The keys that a token with this header may be signed with, at most eight.
    pub(crate) fn candidates(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &DecodingKey> {
        let named = move |key: &&Key| id.is_none() || key.id.as_deref() == id;
        let fits = move |key: &&Key| key.fits(algorithm);
        self.0.iter().filter(named).filter(fits).map(|key| &key.key).take(8)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| (&key.id, key.kind))).finish()
    }
}

impl Key {
    fn of(raw: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(raw).ok()?;
        let signs = |usage: &PublicKeyUse| *usage == PublicKeyUse::Signature;
        if !jwk.common.public_key_use.as_ref().is_none_or(signs) {
            return None;
        }
        let kind = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Kind::Rsa,
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => Kind::P256,
            AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P384 => Kind::P384,
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                Kind::Ed25519
            }
            // A symmetric key in a public place is nobody's secret.
            _ => return None,
        };
        let only = match jwk.common.key_algorithm {
            Some(named) => Some(algorithm(named)?),
            None => None,
        };
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some(Self { id: jwk.common.key_id, only, kind, key })
    }

    /// A key verifies what its kind is for and nothing else: the header of a token does not choose
    /// how a key is used (RFC 8725 §3.1).
    fn fits(&self, algorithm: Algorithm) -> bool {
        let kind = match algorithm {
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 => Kind::Rsa,
            Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512 => Kind::Rsa,
            Algorithm::ES256 => Kind::P256,
            Algorithm::ES384 => Kind::P384,
            Algorithm::EdDSA => Kind::Ed25519,
            // A shared secret, or something new that is not listed among what is accepted.
            _ => return false,
        };
        self.kind == kind && self.only.is_none_or(|only| only == algorithm)
    }
}

fn algorithm(named: KeyAlgorithm) -> Option<Algorithm> {
    Algorithm::try_from(named).ok()
}

#[cfg(test)]
mod tests;
