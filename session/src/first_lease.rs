//! The first lease of a new session, on its way to the request that opened it.

use std::sync::Arc;

use crate::entry::Entry;
use crate::lease::Lease;
use crate::purpose::Purpose;
use crate::reason::StopReason;
use crate::shared::Shared;

/// If it never arrives, no client knows the session's id, and so the session is ended. A plain
/// lease that is lost on the way would leave the session idle.
pub(crate) struct FirstLease<B> {
    lease: Option<Lease<B>>,
    shared: Arc<Shared<B>>,
}

impl<B> FirstLease<B> {
    pub(crate) fn new(entry: Arc<Entry<B>>, shared: Arc<Shared<B>>) -> Self {
        Self { lease: Some(Lease::counted(entry, Purpose::Call)), shared }
    }

    pub(crate) fn arrived(mut self) -> Lease<B> {
        self.lease.take().expect("it is taken once, here")
    }
}

impl<B> Drop for FirstLease<B> {
    fn drop(&mut self) {
        if let Some(lease) = &self.lease {
            self.shared.end(lease.entry(), StopReason::Abandoned);
        }
    }
}
