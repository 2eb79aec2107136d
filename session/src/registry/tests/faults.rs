use std::sync::Arc;

use super::*;
use crate::Registry;

#[tokio::test(start_paused = true)]
async fn a_spawner_that_panics_is_answered_and_gives_the_place_back() {
    let (registry, backends) = testing::registry(capped(1));
    backends.answer(Answer::Panic);
    for _ in 0..3 {
        assert!(matches!(registry.open(owner("ada"), ()).await, Err(OpenError::Panicked)));
        settle().await;
        assert_eq!(registry.slots(), 0);
    }
    backends.answer(Answer::Succeed);
    registry.open(owner("ada"), ()).await.expect("the registry goes on");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_panics_while_it_lives_loses_its_session_and_no_other() {
    let (registry, mut backends) = testing::registry(capped(2));
    let lost = registry.open(owner("ada"), ()).await.expect("there is room");
    let kept = registry.open(owner("bob"), ()).await.expect("there is room");
    let backend = backends.next().await;
    backend.panic_now();
    settle().await;
    assert_eq!(registry.lease(lost.id(), &owner("ada")).err(), Some(LeaseError::Unknown));
    assert_eq!(backend.stopped(), Some(StopReason::Panicked), "it is stopped all the same");
    assert_eq!((registry.active(), registry.stopping(), registry.slots()), (1, 0, 1));
    assert_eq!(registry.ended(StopReason::Panicked), 1);
    registry.lease(kept.id(), &owner("bob")).expect("untouched");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_panics_when_stopped_gives_its_place_back() {
    let (registry, mut backends) = testing::registry(capped(1));
    let lease = registry.open(owner("ada"), ()).await.expect("there is room");
    let backend = backends.next().await;
    backend.panic_when_stopped();
    registry.end(lease.id(), &owner("ada"), KIND, StopReason::Deleted).await.expect("it lives");
    settle().await;
    assert_eq!((registry.active(), registry.stopping(), registry.slots()), (0, 0, 0));
    registry.open(owner("ada"), ()).await.expect("the registry goes on");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_panics_twice_does_not_take_the_process_down() {
    let (registry, mut backends) = testing::registry(capped(1));
    let _lease = registry.open(owner("ada"), ()).await.expect("there is room");
    let backend = backends.next().await;
    backend.panic_when_stopped();
    backend.panic_now();
    settle().await;
    assert_eq!((registry.slots(), backend.stop_calls()), (0, 1));
    registry.open(owner("ada"), ()).await.expect("the registry goes on");
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_dropped_answers_every_opener_and_stops_every_backend() {
    let limits = Limits { evict_idle: MINUTE, ..capped(2) };
    let (registry, mut backends) = testing::recorded(limits, &MemoryRecords::new());
    drop(registry.open(owner("ada"), ()).await.expect("there is room"));
    let evicted = backends.next().await;
    sleep(MINUTE).await;
    let live = registry.open(owner("bob"), ()).await.expect("there is room");
    let backend = backends.next().await;
    backends.answer(Answer::Hold);
    let mut opens = JoinSet::new();
    open_in(&mut opens, &registry, "waiting for a slot");
    assert_eq!(evicted.asked_to_stop().await, StopReason::Evicted);
    backends.drop_driver().await;
    settle().await;
    assert!(matches!(answer_of(&mut opens), Some(Err(OpenError::Gone))));
    assert!(matches!(registry.open(owner("cyd"), ()).await, Err(OpenError::Gone)));
    assert_eq!(registry.lease(live.id(), &owner("bob")).err(), Some(LeaseError::Unknown));
    assert_eq!(backend.stopped(), Some(StopReason::Shutdown));
    drop(live);
    assert!(backend.is_dropped());
    assert_eq!((registry.slots(), registry.active(), registry.stopping()), (0, 0, 0));
    assert_eq!(registry.stop(Instant::now() + MINUTE).await.abandoned, 2);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_dropped_during_a_spawn_answers_the_opener() {
    let (registry, mut backends) = testing::registry(unlimited());
    backends.answer(Answer::Hold);
    let mut opens = JoinSet::new();
    open_in(&mut opens, &registry, "ada");
    let held = backends.held().await;
    backends.drop_driver().await;
    settle().await;
    assert!(matches!(answer_of(&mut opens), Some(Err(OpenError::Gone))));
    assert!(!held.is_wanted());
    assert_eq!((registry.slots(), backends.alive()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_never_ran_answers_the_openers_when_it_is_dropped() {
    let (spawner, backends) = testing::fakes();
    let (registry, driver) = Registry::new(Arc::new(spawner), capped(1));
    let mut opens = JoinSet::new();
    open_in(&mut opens, &registry, "ada");
    settle().await;
    assert!(answer_of(&mut opens).is_none());
    drop(driver);
    settle().await;
    assert!(matches!(answer_of(&mut opens), Some(Err(OpenError::Gone))));
    assert_eq!((registry.slots(), backends.spawns()), (0, 0));
}
