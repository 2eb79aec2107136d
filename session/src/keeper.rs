//! What the registry knows of its records beside the store: the time, and what is still to be told.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::entry::Kept;
use crate::{Calendar, Owner, Record, RecordKey, Records, RecordsError, StopReason, Use};

pub(crate) struct Keeper {
    pub(crate) records: Arc<dyn Records>,
    calendar: Calendar,
    /// Held by whoever makes room for a record and then creates it: two of them would count the
    /// same room.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// The last time given out for a creation or a revocation.
    last: Mutex<SystemTime>,
    /// What is to be told of sessions that fell asleep or woke, by the next touch.
    used: Mutex<HashMap<RecordKey, Use>>,
    /// Records that are to be removed and may still be there. No session wakes from them. There
    /// are at most as many as sessions were live when the store went out of reach, and those that
    /// were to make room for another then: none is opened without it.
    doomed: Mutex<HashSet<RecordKey>>,
}

impl Keeper {
    pub(crate) fn new(records: Arc<dyn Records>, calendar: Calendar) -> Self {
        Self {
            records,
            calendar,
            turn: tokio::sync::Mutex::default(),
            last: Mutex::new(SystemTime::UNIX_EPOCH),
            used: Mutex::default(),
            doomed: Mutex::default(),
        }
    }

    /// Now, in whole microseconds.
    pub(crate) fn now(&self) -> SystemTime {
        whole_micros(self.calendar.now())
    }

    /// Now, or a little later: never the same time twice, so that what was created before a
    /// revocation and what came after it can be told apart.
    pub(crate) fn tick(&self) -> SystemTime {
        let mut last = self.last.lock().expect("nothing panics while it holds the time");
        *last = self.now().max(*last + Duration::from_micros(1));
        *last
    }

    /// The calendar's time of a moment in the past.
    pub(crate) fn time_of(&self, moment: Instant) -> SystemTime {
        let now = self.now();
        whole_micros(now.checked_sub(moment.elapsed()).unwrap_or(now))
    }

    /// How old a record is; zero if the calendar has stepped back.
    pub(crate) fn age(&self, created: SystemTime) -> Duration {
        self.now().duration_since(created).unwrap_or_default()
    }

    /// Keeps the snapshot if it is another than the one in the store. `false` when the session
    /// cannot sleep any more: it has no snapshot, or its record is gone.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the old snapshot or the new one; the next save tells them apart
    /// or writes once too often.
    pub(crate) async fn save(
        &self,
        kept: &Kept,
        snapshot: impl Fn() -> Option<Vec<u8>>,
        used: SystemTime,
        turn: Turn,
    ) -> Result<bool, RecordsError> {
        let mut digest = kept.digest.lock().await;
        let closed = kept.closed.fetch_or(turn == Turn::Last, Ordering::SeqCst);
        if kept.lost.load(Ordering::SeqCst) {
            return Ok(false);
        }
        // Taken in this save's turn, so that it is never older than the one before.
        let Some(snapshot) = snapshot() else {
            return Ok(false);
        };
        let new = digest_of(&snapshot);
        if *digest == new {
            return Ok(true);
        }
        if closed {
            return Err(RecordsError::new("the session goes on from an older state"));
        }
        let there = self.records.save(&kept.key, snapshot.into(), used).await?;
        if there {
            *digest = new;
        } else {
            kept.lost.store(true, Ordering::SeqCst);
        }
        Ok(there)
    }

    /// Remembers for the next touch when a session was last used, and why it sleeps if it does.
    pub(crate) fn note_use(&self, key: RecordKey, used: Instant, asleep: Option<StopReason>) {
        let active = self.time_of(used);
        self.lock_used().insert(key, Use { key, active, asleep });
    }

    /// Takes what was noted.
    pub(crate) fn take_uses(&self) -> Vec<Use> {
        std::mem::take(&mut *self.lock_used()).into_values().collect()
    }

    /// Gives back what the store could not be told, unless there is something newer.
    pub(crate) fn give_back(&self, uses: Vec<Use>) {
        let mut used = self.lock_used();
        for each in uses {
            used.entry(each.key).or_insert(each);
        }
    }

    /// Why a session sleeps: what was noted, or else what the store was told.
    pub(crate) fn asleep(&self, record: &Record) -> Option<StopReason> {
        self.lock_used().get(&record.key).map_or(record.asleep, |noted| noted.asleep)
    }

    /// From now on no session wakes from this record.
    pub(crate) fn doom(&self, key: RecordKey) {
        self.lock_used().remove(&key);
        self.lock_doomed().insert(key);
    }

    pub(crate) fn is_doomed(&self, key: &RecordKey) -> bool {
        self.lock_doomed().contains(key)
    }

    pub(crate) fn doomed(&self) -> Vec<RecordKey> {
        self.lock_doomed().iter().copied().collect()
    }

    /// The record is not doomed any more: it was removed, or its session lives after all.
    pub(crate) fn spare(&self, key: &RecordKey) {
        self.lock_doomed().remove(key);
    }

    fn lock_used(&self) -> std::sync::MutexGuard<'_, HashMap<RecordKey, Use>> {
        self.used.lock().expect("nothing panics while it holds the times")
    }

    fn lock_doomed(&self) -> std::sync::MutexGuard<'_, HashSet<RecordKey>> {
        self.doomed.lock().expect("nothing panics while it holds the doomed")
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("records", &self.records).finish_non_exhaustive()
    }
}

/// Whether a backend's snapshot may be saved again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Another,
    /// The backend has ended, and the session goes on from what the store has then.
    Last,
}

impl Kept {
    /// What is known of a record that holds this snapshot.
    pub(crate) fn new(key: RecordKey, snapshot: &[u8]) -> Self {
        Self::with_digest(key, digest_of(snapshot))
    }

    /// The same for a backend that goes on from this snapshot of the last one's, which the store
    /// may have missed.
    pub(crate) fn next(&self, snapshot: &[u8]) -> Self {
        let new = digest_of(snapshot);
        let stored = self.digest.try_lock().is_ok_and(|digest| *digest == new);
        // No snapshot has this one, so the next save stores it whatever it is.
        Self::with_digest(self.key, if stored { new } else { [0; 32] })
    }

    fn with_digest(key: RecordKey, digest: [u8; 32]) -> Self {
        let digest = tokio::sync::Mutex::new(digest);
        Self { key, digest, closed: AtomicBool::new(false), lost: AtomicBool::new(false) }
    }
}

/// A record to create.
pub(crate) fn record(
    key: RecordKey,
    owner: &Owner,
    kind: &str,
    snapshot: Arc<[u8]>,
    created: SystemTime,
) -> Record {
    let (owner, kind, active) = (owner.clone(), kind.into(), created);
    Record { key, owner, kind, snapshot, created, active, asleep: None }
}

fn digest_of(snapshot: &[u8]) -> [u8; 32] {
    Sha256::digest(snapshot).into()
}

/// Stores keep microseconds; what is compared must survive the store.
fn whole_micros(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::new(since.as_secs(), since.subsec_micros() * 1_000)
}
