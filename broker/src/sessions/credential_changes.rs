//! Follows what becomes of users' credentials in the vault, for the children that have them.

use std::{collections::BTreeMap, sync::Arc};

use auth::upstream::CredentialKey;
use tokio::sync::{Notify, mpsc};

use super::{
    registry::Sessions,
    replacement::{self, Event},
};
use crate::server::Server;

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
/// their file. Starts of `servers` that failed with the credential before say nothing about a new one.
pub(crate) async fn follow(
    mut changes: ChangeReceiver,
    sessions: Sessions,
    stale: Arc<Notify>,
    servers: BTreeMap<String, Arc<Server>>,
) {
    while let Some(CredentialChange { key, event }) = changes.recv().await {
        if matches!(event, Event::Stored) {
            for server in servers.values() {
                server.pauses.forget_person(&key.issuer, &key.subject);
            }
        }
        if replacement::apply(&sessions, &key, event) {
            stale.notify_one();
        }
    }
}
