//! Slots: the right to have one more backend, counted in total, per person and per client.
//!
//! A slot is taken before a backend is spawned and lives, as a guard, in the session's task.
//! Dropping it gives it back, so every path out of that task does: a failed spawn, a panic, an
//! abort. It can also be handed to one waiter, in which case it never becomes free in between and
//! no later request can take it.

use std::collections::{HashMap, hash_map};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

use crate::counts::Counts;
use crate::error::{NoSlot, OwnerLimit};
use crate::limits::Limits;
use crate::owner::{Owner, Person};

/// Who holds how many slots.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    ledger: Mutex<Ledger>,
    /// Notified of every slot that is given back.
    counts: Arc<Counts>,
}

/// Each slot is counted three times, against each cap once.
type Ledger = HashMap<Arc<Holder>, usize>;

/// Whom a permit is counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Holder {
    Everybody,
    Person(Person),
    /// One client of one person.
    Client(Owner),
}

impl Slots {
    pub(crate) fn new(counts: Arc<Counts>) -> Self {
        Self { ledger: Mutex::default(), counts }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nothing panics while it holds the ledger")
    }

    /// Takes a slot for `owner` if every cap allows it, in one step.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        owner: &Owner,
        limits: &Limits,
    ) -> Result<Slot, Denied> {
        let mut ledger = self.lock();
        // A permit that is dropped wants the lock that is held here, so each goes to the caller.
        let client = self.take(&mut ledger, Holder::Client(owner.clone()), limits.max_per_client);
        let client = client.map_err(|max| Denied::Client { max })?;
        let person =
            match self.take(&mut ledger, Holder::Person(owner.person()), limits.max_per_owner) {
                Ok(person) => person,
                Err(max) => return Err(Denied::Person { max, client }),
            };
        match self.take(&mut ledger, Holder::Everybody, limits.max_sessions) {
            Ok(total) => Ok(Slot::new(total, person, client)),
            Err(max) => Err(Denied::Total { max, person, client }),
        }
    }

    /// Counts one more for `holder`, unless it has `max` already.
    fn take(
        self: &Arc<Self>,
        ledger: &mut Ledger,
        holder: Holder,
        max: Option<NonZeroUsize>,
    ) -> Result<Permit, NonZeroUsize> {
        if let Some(max) = max
            && ledger.get(&holder).is_some_and(|&taken| taken >= max.get())
        {
            return Err(max);
        }
        let holder = Arc::new(holder);
        *ledger.entry(Arc::clone(&holder)).or_insert(0) += 1;
        Ok(Permit { slots: Arc::clone(self), holder, notifies: false })
    }

    /// Slots taken: spawning, live and stopping.
    pub(crate) fn taken(&self) -> usize {
        self.taken_by(&Holder::Everybody)
    }

    fn taken_by(&self, holder: &Holder) -> usize {
        self.lock().get(holder).copied().unwrap_or(0)
    }
}

/// Which cap stands in the way. The permits below it are taken, for use with what comes later.
#[derive(Debug)]
pub(crate) enum Denied {
    /// The total one.
    Total { max: NonZeroUsize, person: Permit, client: Permit },
    /// The person's.
    Person { max: NonZeroUsize, client: Permit },
    /// The client's.
    Client { max: NonZeroUsize },
}

impl From<Denied> for NoSlot {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Total { max, .. } => Self::Full { max },
            Denied::Person { max, .. } => Self::Owner(OwnerLimit::Person { max }),
            Denied::Client { max } => Self::Owner(OwnerLimit::Client { max }),
        }
    }
}

/// One slot, counted in total, for its person and for their client.
#[derive(Debug)]
pub(crate) struct Slot {
    shares: PersonShares,
    client: Permit,
}

/// A slot without the part that is counted for the client.
#[derive(Debug)]
pub(crate) struct PersonShares {
    total: Permit,
    person: Permit,
}

impl Slot {
    pub(crate) fn new(total: Permit, person: Permit, client: Permit) -> Self {
        Self::of(PersonShares { total, person }, client)
    }

    pub(crate) fn of(mut shares: PersonShares, mut client: Permit) -> Self {
        for permit in [&mut shares.total, &mut shares.person, &mut client] {
            permit.notifies = true;
        }
        Self { shares, client }
    }

    /// Gives the slot back, or on to the waiter it was promised to. If that waiter has left, the
    /// slot is given back too.
    pub(crate) fn hand_to(self, waiter: Option<Waiter>) {
        match waiter {
            None => drop(self),
            Some(Waiter::SameClient(opener)) => drop(opener.send(self)),
            Some(Waiter::SamePerson(opener)) => {
                let Self { shares, client } = self;
                drop(client);
                drop(opener.send(shares));
            }
            Some(Waiter::Anyone(opener)) => {
                let Self { shares: PersonShares { total, person }, client } = self;
                drop((person, client));
                drop(opener.send(total));
            }
        }
    }
}

