//! What can go wrong, one enum per operation.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::owner::Owner;
use crate::record::RecordsError;

/// Why a session could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError<E> {
    /// Every slot is taken, counting sessions that are still stopping, and no session is idle
    /// enough to make room; or every record is, and none is of a session asleep.
    #[error("all {max} slots are taken")]
    Full {
        /// The cap in force.
        max: NonZeroUsize,
    },
    /// A bound of the person, or of the client they use, stands in the way.
    #[error("{0}")]
    OwnerFull(OwnerLimit),
    /// The registry is draining or stopping and opens nothing more.
    #[error("the registry is draining")]
    Draining,
    /// The owner's sessions were revoked while this one was being opened.
    #[error("the owner was revoked while the session opened")]
    Revoked,
    /// The spawner failed; its own error says why.
    #[error("the backend did not start")]
    Spawn(#[source] E),
    /// The session's record could not be kept, so the session was not opened.
    #[error("the session could not be recorded")]
    Records(#[source] RecordsError),
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

/// Which bound of one person an open or a wake has met. It is that person's own doing, and says
/// nothing of anybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OwnerLimit {
    /// The person has as many backends as one person may, all of them busy or unable to sleep.
    #[error("all {max} slots of this person are taken")]
    Person {
        /// The cap in force.
        max: NonZeroUsize,
    },
    /// The same for the client the person uses.
    #[error("all {max} slots of this person's client are taken")]
    Client {
        /// The cap in force.
        max: NonZeroUsize,
    },
    /// The person, or the client they use, has as many sessions as may be recorded, and none of
    /// them is asleep.
    #[error("all {max} records are of sessions that are awake")]
    Records {
        /// The cap in force.
        max: NonZeroUsize,
    },
    /// So many requests of the person wait for a slot already.
    #[error("{max} requests of this person wait for a slot already")]
    Waiting {
        /// The bound in force.
        max: usize,
    },
    /// The person has had more backends started of late than one person may.
    #[error("this person has had too many backends started")]
    Starts {
        /// After this time there is another start.
        retry_in: Duration,
    },
}

/// Why a caller cannot use a session. It says nothing else about the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// There is no such session, or not any more, as far as can be told without waiting: with
    /// records it may be asleep, and `Registry::wake` knows. So is a session that the same person
    /// opened through another client: a client that registered anew has no other way on.
    #[error("unknown session")]
    Unknown,
    /// The session belongs to another person.
    #[error("session of another person")]
    Foreign,
}

impl LeaseError {
    /// Why `asker` gets nothing of a session of `owner`, who is another.
    pub(crate) fn of_another(owner: &Owner, asker: &Owner) -> Self {
        if owner.is_same_person(asker) { Self::Unknown } else { Self::Foreign }
    }
}

/// Why a session is not awake for a caller.
///
/// One failure answers every request that waited for the same wake, so clones share their cause.
#[derive(Debug, thiserror::Error)]
pub enum WakeError<E> {
    /// There is no such session, or not any more; or the same person opened it through another
    /// client.
    #[error("unknown session")]
    Unknown,
    /// The session belongs to another person. Nothing was woken.
    #[error("session of another person")]
    Foreign,
    /// It sleeps, every slot is taken, and no other session is idle enough to make room.
    #[error("all {max} slots are taken")]
    Full {
        /// The cap in force.
        max: NonZeroUsize,
    },
    /// It sleeps, and a bound of the person, or of the client they use, stands in the way.
    #[error("{0}")]
    OwnerFull(OwnerLimit),
    /// It sleeps, and the registry is draining or stopping.
    #[error("the registry is draining")]
    Draining,
    /// The spawner failed; its own error says why. The session sleeps on.
    #[error("the backend did not wake")]
    Spawn(#[source] Arc<E>),
    /// It failed to wake too often of late, and no new attempt was made.
    #[error("the backend does not stay awake")]
    Failing {
        /// The last failure; `None` when the backend came up and crashed.
        #[source]
        last: Option<Arc<E>>,
        /// After this time a request makes a new attempt.
        retry_in: Duration,
    },
    /// The records cannot be reached, so it is not known whether there is such a session.
    #[error("the session could not be looked up")]
    Records(#[source] RecordsError),
    /// The spawner panicked; the driver has logged it.
    #[error("the spawner panicked")]
    Panicked,
    /// The driver has stopped, so nothing can be woken.
    #[error("the registry's driver has stopped")]
    Gone,
}

// Derived, it would ask `E` to be `Clone`.
impl<E> Clone for WakeError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Unknown => Self::Unknown,
            Self::Foreign => Self::Foreign,
            Self::Full { max } => Self::Full { max: *max },
            Self::OwnerFull(limit) => Self::OwnerFull(*limit),
            Self::Draining => Self::Draining,
            Self::Spawn(error) => Self::Spawn(Arc::clone(error)),
            Self::Failing { last, retry_in } => {
                Self::Failing { last: last.clone(), retry_in: *retry_in }
            }
            Self::Records(error) => Self::Records(error.clone()),
            Self::Panicked => Self::Panicked,
            Self::Gone => Self::Gone,
        }
    }
}

impl<E> From<LeaseError> for WakeError<E> {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Unknown => Self::Unknown,
            LeaseError::Foreign => Self::Foreign,
        }
    }
}

/// Why a session was not ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EndError {
    /// There is no such session, or not any more; or the same person opened it through another
    /// client.
    #[error("unknown session")]
    Unknown,
    /// The session belongs to another person.
    #[error("session of another person")]
    Foreign,
    /// Its record could not be removed, so the session goes on.
    #[error("the session's record could not be removed")]
    Records(#[source] RecordsError),
}

impl From<LeaseError> for EndError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Unknown => Self::Unknown,
            LeaseError::Foreign => Self::Foreign,
        }
    }
}

/// Why there is no slot, between the crate's own parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSlot {
    Full { max: NonZeroUsize },
    Owner(OwnerLimit),
}

impl<E> From<NoSlot> for OpenError<E> {
    fn from(none: NoSlot) -> Self {
        match none {
            NoSlot::Full { max } => Self::Full { max },
            NoSlot::Owner(limit) => Self::OwnerFull(limit),
        }
    }
}

impl<E> From<NoSlot> for WakeError<E> {
    fn from(none: NoSlot) -> Self {
        match none {
            NoSlot::Full { max } => Self::Full { max },
            NoSlot::Owner(limit) => Self::OwnerFull(limit),
        }
    }
}
