//! What happens outside of requests: tokens and grants that somebody else takes back, and records
//! that have served their time.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use auth::{
    TableTokens, UnixTime,
    oauth::{AuthServer, AuthStore, Grant, RevocationListener, Revoked, StoreError},
    upstream::Vault,
};
use session::Selection;
use tokio::time::interval;
use tracing::{debug, info, warn};

use crate::{error_chain::error_chain, sessions::registry::Sessions, tokens::TokenWatch};

/// How often the store is looked at for what others revoked.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often records that have served their time are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// How many credentials are sealed anew at a time.
const BATCH: usize = 500;

/// How far each look reaches back behind the last one. Moments are whole seconds, the clocks of
/// several brokers on one store differ a little, and whoever takes something back reads his clock
/// before he waits for the database.
const OVERLAP: Duration = Duration::from_secs(30);

/// Applies what `mcp-broker token` does to the file while the broker runs. A revoked token takes
/// its sessions along.
pub(super) async fn static_tokens(
    mut watch: TokenWatch,
    tokens: Arc<TableTokens>,
    sessions: Sessions,
) {
    let mut interval = interval(TokenWatch::INTERVAL);
    loop {
        interval.tick().await;
        match watch.changed() {
            Ok(None) => {}
            Ok(Some(table)) => {
                info!(tokens = table.len(), "static tokens read again");
                let names: HashSet<String> = table.subjects().map(ToOwned::to_owned).collect();
                tokens.replace(table);
                sessions.revoke(move |owner| {
                    owner.issuer() == TableTokens::ISSUER && !names.contains(owner.subject())
                });
            }
            Err(error) => {
                let cause = error_chain(&error);
                warn!(%error, %cause, "the static tokens stay as they were");
            }
        }
    }
}

/// Where to look for revocations, and whom to tell.
#[derive(Debug)]
pub(super) struct Revocations {
    pub(super) store: Arc<dyn AuthStore>,
    pub(super) listeners: Vec<Arc<dyn RevocationListener>>,
}

/// Ends what was opened with a grant.
#[derive(Debug)]
pub(super) struct EndSessions(pub(super) Sessions);

impl RevocationListener for EndSessions {
    fn revoked(&self, revoked: &Revoked) {
        self.0.revoke_all(Selection::Grant(revoked.family.as_str().into()));
    }
}

/// Tells of grants that another broker on the same store, or the command line, took back.
pub(super) async fn revocations(revocations: Revocations) {
    let mut interval = interval(INTERVAL);
    // What was told before: the looks overlap.
    let mut told: HashSet<String> = HashSet::new();
    let mut seen = now();
    loop {
        interval.tick().await;
        // From the last look that saw something, however long ago that was: a store that did not
        // answer, or a process that was stopped for a while, must not hide what happened meanwhile.
        let begun = now();
        let since = seen.min(begun).checked_sub(OVERLAP).unwrap_or(SystemTime::UNIX_EPOCH);
        match all_revoked_since(&*revocations.store, UnixTime::of(since)).await {
            Ok(grants) => {
                seen = begun;
                let families: HashSet<String> =
                    grants.iter().map(|grant| grant.family.clone()).collect();
                for grant in &grants {
                    if !told.contains(&grant.family) {
                        debug!(family = %grant.family, "a grant was revoked");
                        let revoked = Revoked::from(grant);
                        revocations.listeners.iter().for_each(|own| own.revoked(&revoked));
                    }
                }
                told = families;
            }
            Err(error) => {
                let cause = error_chain(&error);
                warn!(%error, %cause, "revocations by others go unnoticed for now");
            }
        }
    }
}

/// Every grant revoked since then. Thousands may be revoked in the same second, with the client they
/// belong to, so a look that comes back full is made again with more room.
pub(super) async fn all_revoked_since(
    store: &dyn AuthStore,
    since: UnixTime,
) -> Result<Vec<Grant>, StoreError> {
    let mut limit = BATCH;
    loop {
        let grants = store.revoked_since(since, limit).await?;
        if grants.len() < limit {
            return Ok(grants);
        }
        limit = limit.saturating_mul(4);
    }
}

/// Ends sessions whose record the command line, or another broker on the same store, has removed.
pub(super) async fn removals(sessions: Sessions) {
    let mut interval = interval(INTERVAL);
    loop {
        interval.tick().await;
        match sessions.end_removed().await {
            Ok(0) => {}
            Ok(ended) => info!(ended, "sessions were ended by somebody else"),
            Err(error) => {
                let cause = error_chain(&error);
                warn!(%error, %cause, "sessions ended by others go on for now");
            }
        }
    }
}

/// Removes records that have served their time.
pub(super) async fn sweeps(server: Arc<AuthServer>) {
    let mut interval = interval(SWEEP_INTERVAL);
    loop {
        interval.tick().await;
        match server.sweep(now()).await {
            Ok(0) => {}
            Ok(removed) => debug!(removed, "old records removed"),
            Err(error) => {
                let cause = error_chain(&error);
                warn!(%error, %cause, "old records stay for now");
            }
        }
    }
}

/// Seals with the newest key what an older one sealed, after a key was added to the ring.
pub(super) async fn seals(vault: Arc<Vault>) {
    let mut interval = interval(SWEEP_INTERVAL);
    loop {
        interval.tick().await;
        match vault.reseal(BATCH, now()).await {
            Ok(done) if done.sealed > 0 => {
                info!(sealed = done.sealed, left = done.left, "credentials sealed anew");
            }
            Ok(_) => {}
            Err(error) => {
                let cause = error_chain(&error);
                warn!(%error, %cause, "credentials are not sealed anew for now");
            }
        }
    }
}

fn now() -> SystemTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "tasks of their own read the calendar themselves"
    )]
    SystemTime::now()
}
