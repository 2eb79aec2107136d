//! A bounded map whose entries end.

use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::SystemTime,
};

/// Keeps values until each one's time, and never more than its capacity.
///
/// It has two generations: when the young one is half of the capacity it becomes the old one, and
/// the former old one goes. An entry that is asked for moves back to the young one. So what is in
/// use stays, without a list of who was asked for when.
///
/// What was looked up elsewhere before something was forgotten must not be kept after it: take the
/// [`epoch`](Self::epoch) before the look-up and give it to [`insert`](Self::insert).
pub(crate) struct Cache<K, V> {
    capacity: usize,
    generations: RwLock<Generations<K, V>>,
}

/// How often a cache has forgotten something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

/// From when to when a value may be used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: SystemTime,
    pub(crate) until: SystemTime,
}

impl Span {
    /// A clock that was set back must not prolong what is kept.
    fn covers(self, now: SystemTime) -> bool {
        self.from <= now && now < self.until
    }
}

struct Generations<K, V> {
    epoch: u64,
    young: HashMap<K, Entry<V>>,
    old: HashMap<K, Entry<V>>,
}

#[derive(Clone)]
struct Entry<V> {
    value: V,
    span: Span,
}

impl<K: Hash + Eq + Clone, V: Clone> Cache<K, V> {
    /// An empty cache for at most `capacity` values; below 2 nothing is kept.
    pub(crate) fn new(capacity: usize) -> Self {
        let generations = Generations { epoch: 0, young: HashMap::new(), old: HashMap::new() };
        Self { capacity, generations: RwLock::new(generations) }
    }

    /// What is kept under `key`, unless it has ended.
    pub(crate) fn get<Q>(&self, key: &Q, now: SystemTime) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let generations = self.read();
        if let Some(entry) = generations.young.get(key) {
            return entry.span.covers(now).then(|| entry.value.clone());
        }
        let entry = generations.old.get(key).filter(|entry| entry.span.covers(now))?.clone();
        let epoch = Epoch(generations.epoch);
        drop(generations);
        self.insert(key.to_owned(), entry.value.clone(), entry.span, epoch);
        Some(entry.value)
    }

    /// To be taken before a look-up whose outcome is to be kept.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.read().epoch)
    }

    /// Keeps a value, unless something was forgotten since `epoch`.
    pub(crate) fn insert(&self, key: K, value: V, span: Span, epoch: Epoch) {
        let half = self.capacity / 2;
        if half == 0 || span.until <= span.from {
            return;
        }
        let mut generations = self.write();
        if generations.epoch != epoch.0 {
            return;
        }
        if generations.young.len() >= half && !generations.young.contains_key(&key) {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key, Entry { value, span });
    }

    /// Forgets the values that `which` names.
    pub(crate) fn forget(&self, which: impl Fn(&V) -> bool) {
        let mut generations = self.write();
        generations.epoch += 1;
        generations.young.retain(|_, entry| !which(&entry.value));
        generations.old.retain(|_, entry| !which(&entry.value));
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let generations = self.read();
        generations.young.len() + generations.old.len()
    }

    fn read(&self) -> RwLockReadGuard<'_, Generations<K, V>> {
        // Nothing in here panics half-way through a change, so a poisoned map is a whole one.
        self.generations.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Generations<K, V>> {
        self.generations.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Neither keys nor values: they may be secrets.
impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generations = self.generations.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Cache")
            .field("capacity", &self.capacity)
            .field("kept", &(generations.young.len() + generations.old.len()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::now;

    const SECOND: Duration = Duration::from_secs(1);

    fn cache(capacity: usize) -> Cache<String, u32> {
        Cache::new(capacity)
    }

    fn keep(cache: &Cache<String, u32>, key: &str, value: u32) {
        let span = Span { from: now(), until: now() + 10 * SECOND };
        cache.insert(key.to_owned(), value, span, cache.epoch());
    }

    #[test]
    fn a_value_is_kept_until_its_end() {
        let cache = cache(8);
        keep(&cache, "a", 1);
        assert_eq!(cache.get("a", now() + 9 * SECOND), Some(1));
        assert_eq!(cache.get("a", now() + 10 * SECOND), None);
        assert_eq!(cache.get("b", now()), None);
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_prolong_a_value() {
        let cache = cache(8);
        keep(&cache, "a", 1);
        assert_eq!(cache.get("a", now() - SECOND), None);
    }

    #[test]
    fn what_is_asked_for_stays_and_the_number_of_values_is_bounded() {
        let cache = cache(100);
        keep(&cache, "in use", 1);
        for n in 0..10_000 {
            keep(&cache, &n.to_string(), n);
            assert_eq!(cache.get("in use", now()), Some(1), "after {n}");
        }
        assert!(cache.len() <= 100);
    }

    #[test]
    fn a_cache_without_room_keeps_nothing() {
        let cache = cache(1);
        keep(&cache, "a", 1);
        assert_eq!(cache.get("a", now()), None);
    }

    #[test]
    fn what_was_looked_up_before_something_was_forgotten_is_not_kept_after_it() {
        let cache = cache(8);
        let before = cache.epoch();
        keep(&cache, "a", 1);
        keep(&cache, "b", 2);
        cache.forget(|value| *value == 1);
        assert_eq!((cache.get("a", now()), cache.get("b", now())), (None, Some(2)));
        cache.insert("a".into(), 1, Span { from: now(), until: now() + SECOND }, before);
        assert_eq!(cache.get("a", now()), None);
    }

    #[test]
    fn a_cache_shows_neither_keys_nor_values() {
        let cache = cache(8);
        keep(&cache, "canary", 4711);
        let shown = format!("{cache:?}");
        assert!(!shown.contains("canary") && !shown.contains("4711"), "{shown}");
    }
}
