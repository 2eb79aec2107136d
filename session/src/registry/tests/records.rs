use super::*;
use crate::Records;

fn own_records(max: usize) -> Limits {
    Limits { max_records_per_owner: NonZeroUsize::new(max), ..unlimited() }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_be_recorded_is_not_opened() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(capped(1), &records);
    for lost_answer in [false, true] {
        if lost_answer {
            records.lose_answer_at(0);
        } else {
            records.fail_at(0);
        }
        let refused = registry.open(owner("ada"), ()).await;
        assert!(matches!(refused, Err(OpenError::Records(_))));
        let backend = backends.next().await;
        assert_eq!(backend.asked_to_stop().await, StopReason::Failed);
        backend.end();
        settle().await;
        assert_eq!((registry.active(), registry.slots()), (0, 0));
    }
    registry.open(owner("ada"), ()).await.expect("the store is back");
}

#[tokio::test(start_paused = true)]
async fn a_wake_says_when_the_store_cannot_be_asked() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(capped(1), &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    records.fail(true);
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Records(_))));
    assert_eq!(registry.slots(), 0);
    records.fail(false);
    wake(&registry, &id, "ada").await.expect("it sleeps");
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_cannot_be_stored_is_not_done() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let sleeping = asleep(&registry, &mut backends, "ada").await;
    let (live, backend) = opened(&registry, &mut backends, "ada").await;
    records.fail(true);
    for id in [sleeping, live] {
        let failed = registry.end(&id, &owner("ada"), KIND, StopReason::Deleted).await;
        assert!(matches!(failed, Err(EndError::Records(_))));
    }
    assert_eq!(backend.stopped(), None, "it goes on");
    records.fail(false);
    for id in [sleeping, live] {
        registry.end(&id, &owner("ada"), KIND, StopReason::Deleted).await.expect("it is ada's");
    }
    assert!(records.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_is_dropped_half_way_still_ends_the_session() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    records.delay(MINUTE);
    let ada = owner("ada");
    let ended = registry.end(&id, &ada, KIND, StopReason::Deleted);
    assert!(tokio::time::timeout(SECOND, ended).await.is_err());
    assert_eq!(backend.asked_to_stop().await, StopReason::Deleted);
    backend.end();
    sleep(2 * MINUTE).await;
    assert!(records.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_that_cannot_be_stored_stays_awake_until_it_can() {
    let records = MemoryRecords::new();
    let limits = Limits { idle: MINUTE, ..unlimited() };
    let (registry, mut backends) = testing::recorded(limits, &records);
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    backend.remember(Some(b"changed"));
    records.fail(true);
    sleep(10 * MINUTE).await;
    assert_eq!((backend.stopped(), registry.active(), registry.stopping()), (None, 1, 0));
    registry.lease(&id, &owner("ada")).expect("it answers as ever");
    records.fail(false);
    sleep(2 * MINUTE).await;
    assert_eq!(backend.stopped(), Some(StopReason::Idle));
    assert_eq!(*records.peek(&id.key()).expect("recorded").snapshot, *b"changed");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_nothing_has_changed_sleeps_without_asking_the_store() {
    let records = MemoryRecords::new();
    let limits = Limits { evict_idle: MINUTE, ..capped(1) };
    let (registry, mut backends) = testing::recorded(limits, &records);
    backends.answer(Answer::SucceedAndObey);
    opened(&registry, &mut backends, "ada").await;
    // Between two looks of the reaper, which tells what there is to tell.
    sleep(2 * MINUTE + SECOND).await;
    let calls = records.calls();
    records.fail(true);
    let refused = registry.open(owner("bob"), ()).await;
    assert!(matches!(refused, Err(OpenError::Records(_))), "bob cannot be recorded");
    assert_eq!(records.calls() - calls, 1);
    assert_eq!(registry.ended(StopReason::Evicted), 1, "but ada has made room");
}

#[tokio::test(start_paused = true)]
async fn an_open_whose_victim_cannot_be_stored_finds_another_or_is_refused() {
    let records = MemoryRecords::new();
    let limits = Limits { evict_idle: MINUTE, reap_interval: 100 * MINUTE, ..capped(2) };
    let (registry, mut backends) = testing::recorded(limits, &records);
    backends.answer(Answer::SucceedAndObey);
    let (_, changed) = opened(&registry, &mut backends, "ada").await;
    sleep(SECOND).await;
    let (_, unchanged) = opened(&registry, &mut backends, "bob").await;
    changed.remember(Some(b"changed"));
    sleep(2 * MINUTE).await;
    records.fail_at(0);
    registry.open(owner("cyd"), ()).await.expect("the second one makes room");
    assert_eq!((changed.stopped(), unchanged.stopped()), (None, Some(StopReason::Evicted)));
}

#[tokio::test(start_paused = true)]
async fn the_record_of_a_session_that_is_gone_wakes_nothing_and_is_removed_later() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    records.fail(true);
    backend.remember(None);
    backend.end();
    settle().await;
    assert_eq!(records.len(), 1);
    records.fail(false);
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
    sleep(MINUTE).await;
    assert!(records.is_empty());
}

#[tokio::test(start_paused = true)]
async fn at_the_cap_on_records_the_owners_longest_asleep_goes_first() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(own_records(3), &records);
    let bobs = asleep(&registry, &mut backends, "bob").await;
    let first = asleep(&registry, &mut backends, "ada").await;
    let (live, _) = opened(&registry, &mut backends, "ada").await;
    let second = asleep(&registry, &mut backends, "ada").await;
    let third = asleep(&registry, &mut backends, "ada").await;
    assert!(matches!(wake(&registry, &first, "ada").await, Err(WakeError::Unknown)));
    for (id, name) in [(live, "ada"), (second, "ada"), (third, "ada"), (bobs, "bob")] {
        wake(&registry, &id, name).await.expect("it is recorded");
    }
    assert_eq!(registry.active(), 4);
    let refused = registry.open(owner("ada"), ()).await;
    assert!(matches!(refused, Err(OpenError::OwnerFull { .. })), "none of them is asleep");
    assert_eq!(records.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn at_the_cap_on_all_records_the_owners_own_go_before_anybodys() {
    let records = MemoryRecords::new();
    let limits = Limits { max_records: NonZeroUsize::new(2), ..unlimited() };
    let (registry, mut backends) = testing::recorded(limits, &records);
    let bobs = asleep(&registry, &mut backends, "bob").await;
    let adas = asleep(&registry, &mut backends, "ada").await;
    let next = asleep(&registry, &mut backends, "ada").await;
    assert!(matches!(wake(&registry, &adas, "ada").await, Err(WakeError::Unknown)));
    asleep(&registry, &mut backends, "cyd").await;
    assert!(matches!(wake(&registry, &bobs, "bob").await, Err(WakeError::Unknown)));
    wake(&registry, &next, "ada").await.expect("it was used later than bob's");
    assert_eq!(records.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_wakes_while_room_is_made_keeps_its_record_or_does_not_wake() {
    // Woken while the store looks for the longest unused, or while it removes that.
    for removing in [false, true] {
        let records = MemoryRecords::new();
        let (registry, mut backends) = testing::recorded(own_records(1), &records);
        let id = asleep(&registry, &mut backends, "ada").await;
        sleep(MINUTE).await;
        records.delay(SECOND);
        let mut opens = JoinSet::new();
        open_in(&mut opens, &registry, "ada");
        // Counted after one second, found after two, removed after three.
        sleep(if removing { 5 * SECOND / 2 } else { 3 * SECOND / 2 }).await;
        records.delay(Duration::ZERO);
        let woken = wake(&registry, &id, "ada").await;
        let opened = opens.join_next().await.expect("one open").expect("no open panics");
        if removing {
            assert!(matches!(woken, Err(WakeError::Unknown)), "{woken:?}");
            opened.expect("the other has made room");
        } else {
            woken.expect("it sleeps");
            assert!(matches!(opened, Err(OpenError::OwnerFull { .. })), "{opened:?}");
            assert!(records.peek(&id.key()).is_some());
        }
        assert_eq!(records.len(), 1);
    }
}

/// A sleeping session is its record: whatever this process keeps of it must not grow with them.
#[tokio::test(start_paused = true)]
async fn a_sleeping_session_leaves_nothing_in_memory() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(capped(1), &records);
    backends.answer(Answer::SucceedAndObey);
    for at in 0..1_000 {
        let name = format!("owner {at}");
        let (_, backend) = opened(&registry, &mut backends, &name).await;
        sleep(11 * SECOND).await;
        backend.end();
        settle().await;
    }
    sleep(MINUTE).await;
    assert_eq!(records.len(), 1_000);
    assert_eq!(registry.remembered(), 0, "entries, flights, troubles, times, waiters, owners");
}

async fn end_removed(registry: &FakeRegistry) -> usize {
    registry.find_removed().await.expect("the store is there").end()
}

#[tokio::test(start_paused = true)]
async fn a_record_that_an_operator_removed_ends_the_session_that_is_awake() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let calls = records.calls();
    assert_eq!(end_removed(&registry).await, 0);
    assert_eq!(records.calls(), calls, "no session is awake, nothing is asked");
    let (ada, first) = opened(&registry, &mut backends, "ada").await;
    let (bob, second) = opened(&registry, &mut backends, "bob").await;
    assert_eq!(end_removed(&registry).await, 0);
    records.remove(&[ada.key()]).await.expect("the store is there");
    records.fail(true);
    registry.find_removed().await.expect_err("it cannot be known");
    records.fail(false);
    assert_eq!((first.stopped(), registry.active()), (None, 2));
    assert_eq!(end_removed(&registry).await, 1);
    assert_eq!(first.asked_to_stop().await, StopReason::Removed);
    first.end();
    settle().await;
    assert!(matches!(wake(&registry, &ada, "ada").await, Err(WakeError::Unknown)));
    assert_eq!((second.stopped(), registry.slots(), records.len()), (None, 1, 1));
    registry.lease(&bob, &owner("bob")).expect("it is none of bob's business");
}

#[tokio::test(start_paused = true)]
async fn sessions_asleep_are_counted_by_kind() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    assert_eq!(registry.asleep().await.expect("the store is there"), []);
    asleep(&registry, &mut backends, "ada").await;
    opened(&registry, &mut backends, "bob").await;
    let counted = registry.asleep().await.expect("the store is there");
    assert_eq!(counted, [(KIND.into(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_crashed_and_is_never_asked_for_again_is_forgotten() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    backend.end();
    settle().await;
    registry.end(&id, &owner("ada"), KIND, StopReason::Deleted).await.expect("it is ada's");
    assert_ne!(registry.remembered(), 0, "that it came up and crashed");
    sleep(2 * MINUTE).await;
    assert_eq!(registry.remembered(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_became_stateful_does_not_wake_in_an_old_state_after_a_kill() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let lease = registry.open(owner("ada"), ()).await.expect("there is room");
    backends.next().await.remember(None);
    registry.save(&lease).await.expect("the store is there");
    // No stop, no drop of any future: the records are all that a killed process leaves.
    let (second, after) = testing::recorded(unlimited(), &records);
    assert!(matches!(wake(&second, lease.id(), "ada").await, Err(WakeError::Unknown)));
    assert_eq!(after.spawns(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_crashes_and_wakes_while_it_is_deleted_is_gone() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    sleep(MINUTE).await;
    records.delay(SECOND);
    let mut ends = JoinSet::new();
    let ending = registry.clone();
    ends.spawn(async move { ending.end(&id, &owner("ada"), KIND, StopReason::Deleted).await });
    settle().await;
    records.delay(Duration::ZERO);
    backend.end();
    settle().await;
    let _lease = wake(&registry, &id, "ada").await.expect("the record is still there");
    let woken = backends.next().await;
    ends.join_next().await.expect("one end").expect("no end panics").expect("it is ada's");
    assert_eq!(woken.asked_to_stop().await, StopReason::Deleted);
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_delete_was_dropped_does_not_wake_beside_its_old_backend() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    records.delay(SECOND / 10);
    let ada = owner("ada");
    let ended = registry.end(&id, &ada, KIND, StopReason::Deleted);
    assert!(tokio::time::timeout(SECOND / 100, ended).await.is_err());
    backend.asked_to_stop().await;
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
    assert_eq!((backends.spawns(), backend.has_ended()), (1, false));
}

#[tokio::test(start_paused = true)]
async fn an_old_backends_state_does_not_overwrite_a_new_ones() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let old = registry.open(owner("ada"), ()).await.expect("there is room");
    let (id, first) = (*old.id(), backends.next().await);
    first.remember(Some(b"not stored"));
    records.fail(true);
    first.end();
    settle().await;
    records.fail(false);
    let new = wake(&registry, &id, "ada").await.expect("it sleeps");
    backends.next().await.remember(Some(b"acknowledged"));
    registry.save(&new).await.expect("the store is there");
    registry.save(&old).await.expect_err("the session has gone on from what was stored");
    assert_eq!(*records.peek(&id.key()).expect("it is recorded").snapshot, *b"acknowledged");
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_nobody_asks_the_same_session_again_and_again() {
    let records = MemoryRecords::new();
    let limits =
        Limits { max_per_owner: NonZeroUsize::new(1), slot_wait: 5 * SECOND, ..unlimited() };
    let (registry, mut backends) = testing::recorded(limits, &records);
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    backend.remember(Some(b"changed"));
    records.fail(true);
    let calls = records.calls();
    let refused = registry.open(owner("ada"), ()).await;
    assert!(matches!(refused, Err(OpenError::OwnerFull(OwnerLimit::Person { .. }))), "{refused:?}");
    assert!(records.calls() - calls <= 6, "{} calls in five seconds", records.calls() - calls);
    assert_eq!(backend.stopped(), None);
    records.fail(false);
    registry.lease(&id, &owner("ada")).expect("it answers as ever");
}
