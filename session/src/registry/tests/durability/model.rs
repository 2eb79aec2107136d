//! How the test takes a step.

use std::collections::HashMap;

use super::facts::{Answered, Asked, Call, Fate, Incarnation, Session, Standing, Store, state};
use super::steps::{Asker, Conditions, GRANTS, Incarnations, Meant, Step};
use super::*;
use crate::Selection;
use crate::testing::HeldSpawn;

pub(super) struct Model {
    pub(super) limits: Limits,
    pub(super) gives_up: bool,
    pub(super) conditions: Conditions,
    pub(super) records: MemoryRecords,
    pub(super) registry: FakeRegistry,
    pub(super) backends: Backends,
    pub(super) sessions: Vec<Session>,
    /// All backends of this registry, in the order in which they were made.
    pub(super) incarnations: Vec<Incarnation>,
    pub(super) held: Vec<HeldSpawn>,
    pub(super) calls: JoinSet<(usize, Answered)>,
    pub(super) pending: HashMap<usize, Call>,
    pub(super) begun: usize,
    pub(super) answered: usize,
    pub(super) left: usize,
    pub(super) store: Store,
    /// Spawns that failed, or may have.
    pub(super) failures: usize,
    pub(super) crashes: usize,
    /// What was revoked so far.
    pub(super) revoked: Vec<Selection>,
    pub(super) draining: bool,
    /// When an open was last seen under way, whether its opener waited or not.
    pub(super) opening: Option<Instant>,
}

impl Model {
    pub(super) fn new(conditions: Conditions) -> Self {
        let records = MemoryRecords::new();
        let (registry, backends) = Self::registry(conditions, &records, 0);
        Self {
            limits: conditions.limits,
            gives_up: conditions.wake_failure == crate::WakeFailure::Permanent,
            conditions,
            records,
            registry,
            backends,
            sessions: Vec::new(),
            incarnations: Vec::new(),
            held: Vec::new(),
            calls: JoinSet::new(),
            pending: HashMap::new(),
            begun: 0,
            answered: 0,
            left: 0,
            store: Store { fails: false, last_failed: None, is_slow: false, last_slow: None },
            failures: 0,
            crashes: 0,
            revoked: Vec::new(),
            draining: false,
            opening: None,
        }
    }

    pub(super) fn registry(
        conditions: Conditions,
        records: &MemoryRecords,
        sessions: usize,
    ) -> (FakeRegistry, Backends) {
        let (registry, backends) = testing::recorded(conditions.limits, records);
        backends.answer(Answer::SucceedAndObey);
        backends.wake_failure(conditions.wake_failure);
        backends.number_from(sessions);
        (registry, backends)
    }

    pub(super) async fn take(&mut self, step: Step) -> Check {
        match step {
            Step::Open(who, incarnations) => {
                self.opening = Some(Instant::now());
                let (registry, owner) = (self.registry.clone(), who.owner());
                let asked = Asked::Open { owner: owner.clone(), revoked: false };
                let open = async move { Answered::Opened(registry.open(owner, ()).await) };
                self.call(asked, incarnations, open).await;
            }
            Step::Wake { session, asker, purpose, times, incarnations } => {
                let Some((session, id)) = self.known(session) else { return Ok(()) };
                let (asker, who) = self.asker(session, asker);
                let too_old = self.sleeps_too_old(session);
                for _ in 0..times {
                    let (registry, asker) = (self.registry.clone(), asker.clone());
                    self.sessions[session].asked_for += usize::from(who.is_owner());
                    let wake = async move { registry.wake(&id, &asker, KIND, purpose).await };
                    let wake = async move { Answered::Woken(wake.await) };
                    self.call(Asked::Wake { session, who, too_old }, incarnations, wake).await;
                }
            }
            Step::Lease { session, asker } => self.lease(session, asker)?,
            Step::DropLease(incarnation) => {
                let held = self.having(incarnation, Incarnation::holds_leases);
                if let Some(incarnation) = held {
                    self.incarnations[incarnation].drop_lease();
                }
            }
            Step::Leave(call) => self.leave(call),
            Step::Change { lease, save, last } => {
                if let Some(incarnation) = self.leased(lease) {
                    self.change(incarnation);
                    if save {
                        self.save(incarnation).await;
                    }
                    if last {
                        self.incarnations[incarnation].drop_leases();
                    }
                }
            }
            Step::Save(incarnation) => {
                if let Some(incarnation) = self.leased(incarnation) {
                    self.save(incarnation).await;
                }
            }
            Step::BecomeStateful(incarnation) => {
                if let Some(incarnation) = self.alive(incarnation) {
                    let incarnation = &mut self.incarnations[incarnation];
                    incarnation.handle.remember(None);
                    incarnation.stateful = true;
                    let fate = &mut self.sessions[incarnation.session].fate;
                    if *fate == Fate::Answers {
                        *fate = Fate::Unsure;
                    }
                }
            }
            Step::BackendEnds(incarnation) => {
                if let Some(incarnation) = self.alive(incarnation) {
                    self.crashes += usize::from(self.incarnations[incarnation].is_well());
                    self.incarnations[incarnation].handle.end();
                }
            }
            Step::StoppedBackendsEnd => {
                for incarnation in self
                    .incarnations
                    .iter()
                    .filter(|incarnation| incarnation.handle.stopped().is_some())
                {
                    incarnation.handle.end();
                }
            }
            Step::End { session, asker, by_key, incarnations } => {
                self.end(session, asker, by_key, incarnations).await;
            }
            Step::Revoke(meant) => self.revoke(meant).await,
            Step::Rotate { owner: at, how } => {
                let which = at.map(someone);
                let meant = |owner: &Owner| which.as_ref().is_none_or(|which| which == owner);
                self.registry.replace(|view| meant(view.owner), how);
                for incarnation in self
                    .incarnations
                    .iter_mut()
                    .filter(|incarnation| meant(incarnation.handle.owner()))
                {
                    incarnation.replacement = incarnation.replacement.max(Some(how.when));
                    self.sessions[incarnation.session].asked_for += 1;
                }
            }
            Step::Spawns(answer) => {
                self.backends.answer(answer);
                self.failures += usize::from(answer == Answer::Fail);
            }
            Step::AnswerHeld { spawn, answer } => {
                if !self.held.is_empty() {
                    let held = self.held.swap_remove(spawn % self.held.len());
                    self.failures += usize::from(answer == Answer::Fail);
                    held.answer(answer);
                }
            }
            Step::StoreIsDown(down) => self.store_fails(down),
            Step::StoreFails { call, after_the_work } => {
                match after_the_work {
                    false => self.records.fail_at(call),
                    true => self.records.lose_answer_at(call),
                }
                self.store.fails = true;
            }
            Step::StoreTakes { before, after } => self.store_takes(before, after),
            Step::Wait { seconds } => sleep(seconds * SECOND).await,
            Step::Drain => {
                self.registry.drain();
                self.draining = true;
            }
            Step::Restart { kill } => self.restart(kill).await?,
        }
        settle().await;
        self.observe()
    }

