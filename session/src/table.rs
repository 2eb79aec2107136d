//! The table of sessions with a backend, in shards so that lookups of different sessions do not
//! meet. A session stands here from the moment it is live until its backend has ended, or until it
//! is gone for good.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::activity::Activity;
use crate::entry::Entry;
use crate::id::SessionId;

/// A power of two, well above the number of threads of a large machine.
const SHARDS: usize = 64;

/// The shards' locks are held for one operation of the map, and never while an entry's own lock
/// is waited for by a lookup: a lookup clones the entry out and lets go.
pub(crate) struct Table<B> {
    shards: Box<[Shard<B>]>,
    /// Backends whose session is over: no lookup finds them.
    spares: Mutex<Vec<Arc<Entry<B>>>>,
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
        Self { shards, spares: Mutex::default() }
    }

    fn spares(&self) -> MutexGuard<'_, Vec<Arc<Entry<B>>>> {
        self.spares.lock().expect("nothing panics while it holds the spares")
    }

    pub(crate) fn find(&self, id: &SessionId) -> Option<Arc<Entry<B>>> {
        self.shard(id).lock().get(id).cloned()
    }

    pub(crate) fn contains(&self, id: &SessionId) -> bool {
        self.shard(id).lock().contains_key(id)
    }

    /// Puts a session in, replacing the entry of its incarnation before if there is one.
    pub(crate) fn put(&self, entry: Arc<Entry<B>>) {
        // Bound to a name so that the old entry is dropped after the lock.
        let _before = self.shard(entry.id()).lock().insert(*entry.id(), entry);
    }

    /// From here on no lookup finds the session, while its backend is still among those that are
    /// looked at.
    pub(crate) fn retire(&self, entry: &Arc<Entry<B>>) {
        // In this order: for a moment it is seen twice, and never not at all.
        self.spares().push(Arc::clone(entry));
        self.remove_session(entry);
    }

    /// Takes a session off, or a backend without one, unless it is gone already or another incarnation
    /// has taken its place.
    pub(crate) fn remove(&self, entry: &Entry<B>) {
        let spare = self.spares().extract_if(.., |there| is_it(there, entry)).next();
        drop(spare);
        self.remove_session(entry);
    }

    fn remove_session(&self, entry: &Entry<B>) {
        let mut shard = self.shard(entry.id()).lock();
        let is_there = shard.get(entry.id()).is_some_and(|there| is_it(there, entry));
        let removed = if is_there { shard.remove(entry.id()) } else { None };
        // In this order: no entry is dropped under a lock.
        drop(shard);
        drop(removed);
    }

    /// The sessions, and backends without one, whose entry satisfies `wanted`, as of some moment during the call. The
    /// function runs under a shard's lock and must not call the table.
    pub(crate) fn select(&self, wanted: impl Fn(&Entry<B>) -> bool) -> Vec<Arc<Entry<B>>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            found.extend(shard.lock().values().filter(|entry| wanted(entry)).cloned());
        }
        found.extend(self.spares().iter().filter(|entry| wanted(entry)).cloned());
        found
    }

    /// Among the sessions that satisfy `wanted`, the one to make room first, in the order of
    /// [`Activity::need`]. The cost grows with the number of sessions, and is paid only by an open
    /// or a wake that finds a cap reached.
    pub(crate) fn least_needed(
        &self,
        wanted: impl Fn(&Entry<B>, Activity) -> bool,
    ) -> Option<Arc<Entry<B>>> {
        let mut first = None;
        let mut look = |entry: &Arc<Entry<B>>| {
            let Some(activity) = entry.peek() else { return };
            let Some(need) = activity.need() else { return };
            if wanted(entry, activity) && first.as_ref().is_none_or(|(least, _)| need < *least) {
                first = Some((need, Arc::clone(entry)));
            }
        };
        for shard in &self.shards {
            shard.lock().values().for_each(&mut look);
        }
        self.spares().iter().for_each(look);
        first.map(|(_, entry)| entry)
    }

    fn shard(&self, id: &SessionId) -> &Shard<B> {
        &self.shards[id.spread() % SHARDS]
    }
}

fn is_it<B>(there: &Arc<Entry<B>>, entry: &Entry<B>) -> bool {
    std::ptr::eq(&raw const **there, entry)
}

impl<B> fmt::Debug for Table<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}
