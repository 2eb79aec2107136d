//! Whom the operator's rules let in, between two sign-ins.

use std::time::SystemTime;

use super::{AuthServer, Grant, StoreError, User};
use crate::{UnixTime, admission::Admitted};

/// How many grants of a user are read at a time.
const GRANTS: usize = 200;

impl AuthServer {
    /// How `user` stands with the operator's rules at the server `resource`. Where what was said of the
    /// user is too old, the provider is asked with the user's own credential.
    pub(crate) async fn admitted(
        &self,
        user: &User,
        resource: &str,
        now: SystemTime,
    ) -> Result<Admitted, StoreError> {
        let Some(admission) = &self.admission else { return Ok(Admitted::Yes) };
        let standing = admission.standing(user, Some(resource), now).await?;
        if standing != Admitted::Stale {
            return Ok(standing);
        }
        let (Some(sink), Some(provider)) = (&self.credentials, self.provider(&user.provider))
        else {
            return Ok(standing);
        };
        let Some(token) = sink.access_token(user, now).await? else { return Ok(standing) };
        let wanted = admission.wanted(&user.provider);
        match provider.look_up(&token, &wanted, now).await {
            Ok(Some(own)) if own.issuer == user.issuer && own.subject == user.subject => {
                admission.keep(&user.provider, &own, now).await?;
                admission.standing(user, Some(resource), now).await
            }
            Ok(_) => Ok(standing),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(provider = %user.provider, error, "a person was not looked up");
                Ok(standing)
            }
        }
    }

    /// Ends the grants of a user whom the operator's rules let in no more, at the servers where that is
    /// so. To be called when the provider has just said something new of the user, as at a renewal of
    /// the upstream credential: a client that refreshes finds out by itself.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; grants that are not ended yet stay until their clients refresh.
    ///
    /// # Cancel safety
    ///
    /// A grant that was ended may not have been told to the listeners.
    pub async fn end_unadmitted(
        &self,
        issuer: &str,
        subject: &str,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        let Some(admission) = &self.admission else { return Ok(()) };
        let mut after: Option<Grant> = None;
        loop {
            let page = self.store.grants_of(issuer, subject, after.as_ref(), GRANTS).await?;
            for grant in &page {
                let standing = admission.standing(&grant.user, Some(&grant.resource), now).await?;
                if standing == Admitted::No {
                    self.end_of(grant, now).await?;
                }
            }
            if page.len() < GRANTS {
                return Ok(());
            }
            after = page.into_iter().last();
        }
    }

    /// Ends a grant whose user the rules do not let in any more.
    pub(crate) async fn end_of(&self, grant: &Grant, now: SystemTime) -> Result<(), StoreError> {
        let revoked = self.store.revoke_grant(&grant.grant_id, UnixTime::of(now)).await?;
        if let Some(grant) = revoked {
            self.announce(&grant, "the rules of admission no longer let its user in").await;
        }
        Ok(())
    }
}
