use super::*;
use crate::{AfterStop, Replacement, StopWhen};

#[tokio::test(start_paused = true)]
async fn an_idle_session_sleeps_and_the_next_request_goes_on_with_it() {
    let records = MemoryRecords::new();
    let (registry, mut backends) =
        testing::recorded(Limits { idle: MINUTE, ..capped(1) }, &records);
    let (id, first) = opened(&registry, &mut backends, "ada").await;
    first.remember(Some(b"log level: debug"));
    sleep(2 * MINUTE).await;
    assert_eq!(first.asked_to_stop().await, StopReason::Idle);
    assert_eq!((registry.active(), registry.stopping(), registry.slots()), (0, 1, 1));
    first.end();
    settle().await;
    assert_eq!((registry.slots(), records.len()), (0, 1), "nothing but the record is left");
    let lease = wake(&registry, &id, "ada").await.expect("it sleeps");
    let second = backends.next().await;
    assert!(lease.is(&second) && second.is_woken());
    assert_eq!(second.snapshot().as_deref(), Some(&b"log level: debug"[..]));
    assert_eq!((lease.id(), registry.woken(WakeReason::Idle)), (&id, 1));
    drop(lease);
    registry.lease(&id, &owner("ada")).expect("it is live again");
}

#[tokio::test(start_paused = true)]
async fn without_records_nothing_sleeps() {
    let (registry, mut backends) = testing::registry(unlimited());
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    backend.end();
    settle().await;
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
}

