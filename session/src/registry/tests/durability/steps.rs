//! What can happen in a story, and under which limits.

use super::*;
use crate::{AfterStop, Replacement, StopWhen, WakeFailure};

pub(super) const GRANTS: [&str; 2] = ["first grant", "second grant"];

/// An owner and the grant they come with, by number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who {
    pub(super) owner: usize,
    pub(super) grant: usize,
}

impl Who {
    pub(super) fn owner(self) -> Owner {
        someone(self.owner).with_grant_id(Some(GRANTS[self.grant].into()))
    }
}

/// Who asks for a session: its owner, with some grant, or any owner.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asker {
    Own { grant: usize },
    Any(Who),
}

/// Whether the one who asks waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Incarnations {
    ToTheEnd,
    /// It leaves as soon as it has asked.
    NotLong,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Meant {
    Owner(usize),
    Grant(usize),
    /// An owner, said by a function and not in the store's words.
    Named(usize),
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Open(Who, Incarnations),
    /// So many requests at once.
    Wake {
        session: usize,
        asker: Asker,
        purpose: Purpose,
        times: usize,
        incarnations: Incarnations,
    },
    Lease {
        session: usize,
        asker: Asker,
    },
    DropLease(usize),
    /// An opener or a waking request that waits leaves.
    Leave(usize),
    /// A request changes the session's state. The client hears of it when that was saved. It may be
    /// the last one for now.
    Change {
        lease: usize,
        save: bool,
        last: bool,
    },
    Save(usize),
    BecomeStateful(usize),
    /// A backend ends, whether it was told to or not.
    BackendEnds(usize),
    StoppedBackendsEnd,
    End {
        session: usize,
        asker: Asker,
        by_key: bool,
        incarnations: Incarnations,
    },
    Revoke(Meant),
    Rotate {
        owner: Option<usize>,
        how: Replacement,
    },
    Spawns(Answer),
    AnswerHeld {
        spawn: usize,
        answer: Answer,
    },
    StoreIsDown(bool),
    StoreFails {
        call: usize,
        after_the_work: bool,
    },
    StoreTakes {
        before: Duration,
        after: Duration,
    },
    Wait {
        seconds: u32,
    },
    Drain,
    Restart {
        kill: bool,
    },
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let which = || 0..1000usize;
    let who = || (0..EVERYONE, 0..GRANTS.len()).prop_map(|(owner, grant)| Who { owner, grant });
    let asker = || {
        prop_oneof![
            5 => (0..GRANTS.len()).prop_map(|grant| Asker::Own { grant }),
            1 => who().prop_map(Asker::Any),
        ]
    };
    let incarnations =
        || prop_oneof![6 => Just(Incarnations::ToTheEnd), 1 => Just(Incarnations::NotLong)];
    let purpose = prop_oneof![3 => Just(Purpose::Call), 1 => Just(Purpose::Stream)];
    // What an end does after its caller left is rare to see, so it is often tried.
    let ends = prop_oneof![2 => Just(Incarnations::ToTheEnd), 1 => Just(Incarnations::NotLong)];
    let when = prop_oneof![Just(StopWhen::Idle), Just(StopWhen::Drained), Just(StopWhen::Now)];
    let then = prop_oneof![Just(AfterStop::Asleep), Just(AfterStop::Awake)];
    let how = (when, then).prop_map(|(when, then)| Replacement { when, then });
    let spawned = || {
        prop_oneof![
            6 => Just(Answer::SucceedAndObey),
            3 => Just(Answer::Succeed),
            1 => Just(Answer::Fail),
        ]
    };
    let answer = prop_oneof![3 => spawned(), 1 => Just(Answer::Hold)];
    let meant = prop_oneof![
        (0..EVERYONE).prop_map(Meant::Owner),
        (0..GRANTS.len()).prop_map(Meant::Grant),
        (0..EVERYONE).prop_map(Meant::Named),
    ];
    let pause = || {
        prop_oneof![
            3 => Just(Duration::ZERO),
            1 => (1..40u64).prop_map(Duration::from_millis),
            1 => (1..4u32).prop_map(|seconds| seconds * SECOND),
        ]
    };
    prop_oneof![
        16 => (who(), incarnations()).prop_map(|(who, incarnations)| Step::Open(who, incarnations)),
        30 => (which(), asker(), purpose, 1..4usize, incarnations()).prop_map(
            |(session, asker, purpose, times, incarnations)| {
                Step::Wake { session, asker, purpose, times, incarnations }
            }
        ),
        6 => (which(), asker()).prop_map(|(session, asker)| Step::Lease { session, asker }),
        24 => which().prop_map(Step::DropLease),
        3 => which().prop_map(Step::Leave),
        10 => (which(), any::<bool>(), any::<bool>())
            .prop_map(|(lease, save, last)| Step::Change { lease, save, last }),
        4 => which().prop_map(Step::Save),
        3 => which().prop_map(Step::BecomeStateful),
        10 => which().prop_map(Step::BackendEnds),
        8 => Just(Step::StoppedBackendsEnd),
        7 => (which(), asker(), any::<bool>(), ends).prop_map(
            |(session, asker, by_key, incarnations)| Step::End { session, asker, by_key, incarnations }
        ),
        2 => meant.prop_map(Step::Revoke),
        8 => (prop::option::of(0..EVERYONE), how)
            .prop_map(|(owner, how)| Step::Rotate { owner, how }),
        8 => answer.prop_map(Step::Spawns),
        8 => (which(), spawned()).prop_map(|(spawn, answer)| Step::AnswerHeld { spawn, answer }),
        6 => any::<bool>().prop_map(Step::StoreIsDown),
        4 => (0..3usize, any::<bool>()).prop_map(
            |(call, after_the_work)| Step::StoreFails { call, after_the_work }
        ),
        4 => (pause(), pause()).prop_map(|(before, after)| Step::StoreTakes { before, after }),
        16 => (1..200u32).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Drain),
        3 => any::<bool>().prop_map(|kill| Step::Restart { kill }),
    ]
}

