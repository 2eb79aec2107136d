//! What others revoke, and what ends with it: grants and static tokens that another broker on the same
//! store, or the command line, took back.

use std::{
    collections::HashSet,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use auth::{
    BoxFuture, StaticTokenStore, StaticTokens, UnixTime,
    oauth::{AuthStore, RevocationListener, Revoked, StoreError},
};
use session::Selection;
use tokio::time::interval;
use tracing::{debug, warn};

use crate::{clock::Clock, error_chain::error_chain, sessions::registry::Sessions};

/// How often the store is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How far each look reaches back behind the last one. Times are whole seconds, the clocks of several
/// brokers on one store differ a little, and a process reads its clock before it waits for the database.
const OVERLAP: Duration = Duration::from_secs(30);

/// How many are read at a time.
const BATCH: usize = 500;

/// Where to look for revocations.
pub(super) trait Source: fmt::Debug + Send + Sync {
    /// What was revoked at or after `since`, oldest first, at most `limit`.
    fn revoked_since(
        &self,
        since: UnixTime,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Revoked>, StoreError>>;
}

/// Grants.
#[derive(Debug)]
pub(super) struct Grants(pub(super) Arc<dyn AuthStore>);

impl Source for Grants {
    fn revoked_since(
        &self,
        since: UnixTime,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Revoked>, StoreError>> {
        Box::pin(async move {
            let grants = self.0.revoked_since(since, limit).await?;
            Ok(grants.iter().map(Revoked::from).collect())
        })
    }
}

/// Static tokens.
#[derive(Debug)]
pub(super) struct Tokens(pub(super) Arc<dyn StaticTokenStore>);

impl Source for Tokens {
    fn revoked_since(
        &self,
        since: UnixTime,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Revoked>, StoreError>> {
        Box::pin(async move {
            let records = self.0.static_tokens_revoked_since(since, limit).await?;
            Ok(records.iter().map(Revoked::from).collect())
        })
    }
}

/// Where to look for revocations, and whom to tell.
#[derive(Debug)]
pub(super) struct Revocations {
    pub(super) source: Box<dyn Source>,
    pub(super) listeners: Vec<Arc<dyn RevocationListener>>,
}

/// Ends what was opened with a grant.
#[derive(Debug)]
pub(super) struct EndSessions(pub(super) Sessions);

impl RevocationListener for EndSessions {
    fn revoked(&self, revoked: &Revoked) {
        // Sessions of static tokens had no grant in earlier versions. Of one name one token is in force.
        let which = if revoked.issuer == StaticTokens::ISSUER {
            Selection::Person {
                issuer: revoked.issuer.as_str().into(),
                subject: revoked.subject.as_str().into(),
            }
        } else {
            Selection::Grant(revoked.grant_id.as_str().into())
        };
        self.0.revoke_all(which);
    }
}

/// Tells the listeners of what others revoked, each once.
pub(super) async fn follow(revocations: Revocations, clock: Clock) {
    let mut interval = interval(INTERVAL);
    // What was reported before: the looks overlap.
    let mut reported: HashSet<String> = HashSet::new();
    let mut seen = clock.now();
    loop {
        interval.tick().await;
        // From the last look that saw something, however long ago that was: a store that did not
        // answer, or a process that was stopped for a while, must not hide what happened meanwhile.
        let begun = clock.now();
        let since = seen.min(begun).checked_sub(OVERLAP).unwrap_or(SystemTime::UNIX_EPOCH);
        match all_revoked_since(&*revocations.source, UnixTime::of(since)).await {
            Ok(all) => {
                seen = begun;
                for revoked in all.iter().filter(|own| !reported.contains(&own.grant_id)) {
                    debug!(grant = %revoked.grant_id, "revoked by another process");
                    revocations.listeners.iter().for_each(|own| own.revoked(revoked));
                }
                reported = all.into_iter().map(|own| own.grant_id).collect();
            }
            Err(error) => {
                let cause = error_chain(&error);
                warn!(%error, %cause, "cannot read revocations by other processes; trying again");
            }
        }
    }
}

/// Everything revoked since then. Thousands may be revoked in the same second, with the client they
/// belong to, so a look that comes back full is made again with more room.
pub(super) async fn all_revoked_since(
    source: &dyn Source,
    since: UnixTime,
) -> Result<Vec<Revoked>, StoreError> {
    let mut limit = BATCH;
    loop {
        let found = source.revoked_since(since, limit).await?;
        if found.len() < limit {
            return Ok(found);
        }
        limit = limit.saturating_mul(4);
    }
}
