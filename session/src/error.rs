//! What can go wrong, one enum per operation.

use std::num::NonZeroUsize;

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError<E> {
    /// Every place is taken, counting sessions that are still stopping, and no session is idle
    /// enough to make room.
    #[error("all {max} places are taken")]
    Full {
        /// The cap in force.
        max: NonZeroUsize,
    },
    /// The owner has as many sessions as one owner may, and none of them is idle enough.
    #[error("all {max} places of this owner are taken")]
    OwnerFull {
        /// The owner's cap in force.
        max: NonZeroUsize,
    },
    /// The registry is draining or stopping and opens nothing more.
    #[error("the registry is draining")]
    Draining,
    /// The owner's sessions were revoked while this one was being opened.
    #[error("the owner was revoked while the session opened")]
    Revoked,
    /// The spawner failed; its own error says why.
    #[error("the backend did not start")]
    Spawn(#[source] E),
    /// The spawner panicked; the driver has logged it.
    #[error("the spawner panicked")]
    Panicked,
    /// Every id that was minted is in use. With 192 random bits this is a broken generator, not
    /// bad luck.
    #[error("no unused session id was found")]
    NoFreeId,
    /// The driver has stopped, so nothing can be spawned.
    #[error("the registry's driver has stopped")]
    Gone,
}

/// Why a session cannot be used by whoever asks. It says nothing else about the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// There is no such session, or not any more.
    #[error("unknown session")]
    Unknown,
    /// The session belongs to another owner.
    #[error("session of another owner")]
    Foreign,
}