/// One more that is counted for a holder, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    slots: Arc<Slots>,
    holder: Arc<Holder>,
    /// Whether giving it back notifies the driver. A permit that was taken in vain, because another
    /// cap was reached, must not: the driver, which tries on behalf of the queue, would wake itself
    /// for ever.
    notifies: bool,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut ledger = self.slots.lock();
        if let hash_map::Entry::Occupied(mut taken) = ledger.entry(Arc::clone(&self.holder)) {
            *taken.get_mut() -= 1;
            if *taken.get() == 0 {
                // An owner who left must not stay in memory.
                taken.remove();
            }
        }
        drop(ledger);
        if self.notifies {
            self.slots.counts.notify();
        }
    }
}

/// The open or wake that a slot has been promised to, by whose session makes room for it.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// Takes the whole slot over.
    SameClient(oneshot::Sender<Slot>),
    /// Has its client's permit already.
    SamePerson(oneshot::Sender<PersonShares>),
    /// Has the permits of its person and client already, and waits for the total one alone.
    Anyone(oneshot::Sender<Permit>),
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Option<NonZeroUsize> = NonZeroUsize::new(3);

    fn owner(name: &str) -> Owner {
        Owner::new("https://id", name, "client")
    }

    fn person(name: &str) -> Holder {
        Holder::Person(owner(name).person())
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
        assert!(matches!(slots.reserve(&ada, &limits), Err(Denied::Person { .. })));
        let _bobs = slots.reserve(&bob, &limits).expect("bob has room");
        drop(held);
        assert_eq!(slots.taken_by(&person("ada")), 0);
        let left: Vec<_> = slots.lock().values().copied().collect();
        assert_eq!(left, [1, 1, 1], "only bob, his client and the total are remembered");
    }

    #[test]
    fn one_person_with_many_clients_gets_no_more_than_with_one() {
        let slots = Arc::new(Slots::default());
        let limits = Limits { max_per_client: NonZeroUsize::new(2), ..limits(None, THREE) };
        let through =
            |client: &str| slots.reserve(&Owner::new("https://id", "eve", client), &limits);
        let _first = [through("one").expect("room"), through("one").expect("room")];
        assert!(matches!(through("one"), Err(Denied::Client { max }) if max.get() == 2));
        let _second = through("two").expect("the client has a bound of its own");
        for client in ["two", "three", "four"] {
            assert!(matches!(through(client), Err(Denied::Person { max, .. }) if max.get() == 3));
        }
        assert_eq!((slots.taken(), slots.lock().len()), (3, 4), "what is refused is not counted");
    }

    #[test]
    fn a_denied_total_gives_the_owners_permits_back_when_it_is_dropped() {
        let slots = Arc::new(Slots::default());
        let limits = limits(NonZeroUsize::new(1), THREE);
        let _held = slots.reserve(&owner("ada"), &limits).expect("there is room");
        let denied = slots.reserve(&owner("bob"), &limits).expect_err("there is no room");
        assert_eq!(slots.taken_by(&person("bob")), 1);
        drop(denied);
        assert_eq!((slots.taken_by(&person("bob")), slots.lock().len()), (0, 3));
    }

    #[test]
    fn a_slot_handed_to_a_waiter_is_never_free_in_between() {
        let slots = Arc::new(Slots::default());
        let limits = limits(NonZeroUsize::new(1), NonZeroUsize::new(1));
        let slot = slots.reserve(&owner("ada"), &limits).expect("there is room");
        let (waiter, mut inherited) = oneshot::channel();
        slot.hand_to(Some(Waiter::SamePerson(waiter)));
        let shares = inherited.try_recv().expect("the shares came");
        assert_eq!((slots.taken(), slots.taken_by(&person("ada"))), (1, 1));
        let Err(Denied::Person { client, .. }) = slots.reserve(&owner("ada"), &limits) else {
            panic!("the person's place was free");
        };
        let slot = Slot::of(shares, client);
        let (waiter, mut inherited) = oneshot::channel();
        slot.hand_to(Some(Waiter::Anyone(waiter)));
        assert_eq!((slots.taken(), slots.taken_by(&person("ada"))), (1, 0));
        drop(inherited.try_recv().expect("the permit came"));
        assert!(slots.lock().is_empty());
    }

    #[test]
    fn a_slot_handed_to_a_waiter_that_has_left_is_free_again() {
        let slots = Arc::new(Slots::default());
        let left: [fn() -> Waiter; 3] = [
            || Waiter::SameClient(oneshot::channel().0),
            || Waiter::SamePerson(oneshot::channel().0),
            || Waiter::Anyone(oneshot::channel().0),
        ];
        for waiter in left {
            let slot = slots.reserve(&owner("ada"), &limits(None, None)).expect("there is room");
            slot.hand_to(Some(waiter()));
            assert!(slots.lock().is_empty());
        }
    }
}
