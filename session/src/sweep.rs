//! Removing the records that a revocation means, until it is done.

use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::warn;

use crate::backend::Backend;
use crate::openings::Matches;
use crate::phase::{Phase, stopping};
use crate::record::{RecordsError, Selection};
use crate::record_writer::RecordWriter;
use crate::recording::PAGE;
use crate::shared::Shared;

/// How long a removal that failed waits before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What a revocation removes from the records.
pub(crate) struct Sweep {
    pub(crate) matches: Matches,
    /// The same in words the store understands, if it can be said so.
    pub(crate) which: Option<Selection>,
    pub(crate) before: SystemTime,
    /// The revocation's number among those under way.
    pub(crate) number: u64,
    /// Hears the outcome of the first attempt.
    pub(crate) reply: oneshot::Sender<Result<usize, RecordsError>>,
}

impl<B: Backend> Shared<B> {
    /// Removes what a revocation means from the records, until it is done or the registry stops.
    pub(crate) async fn sweep(&self, sweep: Sweep) {
        let Some(writer) = &self.writer else { return };
        let mut reply = Some(sweep.reply);
        let mut phase = self.phase.subscribe();
        loop {
            let removed = match &sweep.which {
                Some(which) => writer.records.remove_all(which, sweep.before).await,
                None => self.sweep_pages(writer, &sweep.matches, sweep.before).await,
            };
            let failed = removed.as_ref().err().cloned();
            if let Some(reply) = reply.take() {
                let _ = reply.send(removed);
            }
            let Some(error) = failed else { break };
            warn!(%error, "revoked sessions are still recorded; trying again");
            if !matches!(*phase.borrow_and_update(), Phase::Open | Phase::Draining) {
                return;
            }
            tokio::select! {
                () = sleep(RETRY) => {}
                () = stopping(&mut phase) => {}
            }
        }
        self.openings.done(sweep.number);
    }

    async fn sweep_pages(
        &self,
        writer: &RecordWriter,
        matches: &Matches,
        before: SystemTime,
    ) -> Result<usize, RecordsError> {
        let (mut after, mut removed) = (None, 0);
        loop {
            let page = writer.records.list(&Selection::All, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(removed) };
            after = Some(last.key);
            let meant = page.iter().filter(|each| each.created < before && matches(&each.owner));
            let meant: Vec<_> = meant.map(|each| each.key).collect();
            if !meant.is_empty() {
                removed += writer.records.remove(&meant).await?;
            }
        }
    }
}
