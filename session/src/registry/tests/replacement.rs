use super::*;
use crate::{AfterStop, Replacement, StopWhen};

const ANEW: Replacement = Replacement { when: StopWhen::Idle, then: AfterStop::Awake };
const DRAINED: Replacement = Replacement { when: StopWhen::Drained, then: AfterStop::Awake };

#[tokio::test(start_paused = true)]
async fn an_idle_session_gets_a_new_backend_in_the_old_ones_place() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(capped(1), &records);
    let (id, first) = opened(&registry, &mut backends, "ada").await;
    first.remember(Some(b"state"));
    assert_eq!(registry.replace(|view| *view.id == id, ANEW), 1);
    assert_eq!(first.asked_to_stop().await, StopReason::Replaced);
    let mut wakes = JoinSet::new();
    wake_in(&mut wakes, &registry, id, "ada");
    settle().await;
    assert!(wakes.try_join_next().is_none(), "it waits for the new backend");
    assert!(matches!(wake(&registry, &id, "eve").await, Err(WakeError::Foreign)));
    assert!(matches!(registry.open(owner("bob"), ()).await, Err(OpenError::Full { .. })));
    first.end();
    let second = backends.next().await;
    let lease = wakes.join_next().await.expect("one wake").expect("no wake panics");
    assert!(lease.expect("it is awake").is(&second));
    assert_eq!(second.snapshot().as_deref(), Some(&b"state"[..]));
    assert!(second.succeeded(&first), "it takes over what was not fetched yet");
    assert_eq!((backends.peak(), registry.active(), registry.slots()), (1, 1, 1));
    assert_eq!(
        (registry.ended(StopReason::Replaced), registry.woken(WakeReason::Replaced)),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_busy_session_is_replaced_as_soon_as_its_last_lease_is_dropped() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    backends.answer(Answer::SucceedAndObey);
    let call = registry.open(owner("ada"), ()).await.expect("there is room");
    let (id, first) = (*call.id(), backends.next().await);
    assert_eq!(registry.replace(|_| true, ANEW), 1);
    let another = registry.lease(&id, &owner("ada")).expect("until then all is as ever");
    drop(call);
    settle().await;
    assert_eq!(first.stopped(), None);
    drop(another);
    assert_eq!(first.asked_to_stop().await, StopReason::Replaced);
    assert!(wake(&registry, &id, "ada").await.expect("it is awake").is(&backends.next().await));
}

#[tokio::test(start_paused = true)]
async fn a_draining_session_gives_no_new_lease_and_asks_the_holders_to_leave() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    backends.answer(Answer::SucceedAndObey);
    let stream = registry.open(owner("ada"), ()).await.expect("there is room");
    let (id, first) = (*stream.id(), backends.next().await);
    registry.replace(|_| true, ANEW);
    let mut asked = Box::pin(stream.asked_to_leave());
    assert!(tokio::time::timeout(SECOND, &mut asked).await.is_err(), "the lease may be kept");
    registry.replace(|_| true, DRAINED);
    // The less urgent demand does not take the more urgent one back.
    registry.replace(|_| true, Replacement { when: StopWhen::Idle, then: AfterStop::Asleep });
    asked.await;
    assert_eq!(registry.lease(&id, &owner("ada")).err(), Some(LeaseError::Unknown));
    let mut wakes = JoinSet::new();
    wake_in(&mut wakes, &registry, id, "ada");
    settle().await;
    assert!(wakes.try_join_next().is_none());
    assert_eq!(first.stopped(), None, "its leases are not cut");
    drop(stream);
    let lease = wakes.join_next().await.expect("one wake").expect("no wake panics");
    assert!(lease.expect("it is awake").is(&backends.next().await));
}

#[tokio::test(start_paused = true)]
async fn a_backend_can_be_taken_away_at_once_and_lazily() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    backends.answer(Answer::SucceedAndObey);
    let call = registry.open(owner("ada"), ()).await.expect("there is room");
    let first = backends.next().await;
    registry.replace(|_| true, Replacement { when: StopWhen::Now, then: AfterStop::Asleep });
    assert_eq!(first.asked_to_stop().await, StopReason::Replaced);
    call.asked_to_leave().await;
    settle().await;
    assert_eq!((registry.slots(), backends.spawns()), (0, 1), "no request came for it yet");
    wake(&registry, call.id(), "ada").await.expect("it sleeps");
}

