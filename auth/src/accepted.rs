//! Tokens that were accepted, remembered by their hash.

use std::time::{Duration, SystemTime};

use crate::{
    cache::{Cache, Epoch, Span},
    principal::Principal,
    token::{TokenHash, expired},
    unix_time::UnixTime,
    verifier::{Refusal, Verdict},
};

/// How the judgements of [`OAuthTokens`](crate::oauth::OAuthTokens) and
/// [`StaticTokens`](crate::StaticTokens) are kept.
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

/// The tokens that a verifier accepted. Refused ones are not remembered: a flood of forgeries leaves
/// nothing behind. Keys are hashes: how long it takes to find one tells nothing about the token.
#[derive(Debug)]
pub(crate) struct AcceptedTokens {
    max_age: Duration,
    cache: Cache<[u8; 32], Accepted>,
}

#[derive(Clone)]
struct Accepted {
    principal: Principal,
    expires: Option<UnixTime>,
}

impl AcceptedTokens {
    pub(crate) fn new(limits: CacheLimits) -> Self {
        Self { max_age: limits.max_age, cache: Cache::new(limits.max_tokens) }
    }

    /// What is remembered of a token, if that may be relied on.
    pub(crate) fn verdict(&self, hash: &TokenHash, now: SystemTime) -> Option<Verdict> {
        let accepted = self.cache.get(hash.as_bytes(), now)?;
        if expired(accepted.expires, now) {
            return Some(Verdict::Refuse(Refusal::Expired));
        }
        Some(Verdict::Accept(accepted.principal))
    }

    /// To be taken before the look-up of a token.
    pub(crate) fn epoch(&self) -> Epoch {
        self.cache.epoch()
    }

    /// Remembers a token whose look-up began at `now` and `epoch`.
    pub(crate) fn remember(
        &self,
        hash: &TokenHash,
        principal: &Principal,
        expires: Option<UnixTime>,
        (epoch, now): (Epoch, SystemTime),
    ) {
        // A span beyond what a clock can show is not kept.
        let Some(until) = now.checked_add(self.max_age) else { return };
        let accepted = Accepted { principal: principal.clone(), expires };
        self.cache.insert(*hash.as_bytes(), accepted, Span { from: now, until }, epoch);
    }

    /// Forgets the tokens of one grant.
    pub(crate) fn forget_grant(&self, grant_id: &str) {
        self.cache.forget(|own| own.principal.grant_id.as_deref() == Some(grant_id));
    }

    /// Forgets every token.
    pub(crate) fn clear(&self) {
        self.cache.forget(|_| true);
    }
}
