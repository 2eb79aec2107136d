//! Random stories of sessions that sleep, wake, crash, are rotated and survive restarts, over a
//! store that fails now and then.
//!
//! A backend's snapshot says which session it belongs to and how often that was changed. So a wake
//! that mixes sessions up, loses what was acknowledged or runs two backends of one session shows.

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::{Rotation, Selection, Then, When};

const OWNERS: [&str; 3] = ["ada", "bob", "cyd"];

#[derive(Debug, Clone)]
enum Step {
    Open {
        owner: usize,
    },
    Wake {
        session: usize,
        owner: Option<usize>,
        leave: bool,
    },
    DropLease {
        session: usize,
    },
    /// The session's state changes, and with `save` the client is told of it.
    Change {
        session: usize,
        save: bool,
    },
    Crash {
        session: usize,
    },
    Delete {
        session: usize,
    },
    Revoke {
        owner: usize,
    },
    Rotate {
        when: When,
        then: Then,
    },
    EndStopped,
    Spawns(Answer),
    StoreDown(bool),
    StoreFails {
        call: usize,
        after: bool,
    },
    Wait {
        seconds: u32,
    },
    Restart {
        kill: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let which = || 0..1000usize;
    let owner = || 0..OWNERS.len();
    let when = prop_oneof![Just(When::Idle), Just(When::Drained), Just(When::Now)];
    let then = prop_oneof![Just(Then::Asleep), Just(Then::Awake)];
    let spawns = prop_oneof![
        4 => Just(Answer::SucceedAndObey),
        2 => Just(Answer::Succeed),
        1 => Just(Answer::Fail),
    ];
    prop_oneof![
        14 => owner().prop_map(|owner| Step::Open { owner }),
        30 => (which(), prop_oneof![5 => Just(None), 1 => owner().prop_map(Some)], any::<bool>())
            .prop_map(|(session, owner, leave)| Step::Wake { session, owner, leave }),
        24 => which().prop_map(|session| Step::DropLease { session }),
        10 => (which(), any::<bool>()).prop_map(|(session, save)| Step::Change { session, save }),
        10 => which().prop_map(|session| Step::Crash { session }),
        5 => which().prop_map(|session| Step::Delete { session }),
        1 => owner().prop_map(|owner| Step::Revoke { owner }),
        8 => (when, then).prop_map(|(when, then)| Step::Rotate { when, then }),
        10 => Just(Step::EndStopped),
        8 => spawns.prop_map(Step::Spawns),
        4 => prop_oneof![1 => Just(true), 2 => Just(false)].prop_map(Step::StoreDown),
        5 => (0..3usize, any::<bool>()).prop_map(|(call, after)| Step::StoreFails { call, after }),
        16 => (1..200u32).prop_map(|seconds| Step::Wait { seconds }),
        3 => any::<bool>().prop_map(|kill| Step::Restart { kill }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let cap = prop_oneof![1 => Just(None), 4 => (1..4usize).prop_map(NonZeroUsize::new)];
    let each = prop_oneof![1 => Just(None), 1 => (1..3usize).prop_map(NonZeroUsize::new)];
    let age = |seconds: u32| prop_oneof![Just(Duration::ZERO), Just(seconds * SECOND)];
    let waits = prop_oneof![Just(Duration::ZERO), Just(20 * SECOND)];
    (cap, each, age(1), age(120), waits).prop_map(|(cap, each, evict_idle, idle, place_wait)| {
        Limits {
            max_sessions: cap,
            max_per_owner: each,
            evict_idle,
            idle,
            place_wait,
            ..unlimited()
        }
    })
}

/// Whether a session is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Yes,
    No,
    /// The store did not say whether it had done what it was asked.
    Maybe,
}

struct Session {
    id: SessionId,
    owner: &'static str,
    there: There,
    version: u32,
    /// The version that its client was told of last.
    told: u32,
    leases: Vec<Lease<FakeBackend>>,
}

struct Model {
    limits: Limits,
    records: MemoryRecords,
    registry: FakeRegistry,
    backends: Backends,
    handles: Vec<BackendHandle>,
    sessions: Vec<Session>,
    /// Wakes under way: the session, and who asks.
    wakes: JoinSet<(usize, &'static str, Woken)>,
    opens: JoinSet<(&'static str, Opened)>,
    draining: bool,
}

type Check = Result<(), TestCaseError>;

fn state(session: usize, version: u32) -> Vec<u8> {
    format!("{session} {version}").into_bytes()
}

fn parse(snapshot: &[u8]) -> Option<(usize, u32)> {
    let text = std::str::from_utf8(snapshot).ok()?;
    let (session, version) = text.split_once(' ')?;
    Some((session.parse().ok()?, version.parse().ok()?))
}

impl Model {
    fn new(limits: Limits) -> Self {
        let records = MemoryRecords::new();
        let (registry, backends) = testing::recorded(limits, &records);
        backends.answer(Answer::SucceedAndObey);
        Self {
            limits,
            records,
            registry,
            backends,
            handles: Vec::new(),
            sessions: Vec::new(),
            wakes: JoinSet::new(),
            opens: JoinSet::new(),
            draining: false,
        }
    }

    async fn take(&mut self, step: Step) -> Check {
        match step {
            Step::Open { owner: at } => {
                let (registry, name) = (self.registry.clone(), OWNERS[at]);
                self.opens.spawn(async move { (name, registry.open(owner(name), ()).await) });
            }
            Step::Wake { session, owner: stranger, leave } => {
                let Some(at) = pick(self.sessions.len(), session) else { return Ok(()) };
                let name = stranger.map_or(self.sessions[at].owner, |stranger| OWNERS[stranger]);
                let (registry, id) = (self.registry.clone(), self.sessions[at].id);
                let wake = async move { (at, name, wake(&registry, &id, name).await) };
                let task = self.wakes.spawn(wake);
                if leave && session.is_multiple_of(3) {
                    tokio::task::yield_now().await;
                    task.abort();
                }
            }
            Step::DropLease { session } => {
                let held: Vec<_> = (0..self.sessions.len())
                    .filter(|&at| !self.sessions[at].leases.is_empty())
                    .collect();
                if let Some(at) = pick(held.len(), session) {
                    self.sessions[held[at]].leases.pop();
                }
            }
            Step::Change { session, save } => self.change(session, save).await,
            Step::Crash { session } => {
                if let Some(at) = pick(self.handles.len(), session) {
                    self.handles[at].end();
                }
            }
            Step::Delete { session } => self.delete(session).await?,
            Step::Revoke { owner: at } => self.revoke(OWNERS[at]).await,
            Step::Rotate { when, then } => {
                self.registry.rotate(|_| true, Rotation { when, then });
            }
            Step::EndStopped => {
                self.meet();
                for handle in self.handles.iter().filter(|handle| handle.stopped().is_some()) {
                    handle.end();
                }
            }
            Step::Spawns(answer) => self.backends.answer(answer),
            Step::StoreDown(down) => self.records.fail(down),
            Step::StoreFails { call, after: false } => self.records.fail_at(call),
            Step::StoreFails { call, after: true } => self.records.lose_answer_at(call),
            Step::Wait { seconds } => sleep(seconds * SECOND).await,
            Step::Restart { kill } => self.restart(kill).await?,
        }
        settle().await;
        self.observe()
    }

    async fn change(&mut self, session: usize, save: bool) {
        let held: Vec<_> =
            (0..self.sessions.len()).filter(|&at| !self.sessions[at].leases.is_empty()).collect();
        let Some(at) = pick(held.len(), session).map(|at| held[at]) else { return };
        self.meet();
        let Session { version, told, leases, .. } = &mut self.sessions[at];
        let lease = leases.last().expect("it was chosen for its leases");
        let Some(handle) = self.handles.iter().find(|handle| lease.is(handle)) else { return };
        // A lease on a backend that is not the session's any more changes nothing of the session.
        if handle.has_ended() || handle.stopped().is_some() {
            return;
        }
        *version += 1;
        handle.remember(Some(&state(at, *version)));
        if save && self.registry.save(lease).await.is_ok() {
            *told = *version;
        }
    }

    async fn delete(&mut self, session: usize) -> Check {
        let Some(at) = pick(self.sessions.len(), session) else { return Ok(()) };
        let session = &mut self.sessions[at];
        let ended =
            self.registry.end(&session.id, &owner(session.owner), StopReason::Deleted).await;
        match ended {
            Ok(()) => {
                prop_assert!(session.there != There::No, "deleted twice");
                session.there = There::No;
            }
            Err(EndError::Unknown) => {
                prop_assert!(session.there != There::Yes, "lost without a reason");
                session.there = There::No;
            }
            Err(EndError::Foreign) => prop_assert!(false, "it is theirs"),
            Err(EndError::Records(_)) if session.there == There::Yes => {
                session.there = There::Maybe;
            }
            Err(EndError::Records(_)) => {}
        }
        Ok(())
    }

    async fn revoke(&mut self, name: &'static str) {
        let revocation = match self.sessions.len().is_multiple_of(2) {
            true => self.registry.revoke(move |owner| owner.subject() == name),
            false => self.registry.revoke_all(Selection::Owner(owner(name))),
        };
        let there = match revocation.durable().await {
            Ok(_) => There::No,
            // It holds here, but a restart may come before the records are gone.
            Err(_) => There::Maybe,
        };
        for session in self.sessions.iter_mut().filter(|session| session.owner == name) {
            if session.there != There::No {
                session.there = there;
            }
        }
    }

    async fn restart(&mut self, kill: bool) -> Check {
        if kill {
            self.backends.drop_driver().await;
        } else {
            self.draining = true;
            self.registry.stop(Instant::now() + 5 * SECOND).await;
        }
        settle().await;
        self.observe()?;
        self.wakes.shutdown().await;
        self.opens.shutdown().await;
        for session in &mut self.sessions {
            session.leases.clear();
        }
        self.draining = false;
        prop_assert_eq!((self.registry.places(), self.registry.active()), (0, 0));
        let (registry, backends) = testing::recorded(self.limits, &self.records);
        backends.answer(Answer::SucceedAndObey);
        self.handles.clear();
        (self.registry, self.backends) = (registry, backends);
        Ok(())
    }

    fn meet(&mut self) {
        while let Some(handle) = self.backends.try_next() {
            self.handles.push(handle);
        }
    }

    fn observe(&mut self) -> Check {
        self.meet();
        while let Some(done) = self.opens.try_join_next() {
            let (name, opened) = done.expect("no open panics");
            if let Ok(lease) = opened {
                self.name(lease, name);
            }
        }
        while let Some(done) = self.wakes.try_join_next() {
            match done {
                Ok((at, name, woken)) => self.woken(at, name, woken)?,
                Err(left) => prop_assert!(left.is_cancelled(), "a wake panicked"),
            }
        }
        self.check()
    }

    /// A new session: its backend learns whose it is, and that is stored before anything happens.
    fn name(&mut self, lease: Lease<FakeBackend>, name: &'static str) {
        let at = self.sessions.len();
        if let Some(handle) = self.handles.iter().find(|handle| lease.is(handle)) {
            handle.remember(Some(&state(at, 0)));
        }
        let id = *lease.id();
        let leases = vec![lease];
        // Not saved yet: until version 1 is, a crash leads back to `fresh`.
        self.sessions.push(Session {
            id,
            owner: name,
            there: There::Yes,
            version: 0,
            told: 0,
            leases,
        });
    }

    fn woken(&mut self, at: usize, name: &'static str, woken: Woken) -> Check {
        let session = &mut self.sessions[at];
        let own = session.owner == name;
        match woken {
            Ok(lease) => {
                prop_assert!(own, "a stranger got a lease");
                prop_assert_eq!((lease.id(), lease.owner()), (&session.id, &owner(name)));
                let snapshot = crate::Backend::snapshot(&*lease).expect("none is stateful");
                match parse(&snapshot) {
                    Some((of, version)) => {
                        prop_assert_eq!(of, at, "another session's state");
                        prop_assert!(version >= session.told, "what was told is lost");
                        session.version = version.max(session.version);
                    }
                    None => {
                        prop_assert_eq!(&snapshot[..], b"fresh");
                        prop_assert_eq!(session.told, 0, "what was told is lost");
                        if let Some(handle) = self.handles.iter().find(|each| lease.is(each)) {
                            handle.remember(Some(&state(at, 0)));
                        }
                    }
                }
                // It may have been deleted since it answered; a lease is no promise.
                session.leases.push(lease);
            }
            Err(WakeError::Foreign) => prop_assert!(!own, "it is theirs"),
            Err(WakeError::Unknown) => {
                prop_assert!(session.there != There::Yes, "the session was lost");
            }
            // Said to everybody, whoever they are.
            Err(WakeError::Draining | WakeError::Gone | WakeError::Records(_)) => {}
            Err(WakeError::Panicked) => prop_assert!(self.draining, "nothing panics"),
            Err(
                WakeError::Full { .. }
                | WakeError::OwnerFull { .. }
                | WakeError::Spawn(_)
                | WakeError::Failing { .. },
            ) => prop_assert!(own, "a stranger learnt more than that it is foreign"),
        }
        Ok(())
    }

    fn check(&self) -> Check {
        let registry = &self.registry;
        if let Some(max) = self.limits.max_sessions {
            prop_assert!(registry.places() <= max.get() && self.backends.peak() <= max.get());
        }
        if let Some(max) = self.limits.max_per_owner {
            for name in OWNERS {
                prop_assert!(self.backends.peak_of(&owner(name)) <= max.get());
            }
        }
        let mut running: Vec<_> = self
            .handles
            .iter()
            .filter(|handle| !handle.has_ended() && !handle.is_dropped())
            .filter_map(|handle| Some(parse(&handle.snapshot()?)?.0))
            .collect();
        running.sort_unstable();
        let all = running.len();
        running.dedup();
        prop_assert_eq!(all, running.len(), "two backends of one session");
        Ok(())
    }

    /// In the end, with a good store and a good spawner, every session that is there answers, with
    /// what its client was told of last; and none that is gone does.
    async fn finish(mut self, kill: bool) -> Check {
        self.records.fail(false);
        self.restart(kill).await?;
        self.registry.set_limits(unlimited());
        for at in 0..self.sessions.len() {
            let (id, name) = (self.sessions[at].id, self.sessions[at].owner);
            let woken = wake(&self.registry, &id, name).await;
            self.meet();
            match self.sessions[at].there {
                There::Yes => prop_assert!(woken.is_ok(), "{:?}", woken.err()),
                There::No => prop_assert!(matches!(woken, Err(WakeError::Unknown))),
                There::Maybe => {}
            }
            self.woken(at, name, woken)?;
        }
        self.registry.stop(Instant::now() + MINUTE).await;
        self.sessions.clear();
        prop_assert_eq!((self.registry.places(), self.backends.alive()), (0, 0));
        Ok(())
    }
}

fn pick(len: usize, at: usize) -> Option<usize> {
    at.checked_rem(len)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn i2_i7_no_story_loses_a_session_or_what_its_client_was_told(
        limits in limits(),
        steps in prop::collection::vec(step(), 1..100),
        kill: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without IO needs nothing");
        runtime.block_on(async {
            let mut model = Model::new(limits);
            for step in steps {
                model.take(step).await?;
            }
            model.finish(kill).await
        })?;
    }
}
