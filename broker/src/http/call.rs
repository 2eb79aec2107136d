//! One call under way, for the metrics and for what its failure may mean.

use std::borrow::Borrow;

use bridge::Outcome;
use session::Lease;
use tokio::time::Instant;

use crate::{
    calls::Counted,
    sessions::{child::Child, child_session::ChildSession, credential_looks::LookSender},
};

/// A POST that waits for its answers. Lives as long as that takes, also without its client. Its lease `L`
/// is its own, or shared with its response.
pub(super) struct Call<L> {
    pub(super) method: &'static str,
    pub(super) begun: Instant,
    /// A shutdown waits for it.
    pub(super) _counted: Option<Counted>,
    /// A session with a call under way is not idle.
    pub(super) lease: L,
    /// Where credentials go with which a call failed.
    pub(super) looks: LookSender,
}

impl<L: Borrow<Lease<ChildSession>>> Call<L> {
    pub(super) fn ended(self, outcome: Outcome) {
        let lease: &Lease<ChildSession> = self.lease.borrow();
        lease.server.count(self.method, outcome.as_str(), self.begun.elapsed());
        if outcome == Outcome::AnsweredError
            && let Some(own) = lease.credential()
        {
            own.doubt();
            // When there are too many at once, the next call asks.
            let _ = self.looks.try_send(own.key().clone());
        }
    }
}
