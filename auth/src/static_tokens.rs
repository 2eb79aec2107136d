//! The verifier for tokens that the operator hands out.

use std::{fmt, future::ready, sync::Arc, time::SystemTime};

use crate::{
    accepted::{AcceptedTokens, CacheLimits},
    bearer::Bearer,
    oauth::{Left, RevocationListener, Revoked},
    principal::{Audience, Principal, Scopes},
    token::{PREFIX, TokenHash, TokenRecord},
    unix_time::UnixTime,
    verifier::{BoxFuture, Refusal, TokenVerifier, Verdict, VerifierUnavailable},
};

pub(crate) mod store;

use store::StaticTokenStore;

/// Judges tokens by their records in a store.
///
/// A token without our prefix is another issuer's: abstain. With the prefix it is ours or forged, so
/// it is looked up by its SHA-256 and accepted or refused. The principal has issuer `static`, the
/// record's name as subject, client `static`, every scope, and the record's id as its grant.
///
/// Accepted tokens are remembered, refused ones are not. Tell it of revocations
/// ([`RevocationListener`]), so that they count at once; one that it is not told of counts after
/// [`CacheLimits::max_age`].
pub struct StaticTokens {
    store: Arc<dyn StaticTokenStore>,
    accepted: AcceptedTokens,
}

impl StaticTokens {
    /// The issuer of every principal it accepts.
    pub const ISSUER: &str = "static";

    /// A verifier over `store`.
    #[must_use]
    pub fn new(store: Arc<dyn StaticTokenStore>, limits: CacheLimits) -> Self {
        Self { store, accepted: AcceptedTokens::new(limits) }
    }

    async fn look_up(
        &self,
        hash: TokenHash,
        now: SystemTime,
    ) -> Result<Verdict, VerifierUnavailable> {
        let epoch = self.accepted.epoch();
        let Some(record) =
            self.store.static_token(&hash).await.map_err(VerifierUnavailable::new)?
        else {
            return Ok(Verdict::Refuse(Refusal::Unknown));
        };
        if record.revoked.is_some() {
            return Ok(Verdict::Refuse(Refusal::Revoked));
        }
        if record.expired(now) {
            return Ok(Verdict::Refuse(Refusal::Expired));
        }
        let principal = Principal {
            issuer: Self::ISSUER.into(),
            subject: record.name.into(),
            client: Self::ISSUER.into(),
            scopes: Scopes::everything(),
            audience: Audience::anywhere(),
            grant_id: Some(record.id.into()),
            token_id: None,
            expires: record.expires.and_then(UnixTime::to_system),
        };
        self.accepted.remember(&hash, &principal, record.expires, (epoch, now));
        Ok(Verdict::Accept(principal))
    }
}

impl TokenVerifier for StaticTokens {
    fn name(&self) -> &str {
        "static"
    }

    fn judge<'a>(
        &'a self,
        token: &'a Bearer,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Verdict, VerifierUnavailable>> {
        if !token.expose().starts_with(PREFIX) {
            return Box::pin(ready(Ok(Verdict::Abstain)));
        }
        let hash = TokenHash::of(token.expose());
        match self.accepted.verdict(&hash, now) {
            Some(verdict) => Box::pin(ready(Ok(verdict))),
            None => Box::pin(self.look_up(hash, now)),
        }
    }
}

impl RevocationListener for StaticTokens {
    fn revoked(&self, revoked: &Revoked) {
        self.accepted.forget_grant(&revoked.grant_id);
    }
}

impl From<&TokenRecord> for Revoked {
    /// What ends with the token: everything opened with it, as if there was no other of its name.
    fn from(record: &TokenRecord) -> Self {
        Self {
            issuer: StaticTokens::ISSUER.to_owned(),
            subject: record.name.clone(),
            client: StaticTokens::ISSUER.to_owned(),
            grant_id: record.id.clone(),
            left: Left::Nothing,
        }
    }
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticTokens").field("accepted", &self.accepted).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
