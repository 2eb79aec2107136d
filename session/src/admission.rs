//! Entering a session into the table, unless it was refused meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::entry::{Entry, NewEntry, StopOrder};
use crate::id::SessionId;
use crate::openings::Ticket;
use crate::owner::Owner;
use crate::reason::StopReason;
use crate::record_handle::RecordHandle;
use crate::shared::Shared;

/// How many ids are tried before a session is given up.
pub(crate) const MINTS: usize = 4;

/// A session on its way into the table.
pub(crate) struct Newcomer<B> {
    pub(crate) owner: Owner,
    pub(crate) backend: B,
    /// How old the session is.
    pub(crate) age: Duration,
    pub(crate) record: Option<RecordHandle>,
}

/// A session in the table and the receiver of the order to end it.
pub(crate) struct Admitted<B> {
    pub(crate) entry: Arc<Entry<B>>,
    pub(crate) orders: oneshot::Receiver<StopOrder>,
}

impl<B: Backend> Shared<B> {
    /// An id that no session has, as far as the table knows.
    pub(crate) fn free_id(&self) -> Option<SessionId> {
        (0..MINTS).map(|_| self.mint.next()).find(|id| !self.table.contains(id))
    }

    /// Enters a session, with one lease held. Without an `id` it gets a new one.
    pub(crate) fn admit(
        &self,
        ticket: Ticket,
        id: Option<SessionId>,
        newcomer: Newcomer<B>,
    ) -> Result<Admitted<B>, (StopReason, B)> {
        self.enter(ticket, newcomer, None, || match id {
            // Sessions enter one at a time, so an id that is free stays so until it is used.
            Some(id) => (!self.table.contains(&id)).then_some(id),
            None => self.free_id(),
        })
    }

    /// Enters a session's next incarnation, idle as `before` was, in the place of that one.
    pub(crate) fn admit_successor(
        &self,
        ticket: Ticket,
        before: &Entry<B>,
        newcomer: Newcomer<B>,
    ) -> Result<Admitted<B>, (StopReason, B)> {
        let idle_since = Some(before.last_active());
        let admitted = self.enter(ticket, newcomer, idle_since, || Some(*before.id()))?;
        if let Err(why) = before.set_replaced() {
            // It was ended for good, a moment too early to find this one in its place.
            self.end(&admitted.entry, why);
        }
        Ok(admitted)
    }

    fn enter(
        &self,
        ticket: Ticket,
        newcomer: Newcomer<B>,
        idle_since: Option<Instant>,
        id: impl FnOnce() -> Option<SessionId>,
    ) -> Result<Admitted<B>, (StopReason, B)> {
        let Newcomer { owner, backend, age, record } = newcomer;
        let mut backend = Some(backend);
        let admitted = ticket.admit(|| {
            let id = id()?;
            let backend = backend.take()?;
            let is_disposable = backend.is_disposable();
            let new = NewEntry { id, owner, backend, age, record, is_disposable, idle_since };
            let (entry, orders) = Entry::new(new, Arc::clone(&self.counts), Instant::now());
            let entry = Arc::new(entry);
            self.table.put(Arc::clone(&entry));
            Some(Admitted { entry, orders })
        });
        match (admitted, backend) {
            (Ok(Some(admitted)), _) => Ok(admitted),
            (Ok(None), Some(backend)) => Err((StopReason::Collision, backend)),
            (Err(why), Some(backend)) => Err((why, backend)),
            (_, None) => unreachable!("the backend goes into an entry or comes back"),
        }
    }
}
