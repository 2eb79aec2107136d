use super::*;

#[tokio::test(start_paused = true)]
async fn ten_times_cap_concurrent_opens_give_exactly_cap_sessions() {
    const CAP: usize = 8;
    let (registry, mut backends) = testing::registry(capped(CAP));
    backends.answer(Answer::Hold);
    let mut opens = JoinSet::new();
    for at in 0..10 * CAP {
        open_in(&mut opens, &registry, &format!("owner {at}"));
    }
    settle().await;
    assert_eq!(backends.alive(), CAP, "no spawn has ended, and there are no more of them");
    while let Some(held) = backends.try_held() {
        held.answer(Answer::Succeed);
    }
    let (mut leases, mut refused) = (Vec::new(), 0);
    while let Some(opened) = opens.join_next().await {
        match opened.expect("no open panics") {
            Ok(lease) => leases.push(lease),
            Err(OpenError::Full { max }) => {
                assert_eq!(max.get(), CAP);
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((leases.len(), refused), (CAP, 9 * CAP));
    assert_eq!((backends.spawns(), backends.peak(), registry.active()), (CAP, CAP, CAP));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_still_stopping_keeps_its_place() {
    let limits = Limits { idle: MINUTE, ..capped(1) };
    let (registry, mut backends) = testing::registry(limits);
    let lease = registry.open(owner("ada"), ()).await.expect("there is room");
    let backend = backends.next().await;
    sleep(10 * MINUTE).await;
    assert_eq!(backend.stopped(), None, "a held lease is not idle");
    drop(lease);
    sleep(2 * MINUTE).await;
    assert_eq!(backend.stopped(), Some(StopReason::Idle));
    let refused = registry.open(owner("bob"), ()).await;
    assert!(matches!(refused, Err(OpenError::Full { .. })), "stopping is not yet stopped");
    backend.end();
    settle().await;
    registry.open(owner("bob"), ()).await.expect("the slot came back");
}

#[tokio::test(start_paused = true)]
async fn the_cap_holds_through_failures_and_departures() {
    let (registry, mut backends) = testing::registry(capped(3));
    for round in 0..20 {
        backends.answer(if round % 3 == 0 { Answer::Fail } else { Answer::SucceedAndObey });
        let mut opens = JoinSet::new();
        for _ in 0..10 {
            open_in(&mut opens, &registry, "ada");
        }
        if round % 2 == 0 {
            opens.shutdown().await;
        }
        while opens.join_next().await.is_some() {}
        registry.revoke(|_| true);
        settle().await;
        while backends.try_next().is_some() {}
        assert_eq!((registry.slots(), backends.alive()), (0, 0), "round {round}");
    }
    assert_eq!(backends.peak(), 3);
}

#[tokio::test(start_paused = true)]
async fn one_owner_at_its_cap_leaves_room_for_others() {
    let limits = Limits { max_per_owner: NonZeroUsize::new(2), ..capped(3) };
    let (registry, backends) = testing::registry(limits);
    let mut opens = JoinSet::new();
    for _ in 0..30 {
        open_in(&mut opens, &registry, "eve");
    }
    let mut leases = Vec::new();
    while let Some(opened) = opens.join_next().await {
        match opened.expect("no open panics") {
            Ok(lease) => leases.push(lease),
            Err(OpenError::OwnerFull(OwnerLimit::Person { max })) => assert_eq!(max.get(), 2),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((leases.len(), backends.peak_of(&owner("eve"))), (2, 2));
    leases.push(registry.open(owner("ada"), ()).await.expect("the third slot is ada's"));
    assert!(matches!(registry.open(owner("bob"), ()).await, Err(OpenError::Full { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_raised_cap_holds_at_once_and_a_lowered_one_for_later_decisions() {
    let (registry, mut backends) = testing::recorded(capped(1), &MemoryRecords::new());
    backends.answer(Answer::SucceedAndObey);
    let _one = registry.open(owner("ada"), ()).await.expect("there is room");
    assert!(matches!(registry.open(owner("bob"), ()).await, Err(OpenError::Full { .. })));
    registry.set_limits(Limits { evict_idle: MINUTE, ..capped(3) });
    let two = registry.open(owner("bob"), ()).await.expect("the cap was raised");
    let three = registry.open(owner("bob"), ()).await.expect("the cap was raised");
    registry.set_limits(Limits { evict_idle: MINUTE, ..capped(1) });
    assert_eq!(registry.limits().max_sessions, NonZeroUsize::new(1));
    drop(two);
    sleep(SECOND).await;
    drop(three);
    settle().await;
    assert_eq!(registry.active(), 3, "a lowered cap ends nothing at once");
    sleep(2 * MINUTE).await;
    assert_eq!(registry.active(), 1, "the reaper ended what was idle enough");
    let ends: Vec<_> = [backends.next().await, backends.next().await, backends.next().await]
        .iter()
        .map(|backend| backend.stopped())
        .collect();
    assert_eq!(ends, [None, Some(StopReason::Evicted), Some(StopReason::Evicted)]);
}
