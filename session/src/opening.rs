//! Sessions that are being opened or woken and stand in no table yet.
//!
//! A revocation, a deletion or a stop must reach them too, or a backend that was being spawned at
//! that moment would outlive it. So each holds a ticket from its first step on, and a session
//! enters the table under the same lock under which tickets are marked: the mark comes first and
//! the session is refused, or the session comes first and is found in the table.
//!
//! A revocation takes its time to remove the records it means. Until it is done it stands here,
//! and a wake that has read such a record is refused.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use crate::{Owner, RecordKey, StopReason};

/// Says whether a revocation means an owner.
pub(crate) type Matches = Arc<dyn Fn(&Owner) -> bool + Send + Sync>;

#[derive(Default)]
pub(crate) struct Openings(Mutex<Book>);

#[derive(Default)]
struct Book {
    closed: bool,
    next: u64,
    open: HashMap<u64, Opening>,
    /// Revocations whose records may not all be removed yet.
    revocations: HashMap<u64, (Matches, SystemTime)>,
}

struct Opening {
    owner: Owner,
    /// The record a wake is for.
    key: Option<RecordKey>,
    refused: Option<StopReason>,
}

impl Openings {
    /// A ticket for one more open, or `None` once closed.
    pub(crate) fn begin(self: &Arc<Self>, owner: &Owner) -> Option<Ticket> {
        self.enter(owner, None)
    }

    /// A ticket for a wake of the session with this record, or `None` once closed. It must be had
    /// before the record is read.
    pub(crate) fn begin_wake(self: &Arc<Self>, owner: &Owner, key: RecordKey) -> Option<Ticket> {
        self.enter(owner, Some(key))
    }

    fn enter(self: &Arc<Self>, owner: &Owner, key: Option<RecordKey>) -> Option<Ticket> {
        let mut book = self.lock();
        if book.closed {
            return None;
        }
        let number = book.number();
        book.open.insert(number, Opening { owner: owner.clone(), key, refused: None });
        Some(Ticket { openings: Arc::clone(self), number })
    }

    /// Refuses every open and wake, those under way included, with `Shutdown`.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    /// Marks everything under way whose owner matches. With `before`, wakes from records that were
    /// created before that are refused until [`done`](Self::done) is called with the number given.
    pub(crate) fn revoke(&self, matches: &Matches, before: Option<SystemTime>) -> u64 {
        // The caller's function runs without the lock. An open that is admitted meanwhile is in
        // the table, where the caller of this looks next.
        let (number, under_way) = {
            let mut book = self.lock();
            let number = book.number();
            if let Some(before) = before {
                book.revocations.insert(number, (Arc::clone(matches), before));
            }
            let owners = book.open.iter().map(|(&number, opening)| (number, opening.owner.clone()));
            (number, owners.collect::<Vec<_>>())
        };
        for (number, owner) in under_way {
            if matches(&owner)
                && let Some(opening) = self.lock().open.get_mut(&number)
            {
                opening.refused = Some(StopReason::Revoked);
            }
        }
        number
    }

    /// No record that a revocation means is left.
    pub(crate) fn done(&self, revocation: u64) {
        let forgotten = self.lock().revocations.remove(&revocation);
        // The caller's function is dropped without the lock.
        drop(forgotten);
    }

    /// Refuses the wakes under way from these records.
    pub(crate) fn refuse(&self, keys: &[RecordKey], why: StopReason) {
        for opening in self.lock().open.values_mut() {
            if opening.key.is_some_and(|key| keys.contains(&key)) {
                opening.refused = Some(why);
            }
        }
    }

    /// The records from which wakes are under way.
    pub(crate) fn waking(&self) -> HashSet<RecordKey> {
        self.lock().open.values().filter_map(|opening| opening.key).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().expect("nothing panics while it holds the book")
    }
}

impl Book {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

/// One open or wake under way; dropping it ends that.
pub(crate) struct Ticket {
    openings: Arc<Openings>,
    number: u64,
}

impl Ticket {
    /// Runs `enter` unless this has been refused. No mark can be made while it runs.
    pub(crate) fn admit<T>(&self, enter: impl FnOnce() -> T) -> Result<T, StopReason> {
        let book = self.openings.lock();
        match book.open.get(&self.number) {
            _ if book.closed => Err(StopReason::Shutdown),
            Some(Opening { refused: Some(why), .. }) => Err(*why),
            _ => Ok(enter()),
        }
    }

    /// Names the owner that the record has named, whose grant may be another than the asker's.
    /// Refused when a revocation under way means a record of theirs from `created`.
    pub(crate) fn belongs_to(&self, owner: &Owner, created: SystemTime) -> Result<(), StopReason> {
        let mut seen = HashSet::new();
        loop {
            let unseen: Vec<_> = {
                let mut book = self.openings.lock();
                let unseen = book
                    .revocations
                    .iter()
                    .filter(|(number, (_, before))| created < *before && !seen.contains(*number))
                    .map(|(&number, (matches, _))| (number, Arc::clone(matches)))
                    .collect::<Vec<_>>();
                if unseen.is_empty() {
                    // From here on a revocation finds the owner's true name on this ticket.
                    if let Some(opening) = book.open.get_mut(&self.number) {
                        opening.owner = owner.clone();
                    }
                    drop(book);
                    return self.admit(|| ());
                }
                unseen
            };
            for (number, matches) in unseen {
                if matches(owner) {
                    return Err(StopReason::Revoked);
                }
                seen.insert(number);
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.openings.lock().open.remove(&self.number);
    }
}
