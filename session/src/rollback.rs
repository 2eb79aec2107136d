//! Ending a backend that was started and never entered the table.

use std::sync::atomic::Ordering;

use tracing::info;

use crate::backend::Backend;
use crate::counts::Counts;
use crate::reason::{StopReason, Tally};
use crate::shared::Shared;

/// Ends a backend that never became a session's.
pub(crate) async fn roll_back<B: Backend>(shared: &Shared<B>, why: StopReason, backend: B) {
    struct Stopping<'a>(&'a Counts);
    impl Drop for Stopping<'_> {
        fn drop(&mut self) {
            self.0.stopping.fetch_sub(1, Ordering::Relaxed);
        }
    }

    shared.counts.stopping.fetch_add(1, Ordering::Relaxed);
    let _stopping = Stopping(&shared.counts);
    stop_and_wait(shared, why, backend).await;
}

/// The same for a backend in whose place another one is counted as stopping.
pub(crate) async fn stop_and_wait<B: Backend>(shared: &Shared<B>, why: StopReason, backend: B) {
    struct Tallied<'a>(&'a Tally, StopReason);
    impl Drop for Tallied<'_> {
        fn drop(&mut self) {
            self.0.count(self.1);
        }
    }

    let _tallied = Tallied(&shared.tally, why);
    backend.stop(why);
    backend.ended().await;
    info!(reason = %why, "a new backend was rolled back");
}
