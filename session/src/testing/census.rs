//! Counts of spawns under way and backends that have not ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::owner::{Owner, Person};

/// The number a numbered session's snapshot begins with.
pub(super) fn number_in(snapshot: &[u8]) -> Option<usize> {
    std::str::from_utf8(snapshot).ok()?.split(' ').next()?.parse().ok()
}

/// Clones share the counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Census(Arc<Mutex<Figures>>);

/// Spawns that are under way and backends that have not ended, now and at most.
#[derive(Debug, Default)]
struct Figures {
    spawns: usize,
    alive: Count,
    by_person: HashMap<Person, Count>,
    by_client: HashMap<Owner, Count>,
    by_number: HashMap<usize, Count>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    now: usize,
    peak: usize,
}

impl Count {
    fn add(&mut self) {
        self.now += 1;
        self.peak = self.peak.max(self.now);
    }
}

impl Census {
    pub(super) fn spawns(&self) -> usize {
        self.lock().spawns
    }

    pub(super) fn alive(&self) -> usize {
        self.lock().alive.now
    }

    pub(super) fn peak(&self) -> usize {
        self.lock().alive.peak
    }

    pub(super) fn peak_of(&self, owner: &Owner) -> usize {
        self.lock().by_person.get(&owner.person()).map_or(0, |count| count.peak)
    }

    pub(super) fn peak_of_client(&self, owner: &Owner) -> usize {
        self.lock().by_client.get(owner).map_or(0, |count| count.peak)
    }

    pub(super) fn peak_of_any_number(&self) -> usize {
        self.lock().by_number.values().map(|count| count.peak).max().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        self.0.lock().expect("no test panics while it holds the census")
    }
}

/// Counts one spawn or backend until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    census: Census,
    owner: Owner,
    number: Option<usize>,
}

impl Counted {
    pub(super) fn new(census: &Census, owner: &Owner, number: Option<usize>) -> Self {
        let mut figures = census.lock();
        figures.spawns += 1;
        figures.alive.add();
        figures.by_person.entry(owner.person()).or_default().add();
        figures.by_client.entry(owner.clone()).or_default().add();
        if let Some(number) = number {
            figures.by_number.entry(number).or_default().add();
        }
        Self { census: census.clone(), owner: owner.clone(), number }
    }

    /// The session has got its number only now.
    pub(super) fn named(&mut self, number: usize) {
        self.census.lock().by_number.entry(number).or_default().add();
        self.number = Some(number);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut figures = self.census.lock();
        figures.alive.now -= 1;
        figures.by_person.entry(self.owner.person()).or_default().now -= 1;
        figures.by_client.entry(self.owner.clone()).or_default().now -= 1;
        if let Some(number) = self.number {
            figures.by_number.entry(number).or_default().now -= 1;
        }
    }
}