#[tokio::test(start_paused = true)]
async fn a_stateful_session_ends_instead() {
    let records = MemoryRecords::new();
    let (registry, mut backends) =
        testing::recorded(Limits { idle: MINUTE, ..unlimited() }, &records);
    backends.stateful(true);
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    assert!(records.is_empty(), "there is nothing to come back to");
    assert_eq!(registry.look(|_| true, |view| view.sleeps), [false]);
    sleep(2 * MINUTE).await;
    assert_eq!(backend.asked_to_stop().await, StopReason::Idle);
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
    backend.end();
    settle().await;
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_nobody_comes_back_to_leaves_no_record_when_it_is_idle_or_the_registry_stops()
 {
    let records = MemoryRecords::new();
    let (registry, mut backends) =
        testing::recorded(Limits { idle: MINUTE, ..unlimited() }, &records);
    backends.disposable(true);
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    assert_eq!(records.len(), 1);
    // A replacement and a crash it survives.
    let how = Replacement { when: StopWhen::Now, then: AfterStop::Awake };
    assert_eq!(registry.replace(|_| true, how), 1);
    backend.end();
    settle().await;
    let second = backends.next().await;
    second.end();
    settle().await;
    assert_eq!(records.len(), 1);
    drop(wake(&registry, &id, "ada").await.expect("it crashed"));
    let third = backends.next().await;
    sleep(2 * MINUTE).await;
    assert_eq!(third.asked_to_stop().await, StopReason::Idle);
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
    third.end();
    settle().await;
    assert_eq!((registry.slots(), records.len()), (0, 0));
    let (_, last) = opened(&registry, &mut backends, "ada").await;
    let stopping = registry.stop(Instant::now() + MINUTE);
    let ending = async {
        assert_eq!(last.asked_to_stop().await, StopReason::Shutdown);
        last.end();
    };
    tokio::join!(stopping, ending);
    assert!(records.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_became_stateful_ends_and_its_record_goes() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    assert_eq!(records.len(), 1);
    backend.remember(None);
    backend.end();
    settle().await;
    assert!(records.is_empty());
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
}

#[tokio::test(start_paused = true)]
async fn a_crash_puts_the_session_to_sleep_with_its_last_state() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(capped(1), &records);
    let lease = registry.open(owner("ada"), ()).await.expect("there is room");
    let (id, first) = (*lease.id(), backends.next().await);
    first.remember(Some(b"subscribed"));
    first.end();
    settle().await;
    assert_eq!((registry.active(), registry.slots()), (0, 0));
    let woken = wake(&registry, &id, "ada").await.expect("it sleeps");
    assert!(lease.is(&first), "an old lease stays with the old backend");
    assert!(!woken.is(&first));
    assert_eq!(backends.next().await.snapshot().as_deref(), Some(&b"subscribed"[..]));
    assert_eq!(registry.ended(StopReason::Exited), 1);
}

#[tokio::test(start_paused = true)]
async fn at_the_cap_the_longest_idle_session_sleeps_and_both_answer() {
    let records = MemoryRecords::new();
    let limits = Limits { evict_idle: MINUTE, ..capped(1) };
    let (registry, mut backends) = testing::recorded(limits, &records);
    backends.answer(Answer::SucceedAndObey);
    let (ada, _) = opened(&registry, &mut backends, "ada").await;
    sleep(MINUTE).await;
    let (bob, _) = opened(&registry, &mut backends, "bob").await;
    for _ in 0..5 {
        for (id, name) in [(ada, "ada"), (bob, "bob")] {
            sleep(MINUTE).await;
            wake(&registry, &id, name).await.expect("the other one makes room");
        }
    }
    assert_eq!((backends.peak(), records.len()), (1, 2));
    assert_eq!(registry.ended(StopReason::Evicted), 11);
}

#[tokio::test(start_paused = true)]
async fn a_wake_waits_until_the_old_backend_has_ended() {
    let records = MemoryRecords::new();
    let (registry, mut backends) =
        testing::recorded(Limits { idle: MINUTE, ..unlimited() }, &records);
    let (id, first) = opened(&registry, &mut backends, "ada").await;
    sleep(2 * MINUTE).await;
    let mut wakes = JoinSet::new();
    wake_in(&mut wakes, &registry, id, "ada");
    settle().await;
    assert_eq!((wakes.try_join_next().is_none(), backends.alive()), (true, 1));
    assert!(matches!(wake(&registry, &id, "eve").await, Err(WakeError::Foreign)));
    first.end();
    let woken = wakes.join_next().await.expect("one wake").expect("no wake panics");
    assert_eq!(woken.expect("it sleeps").id(), &id);
    assert_eq!(backends.peak(), 1, "never two backends of one session");
}

#[tokio::test(start_paused = true)]
async fn a_session_deleted_while_it_falls_asleep_is_gone() {
    let records = MemoryRecords::new();
    let (registry, mut backends) =
        testing::recorded(Limits { idle: MINUTE, ..unlimited() }, &records);
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    sleep(2 * MINUTE).await;
    backend.asked_to_stop().await;
    registry.end(&id, &owner("ada"), KIND, StopReason::Deleted).await.expect("it is ada's");
    assert!(records.is_empty(), "before the answer");
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
    backend.end();
    settle().await;
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
    assert_eq!((registry.stopping(), registry.slots(), backends.spawns()), (0, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_session_asleep_is_deleted_by_its_owner_alone() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    let foreign = registry.end(&id, &owner("eve"), KIND, StopReason::Deleted).await;
    assert_eq!(plain(foreign), Err(LeaseError::Foreign));
    assert_eq!(records.len(), 1);
    registry.end(&id, &owner("ada"), KIND, StopReason::Deleted).await.expect("it is ada's");
    assert!(records.is_empty());
    let again = registry.end(&id, &owner("ada"), KIND, StopReason::Deleted).await;
    assert_eq!(plain(again), Err(LeaseError::Unknown));
}

#[tokio::test(start_paused = true)]
async fn deleting_one_sleeping_session_does_not_list_all_of_its_owners() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(asleep(&registry, &mut backends, "ada").await);
    }
    settle().await;
    let before = records.calls();
    registry.end(&ids[7], &owner("ada"), KIND, StopReason::Deleted).await.expect("it is ada's");
    assert_eq!(records.calls() - before, 2, "one record is read, one removed");
    assert_eq!(records.len(), 49);
}

#[tokio::test(start_paused = true)]
async fn a_session_of_another_kind_is_not_deleted_awake_or_asleep() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let sleeping = asleep(&registry, &mut backends, "ada").await;
    let (awake, backend) = opened(&registry, &mut backends, "ada").await;
    for id in [&sleeping, &awake] {
        let ended = registry.end(id, &owner("ada"), "another", StopReason::Deleted).await;
        assert_eq!(plain(ended), Err(LeaseError::Unknown));
        // The owner is looked at first: a stranger does not learn the kind.
        let foreign = registry.end(id, &owner("eve"), "another", StopReason::Deleted).await;
        assert_eq!(plain(foreign), Err(LeaseError::Foreign));
    }
    assert_eq!((records.len(), backend.stopped()), (2, None));
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_counts_what_was_slept() {
    let records = MemoryRecords::new();
    let limits = Limits { lifetime: 60 * MINUTE, idle: 5 * MINUTE, ..unlimited() };
    let (registry, mut backends) = testing::recorded(limits, &records);
    backends.answer(Answer::SucceedAndObey);
    let (id, _) = opened(&registry, &mut backends, "ada").await;
    sleep(40 * MINUTE).await;
    drop(wake(&registry, &id, "ada").await.expect("it sleeps"));
    sleep(4 * MINUTE).await;
    drop(registry.lease(&id, &owner("ada")).expect("it is awake"));
    sleep(15 * MINUTE).await;
    drop(wake(&registry, &id, "ada").await.expect("59 minutes are not 60"));
    sleep(MINUTE).await;
    assert_eq!(registry.lease(&id, &owner("ada")).err(), Some(LeaseError::Unknown));
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
    settle().await;
    assert!(records.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_record_past_its_lifetime_goes_and_wakes_nothing_before() {
    let records = MemoryRecords::new();
    let limits = Limits { lifetime: 60 * MINUTE, reap_interval: 1000 * MINUTE, ..unlimited() };
    let (registry, mut backends) = testing::recorded(limits, &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    sleep(60 * MINUTE).await;
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
    assert_eq!((records.len(), backends.spawns()), (1, 1), "the reaper has not looked yet");
    sleep(1000 * MINUTE).await;
    assert!(records.is_empty());
}

#[tokio::test(start_paused = true)]
async fn times_of_last_use_reach_the_store_in_one_batch() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(opened(&registry, &mut backends, "ada").await.0);
    }
    sleep(MINUTE).await;
    let before = records.calls();
    for id in &ids {
        for _ in 0..100 {
            drop(registry.lease(id, &owner("ada")).expect("it lives"));
        }
    }
    assert_eq!(records.calls(), before, "no request asks the store");
    sleep(30 * SECOND).await;
    for id in &ids {
        let record = records.peek(&id.key()).expect("it is recorded");
        let used = record.active.duration_since(record.created).expect("it was used later");
        assert!(used >= 59 * SECOND && used <= 61 * SECOND, "{used:?}");
    }
    let used = records.calls() - before;
    sleep(10 * MINUTE).await;
    assert!(used <= 2, "{used} calls for 500 requests");
    assert_eq!(records.calls() - before, used, "nothing new is told again");
}

#[tokio::test(start_paused = true)]
async fn a_wake_while_the_store_is_being_told_why_the_session_sleeps_is_counted_by_that() {
    let records = MemoryRecords::new();
    let limits = Limits { idle: 10 * MINUTE, lifetime: Duration::ZERO, ..Limits::default() };
    let (registry, mut backends) = testing::recorded(limits, &records);
    backends.answer(Answer::SucceedAndObey);
    let (ada, _) = opened(&registry, &mut backends, "ada").await;
    sleep(9 * MINUTE).await;
    records.delay(5 * MINUTE);
    while registry.active() > 0 {
        sleep(Duration::from_secs(1)).await;
    }
    sleep(2 * MINUTE).await;
    // What is under way takes its time, the rest answers at once.
    records.delay(Duration::ZERO);
    assert_eq!(records.peek(&ada.key()).expect("it is recorded").asleep, None, "not told yet");
    drop(wake(&registry, &ada, "ada").await.expect("it was idle"));
    assert_eq!(registry.woken(WakeReason::Idle), 1);
}

#[tokio::test(start_paused = true)]
async fn wakes_are_counted_by_why_the_session_slept_also_after_a_restart() {
    let records = MemoryRecords::new();
    let limits = Limits { idle: 10 * MINUTE, evict_idle: MINUTE, ..capped(1) };
    let (registry, mut backends) = testing::recorded(limits, &records);
    backends.answer(Answer::SucceedAndObey);
    let (ada, backend) = opened(&registry, &mut backends, "ada").await;
    let asleep = || records.peek(&ada.key()).expect("it is recorded").asleep;
    let woken = |registry: &FakeRegistry| WakeReason::ALL.map(|why| registry.woken(why));
    sleep(MINUTE).await;
    assert_eq!(asleep(), None, "it is awake");
    backend.end();
    settle().await;
    drop(wake(&registry, &ada, "ada").await.expect("it crashed"));
    sleep(12 * MINUTE).await;
    assert_eq!(asleep(), Some(StopReason::Idle), "a list of sessions shows that");
    drop(wake(&registry, &ada, "ada").await.expect("it was idle"));
    sleep(MINUTE).await;
    assert_eq!(asleep(), None);
    opened(&registry, &mut backends, "bob").await;
    sleep(MINUTE).await;
    drop(wake(&registry, &ada, "ada").await.expect("it made room"));
    registry.replace(|_| true, Replacement { when: StopWhen::Now, then: AfterStop::Asleep });
    drop(wake(&registry, &ada, "ada").await.expect("its backend was replaced"));
    assert_eq!(woken(&registry), [1, 1, 1, 1, 0]);
    registry.stop(Instant::now() + MINUTE).await;
    assert_eq!(asleep(), Some(StopReason::Shutdown));
    let (registry, backends) = testing::recorded(limits, &records);
    backends.answer(Answer::SucceedAndObey);
    drop(wake(&registry, &ada, "ada").await.expect("it survived"));
    sleep(11 * MINUTE).await;
    drop(backends);
    let (registry, _backends) = testing::recorded(limits, &records);
    drop(wake(&registry, &ada, "ada").await.expect("it slept when its registry was lost"));
    assert_eq!(woken(&registry), [1, 0, 0, 0, 0]);
}
