use super::*;

fn evicting(max: usize) -> Limits {
    Limits { evict_idle: 5 * MINUTE, ..capped(max) }
}

#[tokio::test(start_paused = true)]
async fn at_the_cap_the_longest_idle_session_makes_room() {
    let (registry, mut backends) = testing::recorded(evicting(3), &MemoryRecords::new());
    let mut ids = Vec::new();
    for name in ["ada", "bob", "cyd"] {
        ids.push(*registry.open(owner(name), ()).await.expect("there is room").id());
        sleep(SECOND).await;
    }
    // The oldest by birth is not the one that has been idle longest.
    drop(registry.lease(&ids[0], &owner("ada")).expect("it lives"));
    sleep(5 * MINUTE).await;
    let mut opens = JoinSet::new();
    open_in(&mut opens, &registry, "dan");
    settle().await;
    let all = [backends.next().await, backends.next().await, backends.next().await];
    let stopped = all.each_ref().map(|backend| backend.stopped());
    assert_eq!(stopped, [None, Some(StopReason::Evicted), None]);
    assert!(answer_of(&mut opens).is_none(), "the slot is not free before the end");
    assert_eq!((registry.active(), registry.stopping(), registry.slots()), (2, 1, 3));
    assert_eq!(registry.lease(&ids[1], &owner("bob")).err(), Some(LeaseError::Unknown));
    all[1].end();
    let opened = opens.join_next().await.expect("one open").expect("no open panics");
    assert!(opened.expect("the slot was handed to it").is(&backends.next().await));
    assert_eq!((registry.slots(), backends.peak()), (3, 3));
    assert_eq!(registry.ended(StopReason::Evicted), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_leased_or_not_idle_enough_makes_no_room() {
    let (registry, _backends) = testing::recorded(evicting(2), &MemoryRecords::new());
    let held = registry.open(owner("ada"), ()).await.expect("there is room");
    sleep(60 * MINUTE).await;
    drop(registry.open(owner("bob"), ()).await.expect("there is room"));
    sleep(5 * MINUTE - SECOND).await;
    assert!(matches!(registry.open(owner("cyd"), ()).await, Err(OpenError::Full { .. })));
    assert_eq!(registry.active(), 2);
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn without_an_age_of_eviction_nobody_makes_room_for_another_person() {
    let limits = Limits { max_per_owner: NonZeroUsize::new(1), ..capped(1) };
    let (registry, backends) = testing::recorded(limits, &MemoryRecords::new());
    backends.answer(Answer::SucceedAndObey);
    drop(registry.open(owner("ada"), ()).await.expect("there is room"));
    sleep(60 * 24 * MINUTE).await;
    assert!(matches!(registry.open(owner("bob"), ()).await, Err(OpenError::Full { .. })));
    registry.open(owner("ada"), ()).await.expect("ada's own makes room for ada");
}

#[tokio::test(start_paused = true)]
async fn openers_that_race_pick_different_victims_and_get_their_places() {
    let (registry, mut backends) = testing::recorded(evicting(4), &MemoryRecords::new());
    for at in 0..4 {
        drop(registry.open(owner(&format!("old {at}")), ()).await.expect("there is room"));
    }
    sleep(5 * MINUTE).await;
    let mut opens = JoinSet::new();
    for at in 0..6 {
        open_in(&mut opens, &registry, &format!("new {at}"));
    }
    settle().await;
    assert_eq!((registry.active(), registry.stopping()), (0, 4));
    let mut full = 0;
    while let Some(answer) = answer_of(&mut opens) {
        assert!(matches!(answer, Err(OpenError::Full { .. })));
        full += 1;
    }
    assert_eq!(full, 2, "there were four victims for six openers");
    for _ in 0..4 {
        let victim = backends.next().await;
        assert_eq!((victim.stopped(), victim.stop_calls()), (Some(StopReason::Evicted), 1));
        victim.end();
    }
    let opened: Vec<_> =
        opens.join_all().await.into_iter().map(|open| open.expect("a slot")).collect();
    assert_eq!((opened.len(), registry.active(), backends.peak()), (4, 4, 4));
}

#[tokio::test(start_paused = true)]
async fn nobody_slips_into_a_place_that_is_promised() {
    let (registry, mut backends) = testing::recorded(evicting(1), &MemoryRecords::new());
    drop(registry.open(owner("ada"), ()).await.expect("there is room"));
    let old = backends.next().await;
    sleep(5 * MINUTE).await;
    let mut waiting = JoinSet::new();
    open_in(&mut waiting, &registry, "bob");
    settle().await;
    old.end();
    // Before bob's task has run, and before the driver has: cyd is refused all the way.
    for _ in 0..5 {
        assert!(matches!(registry.open(owner("cyd"), ()).await, Err(OpenError::Full { .. })));
        tokio::task::yield_now().await;
    }
    settle().await;
    let opened = answer_of(&mut waiting).expect("answered").expect("bob has the slot");
    assert_eq!(opened.owner(), &owner("bob"));
}

#[tokio::test(start_paused = true)]
async fn an_opener_that_leaves_while_it_waits_gives_the_promised_place_back() {
    let (registry, mut backends) = testing::recorded(evicting(1), &MemoryRecords::new());
    drop(registry.open(owner("ada"), ()).await.expect("there is room"));
    let old = backends.next().await;
    sleep(5 * MINUTE).await;
    let mut waiting = JoinSet::new();
    open_in(&mut waiting, &registry, "bob");
    settle().await;
    waiting.shutdown().await;
    assert_eq!(registry.slots(), 1);
    old.end();
    settle().await;
    assert_eq!((registry.slots(), backends.spawns()), (0, 1));
    registry.open(owner("cyd"), ()).await.expect("the slot is free");
}

#[tokio::test(start_paused = true)]
async fn an_opener_that_leaves_when_its_place_has_just_come_gives_it_back() {
    let (registry, mut backends) = testing::recorded(evicting(1), &MemoryRecords::new());
    drop(registry.open(owner("ada"), ()).await.expect("there is room"));
    let old = backends.next().await;
    sleep(5 * MINUTE).await;
    let mut open = Box::pin(registry.open(owner("bob"), ()));
    tokio::select! {
        biased;
        _ = &mut open => unreachable!("it waits for the old session"),
        () = std::future::ready(()) => {}
    }
    old.end();
    settle().await;
    assert_eq!(registry.slots(), 1, "the slot is in the channel");
    drop(open);
    assert_eq!(registry.slots(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_owner_at_its_own_cap_evicts_its_own_idle_session_and_no_other() {
    let limits = Limits { max_per_owner: NonZeroUsize::new(1), ..evicting(2) };
    let (registry, mut backends) = testing::recorded(limits, &MemoryRecords::new());
    drop(registry.open(owner("bob"), ()).await.expect("there is room"));
    let bobs = backends.next().await;
    sleep(10 * MINUTE).await;
    let busy = registry.open(owner("ada"), ()).await.expect("there is room");
    let adas = backends.next().await;
    let refused = registry.open(owner("ada"), ()).await;
    assert!(matches!(refused, Err(OpenError::OwnerFull(OwnerLimit::Person { .. }))), "it is busy");
    drop(busy);
    let mut opens = JoinSet::new();
    open_in(&mut opens, &registry, "ada");
    assert_eq!(adas.asked_to_stop().await, StopReason::Evicted);
    assert_eq!(bobs.stopped(), None, "bob's has been idle for longer, but is not ada's");
    adas.end();
    let opened = opens.join_next().await.expect("one open").expect("no open panics");
    opened.expect("the slot was handed to it");
    assert_eq!((backends.peak_of(&owner("ada")), registry.slots()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_sleep_makes_no_room_for_anybody() {
    let limits = Limits { max_per_owner: NonZeroUsize::new(1), ..evicting(1) };
    let (registry, backends) = testing::recorded(limits, &MemoryRecords::new());
    backends.stateful(true);
    drop(registry.open(owner("ada"), ()).await.expect("there is room"));
    sleep(60 * MINUTE).await;
    let own = registry.open(owner("ada"), ()).await;
    assert!(matches!(own, Err(OpenError::OwnerFull(OwnerLimit::Person { .. }))), "{own:?}");
    assert!(matches!(registry.open(owner("bob"), ()).await, Err(OpenError::Full { .. })));
    assert_eq!((registry.active(), registry.ended(StopReason::Evicted)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_victim_that_ends_by_itself_or_panics_still_leaves_its_place_to_the_opener() {
    for panics in [false, true] {
        let (registry, mut backends) = testing::recorded(evicting(1), &MemoryRecords::new());
        drop(registry.open(owner("ada"), ()).await.expect("there is room"));
        let old = backends.next().await;
        sleep(5 * MINUTE).await;
        if panics {
            old.panic_when_stopped();
        } else {
            old.end(); // The order to end and the end itself meet.
        }
        let opened = registry.open(owner("bob"), ()).await.expect("the slot was handed to it");
        assert_eq!(opened.owner(), &owner("bob"));
    }
}
