//! How fast backends are started for one person.

use super::*;

fn paced(burst: usize) -> Limits {
    Limits { start_burst: burst, start_interval: SECOND, ..unlimited() }
}

#[tokio::test(start_paused = true)]
async fn a_person_who_opens_and_deletes_in_a_loop_is_slowed_down_and_nobody_else_is() {
    let limits = Limits { slot_wait: 5 * SECOND, ..paced(10) };
    let (registry, backends) = testing::recorded(limits, &MemoryRecords::new());
    backends.answer(Answer::SucceedAndObey);
    let begun = Instant::now();
    for round in 0..40 {
        let eve = through(["first", "second", "third"][round % 3], "eve");
        let id = *registry.open(eve.clone(), ()).await.expect("it waits its turn").id();
        registry.end(&id, &eve, KIND, StopReason::Deleted).await.expect("it is eve's");
    }
    assert_eq!(begun.elapsed().as_secs(), 30, "a burst of ten, and then one each second");
    let asked = Instant::now();
    registry.open(owner("ada"), ()).await.expect("there is room");
    assert_eq!(asked.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_storm_beyond_what_can_be_waited_for_hears_when_to_come_back() {
    let limits = Limits { slot_wait: 2 * SECOND, ..paced(3) };
    let (registry, backends) = testing::recorded(limits, &MemoryRecords::new());
    backends.answer(Answer::SucceedAndObey);
    let mut opens = JoinSet::new();
    for _ in 0..10 {
        open_in(&mut opens, &registry, "eve");
    }
    let (mut opened, mut refused) = (0, 0);
    while let Some(answer) = opens.join_next().await {
        match answer.expect("no open panics") {
            Ok(_) => opened += 1,
            Err(OpenError::OwnerFull(OwnerLimit::Starts { retry_in })) => {
                assert_eq!(retry_in, 3 * SECOND);
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((opened, refused, backends.spawns()), (5, 5, 5));
}

#[tokio::test(start_paused = true)]
async fn wakes_are_starts_and_requests_that_find_a_live_session_are_none() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(paced(2), &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    drop(wake(&registry, &id, "ada").await.expect("the second start"));
    for _ in 0..20 {
        drop(wake(&registry, &id, "ada").await.expect("it is live"));
    }
    backends.next().await.end();
    settle().await;
    drop(registry.open(owner("ada"), ()).await.expect("the first start has come back"));
    let refused = wake(&registry, &id, "ada").await;
    assert!(matches!(refused, Err(WakeError::OwnerFull(OwnerLimit::Starts { .. }))), "{refused:?}");
    sleep(SECOND).await;
    wake(&registry, &id, "ada").await.expect("another start has come back");
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_a_place_has_not_used_a_start() {
    let limits = Limits { max_sessions: NonZeroUsize::new(1), ..paced(2) };
    let (registry, mut backends) = testing::recorded(limits, &MemoryRecords::new());
    let busy = registry.open(owner("ada"), ()).await.expect("there is room");
    let backend = backends.next().await;
    for _ in 0..5 {
        assert!(matches!(registry.open(owner("ada"), ()).await, Err(OpenError::Full { .. })));
    }
    drop(busy);
    backend.end();
    settle().await;
    registry.open(owner("ada"), ()).await.expect("one start is left");
}
