//! Slots: the right to have one more backend.
//!
//! A slot is taken before a backend is spawned and lives, as a guard, in the session's task.
//! Dropping it gives it back, so every path out of that task does: a failed spawn, a panic, an
//! abort. It can also be handed to one waiter, in which case it never becomes free in between and
//! no later request can take it.

use std::collections::HashMap;
use std::collections::hash_map;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

use crate::counts::Counts;
use crate::limits::Limits;
use crate::owner::Owner;

/// Who holds how many slots.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    ledger: Mutex<Ledger>,
    /// Notified of every slot that is given back.
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Ledger {
    taken: usize,
    owners: HashMap<Owner, usize>,
}

impl Slots {
    pub(crate) fn new(counts: Arc<Counts>) -> Self {
        Self { ledger: Mutex::default(), counts }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nothing panics while it holds the ledger")
    }

    /// Takes a slot for `owner` if both caps allow it, in one step.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        owner: &Owner,
        limits: &Limits,
    ) -> Result<Slot, Denied> {
        let mut ledger = self.lock();
        if let Some(max) = limits.max_per_owner
            && ledger.owners.get(owner).is_some_and(|&taken| taken >= max.get())
        {
            return Err(Denied::Owner { max });
        }
        *ledger.owners.entry(owner.clone()).or_insert(0) += 1;
        let own = OwnerPermit { slots: Arc::clone(self), owner: owner.clone(), notifies: false };
        if let Some(max) = limits.max_sessions
            && ledger.taken >= max.get()
        {
            // The guard's own drop would want the lock that is held here.
            drop(ledger);
            return Err(Denied::Total { max, own });
        }
        ledger.taken += 1;
        Ok(Slot::new(TotalPermit(Arc::clone(self)), own))
    }

    /// Slots taken: spawning, live and stopping.
    pub(crate) fn taken(&self) -> usize {
        self.lock().taken
    }

    /// Slots taken by one owner.
    #[cfg(test)]
    pub(crate) fn taken_by(&self, owner: &Owner) -> usize {
        let ledger = self.lock();
        ledger.owners.get(owner).copied().unwrap_or(0)
    }
}

/// Which cap stands in the way.
#[derive(Debug)]
pub(crate) enum Denied {
    /// The total one. The owner's own permit is taken, for use with a total permit that comes later.
    Total { max: NonZeroUsize, own: OwnerPermit },
    /// The owner's.
    Owner { max: NonZeroUsize },
}

/// One slot, counted in total and for its owner.
#[derive(Debug)]
pub(crate) struct Slot {
    total: TotalPermit,
    own: OwnerPermit,
}

impl Slot {
    pub(crate) fn new(total: TotalPermit, mut own: OwnerPermit) -> Self {
        own.notifies = true;
        Self { total, own }
    }

    /// Gives the slot back, or on to the waiter it was promised to. If that waiter has left, the
    /// slot is given back too.
    pub(crate) fn hand_to(self, waiter: Option<Waiter>) {
        match waiter {
            None => drop(self),
            Some(Waiter::OtherOwner(opener)) => {
                let Self { total, own } = self;
                drop(own);
                drop(opener.send(total));
            }
            Some(Waiter::SameOwner(opener)) => drop(opener.send(self)),
        }
    }
}

/// A share of the total.
#[derive(Debug)]
pub(crate) struct TotalPermit(Arc<Slots>);

impl Drop for TotalPermit {
    fn drop(&mut self) {
        self.0.lock().taken -= 1;
        self.0.counts.notify();
    }
}

/// A share of one owner's allowance.
#[derive(Debug)]
pub(crate) struct OwnerPermit {
    slots: Arc<Slots>,
    owner: Owner,
    /// Whether giving it back notifies the driver. A permit that was taken in vain, because the total
    /// cap was reached, must not: the driver, which tries on behalf of the queue, would wake itself
    /// for ever.
    notifies: bool,
}

impl Drop for OwnerPermit {
    fn drop(&mut self) {
        let mut ledger = self.slots.lock();
        if let hash_map::Entry::Occupied(mut entry) = ledger.owners.entry(self.owner.clone()) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                // An owner who left must not stay in memory.
                entry.remove();
            }
        }
        drop(ledger);
        if self.notifies {
            self.slots.counts.notify();
        }
    }
}

