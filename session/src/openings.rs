//! Sessions that are being opened or woken and stand in no table yet.
//!
//! A revocation, a deletion or a stop must reach them too, or a backend that was being spawned at
//! that moment would outlive it. So each holds a ticket from its first step on, and a session
//! enters the table under the same lock under which tickets are marked: the mark comes first and
//! the session is refused, or the session comes first and is found in the table.
//!
//! A revocation takes its time to remove the records it means. Until it is done it stands here,
//! and a wake that has read such a record is refused. Whose session a wake is for, and with which
//! grant it was opened, only the record tells; so a revocation that is done stands here for as long
//! as a wake from before that may still be reading.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use crate::owner::Owner;
use crate::reason::StopReason;
use crate::record::RecordKey;

/// Says whether a revocation means an owner.
pub(crate) type Matches = Arc<dyn Fn(&Owner) -> bool + Send + Sync>;

#[derive(Default)]
pub(crate) struct Openings(Mutex<Book>);

#[derive(Default)]
struct Book {
    closed: bool,
    next: u64,
    open: HashMap<u64, Opening>,
    revocations: HashMap<u64, Revoked>,
}

/// A revocation whose records may not all be removed yet, or may be in a wake's hands.
struct Revoked {
    matches: Matches,
    before: SystemTime,
    /// Wakes with a lower number may have read a record that is removed now.
    done: Option<u64>,
}

struct Opening {
    /// `None` until a wake has read whose session it is for.
    owner: Option<Owner>,
    /// The record a wake is for.
    key: Option<RecordKey>,
    refused: Option<StopReason>,
}

impl Openings {
    /// A ticket for one more open, or `None` once closed.
    pub(crate) fn begin(self: &Arc<Self>, owner: &Owner) -> Option<Ticket> {
        self.enter(Some(owner), None)
    }

    /// A ticket for a wake of the session with this record, or `None` once closed. It must be had
    /// before the record is read, and [told](Ticket::belongs_to) then whose session it is. The owner
    /// that asks does not matter: its grant may be another than the session's.
    pub(crate) fn begin_wake(self: &Arc<Self>, key: RecordKey) -> Option<Ticket> {
        self.enter(None, Some(key))
    }

    /// A ticket for a wake that reads no record, since the session's last backend is at hand.
    pub(crate) fn begin_respawn(self: &Arc<Self>, owner: &Owner, key: RecordKey) -> Option<Ticket> {
        self.enter(Some(owner), Some(key))
    }

    fn enter(self: &Arc<Self>, owner: Option<&Owner>, key: Option<RecordKey>) -> Option<Ticket> {
        let mut book = self.lock();
        if book.closed {
            return None;
        }
        let number = book.number();
        book.open.insert(number, Opening { owner: owner.cloned(), key, refused: None });
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
                let matches = Arc::clone(matches);
                book.revocations.insert(number, Revoked { matches, before, done: None });
            }
            let named = book.open.iter().filter_map(|(&number, opening)| {
                let owner = opening.owner.clone()?;
                Some((number, owner))
            });
            (number, named.collect::<Vec<_>>())
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
        let mut book = self.lock();
        let now = book.number();
        if let Some(revoked) = book.revocations.get_mut(&revocation) {
            revoked.done = Some(now);
        }
        let forgotten = book.forget_revocations();
        drop(book);
        // The callers' functions are dropped without the lock.
        drop(forgotten);
    }

    /// Refuses the wakes under way from these records. Those that are refused already keep the
    /// reason they have.
    pub(crate) fn refuse(&self, keys: &[RecordKey], why: StopReason) {
        for opening in self.lock().open.values_mut() {
            if opening.key.is_some_and(|key| keys.contains(&key)) {
                opening.refused.get_or_insert(why);
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

    /// Takes out the revocations that are done and of no concern to any wake.
    fn forget_revocations(&mut self) -> Vec<Revoked> {
        if self.revocations.is_empty() {
            return Vec::new();
        }
        let reading = self.open.iter().filter(|(_, opening)| opening.owner.is_none());
        let oldest = reading.map(|(&number, _)| number).min();
        let over = |_: &u64, revoked: &mut Revoked| {
            revoked.done.is_some_and(|done| oldest.is_none_or(|oldest| oldest > done))
        };
        self.revocations.extract_if(over).map(|(_, revoked)| revoked).collect()
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

    /// Tells the owner that the record has named. Refused when a revocation means a record of
    /// theirs from `created`.
    pub(crate) fn belongs_to(&self, owner: &Owner, created: SystemTime) -> Result<(), StopReason> {
        let mut seen = HashSet::new();
        loop {
            let unseen: Vec<_> = {
                let mut book = self.openings.lock();
                let unseen = book
                    .revocations
                    .iter()
                    .filter(|(number, revoked)| created < revoked.before && !seen.contains(*number))
                    .map(|(&number, revoked)| (number, Arc::clone(&revoked.matches)))
                    .collect::<Vec<_>>();
                if unseen.is_empty() {
                    // From here on a revocation finds the owner's name on this ticket.
                    if let Some(opening) = book.open.get_mut(&self.number) {
                        opening.owner = Some(owner.clone());
                    }
                    let forgotten = book.forget_revocations();
                    drop(book);
                    drop(forgotten);
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
        let mut book = self.openings.lock();
        book.open.remove(&self.number);
        let forgotten = book.forget_revocations();
        drop(book);
        drop(forgotten);
    }
}
