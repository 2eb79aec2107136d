//! The verifier of our own access tokens.

use std::{fmt, future::ready, sync::Arc, time::SystemTime};

use super::{
    User,
    revoked::{RevocationListener, Revoked},
    secret::{ACCESS, CLIENT_SECRET, CODE, REFRESH},
    store::AuthStore,
};
use crate::{
    accepted::{AcceptedTokens, CacheLimits},
    bearer::Bearer,
    principal::{Audience, Principal, Scopes},
    token::TokenHash,
    unix_time::UnixTime,
    verifier::{BoxFuture, Refusal, TokenVerifier, Verdict, VerifierUnavailable},
};

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
    accepted: AcceptedTokens,
}

impl OAuthTokens {
    /// A verifier over `store`.
    #[must_use]
    pub fn new(store: Arc<dyn AuthStore>, limits: CacheLimits) -> Self {
        Self { store, accepted: AcceptedTokens::new(limits) }
    }

    /// Forgets every judgement.
    pub fn clear(&self) {
        self.accepted.clear();
    }

    async fn look_up(
        &self,
        hash: TokenHash,
        now: SystemTime,
    ) -> Result<Verdict, VerifierUnavailable> {
        let epoch = self.accepted.epoch();
        let Some(token) = self.store.access_token(&hash).await.map_err(VerifierUnavailable::new)?
        else {
            return Ok(Verdict::Refuse(Refusal::Unknown));
        };
        if token.revoked || token.grant.revoked.is_some() {
            let User { issuer, subject, .. } = &token.grant.user;
            let blocked = self.store.is_blocked(issuer, subject).await;
            let is_blocked = blocked.map_err(VerifierUnavailable::new)?;
            let refusal = if is_blocked { Refusal::Blocked } else { Refusal::Revoked };
            return Ok(Verdict::Refuse(refusal));
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
            grant_id: Some(grant.grant_id.into()),
            token_id: Some(token_id(&hash).into()),
            expires: token.expires.to_system(),
        };
        self.accepted.remember(&hash, &principal, Some(token.expires), (epoch, now));
        Ok(Verdict::Accept(principal))
    }
}

impl TokenVerifier for OAuthTokens {
    fn name(&self) -> &str {
        "oauth"
    }

    fn judge<'a>(
        &'a self,
        token: &'a Bearer,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Verdict, VerifierUnavailable>> {
        let text = token.expose();
        if !text.starts_with(ACCESS) {
            let ours = [REFRESH, CODE, CLIENT_SECRET].iter().any(|own| text.starts_with(own));
            let verdict =
                if ours { Verdict::Refuse(Refusal::WrongAudience) } else { Verdict::Abstain };
            return Box::pin(ready(Ok(verdict)));
        }
        let hash = TokenHash::of(text);
        match self.accepted.verdict(&hash, now) {
            Some(verdict) => Box::pin(ready(Ok(verdict))),
            None => Box::pin(self.look_up(hash, now)),
        }
    }
}

/// What an access token is called where its text must not be: the first half of its hash.
pub(crate) fn token_id(hash: &TokenHash) -> String {
    let mut name = hash.to_hex();
    name.truncate(32);
    name
}

impl RevocationListener for OAuthTokens {
    fn revoked(&self, revoked: &Revoked) {
        self.accepted.forget_grant(&revoked.grant_id);
    }

    fn access_revoked(&self, grant_id: &str, _: &str) {
        self.accepted.forget_grant(grant_id);
    }
}

impl fmt::Debug for OAuthTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthTokens").field("accepted", &self.accepted).finish_non_exhaustive()
    }
}