/// The open or wake that a slot has been promised to.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// Has its owner's permit already and waits for the total one alone.
    OtherOwner(oneshot::Sender<TotalPermit>),
    /// Belongs to the owner whose session makes room, and takes over both permits.
    SameOwner(oneshot::Sender<Slot>),
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Option<NonZeroUsize> = NonZeroUsize::new(3);

    fn owner(name: &str) -> Owner {
        Owner::new("https://id", name, "client")
    }

    fn limits(total: Option<NonZeroUsize>, each: Option<NonZeroUsize>) -> Limits {
        Limits { max_sessions: total, max_per_owner: each, ..Limits::default() }
    }

    #[test]
    fn threads_that_race_for_slots_get_exactly_as_many_as_there_are() {
        let slots = Arc::new(Slots::default());
        let cap = NonZeroUsize::new(50);
        let gate = std::sync::Barrier::new(8);
        let won: Vec<Slot> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|at| {
                    let (slots, gate) = (&slots, &gate);
                    scope.spawn(move || {
                        gate.wait();
                        (0..63)
                            .filter_map(|_| {
                                slots.reserve(&owner(&at.to_string()), &limits(cap, None)).ok()
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            racers.into_iter().flat_map(|racer| racer.join().expect("no racer panics")).collect()
        });
        assert_eq!((won.len(), slots.taken()), (50, 50));
        drop(won);
        assert_eq!(slots.taken(), 0);
    }

    #[test]
    fn one_owner_gets_no_more_than_its_share() {
        let slots = Arc::new(Slots::default());
        let (ada, bob) = (owner("ada"), owner("bob"));
        let limits = limits(None, THREE);
        let held: Vec<_> =
            (0..3).map(|_| slots.reserve(&ada, &limits).expect("ada has room")).collect();
        assert!(matches!(slots.reserve(&ada, &limits), Err(Denied::Owner { .. })));
        let _bobs = slots.reserve(&bob, &limits).expect("bob has room");
        drop(held);
        assert_eq!(slots.taken_by(&ada), 0);
        assert_eq!(slots.lock().owners.len(), 1, "only bob is remembered");
    }

    #[test]
    fn a_denied_total_gives_the_owners_permit_back_when_it_is_dropped() {
        let slots = Arc::new(Slots::default());
        let limits = limits(NonZeroUsize::new(1), THREE);
        let _held = slots.reserve(&owner("ada"), &limits).expect("there is room");
        let denied = slots.reserve(&owner("bob"), &limits).expect_err("there is no room");
        assert_eq!(slots.taken_by(&owner("bob")), 1);
        drop(denied);
        assert_eq!(slots.taken_by(&owner("bob")), 0);
    }

    #[test]
    fn a_slot_handed_to_a_waiter_is_never_free_in_between() {
        let slots = Arc::new(Slots::default());
        let limits = limits(NonZeroUsize::new(1), None);
        let slot = slots.reserve(&owner("ada"), &limits).expect("there is room");
        let (waiter, mut inherited) = oneshot::channel();
        slot.hand_to(Some(Waiter::OtherOwner(waiter)));
        assert_eq!((slots.taken(), slots.taken_by(&owner("ada"))), (1, 0));
        drop(inherited.try_recv().expect("the permit came"));
        assert_eq!(slots.taken(), 0);
    }

    #[test]
    fn a_slot_handed_to_a_waiter_that_has_left_is_free_again() {
        let slots = Arc::new(Slots::default());
        let all = limits(None, None);
        for same in [false, true] {
            let slot = slots.reserve(&owner("ada"), &all).expect("there is room");
            let waiter = if same {
                Waiter::SameOwner(oneshot::channel().0)
            } else {
                Waiter::OtherOwner(oneshot::channel().0)
            };
            slot.hand_to(Some(waiter));
            assert_eq!((slots.taken(), slots.taken_by(&owner("ada"))), (0, 0));
        }
    }
}
