//! Records of sessions: created, saved and deleted.

use std::collections::HashSet;

use tracing::{info, warn};

use crate::admission::MINTS;
use crate::backend::Backend;
use crate::entry::Entry;
use crate::error::{NoSlot, OwnerLimit};
use crate::id::SessionId;
use crate::owner::Owner;
use crate::reason::StopReason;
use crate::record::{Record, RecordKey, RecordsError, Selection};
use crate::record_handle::RecordHandle;
use crate::record_writer::{RecordWriter, Save};
use crate::shared::Shared;

/// How many records are read or deleted at a time.
pub(crate) const PAGE: usize = 500;

/// Why no record was made.
#[derive(Debug)]
pub(crate) enum Refused {
    NoSlot(NoSlot),
    NoFreeId,
    Records(RecordsError),
}

impl From<RecordsError> for Refused {
    fn from(error: RecordsError) -> Self {
        Self::Records(error)
    }
}

impl<B: Backend> Shared<B> {
    /// Makes the record of a new session, if sessions are recorded and this one can sleep.
    pub(crate) async fn record(
        &self,
        owner: &Owner,
        backend: &B,
    ) -> Result<Option<(SessionId, RecordHandle)>, Refused> {
        let Some(writer) = &self.writer else { return Ok(None) };
        let Some(snapshot) = backend.snapshot() else { return Ok(None) };
        let _creation = writer.creation.lock().await;
        self.make_room(writer, owner).await?;
        for _ in 0..MINTS {
            let id = self.free_id().ok_or(Refused::NoFreeId)?;
            let handle = RecordHandle::new(id.key(), &snapshot);
            let created = writer.tick();
            let new = Record {
                key: handle.key,
                owner: owner.clone(),
                kind: backend.kind().into(),
                snapshot: snapshot.as_slice().into(),
                created,
                active: created,
                asleep: None,
            };
            if writer.records.create(new).await? {
                return Ok(Some((id, handle)));
            }
        }
        Err(Refused::NoFreeId)
    }

    /// Removes records of sessions that are asleep until every cap allows one more.
    async fn make_room(&self, writer: &RecordWriter, owner: &Owner) -> Result<(), Refused> {
        let limits = self.limits();
        // From the narrowest to the widest: a client that opens a session for every call forgets its
        // own ones, before those of the person's other clients, before anybody's.
        let circles =
            [Selection::Owner(owner.clone()), Selection::person_of(owner), Selection::All];
        let caps =
            [limits.max_records_per_client, limits.max_records_per_owner, limits.max_records];
        for (at, max) in caps.into_iter().enumerate() {
            let Some(max) = max else { continue };
            let counted = writer.records.count(&circles[at]).await?;
            let surplus = (counted + 1).saturating_sub(max.get());
            let mut dropped = 0;
            for circle in &circles[..=at] {
                dropped += self.drop_longest_asleep(writer, circle, surplus - dropped).await?;
            }
            if dropped < surplus {
                let is_total = circles[at] == Selection::All;
                return Err(Refused::NoSlot(match is_total {
                    true => NoSlot::Full { max },
                    false => NoSlot::Owner(OwnerLimit::Records { max }),
                }));
            }
        }
        Ok(())
    }

    /// Ends up to `many` sessions that have been asleep longest, and says how many.
    async fn drop_longest_asleep(
        &self,
        writer: &RecordWriter,
        which: &Selection,
        many: usize,
    ) -> Result<usize, RecordsError> {
        if many == 0 {
            return Ok(0);
        }
        let awake = self.awake();
        // As many again as may have to be passed over.
        let oldest = writer.records.longest_unused(which, many.saturating_add(awake.len())).await?;
        // Some may have been woken since they were looked for.
        let awake = self.awake();
        let oldest = oldest.into_iter().filter(|key| !awake.contains(key)).take(many);
        let oldest = self.keep_asleep(writer, oldest.collect());
        for page in oldest.chunks(PAGE) {
            self.delete_records(writer, page).await?;
        }
        if !oldest.is_empty() {
            info!(sessions = oldest.len(), "sessions asleep made room for new records");
        }
        Ok(oldest.len())
    }

    /// Prevents any of these sessions from waking, and leaves out those that have just done so. They
    /// stay marked if the store fails: they would be the next to go in any case.
    fn keep_asleep(&self, writer: &RecordWriter, mut keys: Vec<RecordKey>) -> Vec<RecordKey> {
        for key in &keys {
            writer.mark_deleted(*key);
        }
        // A wake that looked too early to see the mark has a ticket, or is in the table.
        self.openings.refuse(&keys, StopReason::Evicted);
        let entries = self.table.select(|entry| entry.record().is_some());
        let woken: HashSet<_> = entries.iter().filter_map(|it| Some(it.record()?.key)).collect();
        keys.retain(|key| {
            let asleep = !woken.contains(key);
            if !asleep {
                writer.unmark(key);
            }
            asleep
        });
        keys
    }

    /// The records of sessions that have a backend or are about to.
    pub(crate) fn awake(&self) -> HashSet<RecordKey> {
        let mut awake = self.openings.waking();
        awake.extend(
            self.table.select(|_| true).iter().filter_map(|entry| Some(entry.record()?.key)),
        );
        awake
    }

    /// Removes records and refuses the wakes that may have read them.
    pub(crate) async fn remove(
        &self,
        writer: &RecordWriter,
        keys: &[RecordKey],
        why: StopReason,
    ) -> Result<usize, RecordsError> {
        let removed = writer.records.remove(keys).await?;
        self.openings.refuse(keys, why);
        Ok(removed)
    }

    /// Deletes records that are marked, and refuses the wakes that may have read them; those that
    /// could not be deleted are tried again later.
    pub(crate) async fn delete_records(
        &self,
        writer: &RecordWriter,
        keys: &[RecordKey],
    ) -> Result<(), RecordsError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.remove(writer, keys, StopReason::Deleted).await?;
        keys.iter().for_each(|key| writer.unmark(key));
        Ok(())
    }

    /// Stores the session's snapshot if it has changed. `false` when it cannot sleep any more.
    pub(crate) async fn save(&self, entry: &Entry<B>) -> Result<bool, RecordsError> {
        self.store(entry, Save::Interim).await
    }

    /// The same, once its backend has ended.
    pub(crate) async fn save_last(&self, entry: &Entry<B>) -> Result<bool, RecordsError> {
        self.store(entry, Save::Last).await
    }

    async fn store(&self, entry: &Entry<B>, save: Save) -> Result<bool, RecordsError> {
        let (Some(writer), Some(handle)) = (&self.writer, entry.record()) else { return Ok(false) };
        writer.save(handle, || entry.backend().snapshot(), writer.now(), save).await
    }

    /// Removes the record of a session that lives and cannot sleep any more.
    pub(crate) async fn unrecord(&self, entry: &Entry<B>) -> Result<(), RecordsError> {
        if let (Some(writer), Some(handle)) = (&self.writer, entry.record()) {
            writer.records.remove(&[handle.key]).await?;
            handle.set_removed();
        }
        Ok(())
    }

    /// Removes the record of a session that is gone; if that fails, it is tried again later.
    pub(crate) async fn forget(&self, key: Option<RecordKey>) {
        if let (Some(writer), Some(key)) = (&self.writer, key)
            && let Err(error) = self.delete_records(writer, &[key]).await
        {
            warn!(session = %key.short(), %error, "the record of an ended session is still there");
        }
    }
}