    /// Calls in a task, and sees to it that the call has begun when this returns.
    async fn call(
        &mut self,
        what: Asked,
        incarnations: Incarnations,
        call: impl Future<Output = Answered> + Send + 'static,
    ) {
        let number = self.begun;
        self.begun += 1;
        let task = self.calls.spawn(async move { (number, call.await) });
        self.pending.insert(number, Call { what, begun: Instant::now(), task });
        tokio::task::yield_now().await;
        if incarnations == Incarnations::NotLong {
            self.abort(number);
        }
    }

    /// An opener or a waking request leaves.
    fn leave(&mut self, which: usize) {
        let leaves = |call: &Call| matches!(call.what, Asked::Open { .. } | Asked::Wake { .. });
        let leaving = self.pending.iter().filter(|(_, call)| leaves(call));
        let mut leaving: Vec<_> = leaving.map(|(&number, _)| number).collect();
        leaving.sort_unstable();
        if let Some(&number) = pick(&leaving, which) {
            self.abort(number);
        }
    }

    /// Takes a caller away. If the answer was there already it is judged as if it had stayed.
    pub(super) fn abort(&mut self, number: usize) {
        let Some(call) = self.pending.get(&number) else { return };
        if call.task.is_finished() {
            return;
        }
        call.task.abort();
        let Asked::End { session, who: Standing::Owner, was_live, .. } = call.what else { return };
        let session = &mut self.sessions[session];
        if session.fate != Fate::Over {
            // A live one is ended though the caller left. Of one asleep it is not known.
            let fate = if was_live { Fate::OverHere } else { Fate::Unsure };
            session.fate = if session.fate == Fate::OverHere { session.fate } else { fate };
        }
    }

    fn change(&mut self, incarnation: usize) {
        let incarnation = &mut self.incarnations[incarnation];
        if incarnation.is_over() || incarnation.stateful {
            return;
        }
        let session = &mut self.sessions[incarnation.session];
        session.newest += 1;
        incarnation.version = session.newest;
        incarnation.handle.remember(Some(&state(incarnation.session, incarnation.version)));
    }

    /// The lease goes with the call, and comes back with its answer.
    async fn save(&mut self, incarnation: usize) {
        let (registry, it) = (self.registry.clone(), &mut self.incarnations[incarnation]);
        let (session, version) = (it.session, it.version);
        let lease = it.leases.pop().expect("it was chosen for its leases");
        it.lent += 1;
        let save = async move {
            let saved = registry.save(&lease).await;
            Answered::Saved(lease, saved)
        };
        self.call(Asked::Save { session, version }, Incarnations::ToTheEnd, save).await;
    }

    fn lease(&mut self, session: usize, asker: Asker) -> Check {
        let Some((session, id)) = self.known(session) else { return Ok(()) };
        let (asker, who) = self.asker(session, asker);
        let used = self.registry.last_active(&id);
        let leased = self.registry.lease(&id, &asker);
        if !who.is_owner() {
            prop_assert_eq!(self.registry.last_active(&id), used, "a stranger has used it");
        }
        self.leased_at_once(session, who, leased)
    }

