//! Leases: holding a session while it is used.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::entry::Entry;
use crate::id::SessionId;
use crate::owner::Owner;
use crate::purpose::Purpose;

/// The use of one session, held by a request or a stream for as long as it needs the backend.
///
/// While a lease is held the session is not idle and is not reaped; dropping it starts the idle
/// time anew. While one [for a call](Purpose::Call) is held the session makes no room for another
/// either; one that only listens may have to. A lease does not keep the *backend* alive: it may end by itself, be
/// deleted by its client, be replaced or be shut down, and then answers as an ended backend does.
/// A lease never moves on to the session's next backend: that takes another lease.
pub struct Lease<B> {
    entry: Arc<Entry<B>>,
    purpose: Purpose,
}

impl<B> Lease<B> {
    /// Takes over one lease that has been counted already, for this purpose.
    pub(crate) fn counted(entry: Arc<Entry<B>>, purpose: Purpose) -> Self {
        Self { entry, purpose }
    }

    /// The session's id.
    pub fn id(&self) -> &SessionId {
        self.entry.id()
    }

    /// The session's owner.
    pub fn owner(&self) -> &Owner {
        self.entry.owner()
    }

    /// What it is held for.
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Resolves when the backend is to be replaced and waits for its leases
    /// ([`StopWhen::Drained`](crate::StopWhen::Drained)), or is being stopped, to make room for
    /// another for example. A holder that serves
    /// a stream then closes it in a way that lets the client come back for the rest.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub fn asked_to_leave(&self) -> impl Future<Output = ()> + Send + Sync + use<B>
    where
        B: Send + Sync + 'static,
    {
        let entry = Arc::clone(&self.entry);
        async move { entry.asked_to_leave().await }
    }

    pub(crate) fn entry(&self) -> &Arc<Entry<B>> {
        &self.entry
    }
}

impl<B> Deref for Lease<B> {
    type Target = B;

    fn deref(&self) -> &B {
        self.entry.backend()
    }
}

impl<B> Drop for Lease<B> {
    fn drop(&mut self) {
        self.entry.release(self.purpose);
    }
}

impl<B: fmt::Debug> fmt::Debug for Lease<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.entry).finish()
    }
}
