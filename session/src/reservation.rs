//! A slot that was promised, whether it is free already or not.

use tokio::sync::oneshot;

use crate::slot::{OwnerPermit, Slot, TotalPermit};

/// A slot, now or when a session that is ending hands it over.
#[derive(Debug)]
pub(crate) enum Reservation {
    Now(Slot),
    /// From a session of the same owner.
    Slot(oneshot::Receiver<Slot>),
    /// From another owner's session; the owner's own permit is held already.
    Permit(oneshot::Receiver<TotalPermit>, OwnerPermit),
}

impl Reservation {
    /// Waits for the slot. `None` when the session that was to make room goes on.
    ///
    /// # Cancel safety
    /// Dropping the future gives the slot back, whether it has come already or comes later.
    pub(crate) async fn slot(self) -> Option<Slot> {
        match self {
            Self::Now(slot) => Some(slot),
            Self::Slot(slot) => slot.await.ok(),
            Self::Permit(total, own) => total.await.ok().map(|total| Slot::new(total, own)),
        }
    }
}
