//! What happens outside of requests: providers and documents of clients that are looked at, and records
//! that have served their time.

use std::{path::PathBuf, sync::Arc, time::Duration};

use auth::{
    oauth::{AuthServer, IdentityProvider, Inspection, SignInError, sweep},
    upstream::{CredentialKey, Vault},
};
use tokio::{sync::mpsc, task::spawn_blocking, time::interval};
use tracing::{debug, info, warn};

use crate::{clock::Clock, error_chain::error_chain, sessions::cache::Caches, store::Store};

/// How often records that have served their time are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// How often it is asked whether documents of clients are to be fetched again; how often that is the
/// case, the authorization server knows.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// How often caches are looked for that are not used.
const CACHE_INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How many credentials are sealed anew at a time.
const BATCH: usize = 500;

/// Asks each identity provider once what it says without a person, and tells the operator what stands
/// in the way of signing in, or makes it tedious.
pub(super) async fn inspect(providers: Vec<Arc<dyn IdentityProvider>>, base: String) {
    for provider in providers {
        let name = provider.name();
        match provider.inspect(&format!("{base}/callback/{name}")).await {
            Ok(Inspection { about, confidential }) => {
                let about = about.unwrap_or_default();
                debug!(provider = name, about, ?confidential, "identity provider answers");
                if confidential == Some(false) {
                    warn!(
                        provider = name,
                        "the broker is registered there as a public application, so that people are \
                         asked for consent at every sign-in; register a confidential application"
                    );
                }
            }
            Err(error @ SignInError::Misconfigured(_)) => {
                let cause = error_chain(&error);
                warn!(
                    provider = name, %error, %cause,
                    "no user can sign in with this provider: it does not accept the client, its \
                     secret or the callback address"
                );
            }
            Err(error) => {
                let cause = error_chain(&error);
                debug!(provider = name, %error, %cause, "identity provider not inspected");
            }
        }
    }
}

/// Removes records that have served their time.
pub(super) async fn sweeps(store: Arc<Store>, clock: Clock) {
    let mut interval = interval(SWEEP_INTERVAL);
    loop {
        interval.tick().await;
        match sweep(&*store, clock.now()).await {
            Ok(0) => {}
            Ok(removed) => debug!(removed, "expired records removed"),
            Err(error) => {
                let cause = error_chain(&error);
                warn!(%error, %cause, "cannot remove expired records; trying again");
            }
        }
    }
}

/// Removes caches of package runners below `root` that no child has used for `keep`.
pub(super) async fn caches(caches: Arc<Caches>, root: PathBuf, keep: Duration) {
    let mut interval = interval(CACHE_INTERVAL);
    loop {
        interval.tick().await;
        let (caches, root) = (Arc::clone(&caches), root.clone());
        match spawn_blocking(move || caches.remove_unused(&root, keep)).await {
            Ok(0) | Err(_) => {}
            Ok(removed) => info!(removed, "caches that no child had used for cache_keep removed"),
        }
    }
}

/// Tries documents of clients again that could not be fetched.
pub(super) async fn documents(server: Arc<AuthServer>, clock: Clock) {
    let mut interval = interval(RETRY_INTERVAL);
    loop {
        interval.tick().await;
        server.retry_documents(clock.now()).await;
    }
}

/// Ends what the operator's rules do not grant any more to users whose credential was to be renewed.
pub(super) async fn judge(
    server: Arc<AuthServer>,
    mut renewed: mpsc::UnboundedReceiver<CredentialKey>,
    clock: Clock,
) {
    while let Some(CredentialKey { issuer, subject, .. }) = renewed.recv().await {
        if let Err(error) = server.end_unadmitted(&issuer, &subject, clock.now()).await {
            let cause = error_chain(&error);
            warn!(
                owner = %subject, %error, %cause,
                "cannot read what a person was granted; the rules are applied when their clients refresh"
            );
        }
    }
}

/// Seals with the newest key what an older one sealed, after a key was added to the ring.
pub(super) async fn seals(vault: Arc<Vault>, clock: Clock) {
    let mut interval = interval(SWEEP_INTERVAL);
    loop {
        interval.tick().await;
        match vault.reseal(BATCH, clock.now()).await {
            Ok(done) if done.sealed > 0 => {
                info!(
                    sealed = done.sealed,
                    left = done.left,
                    "credentials re-encrypted with the newest key"
                );
            }
            Ok(_) => {}
            Err(error) => {
                let cause = error_chain(&error);
                warn!(%error, %cause, "cannot re-encrypt credentials with the newest key; trying again");
            }
        }
    }
}
