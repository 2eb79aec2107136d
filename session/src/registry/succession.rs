//! One session after the other in one slot: the earlier one falls asleep, and what it leaves is the
//! next one's.

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::activity::Activity;
use crate::backend::Backend;
use crate::error::OpenError;
use crate::lease::Lease;
use crate::owner::Owner;
use crate::reason::StopReason;
use crate::registry::Registry;
use crate::registry::listing::View;
use crate::slot::{Slot, Waiter};

/// A slot that a session has left to the next one of the same owner. It was never free in between,
/// so a backend that goes from one to the other is counted all the time. Dropping it gives it back.
#[derive(Debug)]
pub struct VacatedSlot {
    owner: Owner,
    slot: Slot,
}

impl<A, B, E> Registry<A, B, E>
where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + Sync + 'static,
{
    /// Empties a slot of `owner` whose backend satisfies `which`, and waits until it has left: a
    /// backend that was [kept](Self::retire) after its session, or else a session without a lease,
    /// which is put to sleep. `which` runs without any lock held; a lease that is taken meanwhile
    /// wins. The backend is stopped with [`StopReason::Replaced`], and may give what it has to
    /// another one then.
    ///
    /// The open that follows is one of the person's starts, as any is. `None` when there is no such
    /// session, when it could not be stored and stays, and when the person has no start left;
    /// [`open`](Self::open) then says what is to be said.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the session either as it was or asleep, and gives the slot back.
    pub async fn vacate(
        &self,
        owner: &Owner,
        which: impl Fn(&View<'_, B>) -> bool,
    ) -> Option<VacatedSlot> {
        let now = Instant::now();
        let start = self.shared.starts.take(owner.person(), &self.shared.limits(), now).ok()?;
        let promised = self.promise_slot(owner, now, which)?;
        let slot = promised.await.ok()?;
        start.used();
        Some(VacatedSlot { owner: owner.clone(), slot })
    }

    fn promise_slot(
        &self,
        owner: &Owner,
        now: Instant,
        which: impl Fn(&View<'_, B>) -> bool,
    ) -> Option<oneshot::Receiver<Slot>> {
        let may_go = |activity: Activity| {
            (activity.idle_since.is_some() && activity.is_storable(now))
                .then_some(StopReason::Replaced)
        };
        let mut meant = self.shared.table.select(|entry| {
            entry.owner() == owner && (entry.record().is_some() || entry.is_spare())
        });
        // No client misses the backend of a session that is over; then the longest idle one.
        meant.sort_by_cached_key(|entry| (!entry.is_spare(), entry.last_active()));
        for entry in meant {
            let is_free = View::of(&entry).is_some_and(|it| it.idle_since.is_some() && which(&it));
            let (waiter, promised) = oneshot::channel();
            if is_free
                && self.shared.end_if(&entry, Some(Waiter::SameClient(waiter)), may_go).is_ok()
            {
                return Some(promised);
            }
        }
        None
    }

    /// Opens a session in a slot that another one has left, as [`open`](Self::open) does in a free
    /// one. Its owner is the earlier one's.
    ///
    /// # Errors
    /// See [`OpenError`].
    ///
    /// # Cancel safety
    /// As [`open`](Self::open).
    pub async fn open_in(&self, vacated: VacatedSlot, ask: A) -> Result<Lease<B>, OpenError<E>> {
        let VacatedSlot { owner, slot } = vacated;
        let ticket = self.begin(&owner)?;
        self.open_with(ticket, owner, ask, slot).await
    }
}
