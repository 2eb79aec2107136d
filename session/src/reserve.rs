//! Taking a slot: from those that are free, from an idle session, or by waiting in the queue.

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::entry::Entry;
use crate::error::NoSlot;
use crate::owner::Owner;
use crate::reservation::Reservation;
use crate::shared::Shared;
use crate::slot::{Denied, Slot, Waiter};

impl<B> Shared<B> {
    /// Takes a slot for `owner`, waiting for it if need be: until a session that makes room has
    /// ended, and in the queue for as long as `Limits::slot_wait`.
    ///
    /// # Cancel safety
    /// Dropping the future gives the slot back, whether it has come already or comes later.
    pub(crate) async fn slot(&self, owner: &Owner) -> Result<Slot, NoSlot> {
        let limits = self.limits();
        let until = Instant::now() + limits.slot_wait;
        loop {
            // A request that comes while others wait does not overtake them.
            let queue_first =
                match (self.queue.is_empty(), limits.max_sessions, limits.max_per_owner) {
                    (false, Some(max), _) => Some(NoSlot::Full { max }),
                    (false, None, Some(max)) => Some(NoSlot::OwnerFull { max }),
                    _ => None,
                };
            let refused = match queue_first.map_or_else(|| self.reserve(owner), Err) {
                Ok(reserved) => match reserved.slot().await {
                    Some(slot) => return Ok(slot),
                    // The session that was to make room could not be saved and lives on.
                    None => continue,
                },
                Err(refused) => refused,
            };
            if Instant::now() >= until {
                return Err(refused);
            }
            let Some(reserved) = self.queue.join(owner, limits.max_waiting_per_owner) else {
                return Err(refused);
            };
            match timeout_at(until, reserved).await {
                Ok(Ok(reserved)) => {
                    if let Some(slot) = reserved.slot().await {
                        return Ok(slot);
                    }
                }
                // The queue goes with the registry, and the caller watches for that.
                Ok(Err(_)) | Err(_) => return Err(refused),
            }
        }
    }

    /// Takes a slot for `owner`, or the promise of one that an idle session is made to give up.
    pub(crate) fn reserve(&self, owner: &Owner) -> Result<Reservation, NoSlot> {
        let limits = self.limits();
        match self.slots.reserve(owner, &limits) {
            Ok(slot) => Ok(Reservation::Now(slot)),
            Err(Denied::Owner { max }) => {
                let (waiter, slot) = oneshot::channel();
                let own = |entry: &Entry<B>| entry.owner() == owner;
                match self.evict(&limits, Some(Waiter::SameOwner(waiter)), own) {
                    true => Ok(Reservation::Slot(slot)),
                    false => Err(NoSlot::OwnerFull { max }),
                }
            }
            Err(Denied::Total { max, own }) => {
                let (waiter, total) = oneshot::channel();
                match self.evict(&limits, Some(Waiter::OtherOwner(waiter)), |_| true) {
                    true => Ok(Reservation::Permit(total, own)),
                    false => Err(NoSlot::Full { max }),
                }
            }
        }
    }
}
