//! Records in memory, which can be told to fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep};

use crate::backend::BoxFuture;
use crate::calendar::Calendar;
use crate::record::{Record, RecordKey, Recorded, Records, RecordsError, Selection, Summary, Use};

/// Records in memory. Clones share them; dropping a registry and making another over a clone is
/// what a restart does.
#[derive(Debug, Clone)]
pub struct MemoryRecords(Arc<Mutex<Memory>>);

#[derive(Debug)]
struct Memory {
    records: BTreeMap<RecordKey, Record>,
    begun: Instant,
    calls: usize,
    delay: Duration,
    answer_delay: Duration,
    down: bool,
    fails_at: Option<usize>,
    forgets_answer_at: Option<usize>,
}

impl MemoryRecords {
    /// No records, and a calendar that follows tokio's clock from now on.
    ///
    /// # Panics
    /// Outside of a tokio runtime whose clock is paused.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Memory {
            records: BTreeMap::new(),
            begun: Instant::now(),
            calls: 0,
            delay: Duration::ZERO,
            answer_delay: Duration::ZERO,
            down: false,
            fails_at: None,
            forgets_answer_at: None,
        })))
    }

    /// A calendar that follows tokio's clock, the same for every registry over these records.
    pub fn calendar(&self) -> Calendar {
        let begun = self.lock().begun;
        Calendar::new(move || {
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + begun.elapsed()
        })
    }

    /// Lets every call fail, or none, whatever was ordered for one of them.
    pub fn fail(&self, down: bool) {
        let mut memory = self.lock();
        memory.down = down;
        (memory.fails_at, memory.forgets_answer_at) = (None, None);
    }

    /// Lets one call fail before it has done anything: the next one for 0.
    pub fn fail_at(&self, call: usize) {
        let mut memory = self.lock();
        memory.fails_at = Some(memory.calls + call);
    }

    /// Lets one call fail after it has done its work: the answer of the commit was lost.
    pub fn lose_answer_at(&self, call: usize) {
        let mut memory = self.lock();
        memory.forgets_answer_at = Some(memory.calls + call);
    }

    /// Lets every call take so long.
    pub fn delay(&self, delay: Duration) {
        self.lock().delay = delay;
    }

    /// Lets every answer come so long after the work was done.
    pub fn delay_answers(&self, delay: Duration) {
        self.lock().answer_delay = delay;
    }

    /// Calls so far.
    pub fn calls(&self) -> usize {
        self.lock().calls
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.lock().records.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The record, if there is one.
    pub fn peek(&self, key: &RecordKey) -> Option<Record> {
        self.lock().records.get(key).cloned()
    }

    fn call<'a, T: Send + 'a>(
        &self,
        work: impl FnOnce(&mut BTreeMap<RecordKey, Record>) -> T + Send + 'a,
    ) -> BoxFuture<'a, Result<T, RecordsError>> {
        let memory = Arc::clone(&self.0);
        Box::pin(async move {
            let delay = memory.lock().expect("no test panics while it holds them").delay;
            if !delay.is_zero() {
                sleep(delay).await;
            }
            let (done, answer_delay) = {
                let mut memory = memory.lock().expect("no test panics while it holds them");
                (memory.work(work), memory.answer_delay)
            };
            if !answer_delay.is_zero() {
                sleep(answer_delay).await;
            }
            done
        })
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().expect("no test panics while it holds them")
    }
}

impl Memory {
    fn work<T>(
        &mut self,
        work: impl FnOnce(&mut BTreeMap<RecordKey, Record>) -> T,
    ) -> Result<T, RecordsError> {
        let call = self.calls;
        self.calls += 1;
        if self.down || self.fails_at == Some(call) {
            return Err(RecordsError::new("told to fail"));
        }
        let done = work(&mut self.records);
        if self.forgets_answer_at == Some(call) {
            return Err(RecordsError::new("told to lose the answer"));
        }
        Ok(done)
    }
}

impl Default for MemoryRecords {
    fn default() -> Self {
        Self::new()
    }
}

