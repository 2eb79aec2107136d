use std::sync::{Arc, Mutex};

use super::*;
use crate::{BoxFuture, Owner, Registry, Spawn};

#[tokio::test(start_paused = true)]
async fn an_open_spawns_a_backend_and_later_requests_reach_the_same_one() {
    let (registry, mut backends) = testing::registry(unlimited());
    let first = registry.open(owner("ada"), ()).await.expect("there is room");
    let backend = backends.next().await;
    assert_eq!(backend.owner(), &owner("ada"));
    let id = *first.id();
    drop(first);
    for _ in 0..3 {
        sleep(MINUTE).await;
        let lease = registry.lease(&id, &owner("ada")).expect("the session lives");
        assert!(lease.is(&backend));
        assert_eq!((lease.id(), lease.owner()), (&id, &owner("ada")));
    }
    assert_eq!((backends.spawns(), registry.active()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn each_session_gets_an_id_of_its_own_of_48_hex_digits() {
    let (registry, _backends) = testing::registry(unlimited());
    let one = registry.open(owner("ada"), ()).await.expect("there is room");
    let two = registry.open(owner("ada"), ()).await.expect("there is room");
    assert_ne!(one.id(), two.id());
    let text = one.id().to_string();
    assert_eq!(text.len(), 48);
    assert!(text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    assert!(!format!("{one:?} {registry:?}").contains(&text), "debug output shows the id");
}

#[tokio::test(start_paused = true)]
async fn the_spawner_hears_who_asks_and_for_what() {
    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<(Owner, &'static str)>>);
    impl Spawn<&'static str, FakeBackend, FakeError> for Heard {
        fn spawn(
            &self,
            owner: &Owner,
            ask: &'static str,
        ) -> BoxFuture<'static, Result<FakeBackend, FakeError>> {
            self.0.lock().unwrap().push((owner.clone(), ask));
            Box::pin(async { Err(FakeError) })
        }
    }
    let heard = Arc::new(Heard::default());
    let (registry, driver) = Registry::new(heard.clone(), unlimited());
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run());
    let failed = registry.open(owner("ada"), "forgejo").await;
    assert!(matches!(failed, Err(OpenError::Spawn(FakeError))));
    assert_eq!(*heard.0.lock().unwrap(), [(owner("ada"), "forgejo")]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_spawn_is_reported_with_its_cause_and_gives_the_place_back() {
    let (registry, backends) = testing::registry(capped(1));
    backends.answer(Answer::Fail);
    for _ in 0..3 {
        let failed = registry.open(owner("ada"), ()).await.expect_err("told to fail");
        assert_eq!(failed.to_string(), "the backend did not start");
        let cause = std::error::Error::source(&failed).expect("the spawner's error is the source");
        assert_eq!(cause.to_string(), "told to fail");
        assert_eq!(registry.slots(), 0, "free before the opener knows");
    }
    backends.answer(Answer::Succeed);
    registry.open(owner("ada"), ()).await.expect("the slot came back");
}

#[tokio::test(start_paused = true)]
async fn an_opener_that_leaves_during_the_spawn_leaks_nothing() {
    let (registry, mut backends) = testing::registry(capped(1));
    backends.answer(Answer::Hold);
    let mut opens = JoinSet::new();
    open_in(&mut opens, &registry, "ada");
    let held = backends.held().await;
    opens.shutdown().await;
    assert!(held.is_wanted(), "the spawn goes on in the driver");
    assert_eq!(registry.slots(), 1);
    held.answer(Answer::Succeed);
    let backend = backends.next().await;
    assert_eq!(backend.asked_to_stop().await, StopReason::Abandoned);
    assert_eq!((registry.active(), registry.stopping(), registry.slots()), (0, 1, 1));
    backend.end();
    settle().await;
    assert_eq!((registry.stopping(), registry.slots()), (0, 0));
    assert_eq!(registry.ended(StopReason::Abandoned), 1);
}

#[tokio::test(start_paused = true)]
async fn an_opener_that_leaves_before_a_failing_spawn_is_done_gives_the_place_back() {
    let (registry, mut backends) = testing::registry(capped(1));
    backends.answer(Answer::Hold);
    let mut opens = JoinSet::new();
    open_in(&mut opens, &registry, "ada");
    let held = backends.held().await;
    opens.shutdown().await;
    held.answer(Answer::Fail);
    settle().await;
    assert_eq!((registry.slots(), backends.alive()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_opener_that_leaves_while_its_lease_is_on_the_way_leaves_no_session_behind() {
    let (registry, mut backends) = testing::registry(capped(1));
    // Polled once, so the job is on its way; then the driver answers while the open is not polled.
    let mut open = Box::pin(registry.open(owner("ada"), ()));
    tokio::select! {
        biased;
        _ = &mut open => unreachable!("the driver has not run yet"),
        () = std::future::ready(()) => {}
    }
    settle().await;
    assert_eq!(registry.active(), 1, "the session is there and its lease is in the channel");
    drop(open);
    let backend = backends.next().await;
    assert_eq!(backend.asked_to_stop().await, StopReason::Abandoned);
    assert_eq!(registry.active(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_opener_that_leaves_before_the_driver_hears_of_it_spawns_nothing() {
    let (registry, backends) = testing::registry(capped(1));
    let mut open = Box::pin(registry.open(owner("ada"), ()));
    tokio::select! {
        biased;
        _ = &mut open => unreachable!("the driver has not run yet"),
        () = std::future::ready(()) => {}
    }
    drop(open);
    settle().await;
    assert_eq!((backends.spawns(), registry.slots()), (0, 0));
}

/// A registry whose ids follow a script.
fn with_ids(limits: Limits, ids: &'static [u8]) -> (FakeRegistry, Backends, JoinSet<()>) {
    let (spawner, backends) = testing::fakes();
    let mut ids = ids.iter().map(|&byte| SessionId::from_bytes([byte; 24]));
    let (registry, driver) = Registry::with_ids(Arc::new(spawner), limits, move || {
        ids.next().expect("the script is long enough")
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(driver.run());
    (registry, backends, tasks)
}

#[tokio::test(start_paused = true)]
async fn an_id_in_use_is_minted_again() {
    let (registry, _backends, _driver) = with_ids(unlimited(), &[1, 1, 1, 2]);
    let one = registry.open(owner("ada"), ()).await.expect("the first id is free");
    let two = registry.open(owner("bob"), ()).await.expect("the fourth id is free");
    assert_eq!(two.id(), &SessionId::from_bytes([2; 24]));
    assert_eq!(registry.lease(one.id(), &owner("ada")).expect("untouched").id(), one.id());
}

#[tokio::test(start_paused = true)]
async fn an_id_that_collides_every_time_rolls_the_new_backend_back() {
    let (registry, mut backends, _driver) = with_ids(capped(2), &[1; 5]);
    let kept = registry.open(owner("ada"), ()).await.expect("the first id is free");
    let first = backends.next().await;
    let failed = registry.open(owner("bob"), ()).await;
    assert!(matches!(failed, Err(OpenError::NoFreeId)));
    let second = backends.next().await;
    assert_eq!(second.asked_to_stop().await, StopReason::Collision);
    assert_eq!((registry.active(), registry.stopping(), registry.slots()), (1, 1, 2));
    second.end();
    settle().await;
    assert_eq!((registry.stopping(), registry.slots()), (0, 1));
    assert_eq!(registry.ended(StopReason::Collision), 1);
    assert_eq!(first.stopped(), None);
    assert!(registry.lease(kept.id(), &owner("ada")).expect("untouched").is(&first));
}

#[tokio::test(start_paused = true)]
async fn an_id_is_free_again_once_its_session_is_gone() {
    let (registry, _backends, _driver) = with_ids(unlimited(), &[1, 1]);
    let id = *registry.open(owner("ada"), ()).await.expect("the id is free").id();
    registry.end(&id, &owner("ada"), KIND, StopReason::Deleted).await.expect("it lives");
    assert_eq!(registry.open(owner("bob"), ()).await.expect("the id is free again").id(), &id);
}
