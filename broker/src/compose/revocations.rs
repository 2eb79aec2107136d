//! What others end: grants and static tokens that another broker on the same store, or the command line,
//! took back, and sessions whose records it removed.

use std::{
    collections::HashSet,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use auth::{
    BoxFuture, StaticTokenStore, UnixTime,
    oauth::{AuthStore, Left, RevocationListener, Revoked, StoreError, left_after},
};
use session::{Backend, Owner, Registry, Selection};
use tokio::time::interval;
use tracing::{debug, info, warn};

use crate::{
    admissions::Admissions,
    clock::Clock,
    error_chain::error_chain,
    sessions::{parked::ParkedCalls, registry::Sessions},
};

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

    /// What the owner of something revoked is left with.
    fn left<'a>(
        &'a self,
        revoked: &'a Revoked,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Left, StoreError>>;
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

    fn left<'a>(
        &'a self,
        revoked: &'a Revoked,
        _: SystemTime,
    ) -> BoxFuture<'a, Result<Left, StoreError>> {
        Box::pin(async move {
            match self.0.grant(&revoked.grant_id).await? {
                Some(grant) => left_after(&*self.0, &grant).await,
                None => Ok(Left::Nothing),
            }
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

    /// Of one name there is one token at most, for every server.
    fn left<'a>(
        &'a self,
        revoked: &'a Revoked,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Left, StoreError>> {
        Box::pin(async move {
            let other = self.0.static_token_named(&revoked.subject).await?;
            let stands = other
                .is_some_and(|own| own.expires.is_none_or(|end| !UnixTime::of(now).is_past(end)));
            Ok(if stands { Left::SameServer } else { Left::Nothing })
        })
    }
}

/// Where to look for revocations, and whom to tell.
#[derive(Debug)]
pub(super) struct Revocations {
    pub(super) source: Box<dyn Source>,
    pub(super) listeners: Vec<Arc<dyn RevocationListener>>,
}

/// Ends what was let in by a grant, and sessions whose owner is left with none.
#[derive(Debug, Clone)]
pub(super) struct EndSessions {
    pub(super) sessions: Sessions,
    pub(super) admissions: Arc<Admissions>,
    pub(super) parked: Arc<ParkedCalls>,
}

impl EndSessions {
    /// Ends streams and calls that `name` let in, at whichever sessions.
    fn withdraw(&self, name: &str) {
        let name = name.into();
        // In this order: what comes after the second finds the first.
        self.admissions.withdraw(&name);
        self.sessions.look(|_| true, |view| view.backend.bridge.withdraw(&name));
        self.parked.withdraw(&name);
    }
}

impl RevocationListener for EndSessions {
    fn revoked(&self, revoked: &Revoked) {
        self.withdraw(&revoked.grant_id);
        let which = match revoked.left {
            Left::SameServer => return,
            Left::OtherServers => Selection::Grant(revoked.grant_id.as_str().into()),
            Left::Nothing => {
                let (issuer, subject) = (revoked.issuer.as_str(), revoked.subject.as_str());
                Selection::Owner(Owner::new(issuer, subject, revoked.client.as_str()))
            }
        };
        self.sessions.revoke_all(which);
    }

    fn access_revoked(&self, _: &str, token_id: &str) {
        self.withdraw(token_id);
    }
}

/// Tells the listeners of what others revoked, each once, and ends the sessions whose records others
/// removed.
///
/// A process that revokes removes records of sessions in the same step. So what was removed is looked
/// for first, then revocations are told, then those sessions end: their clients, whose tokens are
/// forgotten by then, get 401 and never a session that is not found.
pub(super) async fn follow<A, B, E>(
    revocations: Vec<Revocations>,
    sessions: Registry<A, B, E>,
    clock: Clock,
) where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut interval = interval(INTERVAL);
    let begun = clock.now();
    let mut looks: Vec<_> = revocations.into_iter().map(|own| Look::new(own, begun)).collect();
    loop {
        interval.tick().await;
        let removed = sessions.find_removed().await;
        let mut is_told = true;
        for look in &mut looks {
            is_told &= look.tell(clock.now()).await;
        }
        match removed {
            // Found again, after what ended them was heard.
            Ok(_) if !is_told => {}
            Ok(removed) => match removed.end() {
                0 => {}
                ended => info!(ended, "sessions were ended by another process"),
            },
            Err(error) => {
                let cause = error_chain(&error);
                warn!(%error, %cause, "cannot read which sessions other processes ended; trying again");
            }
        }
    }
}

/// One source, and what is known of it.
#[derive(Debug)]
struct Look {
    revocations: Revocations,
    /// What was reported before: the looks overlap.
    reported: HashSet<String>,
    /// When the last look that saw something began.
    seen: SystemTime,
}

impl Look {
    fn new(revocations: Revocations, begun: SystemTime) -> Self {
        Self { revocations, reported: HashSet::new(), seen: begun }
    }

    /// Tells of what is new as of `now`. `false` when it cannot be read.
    async fn tell(&mut self, now: SystemTime) -> bool {
        // From the last look that saw something, however long ago that was: a store that did not
        // answer, or a process that was stopped for a while, must not hide what happened meanwhile.
        let since = self.seen.min(now).checked_sub(OVERLAP).unwrap_or(SystemTime::UNIX_EPOCH);
        let Revocations { source, listeners } = &self.revocations;
        match all_revoked_since(&**source, UnixTime::of(since)).await {
            Ok(all) => {
                self.seen = now;
                let reported = all.iter().map(|own| own.grant_id.clone()).collect();
                for mut revoked in all {
                    if self.reported.contains(&revoked.grant_id) {
                        continue;
                    }
                    debug!(grant = %revoked.grant_id, "revoked by another process");
                    match source.left(&revoked, now).await {
                        Ok(left) => revoked.left = left,
                        Err(error) => {
                            let cause = error_chain(&error);
                            warn!(
                                %error, %cause,
                                "other grants not read; all sessions of this client end"
                            );
                        }
                    }
                    listeners.iter().for_each(|own| own.revoked(&revoked));
                }
                self.reported = reported;
                true
            }
            Err(error) => {
                let cause = error_chain(&error);
                warn!(%error, %cause, "cannot read revocations by other processes; trying again");
                false
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

#[cfg(test)]
mod tests;
