use super::*;
use crate::Report;

#[tokio::test(start_paused = true)]
async fn draining_refuses_new_sessions_and_leaves_the_old_ones_alone() {
    let (registry, mut backends) = testing::registry(unlimited());
    backends.answer(Answer::Hold);
    let mut opens = JoinSet::new();
    open_in(&mut opens, &registry, "ada");
    let held = backends.held().await;
    registry.drain();
    registry.drain();
    assert!(matches!(registry.open(owner("bob"), ()).await, Err(OpenError::Draining)));
    held.answer(Answer::Succeed);
    let opened = opens.join_next().await.expect("one open").expect("no open panics");
    let id = *opened.expect("it was under way before the drain").id();
    registry.lease(&id, &owner("ada")).expect("it goes on");
    assert_eq!(backends.next().await.stopped(), None);
}

#[tokio::test(start_paused = true)]
async fn stop_ends_every_session_together_and_counts_them() {
    let (registry, mut backends) = testing::registry(unlimited());
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(registry.open(owner("ada"), ()).await.expect("there is room"));
    }
    let mut stop = JoinSet::new();
    let stopped = registry.clone();
    stop.spawn(async move { stopped.stop(Instant::now() + MINUTE).await });
    settle().await;
    assert_eq!((registry.active(), registry.stopping()), (0, 3), "leases do not hold it up");
    assert_eq!(registry.lease(leases[0].id(), &owner("ada")).err(), Some(LeaseError::Unknown));
    assert!(matches!(registry.open(owner("ada"), ()).await, Err(OpenError::Draining)));
    for _ in 0..3 {
        let backend = backends.next().await;
        assert_eq!(backend.stopped(), Some(StopReason::Shutdown));
        assert!(stop.try_join_next().is_none(), "one is still stopping");
        backend.end();
        settle().await;
    }
    let report = stop.join_next().await.expect("one stop").expect("no stop panics");
    assert_eq!(report, Report { ended: 3, abandoned: 0 });
    backends.driver_ended().await;
    assert!(matches!(registry.open(owner("ada"), ()).await, Err(OpenError::Gone)));
    assert_eq!(registry.stop(Instant::now()).await, report, "asked again, the same answer");
    assert_eq!((registry.slots(), registry.stopping()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn stop_waits_no_longer_than_its_deadline() {
    let (registry, mut backends) = testing::registry(unlimited());
    drop(registry.open(owner("ada"), ()).await.expect("there is room"));
    drop(registry.open(owner("bob"), ()).await.expect("there is room"));
    let (good, stubborn) = (backends.next().await, backends.next().await);
    good.end();
    settle().await;
    drop(registry.open(owner("cyd"), ()).await.expect("there is room"));
    let quick = backends.next().await;
    let begun = Instant::now();
    let (report, ()) = tokio::join!(registry.stop(begun + 10 * SECOND), async {
        quick.asked_to_stop().await;
        quick.end();
    });
    assert_eq!(begun.elapsed(), 10 * SECOND);
    assert_eq!(report, Report { ended: 1, abandoned: 1 });
    assert_eq!(stubborn.stopped(), Some(StopReason::Shutdown));
    assert!(stubborn.is_dropped(), "what is abandoned is dropped, as the backstop");
    assert_eq!((registry.slots(), registry.active(), registry.stopping()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_second_stop_may_bring_the_deadline_nearer_but_not_push_it_away() {
    let (registry, _backends) = testing::registry(unlimited());
    drop(registry.open(owner("ada"), ()).await.expect("there is room"));
    let begun = Instant::now();
    let (first, second, third) = tokio::join!(
        registry.stop(begun + 60 * MINUTE),
        async {
            sleep(SECOND).await;
            registry.stop(begun + 2 * SECOND).await
        },
        async {
            sleep(SECOND).await;
            registry.stop(begun + 90 * MINUTE).await
        },
    );
    assert_eq!(begun.elapsed(), 2 * SECOND);
    assert_eq!((first, second), (second, third));
    assert_eq!(first, Report { ended: 0, abandoned: 1 });
}

#[tokio::test(start_paused = true)]
async fn stop_answers_openers_at_once_and_ends_what_they_were_waiting_for() {
    let limits = Limits { evict_idle: MINUTE, ..capped(2) };
    let (registry, mut backends) = testing::recorded(limits, &MemoryRecords::new());
    drop(registry.open(owner("ada"), ()).await.expect("there is room"));
    let evicted = backends.next().await;
    sleep(MINUTE).await;
    backends.answer(Answer::Hold);
    let mut opens = JoinSet::new();
    open_in(&mut opens, &registry, "spawning");
    let held = backends.held().await;
    open_in(&mut opens, &registry, "waiting for a slot");
    assert_eq!(evicted.asked_to_stop().await, StopReason::Evicted);
    let mut stop = JoinSet::new();
    let stopped = registry.clone();
    stop.spawn(async move { stopped.stop(Instant::now() + MINUTE).await });
    settle().await;
    for _ in 0..2 {
        assert!(matches!(answer_of(&mut opens), Some(Err(OpenError::Draining))));
    }
    held.answer(Answer::Succeed);
    let late = backends.next().await;
    assert_eq!(late.asked_to_stop().await, StopReason::Shutdown);
    late.end();
    evicted.end();
    let report = stop.join_next().await.expect("one stop").expect("no stop panics");
    assert_eq!(report, Report { ended: 2, abandoned: 0 });
    assert_eq!((backends.alive(), backends.spawns()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn an_empty_registry_stops_at_once() {
    let (registry, mut backends) = testing::registry(unlimited());
    let begun = Instant::now();
    assert_eq!(registry.stop(begun + MINUTE).await, Report::default());
    assert_eq!(begun.elapsed(), Duration::ZERO);
    backends.driver_ended().await;
}

#[tokio::test(start_paused = true)]
async fn when_the_last_handle_is_dropped_the_driver_ends_every_session_and_returns() {
    let (registry, mut backends) = testing::registry(unlimited());
    drop(registry.open(owner("ada"), ()).await.expect("there is room"));
    let backend = backends.next().await;
    drop(registry.clone());
    settle().await;
    assert_eq!(backend.stopped(), None, "one handle is left");
    drop(registry);
    assert_eq!(backend.asked_to_stop().await, StopReason::Shutdown);
    backend.end();
    backends.driver_ended().await;
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_sessions_leave_nothing_behind() {
    let (registry, mut backends) = testing::registry(capped(10));
    backends.answer(Answer::SucceedAndObey);
    for at in 0..10_000 {
        let lease = registry.open(owner(&format!("owner {at}")), ()).await.expect("there is room");
        registry.end(lease.id(), lease.owner(), KIND, StopReason::Deleted).await.expect("it lives");
        let backend = backends.next().await;
        backend.asked_to_stop().await;
        drop(lease);
        settle().await;
        assert!(backend.is_dropped());
    }
    assert_eq!((registry.active(), registry.stopping(), registry.slots()), (0, 0, 0));
    assert_eq!(registry.ended(StopReason::Deleted), 10_000);
}
