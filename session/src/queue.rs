//! Opens and wakes that wait for a place, owner by owner in turn.
//!
//! Each owner has a line of its own, and the driver serves one waiter of one owner after the
//! other's: who brings a thousand requests waits a thousand turns, and who brings one waits one.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

use crate::Owner;
use crate::counts::Counts;
use crate::error::NoPlace;
use crate::shared::Reserved;

type Waiter = oneshot::Sender<Reserved>;

#[derive(Debug)]
pub(crate) struct Queue {
    lines: Mutex<Lines>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Lines {
    /// Owners with a line, whose turn comes first standing first.
    turns: VecDeque<Owner>,
    lines: HashMap<Owner, VecDeque<Waiter>>,
}

impl Queue {
    pub(crate) fn new(counts: Arc<Counts>) -> Self {
        Self { lines: Mutex::default(), counts }
    }

    /// Whether anybody waits; whoever comes now must not pass them.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.awaited.load(Ordering::SeqCst) == 0
    }

    /// Joins the line of `owner`, unless it has `max` waiters already. Dropping the receiver leaves
    /// it.
    pub(crate) fn join(&self, owner: &Owner, max: usize) -> Option<oneshot::Receiver<Reserved>> {
        let (waiter, place) = oneshot::channel();
        {
            let mut all = self.lock();
            let all = &mut *all;
            let line = all.lines.entry(owner.clone()).or_default();
            let before = line.len();
            line.retain(|waiter| !waiter.is_closed());
            self.counts.awaited.fetch_sub(before - line.len(), Ordering::SeqCst);
            if line.len() >= max {
                return None;
            }
            line.push_back(waiter);
            self.counts.awaited.fetch_add(1, Ordering::SeqCst);
            if !all.turns.contains(owner) {
                all.turns.push_back(owner.clone());
            }
        }
        self.counts.ring();
        Some(place)
    }

    /// Hands out what places `reserve` finds. Called by the driver alone.
    pub(crate) fn serve(&self, reserve: impl Fn(&Owner) -> Result<Reserved, NoPlace>) {
        // One round gives each owner at most one place; another follows while something is given.
        loop {
            let round = self.lock().turns.clone();
            let mut given = false;
            for owner in round {
                let Some(waiter) = self.take(&owner) else { continue };
                match reserve(&owner) {
                    Ok(reserved) => {
                        // Who left just now gives the place back by dropping it, and rings.
                        drop(waiter.send(reserved));
                        self.counts.awaited.fetch_sub(1, Ordering::SeqCst);
                        self.to_the_back(&owner);
                        given = true;
                    }
                    Err(NoPlace::OwnerFull { .. }) => self.put_back(owner, waiter),
                    Err(NoPlace::Full { .. }) => {
                        self.put_back(owner, waiter);
                        return;
                    }
                }
            }
            if !given {
                return;
            }
        }
    }

    /// The first waiter of an owner who has not left.
    fn take(&self, owner: &Owner) -> Option<Waiter> {
        let mut all = self.lock();
        let all = &mut *all;
        if let Some(line) = all.lines.get_mut(owner) {
            while let Some(waiter) = line.pop_front() {
                if !waiter.is_closed() {
                    return Some(waiter);
                }
                self.counts.awaited.fetch_sub(1, Ordering::SeqCst);
            }
            all.lines.remove(owner);
        }
        all.turns.retain(|each| each != owner);
        None
    }

    fn put_back(&self, owner: Owner, waiter: Waiter) {
        self.lock().lines.entry(owner).or_default().push_front(waiter);
    }

    fn to_the_back(&self, owner: &Owner) {
        let mut all = self.lock();
        all.turns.retain(|each| each != owner);
        if all.lines.get(owner).is_some_and(|line| !line.is_empty()) {
            all.turns.push_back(owner.clone());
        } else {
            // An owner who left must not stay in memory.
            all.lines.remove(owner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().expect("nothing panics while it holds the lines")
    }
}
