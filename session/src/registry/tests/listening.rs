//! Sessions whose client only listens.

use super::*;

/// One place, and everybody's session makes room at once.
fn eager(max: usize) -> Limits {
    Limits { evict_idle: Duration::from_nanos(1), ..capped(max) }
}

async fn listen(registry: &FakeRegistry, id: &SessionId, name: &str) -> Woken {
    registry.wake(id, &owner(name), KIND, Purpose::Stream).await
}

/// Whether the holder of the lease was told to give it back.
async fn is_asked_to_leave(lease: &Lease<FakeBackend>) -> bool {
    tokio::time::timeout(Duration::ZERO, lease.asked_to_leave()).await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn a_session_that_only_listens_makes_room_after_every_idle_one() {
    let limits = Limits { max_per_owner: NonZeroUsize::new(3), ..unlimited() };
    let (registry, mut backends) = testing::recorded(limits, &MemoryRecords::new());
    backends.answer(Answer::SucceedAndObey);
    let (listening, first) = opened(&registry, &mut backends, "ada").await;
    let stream = listen(&registry, &listening, "ada").await.expect("it is live");
    sleep(MINUTE).await;
    let (idle, second) = opened(&registry, &mut backends, "ada").await;
    let busy = registry.open(owner("ada"), ()).await.expect("there is room");
    let third = registry.open(owner("ada"), ()).await.expect("the idle one makes room");
    assert_eq!((second.stopped(), first.stopped()), (Some(StopReason::Evicted), None));
    assert!(!is_asked_to_leave(&stream).await);
    let fourth = registry.open(owner("ada"), ()).await.expect("the one that listens makes room");
    assert_eq!(first.stopped(), Some(StopReason::Evicted));
    assert!(is_asked_to_leave(&stream).await, "the stream is to be closed");
    drop(stream);
    let refused = wake(&registry, &idle, "ada").await;
    assert!(matches!(refused, Err(WakeError::OwnerFull(_))), "three calls are under way");
    drop((busy, third, fourth));
    wake(&registry, &listening, "ada").await.expect("it sleeps");
}

#[tokio::test(start_paused = true)]
async fn a_call_beside_a_stream_keeps_the_session() {
    let (registry, mut backends) = testing::recorded(eager(1), &MemoryRecords::new());
    backends.answer(Answer::SucceedAndObey);
    let (id, _) = opened(&registry, &mut backends, "ada").await;
    let _stream = listen(&registry, &id, "ada").await.expect("it is live");
    let call = registry.lease(&id, &owner("ada")).expect("it is live");
    sleep(MINUTE).await;
    assert!(matches!(registry.open(owner("bob"), ()).await, Err(OpenError::Full { .. })));
    drop(call);
    sleep(SECOND).await;
    registry.open(owner("bob"), ()).await.expect("the one that listens makes room");
}

#[tokio::test(start_paused = true)]
async fn at_the_total_cap_a_stream_ends_only_after_the_time_without_a_call() {
    let limits = Limits { evict_idle: MINUTE, ..capped(1) };
    let (registry, mut backends) = testing::recorded(limits, &MemoryRecords::new());
    backends.answer(Answer::SucceedAndObey);
    let (id, _) = opened(&registry, &mut backends, "ada").await;
    let _stream = listen(&registry, &id, "ada").await.expect("it is live");
    sleep(MINUTE - SECOND).await;
    drop(registry.lease(&id, &owner("ada")).expect("it is live"));
    sleep(MINUTE - SECOND).await;
    assert!(matches!(registry.open(owner("bob"), ()).await, Err(OpenError::Full { .. })));
    sleep(SECOND).await;
    registry.open(owner("bob"), ()).await.expect("a minute without a call has passed");
}

/// Two clients that listen and one place: without this each takes it from the other, for ever.
#[tokio::test(start_paused = true)]
async fn clients_that_only_listen_do_not_take_a_place_from_each_other() {
    let limits = Limits { slot_wait: 5 * SECOND, ..eager(1) };
    let (registry, mut backends) = testing::recorded(limits, &MemoryRecords::new());
    backends.answer(Answer::SucceedAndObey);
    let (ada, _) = opened(&registry, &mut backends, "ada").await;
    sleep(SECOND).await;
    let (bob, _) = opened(&registry, &mut backends, "bob").await;
    let _bobs = listen(&registry, &bob, "bob").await.expect("it is live");
    sleep(MINUTE).await;
    let begun = Instant::now();
    for _ in 0..10 {
        let refused = listen(&registry, &ada, "ada").await;
        assert!(matches!(refused, Err(WakeError::Full { .. })), "{refused:?}");
    }
    assert_eq!((begun.elapsed(), backends.spawns()), (Duration::ZERO, 2), "nor do they wait");
    wake(&registry, &ada, "ada").await.expect("a call takes it");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_joins_the_wake_of_a_stream_is_not_refused_with_it() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(eager(1), &records);
    backends.answer(Answer::SucceedAndObey);
    let (ada, _) = opened(&registry, &mut backends, "ada").await;
    sleep(SECOND).await;
    let (bob, _) = opened(&registry, &mut backends, "bob").await;
    let _bobs = listen(&registry, &bob, "bob").await.expect("it is live");
    sleep(MINUTE).await;
    records.delay(SECOND);
    let mut wakes = JoinSet::new();
    let (listening, asker) = (registry.clone(), owner("ada"));
    wakes.spawn(async move { listening.wake(&ada, &asker, KIND, Purpose::Stream).await });
    settle().await;
    let woken = wake(&registry, &ada, "ada").await;
    woken.expect("a call may take the place of one that only listens");
    let refused = wakes.join_next().await.expect("one wake").expect("no wake panics");
    assert!(matches!(refused, Err(WakeError::Full { .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_listens_is_not_idle() {
    let limits = Limits { idle: MINUTE, ..unlimited() };
    let (registry, mut backends) = testing::recorded(limits, &MemoryRecords::new());
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    let stream = listen(&registry, &id, "ada").await.expect("it is live");
    sleep(10 * MINUTE).await;
    assert_eq!(backend.stopped(), None);
    drop(stream);
    sleep(2 * MINUTE).await;
    assert_eq!(backend.stopped(), Some(StopReason::Idle));
}