impl Records for MemoryRecords {
    fn create(&self, record: Record) -> Recorded<'_, bool> {
        self.call(move |records| {
            let free = !records.contains_key(&record.key);
            if free {
                records.insert(record.key, record);
            }
            free
        })
    }

    fn save<'a>(
        &'a self,
        key: &'a RecordKey,
        snapshot: Arc<[u8]>,
        active: SystemTime,
    ) -> Recorded<'a, bool> {
        self.call(move |records| {
            let Some(record) = records.get_mut(key) else { return false };
            record.snapshot = snapshot;
            record.active = record.active.max(active);
            true
        })
    }

    fn find<'a>(&'a self, key: &'a RecordKey) -> Recorded<'a, Option<Record>> {
        self.call(move |records| records.get(key).cloned())
    }

    fn touch<'a>(&'a self, used: &'a [Use]) -> Recorded<'a, ()> {
        self.call(move |records| {
            for each in used {
                if let Some(record) = records.get_mut(&each.key) {
                    record.active = record.active.max(each.active);
                    record.asleep = each.asleep;
                }
            }
        })
    }

    fn remove<'a>(&'a self, keys: &'a [RecordKey]) -> Recorded<'a, usize> {
        self.call(move |records| keys.iter().filter(|key| records.remove(key).is_some()).count())
    }

    fn remove_all<'a>(&'a self, which: &'a Selection, before: SystemTime) -> Recorded<'a, usize> {
        self.call(move |records| {
            let all = records.len();
            records.retain(|_, record| record.created >= before || !which.matches(&record.owner));
            all - records.len()
        })
    }

    fn list<'a>(
        &'a self,
        which: &'a Selection,
        after: Option<&'a RecordKey>,
        limit: usize,
    ) -> Recorded<'a, Vec<Summary>> {
        self.call(move |records| {
            let above = |key: &RecordKey| after.is_none_or(|after| key > after);
            let meant = records
                .values()
                .filter(|record| above(&record.key) && which.matches(&record.owner));
            meant
                .take(limit)
                .map(|record| Summary {
                    key: record.key,
                    owner: record.owner.clone(),
                    kind: Arc::clone(&record.kind),
                    created: record.created,
                    active: record.active,
                    asleep: record.asleep,
                })
                .collect()
        })
    }

    fn longest_unused<'a>(
        &'a self,
        which: &'a Selection,
        limit: usize,
    ) -> Recorded<'a, Vec<RecordKey>> {
        self.call(move |records| {
            let meant = records.values().filter(|record| which.matches(&record.owner));
            let mut meant: Vec<_> = meant.map(|record| (record.active, record.key)).collect();
            meant.sort_unstable();
            meant.into_iter().take(limit).map(|(_, key)| key).collect()
        })
    }

    fn count<'a>(&'a self, which: &'a Selection) -> Recorded<'a, usize> {
        self.call(move |records| records.values().filter(|each| which.matches(&each.owner)).count())
    }

    fn missing<'a>(&'a self, keys: &'a [RecordKey]) -> Recorded<'a, Vec<RecordKey>> {
        self.call(move |records| {
            keys.iter().filter(|key| !records.contains_key(key)).copied().collect()
        })
    }

    fn kinds(&self) -> Recorded<'_, Vec<(Arc<str>, usize)>> {
        self.call(move |records| {
            let mut kinds = BTreeMap::<Arc<str>, usize>::new();
            for record in records.values() {
                *kinds.entry(Arc::clone(&record.kind)).or_default() += 1;
            }
            kinds.into_iter().collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::records_contract;

    #[tokio::test(start_paused = true)]
    async fn the_records_in_memory_keep_the_contract() {
        records_contract(Arc::new(MemoryRecords::new())).await;
    }

    #[tokio::test(start_paused = true)]
    async fn records_fail_when_they_are_told_to() {
        let records = MemoryRecords::new();
        records.fail_at(1);
        records.count(&Selection::All).await.expect("the next one fails");
        records.count(&Selection::All).await.expect_err("this one");
        records.count(&Selection::All).await.expect("only one");
        records.fail(true);
        records.count(&Selection::All).await.expect_err("all of them");
    }
}
