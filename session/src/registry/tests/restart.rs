use super::*;
use crate::Report;

async fn stop(registry: &FakeRegistry) -> Report {
    registry.stop(Instant::now() + MINUTE).await
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_every_session_that_can_sleep_answers() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    backends.answer(Answer::SucceedAndObey);
    let (live, backend) = opened(&registry, &mut backends, "ada").await;
    backend.remember(Some(b"since the start"));
    let busy = registry.open(owner("ada"), ()).await.expect("there is room");
    backends.next().await;
    let sleeping = asleep(&registry, &mut backends, "bob").await;
    backends.stateful(true);
    let (stateful, _) = opened(&registry, &mut backends, "ada").await;
    assert_eq!(stop(&registry).await, Report { ended: 3, abandoned: 0 });
    assert!(matches!(wake(&registry, &live, "ada").await, Err(WakeError::Gone)));
    drop(registry);
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    assert!(matches!(wake(&registry, &live, "eve").await, Err(WakeError::Foreign)));
    wake(&registry, &live, "ada").await.expect("it was live");
    let woken = backends.next().await;
    assert_eq!(woken.snapshot().as_deref(), Some(&b"since the start"[..]));
    wake(&registry, busy.id(), "ada").await.expect("it was in use");
    wake(&registry, &sleeping, "bob").await.expect("it was asleep");
    assert!(matches!(wake(&registry, &stateful, "ada").await, Err(WakeError::Unknown)));
}

#[tokio::test(start_paused = true)]
async fn after_a_kill_what_was_saved_is_there() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let lease = registry.open(owner("ada"), ()).await.expect("there is room");
    let (id, backend) = (*lease.id(), backends.next().await);
    backend.remember(Some(b"acknowledged"));
    registry.save(&lease).await.expect("the store is there");
    let calls = records.calls();
    registry.save(&lease).await.expect("the store is there");
    assert_eq!(records.calls(), calls, "nothing had changed");
    backend.remember(Some(b"not acknowledged"));
    // No stop, no drop of any future: the records are all that a killed process leaves.
    let (second, mut after) = testing::recorded(unlimited(), &records);
    wake(&second, &id, "ada").await.expect("its record is there");
    assert_eq!(after.next().await.snapshot().as_deref(), Some(&b"acknowledged"[..]));
}

#[tokio::test(start_paused = true)]
async fn a_stop_refuses_wakes_and_leaves_what_sleeps() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    let (live, backend) = opened(&registry, &mut backends, "ada").await;
    backends.answer(Answer::Hold);
    let mut wakes = JoinSet::new();
    wake_in(&mut wakes, &registry, id, "ada");
    let held = backends.held().await;
    let mut stops = JoinSet::new();
    let stopped = registry.clone();
    stops.spawn(async move { stop(&stopped).await });
    settle().await;
    let woken = wakes.join_next().await.expect("one wake").expect("no wake panics");
    assert!(matches!(woken, Err(WakeError::Draining)), "answered at once");
    assert!(matches!(wake(&registry, &live, "ada").await, Err(WakeError::Draining)));
    held.answer(Answer::Succeed);
    let late = backends.next().await;
    assert_eq!(late.asked_to_stop().await, StopReason::Shutdown);
    late.end();
    backend.end();
    let report = stops.join_next().await.expect("one stop").expect("no stop panics");
    assert_eq!(report, Report { ended: 2, abandoned: 0 });
    assert_eq!(records.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn while_it_drains_live_sessions_go_on_and_nothing_wakes() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let sleeping = asleep(&registry, &mut backends, "ada").await;
    let (live, _) = opened(&registry, &mut backends, "ada").await;
    registry.drain();
    wake(&registry, &live, "ada").await.expect("it is live");
    assert!(matches!(wake(&registry, &sleeping, "ada").await, Err(WakeError::Draining)));
}

#[tokio::test(start_paused = true)]
async fn a_stop_stores_what_it_can_and_waits_for_the_store_no_longer_than_for_the_rest() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    backends.answer(Answer::SucceedAndObey);
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    backend.remember(Some(b"changed"));
    records.delay(24 * 60 * MINUTE);
    let begun = Instant::now();
    let report = registry.stop(begun + 10 * SECOND).await;
    assert_eq!((begun.elapsed(), report), (10 * SECOND, Report { ended: 0, abandoned: 1 }));
    assert!(backend.stopped().is_some(), "abandoned, but stopped");
    records.delay(Duration::ZERO);
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    wake(&registry, &id, "ada").await.expect("the record is there");
    assert_eq!(backends.next().await.snapshot().as_deref(), Some(&b"fresh"[..]));
}

#[tokio::test(start_paused = true)]
async fn the_last_times_of_use_are_told_before_the_driver_ends() {
    let records = MemoryRecords::new();
    let limits = Limits { reap_interval: 1000 * MINUTE, ..unlimited() };
    let (registry, mut backends) = testing::recorded(limits, &records);
    backends.answer(Answer::SucceedAndObey);
    let (id, _) = opened(&registry, &mut backends, "ada").await;
    sleep(7 * MINUTE).await;
    drop(registry.lease(&id, &owner("ada")).expect("it lives"));
    sleep(MINUTE).await;
    stop(&registry).await;
    let record = records.peek(&id.key()).expect("it is recorded");
    let used = record.active.duration_since(record.created).expect("later");
    assert_eq!(used.as_secs(), 7 * 60);
}