    async fn end(
        &mut self,
        session: usize,
        asker: Asker,
        by_key: bool,
        incarnations: Incarnations,
    ) {
        let Some((session, id)) = self.known(session) else { return };
        let (asker, who) = self.asker(session, asker);
        // The record of one that grew too old may still be there, and can be removed.
        let is_old = self.is_old(session);
        let it = &mut self.sessions[session];
        if who.is_owner() {
            it.ends_begun = true;
            it.ends_under_way += 1;
        }
        let asked = Asked::End {
            session,
            who,
            was_over: it.fate == Fate::Over && !is_old,
            was_live: self.registry.last_active(&id).is_some(),
        };
        let registry = self.registry.clone();
        let end = async move {
            let why = StopReason::Deleted;
            Answered::Ended(match by_key {
                true => registry.end_by_key(&id.key(), &Selection::Owner(asker), why).await,
                false => registry.end(&id, &asker, KIND, why).await,
            })
        };
        self.call(asked, incarnations, end).await;
    }

    async fn revoke(&mut self, meant: Meant) {
        let which = match meant {
            Meant::Owner(at) | Meant::Named(at) => Selection::Owner(someone(at)),
            Meant::Grant(at) => Selection::Grant(GRANTS[at].into()),
        };
        for call in self.pending.values_mut() {
            if let Asked::Open { owner, revoked } = &mut call.what {
                *revoked |= which.matches(owner);
            }
        }
        let mut sessions = Vec::new();
        for (at, session) in self.sessions.iter_mut().enumerate() {
            if which.matches(&session.owner) {
                session.revoked = true;
                if session.fate != Fate::Over {
                    session.fate = Fate::OverHere;
                    sessions.push(at);
                }
            }
        }
        self.revoked.push(which.clone());
        let revocation = match meant {
            Meant::Named(_) => self.registry.revoke(move |owner| which.matches(owner)),
            Meant::Owner(_) | Meant::Grant(_) => self.registry.revoke_all(which),
        };
        let durable = async move { Answered::Revoked(revocation.durable().await) };
        self.call(Asked::Revoke { sessions }, Incarnations::ToTheEnd, durable).await;
    }

    pub(super) fn store_fails(&mut self, fails: bool) {
        self.records.fail(fails);
        if self.store.fails {
            self.store.last_failed = Some(Instant::now());
        }
        self.store.fails = fails;
    }

    pub(super) fn store_takes(&mut self, before: Duration, after: Duration) {
        self.records.delay(before);
        self.records.delay_answers(after);
        if self.store.is_slow {
            self.store.last_slow = Some(Instant::now());
        }
        self.store.is_slow = !(before + after).is_zero();
    }

    fn sleeps_too_old(&self, session: usize) -> bool {
        let id = self.sessions[session].id.expect("it is known");
        let now = self.records.calendar().now();
        let old = |record: crate::Record| record.created + self.limits.lifetime <= now;
        let asked =
            |call: &Call| matches!(call.what, Asked::Wake { session: it, .. } if it == session);
        !self.limits.lifetime.is_zero()
            && self.records.peek(&id.key()).is_some_and(old)
            && !self.pending.values().any(asked)
            && !self.held.iter().any(|held| held.number() == Some(session))
            && self
                .incarnations
                .iter()
                .all(|incarnation| incarnation.session != session || incarnation.is_over())
    }

    /// A session whose id a client knows.
    fn known(&self, which: usize) -> Option<(usize, SessionId)> {
        let known = self.sessions.iter().enumerate();
        let known: Vec<_> = known.filter_map(|(at, session)| Some((at, session.id?))).collect();
        pick(&known, which).copied()
    }

    fn asker(&self, session: usize, asker: Asker) -> (Owner, Standing) {
        let owner = &self.sessions[session].owner;
        let asker = match asker {
            Asker::Own { grant } => owner.clone().with_grant_id(Some(GRANTS[grant].into())),
            Asker::Any(who) => who.owner(),
        };
        let standing = match asker == *owner {
            true => Standing::Owner,
            false if asker.subject() == owner.subject() => Standing::OtherClient,
            false => Standing::Stranger,
        };
        (asker, standing)
    }

    /// An incarnation on which a lease for a call is held, whether its backend has ended or not.
    fn leased(&self, which: usize) -> Option<usize> {
        self.having(which, |it| !it.leases.is_empty())
    }

    fn alive(&self, which: usize) -> Option<usize> {
        self.having(which, |it| !it.is_over())
    }

    fn having(&self, which: usize, meant: impl Fn(&Incarnation) -> bool) -> Option<usize> {
        let incarnations = 0..self.incarnations.len();
        let meant: Vec<_> = incarnations.filter(|&at| meant(&self.incarnations[at])).collect();
        pick(&meant, which).copied()
    }
}
