use super::*;

fn patient(max: usize) -> Limits {
    Limits { slot_wait: 10 * MINUTE, ..capped(max) }
}

#[tokio::test(start_paused = true)]
async fn one_owners_storm_keeps_nobody_else_from_its_turn() {
    let limits = Limits { max_waiting_per_owner: 100, ..patient(1) };
    let (registry, mut backends) = testing::registry(limits);
    let busy = registry.open(owner("cyd"), ()).await.expect("there is room");
    let mut opens = JoinSet::new();
    for _ in 0..100 {
        open_in(&mut opens, &registry, "ada");
    }
    settle().await;
    open_in(&mut opens, &registry, "bob");
    settle().await;
    assert_eq!(registry.waiting(), 101);
    drop(busy);
    let mut order = Vec::new();
    for _ in 0..4 {
        backends.next().await.end();
        let lease = opens.join_next().await.expect("one open").expect("no open panics");
        order.push(lease.expect("its turn came").owner().subject().to_owned());
    }
    assert_eq!(order, ["ada", "bob", "ada", "ada"], "bob came last and waits one turn");
}

#[tokio::test(start_paused = true)]
async fn wakes_and_opens_wait_in_the_same_line() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(patient(1), &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    let busy = registry.open(owner("bob"), ()).await.expect("there is room");
    let (mut opens, mut wakes) = (JoinSet::new(), JoinSet::new());
    wake_in(&mut wakes, &registry, id, "ada");
    settle().await;
    open_in(&mut opens, &registry, "ada");
    settle().await;
    drop(busy);
    backends.next().await.end();
    settle().await;
    assert!(answer_of(&mut opens).is_none(), "it came second");
    let woken = wakes.join_next().await.expect("one wake").expect("no wake panics");
    drop(woken.expect("its turn came"));
    backends.next().await.end();
    let opened = opens.join_next().await.expect("one open").expect("no open panics");
    opened.expect("its turn came");
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_the_place_of_a_session_that_becomes_idle() {
    let records = MemoryRecords::new();
    let limits = Limits { evict_idle: Duration::from_nanos(1), ..patient(1) };
    let (registry, backends) = testing::recorded(limits, &records);
    backends.answer(Answer::SucceedAndObey);
    let busy = registry.open(owner("bob"), ()).await.expect("there is room");
    let mut opens = JoinSet::new();
    open_in(&mut opens, &registry, "ada");
    sleep(SECOND).await;
    assert!(answer_of(&mut opens).is_none());
    let dropped = Instant::now();
    drop(busy);
    let opened = opens.join_next().await.expect("one open").expect("no open panics");
    opened.expect("bob's session sleeps");
    assert!(dropped.elapsed() <= SECOND / 10, "{:?}", dropped.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_refused_and_leaves_nothing() {
    let limits = Limits { slot_wait: 5 * SECOND, ..capped(1) };
    let (registry, mut backends) = testing::registry(limits);
    let _busy = registry.open(owner("bob"), ()).await.expect("there is room");
    let begun = Instant::now();
    assert!(matches!(registry.open(owner("ada"), ()).await, Err(OpenError::Full { .. })));
    assert_eq!(begun.elapsed(), 5 * SECOND);
    sleep(SECOND).await;
    assert_eq!(registry.waiting(), 0);
    backends.next().await.end();
    settle().await;
    assert_eq!((registry.slots(), backends.spawns()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_owner_has_only_so_many_waiting() {
    let limits = Limits { max_waiting_per_owner: 2, ..patient(1) };
    let (registry, _backends) = testing::registry(limits);
    let _busy = registry.open(owner("cyd"), ()).await.expect("there is room");
    let mut opens = JoinSet::new();
    for _ in 0..3 {
        open_in(&mut opens, &registry, "ada");
    }
    settle().await;
    let refused = answer_of(&mut opens).expect("one is too many");
    let limit = OwnerLimit::Waiting { max: 2 };
    assert!(matches!(refused, Err(OpenError::OwnerFull(it)) if it == limit), "{refused:?}");
    assert!(answer_of(&mut opens).is_none());
    open_in(&mut opens, &registry, "bob");
    settle().await;
    assert!(answer_of(&mut opens).is_none(), "bob has a line of his own");
    opens.shutdown().await;
    sleep(SECOND).await;
    assert_eq!(registry.waiting(), 0, "who leaves is not counted");
}

#[tokio::test(start_paused = true)]
async fn an_owner_at_its_own_cap_does_not_block_the_others() {
    let limits = Limits { max_per_owner: NonZeroUsize::new(1), ..patient(2) };
    let (registry, mut backends) = testing::registry(limits);
    let _adas = registry.open(owner("ada"), ()).await.expect("there is room");
    let _bobs = registry.open(owner("bob"), ()).await.expect("there is room");
    backends.next().await;
    let bobs = backends.next().await;
    let mut opens = JoinSet::new();
    open_in(&mut opens, &registry, "ada");
    settle().await;
    open_in(&mut opens, &registry, "cyd");
    settle().await;
    bobs.end();
    let lease = opens.join_next().await.expect("one open").expect("no open panics");
    assert_eq!(lease.expect("its turn came").owner(), &owner("cyd"));
    assert_eq!(registry.waiting(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_answers_those_who_wait() {
    let (registry, backends) = testing::registry(patient(1));
    backends.answer(Answer::SucceedAndObey);
    let _busy = registry.open(owner("bob"), ()).await.expect("there is room");
    let mut opens = JoinSet::new();
    open_in(&mut opens, &registry, "ada");
    settle().await;
    registry.stop(Instant::now() + MINUTE).await;
    settle().await;
    let refused = answer_of(&mut opens).expect("answered");
    assert!(matches!(refused, Err(OpenError::Draining | OpenError::Gone)), "{refused:?}");
}

/// Five hundred sessions of fifty owners over eight slots: every owner gets an answer and no
/// other owner's, and there are never more backends than slots.
#[tokio::test(start_paused = true)]
async fn many_sessions_share_few_places() {
    let records = MemoryRecords::new();
    let limits = Limits {
        evict_idle: Duration::from_nanos(1),
        max_per_owner: NonZeroUsize::new(4),
        ..patient(8)
    };
    let (registry, mut backends) = testing::recorded(limits, &records);
    backends.answer(Answer::SucceedAndObey);
    let mut sessions = Vec::new();
    for at in 0..500 {
        let name = format!("owner {}", at % 50);
        let (id, backend) = opened(&registry, &mut backends, &name).await;
        backend.remember(Some(format!("session {at}").as_bytes()));
        sessions.push((id, name));
        sleep(SECOND / 10).await;
    }
    let mut calls = JoinSet::new();
    for worker in 0..40usize {
        let (registry, sessions) = (registry.clone(), sessions.clone());
        calls.spawn(async move {
            for round in 0..50usize {
                let at = (worker * 7919 + round * 104_729) % sessions.len();
                let (id, name) = &sessions[at];
                let lease = wake(&registry, id, name).await.expect("every owner gets a turn");
                let state = crate::Backend::snapshot(&*lease).expect("it is not stateful");
                assert_eq!(state, format!("session {at}").into_bytes());
                sleep(Duration::from_millis((round % 13) as u64)).await;
            }
        });
    }
    while let Some(done) = calls.join_next().await {
        done.expect("no call fails");
    }
    assert!(backends.peak() <= 8, "{} at once", backends.peak());
    assert_eq!((records.len(), registry.wake_failures()), (500, 0));
}
