//! One call under way, for the metrics and for what its failure may mean.

use bridge::Outcome;
use session::Lease;
use tokio::time::Instant;

use crate::{
    calls::Counted,
    sessions::{child::Child, child_session::ChildSession, credential_looks::LookSender},
};

/// A POST that waits for its answers. Lives as long as that takes, also without its client.
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) begun: Instant,
    /// A shutdown waits for it.
    pub(super) _counted: Option<Counted>,
    /// A session with a call under way is not idle.
    pub(super) lease: Lease<ChildSession>,
    /// Where credentials go with which a call failed.
    pub(super) looks: LookSender,
}

impl Call {
    pub(super) fn ended(self, outcome: Outcome) {
        self.lease.server.count(self.method, outcome.as_str(), self.begun.elapsed());
        if outcome == Outcome::AnsweredError
            && let Some(own) = self.lease.credential()
        {
            own.doubt();
            // When there are too many at once, the next call asks.
            let _ = self.looks.try_send(own.key().clone());
        }
    }
}
