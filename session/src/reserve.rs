//! Taking a slot: from those that are free, from a session that is not busy, or by waiting in the
//! queue.

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::error::{NoSlot, OwnerLimit};
use crate::eviction::Among;
use crate::owner::Owner;
use crate::purpose::Purpose;
use crate::reservation::Reservation;
use crate::shared::Shared;
use crate::slot::{Denied, Slot, Waiter};

impl<B> Shared<B> {
    /// Takes a slot for `owner`, and one of the person's starts. For a call this waits if need be:
    /// until a session that makes room has ended, and for a start and in the queue for as long as
    /// `Limits::slot_wait`.
    ///
    /// # Cancel safety
    /// Dropping the future gives both back, whether the slot has come already or comes later.
    pub(crate) async fn slot(&self, owner: &Owner, purpose: Purpose) -> Result<Slot, NoSlot> {
        let limits = self.limits();
        let now = Instant::now();
        let until = if purpose == Purpose::Call { now + limits.slot_wait } else { now };
        let start = self.starts.take(owner.person(), &limits, until).map_err(NoSlot::Owner)?;
        start.due().await;
        let slot = self.slot_until(owner, purpose, until).await?;
        start.used();
        Ok(slot)
    }

    async fn slot_until(
        &self,
        owner: &Owner,
        purpose: Purpose,
        until: Instant,
    ) -> Result<Slot, NoSlot> {
        loop {
            // A request that comes while others wait does not overtake them.
            let refused = match self.queue.comes_before(owner) {
                true => None,
                false => match self.reserve(owner, purpose) {
                    Ok(reserved) => match reserved.slot().await {
                        Some(slot) => return Ok(slot),
                        // The session that was to make room could not be saved and lives on.
                        None => continue,
                    },
                    Err(refused) => Some(refused),
                },
            };
            if Instant::now() >= until {
                return refused.map_or_else(|| self.free_slot(owner), Err);
            }
            let max = self.limits().max_waiting_per_owner;
            let has_own_bound = refused.map(|refused| matches!(refused, NoSlot::Owner(_)));
            let Some(reserved) = self.queue.join(owner, max, has_own_bound) else {
                return Err(NoSlot::Owner(OwnerLimit::Waiting { max }));
            };
            match timeout_at(until, reserved).await {
                Ok(Ok(reserved)) => {
                    if let Some(slot) = reserved.slot().await {
                        return Ok(slot);
                    }
                }
                // The reason is that of now. The queue goes with the registry, and the caller
                // watches for that.
                Ok(Err(_)) | Err(_) => return self.free_slot(owner),
            }
        }
    }

    /// A slot that is free at this moment, or the cap that stands in the way.
    fn free_slot(&self, owner: &Owner) -> Result<Slot, NoSlot> {
        self.slots.reserve(owner, &self.limits()).map_err(NoSlot::from)
    }

    /// Takes a slot for `owner`, or the promise of one that a session is made to give up.
    pub(crate) fn reserve(&self, owner: &Owner, purpose: Purpose) -> Result<Reservation, NoSlot> {
        match self.slots.reserve(owner, &self.limits()) {
            Ok(slot) => Ok(Reservation::Now(slot)),
            Err(Denied::Client { max }) => {
                let (waiter, slot) = oneshot::channel();
                let waiter = Waiter::SameClient(waiter);
                match self.evict(Among::Client(owner), purpose, Some(waiter)) {
                    true => Ok(Reservation::FromSameClient(slot)),
                    false => Err(NoSlot::Owner(OwnerLimit::Client { max })),
                }
            }
            Err(Denied::Person { max, client }) => {
                let (waiter, shares) = oneshot::channel();
                let waiter = Waiter::SamePerson(waiter);
                match self.evict(Among::Person(owner), purpose, Some(waiter)) {
                    true => Ok(Reservation::FromSamePerson(shares, client)),
                    false => Err(NoSlot::Owner(OwnerLimit::Person { max })),
                }
            }
            Err(Denied::Total { max, person, client }) => {
                let (waiter, total) = oneshot::channel();
                match self.evict(Among::All, purpose, Some(Waiter::Anyone(waiter))) {
                    true => Ok(Reservation::FromAnyone { total, person, client }),
                    false => Err(NoSlot::Full { max }),
                }
            }
        }
    }
}
