//! What the registry knows of its records beside the store: the time, and what is still to be
//! written.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::calendar::Calendar;
use crate::reason::StopReason;
use crate::record::{Record, RecordKey, Records, RecordsError, Use};
use crate::record_handle::{RecordHandle, SnapshotDigest};

pub(crate) struct RecordWriter {
    pub(crate) records: Arc<dyn Records>,
    calendar: Calendar,
    /// Held from making room for a record until it is created: two tasks at once would count the
    /// same room.
    pub(crate) creation: tokio::sync::Mutex<()>,
    /// The last time given out for a creation or a revocation.
    last: Mutex<SystemTime>,
    /// What the next flush tells of sessions that fell asleep or woke.
    used: Mutex<HashMap<RecordKey, Use>>,
    /// Records that are to be deleted and may still be there. No session wakes from them. There
    /// are at most as many as sessions were live when the store went out of reach, and those that
    /// were to make room for another then: none is opened without it.
    deleted: Mutex<HashSet<RecordKey>>,
}

impl RecordWriter {
    pub(crate) fn new(records: Arc<dyn Records>, calendar: Calendar) -> Self {
        Self {
            records,
            calendar,
            creation: tokio::sync::Mutex::default(),
            last: Mutex::new(SystemTime::UNIX_EPOCH),
            used: Mutex::default(),
            deleted: Mutex::default(),
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

    /// Stores the snapshot if it is another than the one in the store. `false` when the session
    /// cannot sleep any more: it has no snapshot, or its record is gone.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the old snapshot or the new one; the next save tells them apart
    /// or writes once too often.
    pub(crate) async fn save(
        &self,
        handle: &RecordHandle,
        snapshot: impl Fn() -> Option<Vec<u8>>,
        used: SystemTime,
        save: Save,
    ) -> Result<bool, RecordsError> {
        let mut stored = handle.lock().await;
        let was_closed = handle.close_if(save == Save::Last);
        if handle.is_removed() {
            return Ok(false);
        }
        // Taken while this save has the turn, so that it is never older than the one before.
        let Some(snapshot) = snapshot() else {
            return Ok(false);
        };
        let new = SnapshotDigest::of(&snapshot);
        if *stored == new {
            return Ok(true);
        }
        if was_closed {
            return Err(RecordsError::new("the session goes on from an older state"));
        }
        let there = self.records.save(&handle.key, snapshot.into(), used).await?;
        if there {
            *stored = new;
        } else {
            handle.set_removed();
        }
        Ok(there)
    }

    /// Remembers for the next flush when a session was last used, and why it sleeps if it does.
    pub(crate) fn note_use(&self, key: RecordKey, used: Instant, asleep: Option<StopReason>) {
        let active = self.time_of(used);
        self.lock_used().insert(key, Use { key, active, asleep });
    }

    /// What the store was not told yet. It stays noted until [`told`](Self::told).
    pub(crate) fn noted(&self) -> Vec<Use> {
        self.lock_used().values().copied().collect()
    }

    /// Forgets what the store was told, unless there is something newer by now.
    pub(crate) fn told(&self, uses: &[Use]) {
        let mut used = self.lock_used();
        for told in uses {
            if used.get(&told.key) == Some(told) {
                used.remove(&told.key);
            }
        }
    }

    /// The record, with what the store was not told yet.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn find(&self, key: &RecordKey) -> Result<Option<Record>, RecordsError> {
        // Before the store is asked: it may be told between its answer and a look at the notes.
        let noted = self.lock_used().get(key).copied();
        let mut record = self.records.find(key).await?;
        if let Some((record, noted)) = record.as_mut().zip(noted) {
            record.asleep = noted.asleep;
        }
        Ok(record)
    }

    /// From now on no session wakes from this record.
    pub(crate) fn mark_deleted(&self, key: RecordKey) {
        self.lock_used().remove(&key);
        self.lock_deleted().insert(key);
    }

    pub(crate) fn is_marked_deleted(&self, key: &RecordKey) -> bool {
        self.lock_deleted().contains(key)
    }

    pub(crate) fn marked_deleted(&self) -> Vec<RecordKey> {
        self.lock_deleted().iter().copied().collect()
    }

    /// Takes the mark back: the record was deleted, or its session lives after all.
    pub(crate) fn unmark(&self, key: &RecordKey) {
        self.lock_deleted().remove(key);
    }

    fn lock_used(&self) -> MutexGuard<'_, HashMap<RecordKey, Use>> {
        self.used.lock().expect("nothing panics while it holds the times")
    }

    fn lock_deleted(&self) -> MutexGuard<'_, HashSet<RecordKey>> {
        self.deleted.lock().expect("nothing panics while it holds the marks")
    }
}

impl fmt::Debug for RecordWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordWriter").field("records", &self.records).finish_non_exhaustive()
    }
}

/// Whether a backend's snapshot may be saved again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Save {
    Interim,
    /// The backend has ended, and the session goes on from what the store has after this.
    Last,
}

/// Stores keep microseconds; what is compared must survive the store.
fn whole_micros(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::new(since.as_secs(), since.subsec_micros() * 1_000)
}
