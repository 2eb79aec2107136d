//! Records of sessions: made, saved, removed, and tended in the background.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};

use crate::entry::{Entry, Kept};
use crate::error::NoPlace;
use crate::keeper::{Keeper, Turn, record};
use crate::opening::Matches;
use crate::shared::{Phase, Shared};
use crate::{Backend, Owner, RecordKey, RecordsError, Selection, SessionId, StopReason};

/// How many ids are tried before a session is given up.
const MINTS: usize = 4;

/// How many records are read or removed at a time.
const PAGE: usize = 500;

/// How long a removal that failed waits before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Why no record was made.
#[derive(Debug)]
pub(crate) enum Refused {
    NoPlace(NoPlace),
    NoFreeId,
    Records(RecordsError),
}

impl From<RecordsError> for Refused {
    fn from(error: RecordsError) -> Self {
        Self::Records(error)
    }
}

/// What a revocation removes from the records.
pub(crate) struct Sweep {
    pub(crate) matches: Matches,
    /// The same in words the store understands, if it can be said so.
    pub(crate) which: Option<Selection>,
    pub(crate) before: std::time::SystemTime,
    /// The revocation's number among those under way.
    pub(crate) number: u64,
    /// Hears the outcome of the first attempt.
    pub(crate) reply: tokio::sync::oneshot::Sender<Result<usize, RecordsError>>,
}

impl<B: Backend> Shared<B> {
    /// Makes the record of a new session, if sessions are recorded and this one can sleep.
    pub(crate) async fn record(
        &self,
        owner: &Owner,
        backend: &B,
    ) -> Result<Option<(SessionId, Kept)>, Refused> {
        let Some(keeper) = &self.keeper else { return Ok(None) };
        let Some(snapshot) = backend.snapshot() else { return Ok(None) };
        let _turn = keeper.turn.lock().await;
        self.make_room(keeper, owner).await?;
        for _ in 0..MINTS {
            let id = self.free_id().ok_or(Refused::NoFreeId)?;
            let kept = Kept::new(id.key(), &snapshot);
            let new =
                record(kept.key, owner, backend.kind(), snapshot.as_slice().into(), keeper.tick());
            if keeper.records.create(new).await? {
                return Ok(Some((id, kept)));
            }
        }
        Err(Refused::NoFreeId)
    }

    /// Removes records of sessions that are asleep until both caps allow one more.
    async fn make_room(&self, keeper: &Keeper, owner: &Owner) -> Result<(), Refused> {
        let limits = self.limits();
        let own = Selection::Owner(owner.clone());
        if let Some(max) = limits.max_records_per_owner {
            let surplus = (keeper.records.count(&own).await? + 1).saturating_sub(max.get());
            if self.drop_longest_asleep(keeper, &own, surplus).await? < surplus {
                return Err(Refused::NoPlace(NoPlace::OwnerFull { max }));
            }
        }
        if let Some(max) = limits.max_records {
            let surplus =
                (keeper.records.count(&Selection::All).await? + 1).saturating_sub(max.get());
            let mut dropped = self.drop_longest_asleep(keeper, &own, surplus).await?;
            dropped += self.drop_longest_asleep(keeper, &Selection::All, surplus - dropped).await?;
            if dropped < surplus {
                return Err(Refused::NoPlace(NoPlace::Full { max }));
            }
        }
        Ok(())
    }

    /// Ends up to `many` sessions that have been asleep longest, and says how many.
    async fn drop_longest_asleep(
        &self,
        keeper: &Keeper,
        which: &Selection,
        many: usize,
    ) -> Result<usize, RecordsError> {
        if many == 0 {
            return Ok(0);
        }
        let awake = self.awake();
        // As many again as may have to be passed over.
        let oldest = keeper.records.longest_unused(which, many.saturating_add(awake.len())).await?;
        // Some may have been woken since they were looked for.
        let awake = self.awake();
        let oldest = oldest.into_iter().filter(|key| !awake.contains(key)).take(many);
        let oldest = self.keep_asleep(keeper, oldest.collect());
        for page in oldest.chunks(PAGE) {
            self.bury(keeper, page).await?;
        }
        if !oldest.is_empty() {
            info!(sessions = oldest.len(), "sessions asleep made room for new records");
        }
        Ok(oldest.len())
    }

    /// Sees to it that none of these sessions wakes any more, and leaves out those that have just
    /// done so. They stay doomed if the store fails: they would be the next to go in any case.
    fn keep_asleep(&self, keeper: &Keeper, mut keys: Vec<RecordKey>) -> Vec<RecordKey> {
        for key in &keys {
            keeper.doom(*key);
        }
        // Whoever has looked a moment too early to find the key doomed has a ticket, or is in.
        self.openings.refuse(&keys, StopReason::Evicted);
        let entries = self.table.select(|entry| entry.kept().is_some());
        let woken: HashSet<_> = entries.iter().filter_map(|it| Some(it.kept()?.key)).collect();
        keys.retain(|key| {
            let asleep = !woken.contains(key);
            if !asleep {
                keeper.spare(key);
            }
            asleep
        });
        keys
    }

    /// The records of sessions that have a backend or are about to.
    pub(crate) fn awake(&self) -> HashSet<RecordKey> {
        let mut awake = self.openings.waking();
        awake
            .extend(self.table.select(|_| true).iter().filter_map(|entry| Some(entry.kept()?.key)));
        awake
    }

    /// Removes records and refuses the wakes that may have read them.
    pub(crate) async fn remove(
        &self,
        keeper: &Keeper,
        keys: &[RecordKey],
        why: StopReason,
    ) -> Result<usize, RecordsError> {
        let removed = keeper.records.remove(keys).await?;
        self.openings.refuse(keys, why);
        Ok(removed)
    }

