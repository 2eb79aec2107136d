//! Bringing the store up to date in the background, and the sessions up to date with the store.

use std::collections::HashSet;
use std::sync::Arc;

use tracing::{info, warn};

use crate::backend::Backend;
use crate::entry::Entry;
use crate::reason::StopReason;
use crate::record::{RecordsError, Selection};
use crate::record_writer::RecordWriter;
use crate::recording::PAGE;
use crate::shared::Shared;

impl<B: Backend> Shared<B> {
    /// Brings the store up to date: deletes marked records, stores changed snapshots, tells when
    /// sessions were last used. What fails is left for the next time.
    pub(crate) async fn flush(&self) {
        let Some(writer) = &self.writer else { return };
        if let Err(error) = self.try_flush(writer).await {
            warn!(%error, "the session records are not up to date");
        }
    }

    async fn try_flush(&self, writer: &RecordWriter) -> Result<(), RecordsError> {
        for page in writer.marked_deleted().chunks(PAGE) {
            self.delete_records(writer, page).await?;
        }
        let lifetime = self.lifetime();
        if !lifetime.is_zero()
            && let Some(before) = writer.now().checked_sub(lifetime)
        {
            // A live session in use is allowed to outlive its record; it ends when it is idle.
            let expired = writer.records.remove_all(&Selection::All, before).await?;
            if expired > 0 {
                info!(sessions = expired, "sessions were as old as they may become");
            }
        }
        for entry in self.table.select(|entry| entry.record().is_some()) {
            let Some(handle) = entry.record() else { continue };
            if entry.report_use(|used| writer.note_use(handle.key, used, None)) {
                self.save(&entry).await?;
            }
        }
        for page in writer.noted().chunks(PAGE) {
            writer.records.touch(page).await?;
            writer.told(page);
        }
        Ok(())
    }

    /// The sessions that are awake though another process has removed their record.
    pub(crate) async fn find_removed(&self) -> Result<Vec<Arc<Entry<B>>>, RecordsError> {
        let Some(writer) = &self.writer else { return Ok(Vec::new()) };
        let mut awake = self.table.select(|entry| entry.record().is_some());
        let keys: Vec<_> = awake.iter().filter_map(|entry| Some(entry.record()?.key)).collect();
        let mut missing = HashSet::new();
        for page in keys.chunks(PAGE) {
            missing.extend(writer.records.missing(page).await?);
        }
        awake.retain(|entry| entry.record().is_some_and(|handle| missing.contains(&handle.key)));
        Ok(awake)
    }

    /// Ends sessions whose record was found to be removed, and says how many.
    pub(crate) fn end_removed(&self, found: &[Arc<Entry<B>>]) -> usize {
        let mut ended = 0;
        for entry in found {
            let Some(handle) = entry.record() else { continue };
            handle.set_removed();
            ended += usize::from(self.end(entry, StopReason::Removed));
        }
        ended
    }
}
