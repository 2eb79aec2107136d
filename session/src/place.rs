//! Places: the right to have one more backend.
//!
//! A place is taken before a backend is spawned and lives, as a guard, in the task that keeps the
//! session. Dropping it gives it back, so every path out of that task does: a failed spawn, a
//! panic, an abort. It can also be left to one waiting opener, in which case it never becomes
//! free in between and nobody can slip in.

use std::collections::HashMap;
use std::collections::hash_map;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

use crate::counts::Counts;
use crate::{Limits, Owner};

/// Who holds how many places.
#[derive(Debug, Default)]
pub(crate) struct Places {
    ledger: Mutex<Ledger>,
    /// Hears of every place that is given back.
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Ledger {
    taken: usize,
    owners: HashMap<Owner, usize>,
}

impl Places {
    pub(crate) fn new(counts: Arc<Counts>) -> Self {
        Self { ledger: Mutex::default(), counts }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nothing panics while it holds the ledger")
    }

    /// Takes a place for `owner` if both caps allow it, in one step.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        owner: &Owner,
        limits: &Limits,
    ) -> Result<Place, Denied> {
        let mut ledger = self.lock();
        if let Some(max) = limits.max_per_owner
            && ledger.owners.get(owner).is_some_and(|&taken| taken >= max.get())
        {
            return Err(Denied::Owner { max });
        }
        *ledger.owners.entry(owner.clone()).or_insert(0) += 1;
        let own = OwnerSeat { places: Arc::clone(self), owner: owner.clone(), rings: false };
        if let Some(max) = limits.max_sessions
            && ledger.taken >= max.get()
        {
            // The guard's own drop would want the lock that is held here.
            drop(ledger);
            return Err(Denied::Total { max, own });
        }
        ledger.taken += 1;
        Ok(Place::new(Seat(Arc::clone(self)), own))
    }

    /// Places taken: spawning, live and stopping.
    pub(crate) fn taken(&self) -> usize {
        self.lock().taken
    }

    /// Places taken by one owner.
    #[cfg(test)]
    pub(crate) fn taken_by(&self, owner: &Owner) -> usize {
        let ledger = self.lock();
        ledger.owners.get(owner).copied().unwrap_or(0)
    }
}

/// Which cap stands in the way.
#[derive(Debug)]
pub(crate) enum Denied {
    /// The total one. The owner's own share is taken, for use with somebody's seat.
    Total { max: NonZeroUsize, own: OwnerSeat },
    /// The owner's.
    Owner { max: NonZeroUsize },
}

/// One place, counted in total and for its owner.
#[derive(Debug)]
pub(crate) struct Place {
    seat: Seat,
    own: OwnerSeat,
}

impl Place {
    pub(crate) fn new(seat: Seat, mut own: OwnerSeat) -> Self {
        own.rings = true;
        Self { seat, own }
    }

    /// Gives the place back, or on to the opener it was promised to. An opener that has left
    /// refuses the gift, which gives the place back too.
    pub(crate) fn leave_to(self, heir: Option<Heir>) {
        match heir {
            None => drop(self),
            Some(Heir::Anyone(opener)) => {
                let Self { seat, own } = self;
                drop(own);
                drop(opener.send(seat));
            }
            Some(Heir::SameOwner(opener)) => drop(opener.send(self)),
        }
    }
}

/// A share of the total.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Places>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.lock().taken -= 1;
        self.0.counts.ring();
    }
}

/// A share of one owner's allowance.
#[derive(Debug)]
pub(crate) struct OwnerSeat {
    places: Arc<Places>,
    owner: Owner,
    /// Whether its end is news. One that was taken in vain, for want of a seat, is not: the driver
    /// that tries for those who wait would call itself for ever.
    rings: bool,
}

impl Drop for OwnerSeat {
    fn drop(&mut self) {
        let mut ledger = self.places.lock();
        if let hash_map::Entry::Occupied(mut entry) = ledger.owners.entry(self.owner.clone()) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                // An owner who left must not stay in memory.
                entry.remove();
            }
        }
        drop(ledger);
        if self.rings {
            self.places.counts.ring();
        }
    }
}

/// The opener a place has been promised to.
#[derive(Debug)]
pub(crate) enum Heir {
    /// Has its owner's share already and waits for the seat alone.
    Anyone(oneshot::Sender<Seat>),
    /// Belongs to the owner whose session makes room, and takes over both.
    SameOwner(oneshot::Sender<Place>),
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
    fn threads_that_race_for_places_get_exactly_as_many_as_there_are() {
        let places = Arc::new(Places::default());
        let cap = NonZeroUsize::new(50);
        let gate = std::sync::Barrier::new(8);
        let won: Vec<Place> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|at| {
                    let (places, gate) = (&places, &gate);
                    scope.spawn(move || {
                        gate.wait();
                        (0..63)
                            .filter_map(|_| {
                                places.reserve(&owner(&at.to_string()), &limits(cap, None)).ok()
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            racers.into_iter().flat_map(|racer| racer.join().expect("no racer panics")).collect()
        });
        assert_eq!((won.len(), places.taken()), (50, 50));
        drop(won);
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn one_owner_gets_no_more_than_its_share() {
        let places = Arc::new(Places::default());
        let (ada, bob) = (owner("ada"), owner("bob"));
        let limits = limits(None, THREE);
        let held: Vec<_> =
            (0..3).map(|_| places.reserve(&ada, &limits).expect("ada has room")).collect();
        assert!(matches!(places.reserve(&ada, &limits), Err(Denied::Owner { .. })));
        let _bobs = places.reserve(&bob, &limits).expect("bob has room");
        drop(held);
        assert_eq!(places.taken_by(&ada), 0);
        assert_eq!(places.lock().owners.len(), 1, "only bob is remembered");
    }

    #[test]
    fn a_denied_total_gives_the_owners_share_back_when_it_is_dropped() {
        let places = Arc::new(Places::default());
        let limits = limits(NonZeroUsize::new(1), THREE);
        let _held = places.reserve(&owner("ada"), &limits).expect("there is room");
        let denied = places.reserve(&owner("bob"), &limits).expect_err("there is no room");
        assert_eq!(places.taken_by(&owner("bob")), 1);
        drop(denied);
        assert_eq!(places.taken_by(&owner("bob")), 0);
    }

    #[test]
    fn a_place_left_to_an_opener_is_never_free_in_between() {
        let places = Arc::new(Places::default());
        let limits = limits(NonZeroUsize::new(1), None);
        let place = places.reserve(&owner("ada"), &limits).expect("there is room");
        let (heir, mut inherited) = oneshot::channel();
        place.leave_to(Some(Heir::Anyone(heir)));
        assert_eq!((places.taken(), places.taken_by(&owner("ada"))), (1, 0));
        drop(inherited.try_recv().expect("the seat came"));
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn a_place_left_to_an_opener_who_has_gone_is_free_again() {
        let places = Arc::new(Places::default());
        let all = limits(None, None);
        for same in [false, true] {
            let place = places.reserve(&owner("ada"), &all).expect("there is room");
            let heir = if same {
                Heir::SameOwner(oneshot::channel().0)
            } else {
                Heir::Anyone(oneshot::channel().0)
            };
            place.leave_to(Some(heir));
            assert_eq!((places.taken(), places.taken_by(&owner("ada"))), (0, 0));
        }
    }
}
