//! The queue: opens and wakes that wait for a slot, person by person in turn.
//!
//! Each person has a line of their own, and the driver serves one request of one person after the
//! other's: a person with a thousand requests waits a thousand turns, one with one request waits
//! one. Within a person's line the clients take turns in the same way.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

use crate::counts::Counts;
use crate::error::{NoSlot, OwnerLimit};
use crate::owner::{Owner, Person};
use crate::reservation::Reservation;

type Queued = oneshot::Sender<Reservation>;

#[derive(Debug)]
pub(crate) struct Queue {
    lines: Mutex<Lines>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Lines {
    /// People with a line, whose turn comes first standing first.
    turns: VecDeque<Person>,
    lines: HashMap<Person, Line>,
}

/// One person's requests.
#[derive(Debug, Default)]
struct Line {
    /// The person's clients with requests, whose turn comes first standing first.
    clients: VecDeque<(Owner, VecDeque<Queued>)>,
    /// Whether it was a bound of the person's own that last stood in the way, as far as is known.
    /// Then nobody else has to wait behind this line.
    has_own_bound: Option<bool>,
    /// Whether the driver has one of the requests in its hands, which may come back.
    is_served: bool,
}

impl Line {
    fn len(&self) -> usize {
        self.clients.iter().map(|(_, requests)| requests.len()).sum()
    }

    fn requests_of(&mut self, client: &Owner) -> Option<&mut VecDeque<Queued>> {
        self.clients.iter_mut().find(|(owner, _)| owner == client).map(|(_, requests)| requests)
    }

    /// Takes out the requests that have left, and says how many.
    fn forget_who_left(&mut self) -> usize {
        let before = self.len();
        for (_, requests) in &mut self.clients {
            requests.retain(|request| !request.is_closed());
        }
        if !self.is_served {
            self.clients.retain(|(_, requests)| !requests.is_empty());
        }
        before - self.len()
    }
}

impl Queue {
    pub(crate) fn new(counts: Arc<Counts>) -> Self {
        Self { lines: Mutex::default(), counts }
    }

    /// Whether no request waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts.waiting.load(Ordering::SeqCst) == 0
    }

    /// Whether a request waits that one of `owner` must not overtake: another of the same person,
    /// or one that waits for what the two have in common.
    pub(crate) fn comes_before(&self, owner: &Owner) -> bool {
        if self.is_empty() {
            return false;
        }
        let own = owner.person();
        self.lock()
            .lines
            .iter()
            .any(|(person, line)| line.has_own_bound != Some(true) || *person == own)
    }

    /// Joins the line of `owner`, unless their person has `max` requests in it already. Dropping the
    /// receiver leaves it. `has_own_bound` says what stood in the way of this request, if it has
    /// tried.
    pub(crate) fn join(
        &self,
        owner: &Owner,
        max: usize,
        has_own_bound: Option<bool>,
    ) -> Option<oneshot::Receiver<Reservation>> {
        let (request, slot) = oneshot::channel();
        {
            let mut all = self.lock();
            let Lines { turns, lines } = &mut *all;
            let person = owner.person();
            let line = lines.entry(person.clone()).or_insert_with(|| {
                turns.push_back(person);
                Line { has_own_bound, ..Line::default() }
            });
            self.counts.waiting.fetch_sub(line.forget_who_left(), Ordering::SeqCst);
            if line.len() >= max {
                // A line without a request goes with the driver's next look.
                return None;
            }
            match line.requests_of(owner) {
                Some(requests) => requests.push_back(request),
                None => line.clients.push_back((owner.clone(), VecDeque::from([request]))),
            }
            self.counts.waiting.fetch_add(1, Ordering::SeqCst);
        }
        self.counts.notify();
        Some(slot)
    }