    /// Removes doomed records, and refuses the wakes that may have read them; those that could not
    /// be removed are tried again later.
    async fn bury(&self, keeper: &Keeper, keys: &[RecordKey]) -> Result<(), RecordsError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.remove(keeper, keys, StopReason::Deleted).await?;
        keys.iter().for_each(|key| keeper.spare(key));
        Ok(())
    }

    /// Stores the session's snapshot if it has changed. `false` when it cannot sleep any more.
    pub(crate) async fn save(&self, entry: &Entry<B>) -> Result<bool, RecordsError> {
        self.store(entry, Turn::Another).await
    }

    /// The same, once its backend has ended.
    pub(crate) async fn save_last(&self, entry: &Entry<B>) -> Result<bool, RecordsError> {
        self.store(entry, Turn::Last).await
    }

    async fn store(&self, entry: &Entry<B>, turn: Turn) -> Result<bool, RecordsError> {
        let (Some(keeper), Some(kept)) = (&self.keeper, entry.kept()) else { return Ok(false) };
        keeper.save(kept, || entry.backend().snapshot(), keeper.now(), turn).await
    }

    /// Removes the record of a session that lives and cannot sleep any more.
    pub(crate) async fn unrecord(&self, entry: &Entry<B>) -> Result<(), RecordsError> {
        if let (Some(keeper), Some(kept)) = (&self.keeper, entry.kept()) {
            keeper.records.remove(&[kept.key]).await?;
            kept.lost.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Removes the record of a session that is gone; if that fails, it is tried again later.
    pub(crate) async fn forget(&self, key: Option<RecordKey>) {
        if let (Some(keeper), Some(key)) = (&self.keeper, key)
            && let Err(error) = self.bury(keeper, &[key]).await
        {
            warn!(session = %key.short(), %error, "the record of an ended session is still there");
        }
    }

    /// Brings the store up to date: removes what is to go, tells when sessions were last used,
    /// stores changed snapshots. What fails is left for the next time.
    pub(crate) async fn tend(&self) {
        let Some(keeper) = &self.keeper else { return };
        if let Err(error) = self.try_to_tend(keeper).await {
            warn!(%error, "the session records are not up to date");
        }
    }

    async fn try_to_tend(&self, keeper: &Keeper) -> Result<(), RecordsError> {
        for page in keeper.doomed().chunks(PAGE) {
            self.bury(keeper, page).await?;
        }
        let lifetime = self.lifetime();
        if !lifetime.is_zero()
            && let Some(before) = keeper.now().checked_sub(lifetime)
        {
            // A live session in use is allowed to outlive its record; it ends when it is idle.
            let expired = keeper.records.remove_all(&Selection::All, before).await?;
            if expired > 0 {
                info!(sessions = expired, "sessions were as old as they may become");
            }
        }
        for entry in self.table.select(|entry| entry.kept().is_some()) {
            let Some(kept) = entry.kept() else { continue };
            if entry.tell(|used| keeper.note_use(kept.key, used, None)) {
                self.save(&entry).await?;
            }
        }
        let uses = keeper.take_uses();
        let touched = async {
            for page in uses.chunks(PAGE) {
                keeper.records.touch(page).await?;
            }
            Ok(())
        };
        let told = touched.await;
        if told.is_err() {
            keeper.give_back(uses);
        }
        told
    }

    /// Ends sessions that are awake though their record was removed by somebody else, and says how
    /// many.
    pub(crate) async fn end_removed(&self) -> Result<usize, RecordsError> {
        let Some(keeper) = &self.keeper else { return Ok(0) };
        let awake = self.table.select(|entry| entry.kept().is_some());
        let keys: Vec<_> = awake.iter().filter_map(|entry| Some(entry.kept()?.key)).collect();
        let mut missing = HashSet::new();
        for page in keys.chunks(PAGE) {
            missing.extend(keeper.records.missing(page).await?);
        }
        let mut ended = 0;
        for entry in &awake {
            let Some(kept) = entry.kept().filter(|kept| missing.contains(&kept.key)) else {
                continue;
            };
            kept.lost.store(true, Ordering::SeqCst);
            ended += usize::from(self.end(entry, StopReason::Removed));
        }
        Ok(ended)
    }

    /// Removes what a revocation means from the records, until it is done or the registry stops.
    pub(crate) async fn sweep(&self, sweep: Sweep) {
        let Some(keeper) = &self.keeper else { return };
        let mut reply = Some(sweep.reply);
        let mut phase = self.phase.subscribe();
        loop {
            let removed = match &sweep.which {
                Some(which) => keeper.records.remove_all(which, sweep.before).await,
                None => self.sweep_pages(keeper, &sweep.matches, sweep.before).await,
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
                () = crate::shared::stopping(&mut phase) => {}
            }
        }
        self.openings.done(sweep.number);
    }

    async fn sweep_pages(
        &self,
        keeper: &Keeper,
        matches: &Matches,
        before: std::time::SystemTime,
    ) -> Result<usize, RecordsError> {
        let (mut after, mut removed) = (None, 0);
        loop {
            let page = keeper.records.list(&Selection::All, after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(removed) };
            after = Some(last.key);
            let meant = page.iter().filter(|each| each.created < before && matches(&each.owner));
            let meant: Vec<_> = meant.map(|each| each.key).collect();
            if !meant.is_empty() {
                removed += keeper.records.remove(&meant).await?;
            }
        }
    }
}
