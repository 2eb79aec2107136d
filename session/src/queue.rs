//! The queue: opens and wakes that wait for a slot, owner by owner in turn.
//!
//! Each owner has a line of its own, and the driver serves one request of one owner after the
//! other's: an owner with a thousand requests waits a thousand turns, one with one request waits one.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

use crate::counts::Counts;
use crate::error::NoSlot;
use crate::owner::Owner;
use crate::reservation::Reservation;

type Queued = oneshot::Sender<Reservation>;

#[derive(Debug)]
pub(crate) struct Queue {
    lines: Mutex<Lines>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Lines {
    /// Owners with a line, whose turn comes first standing first.
    turns: VecDeque<Owner>,
    lines: HashMap<Owner, VecDeque<Queued>>,
}

impl Queue {
    pub(crate) fn new(counts: Arc<Counts>) -> Self {
        Self { lines: Mutex::default(), counts }
    }

    /// Whether no request waits. While one does, later requests must not overtake it.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.waiting.load(Ordering::SeqCst) == 0
    }

    /// Joins the line of `owner`, unless it has `max` requests already. Dropping the receiver leaves
    /// it.
    pub(crate) fn join(&self, owner: &Owner, max: usize) -> Option<oneshot::Receiver<Reservation>> {
        let (waiter, slot) = oneshot::channel();
        {
            let mut all = self.lock();
            let all = &mut *all;
            let line = all.lines.entry(owner.clone()).or_default();
            let before = line.len();
            line.retain(|waiter| !waiter.is_closed());
            self.counts.waiting.fetch_sub(before - line.len(), Ordering::SeqCst);
            if line.len() >= max {
                return None;
            }
            line.push_back(waiter);
            self.counts.waiting.fetch_add(1, Ordering::SeqCst);
            if !all.turns.contains(owner) {
                all.turns.push_back(owner.clone());
            }
        }
        self.counts.notify();
        Some(slot)
    }

    /// Hands out the slots that `reserve` finds. Called by the driver alone.
    pub(crate) fn serve(&self, reserve: impl Fn(&Owner) -> Result<Reservation, NoSlot>) {
        // One round gives each owner at most one slot; another follows while one was given.
        loop {
            let round = self.lock().turns.clone();
            let mut given = false;
            for owner in round {
                let Some(waiter) = self.take(&owner) else { continue };
                match reserve(&owner) {
                    Ok(reserved) => {
                        // A request that left just now drops the slot, which notifies the driver.
                        drop(waiter.send(reserved));
                        self.counts.waiting.fetch_sub(1, Ordering::SeqCst);
                        self.to_the_back(&owner);
                        given = true;
                    }
                    Err(NoSlot::OwnerFull { .. }) => self.put_back(owner, waiter),
                    Err(NoSlot::Full { .. }) => {
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

    /// The first request of `owner` that has not left.
    fn take(&self, owner: &Owner) -> Option<Queued> {
        let mut all = self.lock();
        let all = &mut *all;
        if let Some(line) = all.lines.get_mut(owner) {
            while let Some(waiter) = line.pop_front() {
                if !waiter.is_closed() {
                    return Some(waiter);
                }
                self.counts.waiting.fetch_sub(1, Ordering::SeqCst);
            }
            all.lines.remove(owner);
        }
        all.turns.retain(|each| each != owner);
        None
    }

    fn put_back(&self, owner: Owner, waiter: Queued) {
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
