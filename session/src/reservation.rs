//! A slot that was promised, whether it is free already or not.

use tokio::sync::oneshot;

use crate::slot::{Permit, PersonShares, Slot};

/// A slot, now or when a session that is ending hands over what is missing.
#[derive(Debug)]
pub(crate) enum Reservation {
    Now(Slot),
    FromSameClient(oneshot::Receiver<Slot>),
    /// The client's own permit is held already.
    FromSamePerson(oneshot::Receiver<PersonShares>, Permit),
    /// The permits of the person and of the client are held already.
    FromAnyone {
        total: oneshot::Receiver<Permit>,
        person: Permit,
        client: Permit,
    },
}

impl Reservation {
    /// Waits for the slot. `None` when the session that was to make room goes on.
    ///
    /// # Cancel safety
    /// Dropping the future gives the slot back, whether it has come already or comes later.
    pub(crate) async fn slot(self) -> Option<Slot> {
        match self {
            Self::Now(slot) => Some(slot),
            Self::FromSameClient(slot) => slot.await.ok(),
            Self::FromSamePerson(shares, client) => {
                shares.await.ok().map(|shares| Slot::of(shares, client))
            }
            Self::FromAnyone { total, person, client } => {
                total.await.ok().map(|total| Slot::new(total, person, client))
            }
        }
    }
}