    /// Hands out the slots that `reserve` finds. Called by the driver alone.
    pub(crate) fn serve(&self, reserve: impl Fn(&Owner) -> Result<Reservation, NoSlot>) {
        // One round gives each person at most one slot; another follows while one was given.
        loop {
            let round = {
                let mut all = self.lock();
                self.forget_who_left(&mut all);
                all.turns.clone()
            };
            let (mut was_given, mut is_full) = (false, false);
            for person in round {
                // A person at a bound of their own may have a session that makes room though
                // nobody else's does.
                if is_full && self.has_own_bound(&person) == Some(false) {
                    continue;
                }
                match self.serve_one(&person, &reserve) {
                    Served::Given => was_given = true,
                    Served::HasOwnBound => {}
                    Served::Full => is_full = true,
                }
            }
            if !was_given {
                return;
            }
        }
    }

    /// Gives one of a person's requests a slot, of the first of their clients that can have one.
    fn serve_one(
        &self,
        person: &Person,
        reserve: impl Fn(&Owner) -> Result<Reservation, NoSlot>,
    ) -> Served {
        let clients: Vec<_> = match self.lock().lines.get(person) {
            Some(line) => line.clients.iter().map(|(client, _)| client.clone()).collect(),
            None => return Served::HasOwnBound,
        };
        for client in clients {
            // Taken out first: no lock is held while a slot is looked for.
            let Some(request) = self.take(person, &client) else { continue };
            match reserve(&client) {
                Ok(reserved) => {
                    // A request that left just now drops the slot, which notifies the driver.
                    drop(request.send(reserved));
                    self.counts.waiting.fetch_sub(1, Ordering::SeqCst);
                    self.to_the_back(person, &client);
                    return Served::Given;
                }
                Err(refused) => {
                    self.put_back(person, &client, request);
                    match refused {
                        NoSlot::Owner(OwnerLimit::Client { .. }) => {}
                        NoSlot::Owner(_) => break,
                        NoSlot::Full { .. } => {
                            self.note_bound(person, false);
                            return Served::Full;
                        }
                    }
                }
            }
        }
        self.note_bound(person, true);
        Served::HasOwnBound
    }

    /// The first request of a client.
    fn take(&self, person: &Person, client: &Owner) -> Option<Queued> {
        let mut all = self.lock();
        let line = all.lines.get_mut(person)?;
        let request = line.requests_of(client)?.pop_front();
        line.is_served = request.is_some();
        request
    }

    fn put_back(&self, person: &Person, client: &Owner, request: Queued) {
        if let Some(line) = self.lock().lines.get_mut(person) {
            line.is_served = false;
            // The line stays as it is while it is served.
            if let Some(requests) = line.requests_of(client) {
                requests.push_front(request);
            }
        }
    }

    /// The person's turn is over, and the client's within it.
    fn to_the_back(&self, person: &Person, client: &Owner) {
        let mut all = self.lock();
        let all = &mut *all;
        all.turns.retain(|each| each != person);
        let Some(line) = all.lines.get_mut(person) else { return };
        (line.has_own_bound, line.is_served) = (None, false);
        if let Some(at) = line.clients.iter().position(|(owner, _)| owner == client)
            && let Some((client, requests)) = line.clients.remove(at)
            && !requests.is_empty()
        {
            line.clients.push_back((client, requests));
        }
        if line.clients.is_empty() {
            // Who left must not stay in memory.
            all.lines.remove(person);
        } else {
            all.turns.push_back(person.clone());
        }
    }

    fn has_own_bound(&self, person: &Person) -> Option<bool> {
        self.lock().lines.get(person)?.has_own_bound
    }

    fn note_bound(&self, person: &Person, has_own_bound: bool) {
        if let Some(line) = self.lock().lines.get_mut(person) {
            line.has_own_bound = Some(has_own_bound);
        }
    }

    /// Takes out the requests that have left, and the lines without any.
    fn forget_who_left(&self, all: &mut Lines) {
        let left = all.lines.values_mut().map(Line::forget_who_left).sum();
        all.lines.retain(|_, line| !line.clients.is_empty());
        all.turns.retain(|person| all.lines.contains_key(person));
        self.counts.waiting.fetch_sub(left, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().expect("nothing panics while it holds the lines")
    }
}

/// What became of a person's turn.
enum Served {
    Given,
    /// A bound of the person's own stands in the way: the next one's turn comes.
    HasOwnBound,
    /// There is no slot for anybody.
    Full,
}
