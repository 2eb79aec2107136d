//! Clients that open a session for each call, told from those that stay.
//!
//! A client that leaves need not say so. One that has made a single call and is silent may have left,
//! and if not, loses little: its next call starts a child. One that goes on calling may count on what
//! its child remembers, whatever the operator said of the server, so its session keeps its child.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// After this time without its stream a client does not come back: SDKs try again within seconds.
const GONE: Duration = Duration::from_secs(30);

/// How a session has been used since its child came.
#[derive(Debug, Default)]
pub(crate) struct Visit {
    has_called: AtomicBool,
    /// The client has come back to the session.
    stays: AtomicBool,
    /// The client had a stream open.
    has_listened: AtomicBool,
}

impl Visit {
    /// Notes a call of a tool.
    pub(crate) fn note_call(&self) {
        // Read first: the common case writes nothing.
        if !self.stays.load(Ordering::Relaxed) && self.has_called.swap(true, Ordering::Relaxed) {
            self.note_return();
        }
    }

    /// Notes that the session goes on with another child.
    pub(crate) fn note_return(&self) {
        self.stays.store(true, Ordering::Relaxed);
    }

    /// Notes that the client listens.
    pub(crate) fn note_stream(&self) {
        self.has_listened.store(true, Ordering::Relaxed);
    }

    /// Whether the client is taken to have left a session that has been idle for this long.
    pub(super) fn is_over(&self, idle: Duration) -> bool {
        !self.stays.load(Ordering::Relaxed)
            || (self.has_listened.load(Ordering::Relaxed) && idle >= GONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_called_once_may_have_left_and_one_that_came_back_stays() {
        let visit = Visit::default();
        assert!(visit.is_over(Duration::ZERO), "it never called");
        visit.note_call();
        assert!(visit.is_over(Duration::ZERO));
        visit.note_call();
        assert!(!visit.is_over(Duration::MAX));

        let woken = Visit::default();
        woken.note_return();
        assert!(!woken.is_over(Duration::MAX));
    }

    #[test]
    fn a_client_whose_stream_is_gone_for_good_has_left() {
        let visit = Visit::default();
        visit.note_stream();
        visit.note_call();
        visit.note_call();
        assert!(!visit.is_over(Duration::from_secs(29)), "it may come back");
        assert!(visit.is_over(Duration::from_secs(30)));
    }
}
