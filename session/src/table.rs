//! The table of live sessions, in shards so that lookups of different sessions do not meet.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::SessionId;
use crate::entry::{Entry, Snapshot};

/// A power of two, well above the number of threads of a large machine.
const SHARDS: usize = 64;

/// The shards' locks are held for one operation of the map, and never while an entry's own lock
/// is waited for by a lookup: a lookup clones the entry out and lets go.
pub(crate) struct Table<B> {
    shards: Box<[Shard<B>]>,
    live: AtomicUsize,
}

type Sessions<B> = HashMap<SessionId, Arc<Entry<B>>>;

/// Aligned to a cache line, so that two busy shards do not slow each other down.
#[repr(align(64))]
struct Shard<B>(Mutex<Sessions<B>>);

impl<B> Shard<B> {
    fn lock(&self) -> MutexGuard<'_, Sessions<B>> {
        self.0.lock().expect("nothing panics while it holds a shard")
    }
}

impl<B> Table<B> {
    pub(crate) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Shard(Mutex::default())).collect();
        Self { shards, live: AtomicUsize::new(0) }
    }

    pub(crate) fn find(&self, id: &SessionId) -> Option<Arc<Entry<B>>> {
        self.shard(id).lock().get(id).cloned()
    }

    pub(crate) fn contains(&self, id: &SessionId) -> bool {
        self.shard(id).lock().contains_key(id)
    }

    /// Puts a session in, whose id the caller knows to be free.
    pub(crate) fn insert(&self, entry: Arc<Entry<B>>) {
        let replaced = self.shard(entry.id()).lock().insert(*entry.id(), entry);
        debug_assert!(replaced.is_none(), "the id was free");
        self.live.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a session off. Whoever ended it does so, once.
    pub(crate) fn remove(&self, id: &SessionId) {
        // Bound to a name so that the entry is dropped after the lock.
        let removed = self.shard(id).lock().remove(id);
        debug_assert!(removed.is_some(), "a session is removed once");
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// The sessions whose entry satisfies `wanted`, as of some moment during the call. The
    /// function runs under a shard's lock and must not call the table.
    pub(crate) fn select(&self, wanted: impl Fn(&Entry<B>) -> bool) -> Vec<Arc<Entry<B>>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            found.extend(shard.lock().values().filter(|entry| wanted(entry)).cloned());
        }
        found
    }

    /// Among the sessions that satisfy `wanted`, the one that has been idle longest. The cost
    /// grows with the number of sessions, and is paid only by an open that finds a cap reached.
    pub(crate) fn longest_idle(
        &self,
        wanted: impl Fn(&Entry<B>, Snapshot) -> bool,
    ) -> Option<Arc<Entry<B>>> {
        let mut longest = None;
        for shard in &self.shards {
            for entry in shard.lock().values() {
                let Some(snapshot) = entry.peek() else { continue };
                let Some(since) = snapshot.idle_since else { continue };
                if wanted(entry, snapshot)
                    && longest.as_ref().is_none_or(|&(earliest, _)| since < earliest)
                {
                    longest = Some((since, Arc::clone(entry)));
                }
            }
        }
        longest.map(|(_, entry)| entry)
    }

    fn shard(&self, id: &SessionId) -> &Shard<B> {
        &self.shards[id.spread() % SHARDS]
    }
}

impl<B> fmt::Debug for Table<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("live", &self.live()).finish_non_exhaustive()
    }
}
