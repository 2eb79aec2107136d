//! Connections of children. Whose one is shows with its first request; a child that opens many and says
//! nothing must not keep others out.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use http::Version;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::bounds::{Bounds, Busy};

/// Connections of which it is not known whose they are. One more closes the oldest of them.
const MAX_UNKNOWN: usize = 256;

/// The connections of which it is not known whose they are.
#[derive(Debug, Default)]
pub(super) struct Unknown(Mutex<VecDeque<Weak<Connection>>>);

/// A connection of a child.
#[derive(Debug, Default)]
pub(super) struct Connection {
    close: CancellationToken,
    /// Its place among those of its child.
    place: OnceLock<OwnedSemaphorePermit>,
    /// The end of an answer is the end of the connection, so that one which breaks off looks whole.
    says_no_end: AtomicBool,
}

impl Unknown {
    /// One more connection.
    pub(super) fn open(&self) -> Arc<Connection> {
        let connection = Arc::<Connection>::default();
        let mut unknown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if unknown.len() >= MAX_UNKNOWN {
            unknown.retain(|own| own.upgrade().is_some_and(|own| own.place.get().is_none()));
        }
        if unknown.len() >= MAX_UNKNOWN
            && let Some(oldest) = unknown.pop_front().and_then(|own| own.upgrade())
        {
            oldest.close.cancel();
        }
        unknown.push_back(Arc::downgrade(&connection));
        connection
    }
}

impl Connection {
    /// Notes that it is one of the child with these bounds, unless it is known already.
    pub(super) fn enter(&self, bounds: &Bounds) -> Result<(), Busy> {
        if self.place.get().is_none() {
            let place = bounds.connect()?;
            // Requests of one connection come one after the other.
            let _ = self.place.set(place);
        }
        Ok(())
    }

    /// Notes that a request of this version came by it.
    pub(super) fn speaks(&self, version: Version) {
        self.says_no_end.store(version < Version::HTTP_11, Ordering::Relaxed);
    }

    /// Whether the end of an answer is told by the end of the connection (HTTP/1.0).
    pub(super) fn says_no_end(&self) -> bool {
        self.says_no_end.load(Ordering::Relaxed)
    }

    /// Resolves when it has to end.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn closed(&self) {
        self.close.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn is_closed(connection: &Connection) -> bool {
        connection.close.is_cancelled()
    }

    #[tokio::test]
    async fn connections_that_say_nothing_make_room_and_those_of_a_child_stay() {
        let (unknown, bounds) = (Unknown::default(), Bounds::new(1, None, Duration::ZERO));
        let known = unknown.open();
        known.enter(&bounds).expect("its first");
        let silent: Vec<_> = (0..MAX_UNKNOWN).map(|_| unknown.open()).collect();
        assert!(!is_closed(&known) && !silent.iter().any(|own| is_closed(own)));
        let next = unknown.open();
        assert!(is_closed(&silent[0]), "the oldest goes");
        assert!(!silent[1..].iter().any(|own| is_closed(own)));
        assert!(!is_closed(&known) && !is_closed(&next));
        drop(silent);
        let more: Vec<_> = (1..MAX_UNKNOWN).map(|_| unknown.open()).collect();
        assert!(!is_closed(&next) && !more.iter().any(|own| is_closed(own)), "ended ones go first");
    }

    #[tokio::test]
    async fn a_child_has_only_so_many_connections_and_another_has_its_own() {
        let (unknown, bounds) = (Unknown::default(), Bounds::new(1, None, Duration::ZERO));
        let mut own = Vec::new();
        let refused = loop {
            let next = unknown.open();
            match next.enter(&bounds) {
                Ok(()) => own.push(next),
                Err(busy) => break busy,
            }
        };
        assert_eq!(
            (refused, own.len()),
            (Busy::Connections, super::super::bounds::MAX_CONNECTIONS)
        );
        unknown.open().enter(&Bounds::new(1, None, Duration::ZERO)).expect("another child's");
        own.pop();
        let next = unknown.open();
        next.enter(&bounds).expect("room again");
        next.enter(&bounds).expect("it is known");
    }
}