/// What holds from the beginning of a story to its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conditions {
    pub(super) limits: Limits,
    /// What a failed wake means.
    pub(super) wake_failure: WakeFailure,
}

pub(super) fn conditions() -> impl Strategy<Value = Conditions> {
    let at_most = |most: usize| {
        let number = (1..=most).prop_map(NonZeroUsize::new);
        prop_oneof![1 => Just(None), 1 => number]
    };
    let age = |seconds: u32| prop_oneof![Just(Duration::ZERO), Just(seconds * SECOND)];
    // Shorter than the reaper's interval too: it has not tended the records before then.
    let idle = prop_oneof![Just(Duration::ZERO), Just(20 * SECOND), Just(120 * SECOND)];
    let lifetime = prop_oneof![
        6 => Just(Duration::ZERO),
        1 => Just(20 * SECOND),
        1 => Just(300 * SECOND),
    ];
    let total = prop_oneof![1 => Just(None), 4 => (1..4usize).prop_map(NonZeroUsize::new)];
    let slots = (total, at_most(2), at_most(2));
    let starts = prop_oneof![3 => Just(Duration::ZERO), 1 => Just(SECOND)];
    let ages = (age(1), idle, lifetime, age(20));
    let records = prop_oneof![
        2 => Just((None, None, None)),
        1 => (at_most(6), at_most(3), at_most(2)),
    ];
    let wake_failure = prop_oneof![
        4 => Just(WakeFailure::Backoff),
        1 => Just(WakeFailure::RetryNow),
        1 => Just(WakeFailure::Permanent),
    ];
    (slots, starts, ages, records, wake_failure, 0..4u32).prop_map(
        |(slots, start_interval, ages, records, wake_failure, max_wake_failures)| {
            let limits = Limits {
                max_sessions: slots.0,
                max_per_owner: slots.1,
                max_per_client: slots.2,
                start_burst: 3,
                start_interval,
                evict_idle: ages.0,
                idle: ages.1,
                lifetime: ages.2,
                slot_wait: ages.3,
                max_records: records.0,
                max_records_per_owner: records.1,
                max_records_per_client: records.2,
                max_wake_failures,
                ..unlimited()
            };
            Conditions { limits, wake_failure }
        },
    )
}

/// What comes after the last step, before everything that was not ended must answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    GoesOn,
    Stops,
    IsKilled,
}

pub(super) fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![Just(Ending::GoesOn), Just(Ending::Stops), Just(Ending::IsKilled)]
}
