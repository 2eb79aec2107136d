//! Sessions that are being opened and stand in no table yet.
//!
//! A revocation or a stop must reach them too, or a backend that was being spawned at that moment
//! would outlive it. So each open holds a ticket from its first step on, and a session enters the
//! table under the same lock under which tickets are marked: the mark comes first and the session
//! is refused, or the session comes first and is found in the table.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::{Owner, StopReason};

#[derive(Debug, Default)]
pub(crate) struct Openings(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    closed: bool,
    next: u64,
    open: HashMap<u64, Opening>,
}

#[derive(Debug)]
struct Opening {
    owner: Owner,
    revoked: bool,
}

impl Openings {
    /// A ticket for one more open, or `None` once closed.
    pub(crate) fn begin(self: &Arc<Self>, owner: &Owner) -> Option<Ticket> {
        let mut book = self.0.lock().expect("nothing panics while it holds the book");
        if book.closed {
            return None;
        }
        let number = book.next;
        book.next += 1;
        book.open.insert(number, Opening { owner: owner.clone(), revoked: false });
        Some(Ticket { openings: Arc::clone(self), number })
    }

    /// Refuses every open, those under way included, with `Shutdown`.
    pub(crate) fn close(&self) {
        self.0.lock().expect("nothing panics while it holds the book").closed = true;
    }

    /// Marks every open under way whose owner matches.
    pub(crate) fn revoke(&self, matches: impl Fn(&Owner) -> bool) {
        // The caller's function runs without the lock. An open that is admitted meanwhile is in
        // the table, where the caller of this looks next.
        let under_way: Vec<_> = {
            let book = self.0.lock().expect("nothing panics while it holds the book");
            book.open.iter().map(|(&number, opening)| (number, opening.owner.clone())).collect()
        };
        for (number, owner) in under_way {
            if matches(&owner) {
                let mut book = self.0.lock().expect("nothing panics while it holds the book");
                if let Some(opening) = book.open.get_mut(&number) {
                    opening.revoked = true;
                }
            }
        }
    }
}

/// One open under way; dropping it ends that.
#[derive(Debug)]
pub(crate) struct Ticket {
    openings: Arc<Openings>,
    number: u64,
}

impl Ticket {
    /// Runs `enter` unless this open has been refused. No mark can be made while it runs.
    pub(crate) fn admit<T>(&self, enter: impl FnOnce() -> T) -> Result<T, StopReason> {
        let book = self.openings.0.lock().expect("nothing panics while it holds the book");
        match book.open.get(&self.number) {
            _ if book.closed => Err(StopReason::Shutdown),
            Some(opening) if opening.revoked => Err(StopReason::Revoked),
            _ => Ok(enter()),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut book = self.openings.0.lock().expect("nothing panics while it holds the book");
        book.open.remove(&self.number);
    }
}
