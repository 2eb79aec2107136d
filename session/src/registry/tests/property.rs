//! Random stories against a model.
//!
//! The fakes keep the truth: how many spawns and backends are alive, and what each was told. The
//! model keeps what the test itself did, and after each step every change the registry made must
//! be one the model allows: the right answer to an open, the right reason for an end.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use tokio::task::AbortHandle;

use super::*;
use crate::Report;
use crate::testing::{BackendHandle, HeldSpawn};

pub(super) const OWNERS: [&str; 3] = ["ada", "bob", "cyd"];
pub(super) const CLIENTS: [&str; 2] = ["test-client", "another client"];

/// One of the three people, through one of their two clients.
pub(super) fn someone(at: usize) -> Owner {
    through(CLIENTS[at / OWNERS.len()], OWNERS[at % OWNERS.len()])
}

/// How many there are of them.
pub(super) const EVERYONE: usize = OWNERS.len() * CLIENTS.len();

#[derive(Debug, Clone)]
enum Step {
    Open {
        owner: usize,
        answer: Answer,
    },
    /// The opener leaves, before anything else has run or later.
    OpenAndLeave {
        owner: usize,
        answer: Answer,
    },
    Leave {
        open: usize,
    },
    AnswerHeld {
        spawn: usize,
        answer: Answer,
    },
    Lease {
        session: usize,
        owner: usize,
    },
    DropLease {
        session: usize,
    },
    Delete {
        session: usize,
        owner: usize,
    },
    BackendEnds {
        session: usize,
    },
    Revoke {
        owner: usize,
    },
    Wait {
        seconds: u32,
    },
    Drain,
    Stop {
        seconds: u32,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let owner = || 0..EVERYONE;
    let which = || 0..1000usize;
    let spawned = || {
        prop_oneof![
            6 => Just(Answer::Succeed),
            2 => Just(Answer::SucceedAndObey),
            1 => Just(Answer::Fail),
        ]
    };
    let answer = prop_oneof![3 => spawned(), 1 => Just(Answer::Hold)];
    let answer = || answer.clone();
    prop_oneof![
        24 => (owner(), answer()).prop_map(|(owner, answer)| Step::Open { owner, answer }),
        4 => (owner(), answer()).prop_map(|(owner, answer)| Step::OpenAndLeave { owner, answer }),
        4 => which().prop_map(|open| Step::Leave { open }),
        8 => (which(), spawned()).prop_map(|(spawn, answer)| Step::AnswerHeld { spawn, answer }),
        12 => (which(), owner()).prop_map(|(session, owner)| Step::Lease { session, owner }),
        20 => which().prop_map(|session| Step::DropLease { session }),
        6 => (which(), owner()).prop_map(|(session, owner)| Step::Delete { session, owner }),
        12 => which().prop_map(|session| Step::BackendEnds { session }),
        1 => (0..OWNERS.len()).prop_map(|owner| Step::Revoke { owner }),
        16 => (1..400u32).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Drain),
        1 => (0..100u32).prop_map(|seconds| Step::Stop { seconds }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let cap = prop_oneof![1 => Just(None), 4 => (1..5usize).prop_map(NonZeroUsize::new)];
    let each = || prop_oneof![1 => Just(None), 1 => (1..4usize).prop_map(NonZeroUsize::new)];
    let each = (each(), each());
    let age = |seconds: u32| prop_oneof![Just(Duration::ZERO), Just(seconds * SECOND)];
    (cap, each, age(60), age(300), age(1500)).prop_map(|(cap, each, evict_idle, idle, lifetime)| {
        let (max_per_owner, max_per_client) = each;
        let caps = Limits { max_sessions: cap, max_per_owner, max_per_client, ..unlimited() };
        Limits { evict_idle, idle, lifetime, ..caps }
    })
}

/// A backend and what the model knows of its session.
struct Session {
    handle: BackendHandle,
    id: Option<SessionId>,
    leases: Vec<Lease<FakeBackend>>,
    born: Instant,
    /// When the last lease was dropped.
    used: Instant,
    revoked: bool,
    deleted: bool,
    /// What the model has already seen of its end.
    stopped: Option<StopReason>,
}

impl Session {
    fn is_live(&self) -> bool {
        self.id.is_some() && self.stopped.is_none() && !self.deleted && !self.handle.has_ended()
    }

    /// Whether it is there, awake or asleep.
    fn is_known(&self) -> bool {
        let ended = self.stopped.is_some_and(|why| !why.sleeps());
        self.id.is_some() && !self.deleted && !self.revoked && !ended
    }

    /// Why `asker`, who is another, gets nothing of it.
    fn refusal(&self, asker: &Owner) -> LeaseError {
        match self.handle.owner().subject() == asker.subject() {
            true => LeaseError::Unknown,
            false => LeaseError::Foreign,
        }
    }

    fn idle_for(&self, idle: Duration) -> bool {
        self.is_live() && self.leases.is_empty() && self.used.elapsed() >= idle
    }

    fn outlived(&self, limits: &Limits) -> bool {
        !limits.lifetime.is_zero() && self.born.elapsed() >= limits.lifetime
    }
}

struct Model {
    limits: Limits,
    registry: FakeRegistry,
    backends: Backends,
    sessions: Vec<Session>,
    held: Vec<HeldSpawn>,
    opens: JoinSet<(usize, Opened)>,
    /// Opens without an answer: by number, the owner and the way to leave.
    waiting: HashMap<usize, (Owner, AbortHandle)>,
    begun: usize,
    left: usize,
    answered: usize,
    failures: usize,
    /// Owners that were revoked at some time.
    revoked: HashSet<&'static str>,
    draining: bool,
    stops: JoinSet<Report>,
}

/// Whether the model allows what has happened.
pub(super) type Check = Result<(), TestCaseError>;

impl Model {
    fn new(limits: Limits) -> Self {
        let (registry, backends) = testing::recorded(limits, &MemoryRecords::new());
        Self {
            limits,
            registry,
            backends,
            sessions: Vec::new(),
            held: Vec::new(),
            opens: JoinSet::new(),
            waiting: HashMap::new(),
            begun: 0,
            left: 0,
            answered: 0,
            failures: 0,
            revoked: HashSet::new(),
            draining: false,
            stops: JoinSet::new(),
        }
    }

    async fn take(&mut self, step: Step) -> Check {
        match step {
            Step::Open { owner, answer } => self.open(someone(owner), answer, false).await?,
            Step::OpenAndLeave { owner, answer } => self.open(someone(owner), answer, true).await?,
            Step::Leave { open } => {
                let mut numbers: Vec<_> = self.waiting.keys().copied().collect();
                numbers.sort_unstable();
                if let Some(&number) = pick(&numbers, open) {
                    let (_, leave) = self.waiting.remove(&number).expect("it was listed");
                    leave.abort();
                    self.left += 1;
                }
            }
            Step::AnswerHeld { spawn, answer } => {
                if !self.held.is_empty() {
                    let held = self.held.swap_remove(spawn % self.held.len());
                    self.failures += usize::from(answer == Answer::Fail);
                    held.answer(answer);
                }
            }
            Step::Lease { session, owner } => self.lease(session, &someone(owner))?,
            Step::DropLease { session } => {
                let leased: Vec<_> = (0..self.sessions.len())
                    .filter(|&at| !self.sessions[at].leases.is_empty())
                    .collect();
                if let Some(&at) = pick(&leased, session) {
                    self.sessions[at].leases.pop();
                    self.sessions[at].used = Instant::now();
                }
            }
            Step::Delete { session, owner } => self.delete(session, &someone(owner)).await?,
            Step::BackendEnds { session } => {
                let alive: Vec<_> = (0..self.sessions.len())
                    .filter(|&at| !self.sessions[at].handle.has_ended())
                    .collect();
                if let Some(&at) = pick(&alive, session) {
                    self.sessions[at].handle.end();
                }
            }
            Step::Revoke { owner } => {
                self.registry.revoke(move |each| each.subject() == OWNERS[owner]);
                let name = OWNERS[owner];
                self.revoked.insert(name);
                for each in &mut self.sessions {
                    each.revoked |= each.handle.owner().subject() == name;
                }
                // A spawn under way becomes a session that is ended, and its opener hears it.
                settle().await;
            }
            Step::Wait { seconds } => sleep(seconds * SECOND).await,
            Step::Drain => {
                self.registry.drain();
                self.draining = true;
            }
            Step::Stop { seconds } => {
                let (registry, deadline) =
                    (self.registry.clone(), Instant::now() + seconds * SECOND);
                self.draining = true;
                self.stops.spawn(async move { registry.stop(deadline).await });
            }
        }
        settle().await;
        self.observe()
    }

    async fn open(&mut self, owner: Owner, answer: Answer, leave: bool) -> Check {
        self.backends.answer(answer);
        self.failures += usize::from(answer == Answer::Fail);
        let slots = self.registry.slots();
        // The longest idle of those that may make room, in all, for the person, for the client.
        let idle = self.sessions.iter().filter(|session| session.idle_for(Duration::ZERO));
        let idle: Vec<_> = idle.collect();
        let longest = |may: &dyn Fn(&Session) -> bool| {
            idle.iter().filter(|session| may(session)).map(|session| session.used).min()
        };
        let after = self.limits.evict_idle;
        let total = longest(&|session| !after.is_zero() && session.idle_for(after));
        let persons = longest(&|session| session.handle.owner().subject() == owner.subject());
        let clients = longest(&|session| *session.handle.owner() == owner);
        let registry = self.registry.clone();
        let number = self.begun;
        self.begun += 1;
        let asked = owner.clone();
        let open = async move { (number, registry.open(asked, ()).await) };
        let abort = self.opens.spawn(open);
        if leave {
            // Half of them before the open has begun, half of them a moment later.
            if number.is_multiple_of(2) {
                tokio::task::yield_now().await;
            }
            abort.abort();
            self.left += 1;
            return Ok(());
        }
        self.waiting.insert(number, (owner, abort));
        settle().await;
        for session in &self.sessions {
            if session.stopped.is_none() && session.handle.stopped() == Some(StopReason::Evicted) {
                let used = Some(session.used);
                prop_assert!([total, persons, clients].contains(&used), "not the longest idle");
            }
        }
        // What is refused is refused at once, so the state before the call explains it.
        let Some(done) = self.opens.try_join_next() else { return Ok(()) };
        match &done {
            Ok((_, Err(OpenError::Full { .. }))) => {
                let max = self.limits.max_sessions.expect("there is a cap").get();
                prop_assert!(slots == max && total.is_none(), "{slots} of {max}, {total:?}");
            }
            Ok((_, Err(OpenError::OwnerFull(OwnerLimit::Person { max })))) => {
                prop_assert!(self.limits.max_per_owner == Some(*max) && persons.is_none());
            }
            Ok((_, Err(OpenError::OwnerFull(OwnerLimit::Client { max })))) => {
                prop_assert!(self.limits.max_per_client == Some(*max) && clients.is_none());
            }
            Ok((_, Err(OpenError::OwnerFull(other)))) => prop_assert!(false, "{}", other),
            _ => {}
        }
        self.answered(done)
    }

    /// Records the one answer of an open.
    fn answered(&mut self, done: Result<(usize, Opened), tokio::task::JoinError>) -> Check {
        let (number, opened) = match done {
            Ok(answer) => answer,
            Err(left) => {
                prop_assert!(left.is_cancelled(), "an open panicked");
                return Ok(());
            }
        };
        let Some((owner, _)) = self.waiting.remove(&number) else {
            // It left in the very moment of its answer; whatever it had received is dropped.
            if let Ok(lease) = opened {
                self.meet_new_backends();
                let session = self.session_of(&lease);
                session.id = Some(*lease.id());
                session.used = Instant::now();
            }
            return Ok(());
        };
        self.answered += 1;
        match opened {
            Ok(lease) => {
                prop_assert_eq!(lease.owner(), &owner);
                self.meet_new_backends();
                let session = self.session_of(&lease);
                prop_assert!(session.id.is_none(), "two opens received one session");
                session.id = Some(*lease.id());
                session.leases.push(lease);
            }
            Err(OpenError::Full { .. } | OpenError::OwnerFull { .. } | OpenError::Revoked) => {}
            Err(OpenError::Draining | OpenError::Gone) => prop_assert!(self.draining),
            Err(OpenError::Spawn(FakeError)) => prop_assert!(self.failures > 0),
            Err(other @ (OpenError::Panicked | OpenError::NoFreeId | OpenError::Records(_))) => {
                prop_assert!(false, "{}", other);
            }
        }
        Ok(())
    }

    fn lease(&mut self, session: usize, asker: &Owner) -> Check {
        let Some(at) = self.known(session) else { return Ok(()) };
        let limits = self.limits;
        let session = &mut self.sessions[at];
        let id = session.id.expect("only known sessions were listed");
        let leased = self.registry.lease(&id, asker);
        // One that falls asleep stands in the table until its backend has ended.
        let is_over = session.handle.has_ended() || session.handle.is_dropped();
        let expected = if !session.is_known() || is_over {
            Some(LeaseError::Unknown)
        } else if session.handle.owner() != asker {
            Some(session.refusal(asker))
        } else if !session.is_live() || session.leases.is_empty() && session.outlived(&limits) {
            Some(LeaseError::Unknown)
        } else {
            None
        };
        // At the end of a stop the table is empty, whatever has become of the backends.
        let refused = leased.as_ref().err().copied();
        let may_be_gone = !self.stops.is_empty() && refused == Some(LeaseError::Unknown);
        prop_assert!(refused == expected || may_be_gone, "{refused:?} and not {expected:?}");
        session.leases.extend(leased);
        Ok(())
    }

    async fn delete(&mut self, session: usize, asker: &Owner) -> Check {
        let Some(at) = self.known(session) else { return Ok(()) };
        let (limits, has_driver) = (self.limits, self.stops.is_empty());
        let session = &mut self.sessions[at];
        let id = session.id.expect("only known sessions were listed");
        let by_record = match session.handle.owner() == asker {
            true => Ok(()),
            false => Err(session.refusal(asker)),
        };
        let expected = if session.is_known() { by_record } else { Err(LeaseError::Unknown) };
        let ended = plain(self.registry.end(&id, asker, KIND, StopReason::Deleted).await);
        // The record of one that grew too old asleep goes when the reaper looks, and that of a
        // revoked one when the driver has the time.
        let has_expired = !session.is_live() && session.outlived(&limits);
        let is_recorded = has_expired || session.revoked && !has_driver;
        let unsure = [by_record, Err(LeaseError::Unknown)];
        prop_assert!(ended == expected || is_recorded && unsure.contains(&ended));
        session.deleted |= ended.is_ok();
        Ok(())
    }

    /// Looks at everything that has happened since the last step.
    fn observe(&mut self) -> Check {
        while let Some(held) = self.backends.try_held() {
            self.held.push(held);
        }
        self.meet_new_backends();
        while let Some(done) = self.opens.try_join_next() {
            self.answered(done)?;
        }
        let limits = self.limits;
        for session in &mut self.sessions {
            prop_assert!(session.handle.stop_calls() <= 1, "a backend is stopped once");
            let Some(why) = session.handle.stopped() else {
                let overdue = limits.reap_interval + SECOND;
                if !limits.idle.is_zero() {
                    prop_assert!(!session.idle_for(limits.idle + overdue), "not reaped");
                }
                continue;
            };
            if session.stopped.replace(why).is_some() {
                continue;
            }
            let idle = |age: Duration| session.leases.is_empty() && session.used.elapsed() >= age;
            let allowed = match why {
                StopReason::Idle => !limits.idle.is_zero() && idle(limits.idle),
                StopReason::Lifetime => session.leases.is_empty() && session.outlived(&limits),
                StopReason::Evicted => {
                    let for_all = !limits.evict_idle.is_zero() && idle(limits.evict_idle);
                    let has_own_cap =
                        limits.max_per_owner.is_some() || limits.max_per_client.is_some();
                    for_all || has_own_cap && idle(Duration::ZERO)
                }
                StopReason::Deleted => session.deleted,
                // Only the opener that left knows the session, or it never entered.
                StopReason::Abandoned => session.id.is_none() && self.left > 0,
                StopReason::Revoked => {
                    session.revoked
                        || session.id.is_none()
                            && self.revoked.contains(session.handle.owner().subject())
                }
                StopReason::Shutdown => self.draining,
                _ => false,
            };
            prop_assert!(allowed, "{why} was no reason to end this session");
        }
        self.check_caps()
    }

    /// I2, as it stands and as it ever stood.
    fn check_caps(&self) -> Check {
        let registry = &self.registry;
        prop_assert!(registry.active() + registry.stopping() <= registry.slots());
        if let Some(max) = self.limits.max_sessions {
            prop_assert!(registry.slots() <= max.get());
            prop_assert!(self.backends.peak() <= max.get());
        }
        if let Some(max) = self.limits.max_per_owner {
            for name in OWNERS {
                prop_assert!(self.backends.peak_of(&owner(name)) <= max.get());
            }
        }
        if let Some(max) = self.limits.max_per_client {
            for owner in (0..EVERYONE).map(someone) {
                prop_assert!(self.backends.peak_of_client(&owner) <= max.get());
            }
        }
        if self.stops.is_empty() {
            // Slots without a backend or a spawn belong to opens on their way, none after settling.
            prop_assert_eq!(registry.slots(), self.backends.alive());
            let live = self.sessions.iter().filter(|session| session.is_live()).count();
            prop_assert_eq!(registry.active(), live);
        }
        Ok(())
    }

    /// I3: in the end every open that was not left has had its answer, and nothing is left over.
    async fn finish(mut self) -> Check {
        for session in &mut self.sessions {
            session.leases.clear();
            session.used = Instant::now();
        }
        self.draining = true;
        let last = self.registry.stop(Instant::now() + MINUTE).await;
        while let Some(report) = self.stops.join_next().await {
            prop_assert_eq!(report.expect("no stop panics"), last);
        }
        self.backends.driver_ended().await;
        settle().await;
        while let Some(done) = self.opens.try_join_next() {
            self.answered(done)?;
        }
        prop_assert!(self.waiting.is_empty(), "{} opens had no answer", self.waiting.len());
        prop_assert_eq!(self.answered + self.left, self.begun);
        let registry = &self.registry;
        prop_assert_eq!((registry.slots(), registry.active(), registry.stopping()), (0, 0, 0));
        self.meet_new_backends();
        for session in &self.sessions {
            prop_assert!(session.handle.is_dropped());
            prop_assert!(session.handle.has_ended() || session.handle.stopped().is_some());
        }
        Ok(())
    }

    fn meet_new_backends(&mut self) {
        while let Some(handle) = self.backends.try_next() {
            self.sessions.push(Session {
                handle,
                id: None,
                leases: Vec::new(),
                born: Instant::now(),
                used: Instant::now(),
                revoked: false,
                deleted: false,
                stopped: None,
            });
        }
    }

    fn session_of(&mut self, lease: &Lease<FakeBackend>) -> &mut Session {
        let found = self.sessions.iter_mut().find(|session| lease.is(&session.handle));
        found.expect("every backend has been met")
    }

    fn known(&self, session: usize) -> Option<usize> {
        let known: Vec<_> =
            (0..self.sessions.len()).filter(|&at| self.sessions[at].id.is_some()).collect();
        pick(&known, session).copied()
    }
}

pub(super) fn pick<T>(from: &[T], at: usize) -> Option<&T> {
    from.get(at.checked_rem(from.len())?)
}

/// Runs one story, on a clock that moves only when every task waits.
pub(super) fn tell(story: impl Future<Output = Check>) -> Check {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without IO needs nothing");
    runtime.block_on(story)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_story_exceeds_a_cap_or_leaves_an_open_without_its_one_answer(
        limits in limits(),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        tell(async {
            let mut model = Model::new(limits);
            for step in steps {
                model.take(step).await?;
            }
            model.finish().await
        })?;
    }
}
