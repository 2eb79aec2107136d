//! The verifier of our own access tokens.

use std::{
    collections::HashMap,
    fmt,
    future::ready,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use super::{
    AuthStore, RevocationListener, Revoked,
    secret::{ACCESS, CLIENT_SECRET, CODE, REFRESH},
};
use crate::{
    Audience, Bearer, BoxFuture, Principal, Refusal, Scopes, TokenHash, TokenVerifier, Undecided,
    UnixTime, Verdict,
};

/// How the judgements of [`OAuthTokens`] are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// How many, at most; below 2 nothing is kept. Default 20 000, about 10 MB when full.
    pub max_tokens: usize,
    /// For how long before the store is asked again. Revocations that happen here count at once;
    /// this bounds how long one that happened elsewhere (another broker, the command line) goes
    /// unnoticed. Default 4 seconds.
    pub max_age: Duration,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { max_tokens: 20_000, max_age: Duration::from_secs(4) }
    }
}

/// Judges the access tokens that the [`AuthServer`](super::AuthServer) over the same store issues.
///
/// The principal is (issuer, subject) of the user and the client; its audience is the server the
/// token was asked for, which whoever serves that server checks with
/// [`Verified::meant_for`](crate::Verified::meant_for). A token that begins like one of our other
/// secrets is refused, one that begins otherwise is left to others.
///
/// Accepted tokens are remembered, refused ones are not: a flood of forgeries leaves nothing
/// behind. It must be among the listeners of the authorization server, so that a revocation counts
/// at once.
pub struct OAuthTokens {
    store: Arc<dyn AuthStore>,
    limits: CacheLimits,
    cache: RwLock<Cache>,
}

#[derive(Default)]
struct Cache {
    /// Counts revocations: what was looked up before one must not be kept after it.
    revocations: u64,
    /// Two generations: when the young one is half of the capacity it becomes the old one, and the
    /// former old one goes. Whoever is asked about comes back to the young one. Keys are hashes:
    /// how long it takes to find one tells nothing about the token behind it.
    young: HashMap<[u8; 32], Kept>,
    old: HashMap<[u8; 32], Kept>,
}

#[derive(Clone)]
struct Kept {
    principal: Principal,
    from: SystemTime,
    until: SystemTime,
    expires: UnixTime,
}

impl OAuthTokens {
    /// A verifier over `store`.
    #[must_use]
    pub fn new(store: Arc<dyn AuthStore>, limits: CacheLimits) -> Self {
        Self { store, limits, cache: RwLock::default() }
    }

    /// Forgets every judgement.
    pub fn clear(&self) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache.revocations += 1;
        cache.young.clear();
        cache.old.clear();
    }

    /// What is remembered of a token, if that may be relied on.
    fn remembered(&self, hash: &TokenHash, now: SystemTime) -> Option<Verdict> {
        let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
        let (kept, is_young) = match cache.young.get(hash.as_bytes()) {
            Some(kept) => (kept, true),
            None => (cache.old.get(hash.as_bytes())?, false),
        };
        // A clock that was set back must not prolong what is remembered.
        if now < kept.from || kept.until <= now {
            return None;
        }
        if UnixTime::of(now).is_past(kept.expires) {
            return Some(Verdict::Refuse(Refusal::Expired));
        }
        let verdict = Verdict::Accept(kept.principal.clone());
        if !is_young {
            let (kept, revocations) = (kept.clone(), cache.revocations);
            drop(cache);
            self.remember(hash, kept, revocations);
        }
        Some(verdict)
    }

    fn remember(&self, hash: &TokenHash, kept: Kept, revocations: u64) {
        let half = self.limits.max_tokens / 2;
        if half == 0 {
            return;
        }
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        if cache.revocations != revocations {
            return;
        }
        if cache.young.len() >= half && !cache.young.contains_key(hash.as_bytes()) {
            cache.old = std::mem::take(&mut cache.young);
        }
        cache.young.insert(*hash.as_bytes(), kept);
    }

    async fn look_up(&self, hash: TokenHash, now: SystemTime) -> Result<Verdict, Undecided> {
        let revocations = {
            let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
            cache.revocations
        };
        let Some(token) = self.store.access_token(&hash).await.map_err(Undecided::new)? else {
            return Ok(Verdict::Refuse(Refusal::Unknown));
        };
        if token.revoked || token.grant.revoked.is_some() {
            return Ok(Verdict::Refuse(Refusal::Revoked));
        }
        if UnixTime::of(now).is_past(token.expires) {
            return Ok(Verdict::Refuse(Refusal::Expired));
        }
        let grant = token.grant;
        let principal = Principal {
            issuer: grant.user.issuer.into(),
            subject: grant.user.subject.into(),
            client: grant.client.into(),
            scopes: Scopes::listed(&token.scope),
            audience: Audience::only(grant.resource),
            family: Some(grant.family.into()),
        };
        let kept = Kept {
            principal: principal.clone(),
            from: now,
            until: now + self.limits.max_age,
            expires: token.expires,
        };
        self.remember(&hash, kept, revocations);
        Ok(Verdict::Accept(principal))
    }
}

impl TokenVerifier for OAuthTokens {
    fn name(&self) -> &'static str {
        "oauth"
    }

    fn judge<'a>(
        &'a self,
        token: &'a Bearer,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Verdict, Undecided>> {
        let text = token.expose();
        if !text.starts_with(ACCESS) {
            let ours = [REFRESH, CODE, CLIENT_SECRET].iter().any(|own| text.starts_with(own));
            let verdict =
                if ours { Verdict::Refuse(Refusal::WrongAudience) } else { Verdict::Abstain };
            return Box::pin(ready(Ok(verdict)));
        }
        let hash = TokenHash::of(text);
        match self.remembered(&hash, now) {
            Some(verdict) => Box::pin(ready(Ok(verdict))),
            None => Box::pin(self.look_up(hash, now)),
        }
    }
}

impl RevocationListener for OAuthTokens {
    fn revoked(&self, revoked: &Revoked) {
        self.access_revoked(&revoked.family);
    }

    fn access_revoked(&self, family: &str) {
        let mut cache = self.cache.write().unwrap_or_else(PoisonError::into_inner);
        cache.revocations += 1;
        let other = |kept: &Kept| kept.principal.family.as_deref() != Some(family);
        cache.young.retain(|_, kept| other(kept));
        cache.old.retain(|_, kept| other(kept));
    }
}

impl fmt::Debug for OAuthTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("OAuthTokens")
            .field("limits", &self.limits)
            .field("kept", &(cache.young.len() + cache.old.len()))
            .finish_non_exhaustive()
    }
}
