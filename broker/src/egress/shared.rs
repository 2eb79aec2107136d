//! What the requests of all children are forwarded with.

use std::{fmt, sync::Arc};

use auth::upstream::Vault;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    client::Connector, connections::Unknown, dummies::Dummies, refused::RefusedTokens,
    rights::LackingRights,
};
use crate::{clock::Clock, metrics::Metrics};

/// What the requests of all children are forwarded with.
pub(super) struct Shared {
    pub(super) dummies: Arc<Dummies>,
    pub(super) connector: Connector,
    pub(super) unknown: Unknown,
    pub(super) rights: Arc<LackingRights>,
    pub(super) refused: Arc<RefusedTokens>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) vault: Option<Arc<Vault>>,
    pub(super) clock: Clock,
    pub(super) connections: Arc<Semaphore>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("dummies", &self.dummies).finish_non_exhaustive()
    }
}