#[tokio::test(start_paused = true)]
async fn a_replacement_under_continuous_calls_fails_none() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(capped(1), &records);
    backends.answer(Answer::SucceedAndObey);
    let (id, _) = opened(&registry, &mut backends, "ada").await;
    let mut calls = JoinSet::new();
    for caller in 0..4 {
        let registry = registry.clone();
        calls.spawn(async move {
            for call in 0..600 {
                let lease = wake(&registry, &id, "ada").await.expect("no call fails");
                sleep(Duration::from_millis(180 + 10 * caller + call % 7)).await;
                drop(lease);
            }
        });
    }
    let begun = Instant::now();
    let mut replacements = 0;
    while !calls.is_empty() {
        sleep(5 * SECOND).await;
        replacements += registry.replace(|_| true, DRAINED);
        while let Some(done) = calls.try_join_next() {
            done.expect("no call fails");
        }
    }
    assert!(begun.elapsed() > 100 * SECOND && replacements > 20);
    settle().await;
    assert_eq!(registry.woken(WakeReason::Replaced) as usize, replacements);
    assert_eq!(backends.peak(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replacement_does_not_make_an_idle_session_look_used() {
    let records = MemoryRecords::new();
    let limits = Limits { idle: 10 * MINUTE, ..unlimited() };
    let (registry, mut backends) = testing::recorded(limits, &records);
    backends.answer(Answer::SucceedAndObey);
    opened(&registry, &mut backends, "ada").await;
    for _ in 0..11 {
        sleep(MINUTE).await;
        registry.replace(|_| true, ANEW);
        settle().await;
    }
    sleep(MINUTE).await;
    assert_eq!((registry.active(), registry.ended(StopReason::Idle)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_session_in_use_is_not_idle_after_its_backend_was_replaced() {
    let records = MemoryRecords::new();
    let limits = Limits { idle: 10 * MINUTE, ..unlimited() };
    let (registry, backends) = testing::recorded(limits, &records);
    backends.answer(Answer::SucceedAndObey);
    let stream = registry.open(owner("ada"), ()).await.expect("there is room");
    sleep(60 * MINUTE).await;
    registry.replace(|_| true, Replacement { when: StopWhen::Now, then: AfterStop::Awake });
    sleep(5 * MINUTE).await;
    assert_eq!(
        (registry.active(), registry.woken(WakeReason::Replaced)),
        (1, 1),
        "it was in use until now"
    );
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_fails_leaves_the_session_asleep() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(capped(1), &records);
    let (id, first) = opened(&registry, &mut backends, "ada").await;
    backends.answer(Answer::Fail);
    registry.replace(|_| true, ANEW);
    first.end();
    settle().await;
    assert_eq!((registry.active(), registry.slots(), records.len()), (0, 0, 1));
    backends.answer(Answer::Panic);
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Panicked)));
    backends.answer(Answer::Succeed);
    wake(&registry, &id, "ada").await.expect("it sleeps");
}

#[tokio::test(start_paused = true)]
async fn a_session_ended_during_its_replacement_is_gone() {
    for spawning in [false, true] {
        let records = MemoryRecords::new();
        let (registry, mut backends) = testing::recorded(unlimited(), &records);
        let (id, first) = opened(&registry, &mut backends, "ada").await;
        backends.answer(Answer::Hold);
        registry.replace(|_| true, ANEW);
        first.asked_to_stop().await;
        let mut held = None;
        if spawning {
            first.end();
            held = Some(backends.held().await);
        }
        registry.end(&id, &owner("ada"), KIND, StopReason::Deleted).await.expect("it is ada's");
        assert!(records.is_empty());
        assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
        if let Some(held) = held {
            held.answer(Answer::Succeed);
            let second = backends.next().await;
            second.asked_to_stop().await;
            assert_eq!((registry.stopping(), registry.slots()), (1, 1), "counted once");
            second.end();
        } else {
            first.end();
        }
        settle().await;
        assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
        assert_eq!((registry.active(), registry.slots(), backends.alive()), (0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_changes_while_a_backend_stops_is_not_lost() {
    for then in [AfterStop::Asleep, AfterStop::Awake] {
        let records = MemoryRecords::new();
        let (registry, mut backends) = testing::recorded(unlimited(), &records);
        let call = registry.open(owner("ada"), ()).await.expect("there is room");
        let first = backends.next().await;
        registry.replace(|_| true, Replacement { when: StopWhen::Now, then });
        first.asked_to_stop().await;
        first.remember(Some(b"told while it stopped"));
        first.end();
        settle().await;
        let record = records.peek(&call.id().key()).expect("it is recorded");
        assert_eq!(*record.snapshot, *b"told while it stopped", "{then:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_has_missed_of_a_backend_is_stored_for_the_next_one() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let call = registry.open(owner("ada"), ()).await.expect("there is room");
    let first = backends.next().await;
    registry.replace(|_| true, Replacement { when: StopWhen::Now, then: AfterStop::Awake });
    first.asked_to_stop().await;
    first.remember(Some(b"told while it stopped"));
    records.fail(true);
    first.end();
    settle().await;
    records.fail(false);
    let lease = wake(&registry, call.id(), "ada").await.expect("it was replaced");
    registry.save(&lease).await.expect("the store is there");
    let record = records.peek(&call.id().key()).expect("it is recorded");
    assert_eq!(*record.snapshot, *b"told while it stopped");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_sleep_is_not_replaced() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    backends.stateful(true);
    let (_, backend) = opened(&registry, &mut backends, "ada").await;
    assert_eq!(registry.replace(|_| true, ANEW), 0);
    settle().await;
    assert_eq!(backend.stopped(), None);
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_opener_leaves_during_its_first_replacement_is_gone() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    // Polled until its session lives and the lease is in the channel.
    let mut open = Box::pin(registry.open(owner("ada"), ()));
    tokio::select! {
        biased;
        _ = &mut open => unreachable!("the driver has not run yet"),
        () = std::future::ready(()) => {}
    }
    settle().await;
    backends.answer(Answer::Hold);
    assert_eq!(
        registry.replace(|_| true, Replacement { when: StopWhen::Now, then: AfterStop::Awake }),
        1
    );
    backends.next().await.end();
    let held = backends.held().await;
    drop(open);
    held.answer(Answer::Succeed);
    let second = backends.next().await;
    assert_eq!(second.asked_to_stop().await, StopReason::Abandoned);
    second.end();
    settle().await;
    assert_eq!((registry.active(), registry.slots(), records.len()), (0, 0, 0));
}
