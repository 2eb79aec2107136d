use super::*;

#[tokio::test(start_paused = true)]
async fn a_slot_goes_from_one_session_to_the_next_and_is_never_free_in_between() {
    let (registry, mut backends) = testing::recorded(capped(1), &MemoryRecords::new());
    let (id, first) = opened(&registry, &mut backends, "ada").await;
    let ada = owner("ada");
    let mut vacated = Box::pin(registry.vacate(&ada, |view| *view.id == id));
    assert!(tokio::time::timeout(SECOND, &mut vacated).await.is_err(), "its backend is there yet");
    assert_eq!(first.asked_to_stop().await, StopReason::Replaced);
    first.end();
    let vacated = vacated.await.expect("the slot is ada's");
    assert!(matches!(registry.open(owner("bob"), ()).await, Err(OpenError::Full { .. })));
    let next = registry.open_in(vacated, ()).await.expect("the slot was kept");
    assert!(next.is(&backends.next().await));
    assert_eq!((registry.slots(), registry.active()), (1, 1));
    assert!(matches!(registry.lease(&id, &ada), Err(LeaseError::Unknown)), "the first one sleeps");
}

#[tokio::test(start_paused = true)]
async fn no_session_leaves_its_slot_while_it_is_used_or_to_another_owner() {
    let (registry, mut backends) = testing::recorded(unlimited(), &MemoryRecords::new());
    let (id, _) = opened(&registry, &mut backends, "ada").await;
    for other in [owner("bob"), through("another client", "ada")] {
        assert!(registry.vacate(&other, |_| true).await.is_none());
    }
    let lease = registry.lease(&id, &owner("ada")).expect("it lives");
    assert!(registry.vacate(&owner("ada"), |_| true).await.is_none());
    drop(lease);
    assert!(registry.vacate(&owner("ada"), |_| false).await.is_none());
    registry.lease(&id, &owner("ada")).expect("it still lives");
}

#[tokio::test(start_paused = true)]
async fn a_vacated_slot_that_is_not_used_is_free_again() {
    let (registry, backends) = testing::recorded(capped(1), &MemoryRecords::new());
    backends.answer(Answer::SucceedAndObey);
    drop(registry.open(owner("ada"), ()).await.expect("there is room"));
    drop(registry.vacate(&owner("ada"), |_| true).await.expect("ada's session is idle"));
    assert_eq!(registry.slots(), 0);
    registry.open(owner("bob"), ()).await.expect("there is room");
}

#[tokio::test(start_paused = true)]
async fn sessions_in_vacated_slots_count_as_starts_of_their_person() {
    let limits = Limits { start_burst: 2, start_interval: SECOND, ..unlimited() };
    let (registry, backends) = testing::recorded(limits, &MemoryRecords::new());
    backends.answer(Answer::SucceedAndObey);
    let ada = owner("ada");
    drop(registry.open(ada.clone(), ()).await.expect("there is room"));
    let vacated = registry.vacate(&ada, |_| true).await.expect("the second start");
    drop(registry.open_in(vacated, ()).await.expect("the slot was kept"));
    assert!(registry.vacate(&ada, |_| true).await.is_none(), "there is no third");
    sleep(SECOND).await;
    assert!(registry.vacate(&ada, |_| true).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_be_stored_keeps_its_slot() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    backend.remember(Some(b"news"));
    records.fail(true);
    assert!(registry.vacate(&owner("ada"), |_| true).await.is_none());
    assert_eq!(backend.stopped(), None);
    registry.lease(&id, &owner("ada")).expect("it lives on");
}
