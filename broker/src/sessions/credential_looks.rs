//! Credentials with which a call failed: their upstreams are asked whether they still stand.

use std::sync::Arc;

use auth::upstream::{CredentialKey, Vault};
use tokio::{sync::mpsc, task::JoinSet};

use crate::clock::Clock;

/// So many wait for their turn; with more, the next call of each has its own upstream asked.
const WAITING: usize = 256;
/// So many are asked about at once.
const AT_ONCE: usize = 16;

/// Takes the credential of a call that failed.
pub(crate) type LookSender = mpsc::Sender<CredentialKey>;

/// A channel for them.
pub(crate) fn channel() -> (LookSender, mpsc::Receiver<CredentialKey>) {
    mpsc::channel(WAITING)
}

/// Has the vault look at each; it asks an upstream at most once in 30 seconds about each credential.
pub(crate) async fn follow(
    mut wanted: mpsc::Receiver<CredentialKey>,
    vault: Option<Arc<Vault>>,
    clock: Clock,
) {
    let mut looks = JoinSet::new();
    while let Some(key) = wanted.recv().await {
        let Some(vault) = vault.clone() else { continue };
        while looks.len() >= AT_ONCE {
            looks.join_next().await;
        }
        while looks.try_join_next().is_some() {}
        let now = clock.now();
        looks.spawn(async move { vault.look(&key, now).await });
    }
}
