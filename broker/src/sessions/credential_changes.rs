//! Follows what becomes of users' credentials in the vault, for the children that have them.

use std::sync::Arc;

use auth::upstream::CredentialKey;
use tokio::sync::{Notify, mpsc};

use super::{
    registry::Sessions,
    replacement::{self, Event},
};

/// What became of one credential.
#[derive(Debug)]
pub(crate) struct CredentialChange {
    pub(crate) key: CredentialKey,
    pub(crate) event: Event,
}

/// Takes changes. Unbounded, because a change that has been stored cannot be refused any more; the
/// receiver never waits for anything else, so it holds what comes between two of its turns.
pub(crate) type ChangeSender = mpsc::UnboundedSender<CredentialChange>;
/// Where they arrive.
pub(crate) type ChangeReceiver = mpsc::UnboundedReceiver<CredentialChange>;

/// Applies the replacement table to each change. Rings `stale` when children have an old token in
/// their file.
pub(crate) async fn follow(mut changes: ChangeReceiver, sessions: Sessions, stale: Arc<Notify>) {
    while let Some(CredentialChange { key, event }) = changes.recv().await {
        if replacement::apply(&sessions, &key, event) {
            stale.notify_one();
        }
    }
}
