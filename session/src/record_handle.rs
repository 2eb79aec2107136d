//! What an awake session knows of its own record.

use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, MutexGuard};

use crate::record::RecordKey;

/// The record behind a session that can sleep.
#[derive(Debug)]
pub(crate) struct RecordHandle {
    pub(crate) key: RecordKey,
    /// The digest of the snapshot in the store. Saves take turns by this lock, which is held while
    /// the store works: an older snapshot never overwrites a newer one.
    stored: Mutex<SnapshotDigest>,
    /// The backend has ended and its last state was saved. What it says after that is no news of
    /// the session.
    closed: AtomicBool,
    /// The record was removed: the session cannot sleep any more.
    removed: AtomicBool,
}

/// The SHA-256 of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SnapshotDigest([u8; 32]);

impl SnapshotDigest {
    /// The digest of no snapshot.
    const NONE: Self = Self([0; 32]);

    pub(crate) fn of(snapshot: &[u8]) -> Self {
        Self(Sha256::digest(snapshot).into())
    }
}

impl RecordHandle {
    /// The handle of a record that holds this snapshot.
    pub(crate) fn new(key: RecordKey, snapshot: &[u8]) -> Self {
        Self::with_digest(key, SnapshotDigest::of(snapshot))
    }

    /// The same for a backend that continues from this snapshot of the backend before it, which the
    /// store may have missed.
    pub(crate) fn successor(&self, snapshot: &[u8]) -> Self {
        let new = SnapshotDigest::of(snapshot);
        let is_stored = self.stored.try_lock().is_ok_and(|stored| *stored == new);
        // No snapshot has the digest `NONE`, so the next save stores it whatever it is.
        Self::with_digest(self.key, if is_stored { new } else { SnapshotDigest::NONE })
    }

    fn with_digest(key: RecordKey, stored: SnapshotDigest) -> Self {
        Self {
            key,
            stored: Mutex::new(stored),
            closed: AtomicBool::new(false),
            removed: AtomicBool::new(false),
        }
    }

    /// The turn to save a snapshot, and the digest of the one that the store has.
    pub(crate) async fn lock(&self) -> MutexGuard<'_, SnapshotDigest> {
        self.stored.lock().await
    }

    /// Says whether the last state was saved before this call; with `last` it is from here on.
    pub(crate) fn close_if(&self, last: bool) -> bool {
        self.closed.fetch_or(last, Ordering::SeqCst)
    }

    /// Whether the record was removed.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::SeqCst)
    }

    /// Notes that the record was removed.
    pub(crate) fn set_removed(&self) {
        self.removed.store(true, Ordering::SeqCst);
    }
}
