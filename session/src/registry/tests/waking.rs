use std::sync::Arc;

use super::*;
use crate::testing::NEWER;
use crate::{Records, WakeFailure};

#[tokio::test(start_paused = true)]
async fn many_requests_share_one_wake_and_all_get_a_lease() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    backends.answer(Answer::Hold);
    let mut wakes = JoinSet::new();
    for _ in 0..50 {
        wake_in(&mut wakes, &registry, id, "ada");
    }
    let held = backends.held().await;
    held.answer(Answer::Succeed);
    let leases: Vec<_> =
        wakes.join_all().await.into_iter().map(|woken| woken.expect("it sleeps")).collect();
    let backend = backends.next().await;
    assert!(leases.iter().all(|lease| lease.is(&backend)));
    assert_eq!((leases.len(), backends.spawns(), registry.woken(WakeReason::Exited)), (50, 2, 1));
    assert!(registry.look(|_| true, |view| view.idle_since).iter().all(Option::is_none));
    drop(leases);
    assert!(registry.look(|_| true, |view| view.idle_since).iter().all(Option::is_some));
}

#[tokio::test(start_paused = true)]
async fn a_stranger_wakes_nothing_and_spoils_no_wake() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    assert!(matches!(wake(&registry, &id, "eve").await, Err(WakeError::Foreign)));
    assert_eq!((backends.spawns(), registry.slots()), (1, 0));
    records.delay(SECOND);
    let mut wakes = JoinSet::new();
    for name in ["eve", "ada", "eve"] {
        wake_in(&mut wakes, &registry, id, name);
    }
    let mut answers: Vec<_> = wakes.join_all().await;
    answers.sort_by_key(Result::is_ok);
    assert!(matches!(answers[..], [Err(WakeError::Foreign), Err(WakeError::Foreign), Ok(_)]));
    assert_eq!(backends.spawns(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_id_and_one_of_another_kind_wake_nothing() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let guess = SessionId::from_bytes([9; 24]);
    assert!(matches!(wake(&registry, &guess, "ada").await, Err(WakeError::Unknown)));
    let id = asleep(&registry, &mut backends, "ada").await;
    let other = registry.wake(&id, &owner("ada"), "another server", Purpose::Call).await;
    assert!(matches!(other, Err(WakeError::Unknown)));
    assert_eq!(backends.spawns(), 1);
    let _lease = wake(&registry, &id, "ada").await.expect("it sleeps");
    let other = registry.wake(&id, &owner("ada"), "another server", Purpose::Call).await;
    assert!(matches!(other, Err(WakeError::Unknown)), "nor when it is awake");
}

#[tokio::test(start_paused = true)]
async fn requests_that_leave_during_a_wake_leak_nothing() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(capped(1), &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    backends.answer(Answer::Hold);
    let mut wakes = JoinSet::new();
    wake_in(&mut wakes, &registry, id, "ada");
    let held = backends.held().await;
    wakes.shutdown().await;
    assert!(held.is_wanted(), "the wake goes on in the driver");
    held.answer(Answer::Succeed);
    settle().await;
    assert_eq!((registry.active(), registry.slots()), (1, 1));
    let idle = registry.look(|_| true, |view| view.idle_since.is_some());
    assert_eq!(idle, [true], "no lease was left behind");
}

#[tokio::test(start_paused = true)]
async fn requests_that_leave_before_a_wake_has_a_place_start_nothing() {
    let records = MemoryRecords::new();
    let limits = Limits { slot_wait: MINUTE, ..capped(1) };
    let (registry, mut backends) = testing::recorded(limits, &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    let busy = registry.open(owner("bob"), ()).await.expect("there is room");
    let mut wakes = JoinSet::new();
    wake_in(&mut wakes, &registry, id, "ada");
    settle().await;
    assert_eq!(registry.waiting(), 1);
    wakes.shutdown().await;
    settle().await;
    let other = backends.next().await;
    drop(busy);
    other.end();
    sleep(2 * MINUTE).await;
    assert_eq!((registry.waiting(), registry.slots(), backends.spawns()), (0, 0, 2));
    wake(&registry, &id, "ada").await.expect("it still sleeps");
}

#[tokio::test(start_paused = true)]
async fn a_wake_that_fails_leaves_the_session_asleep_for_the_next_request() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(capped(1), &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    for answer in [Answer::Fail, Answer::Panic] {
        backends.answer(answer);
        let failed = wake(&registry, &id, "ada").await.expect_err("told to fail");
        assert!(matches!(failed, WakeError::Spawn(_) | WakeError::Panicked), "{failed:?}");
        assert_eq!((registry.slots(), records.len()), (0, 1));
    }
    backends.answer(Answer::Succeed);
    wake(&registry, &id, "ada").await.expect("it sleeps");
    assert_eq!(registry.wake_failures(), 1, "a panic is the driver's to report");
}

#[tokio::test(start_paused = true)]
async fn one_failed_wake_answers_everybody_who_waited() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    backends.answer(Answer::Hold);
    let mut wakes = JoinSet::new();
    for _ in 0..3 {
        wake_in(&mut wakes, &registry, id, "ada");
    }
    backends.held().await.answer(Answer::Fail);
    for failed in wakes.join_all().await {
        let failed = failed.expect_err("told to fail");
        assert!(matches!(&failed, WakeError::Spawn(error) if **error == FakeError));
        assert!(std::error::Error::source(&failed).is_some());
    }
    assert_eq!(backends.spawns(), 2);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_spaced_out_and_then_refused_for_a_while() {
    let records = MemoryRecords::new();
    let limits =
        Limits { max_wake_failures: 3, wake_backoff: SECOND, wake_pause: MINUTE, ..unlimited() };
    let (registry, mut backends) = testing::recorded(limits, &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    backends.answer(Answer::Fail);
    let begun = Instant::now();
    let mut tried = Vec::new();
    for _ in 0..3 {
        assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Spawn(_))));
        tried.push(begun.elapsed().as_secs());
    }
    assert_eq!(tried, [0, 1, 3]);
    let calls = records.calls();
    for _ in 0..100 {
        let Err(WakeError::Failing { last, retry_in }) = wake(&registry, &id, "ada").await else {
            panic!("it was tried again");
        };
        assert_eq!((last.as_deref(), retry_in.as_secs()), (Some(&FakeError), 60));
    }
    assert_eq!((backends.spawns(), records.calls()), (4, calls), "neither spawn nor store");
    assert!(matches!(wake(&registry, &id, "eve").await, Err(WakeError::Foreign)));
    sleep(MINUTE).await;
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Spawn(_))));
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Failing { .. })));
    backends.answer(Answer::Succeed);
    sleep(MINUTE).await;
    wake(&registry, &id, "ada").await.expect("one attempt after each pause");
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_does_not_spin() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    backend.end();
    settle().await;
    let until = Instant::now() + 5 * MINUTE;
    while Instant::now() < until {
        if let Ok(lease) = wake(&registry, &id, "ada").await {
            backends.next().await.end();
            drop(lease);
        }
        sleep(SECOND / 20).await;
    }
    // Four close together, and then one after each pause of half a minute.
    assert!(backends.spawns() <= 16, "{} backends in five minutes", backends.spawns());
    sleep(2 * MINUTE).await;
    let _lease = wake(&registry, &id, "ada").await.expect("what is long past is forgotten");
    let last = backends.next().await;
    sleep(MINUTE).await;
    last.end();
    settle().await;
    let begun = Instant::now();
    wake(&registry, &id, "ada").await.expect("it had settled");
    assert!(begun.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_spawner_says_what_a_failure_means() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    backends.answer(Answer::Fail);
    backends.wake_failure(WakeFailure::RetryNow);
    let begun = Instant::now();
    for _ in 0..20 {
        assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Spawn(_))));
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "such as a credential that is renewed elsewhere");
    backends.wake_failure(WakeFailure::Permanent);
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Spawn(_))));
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
    settle().await;
    assert!(records.is_empty());
}

#[tokio::test(start_paused = true)]
async fn at_the_cap_a_wake_is_refused_as_an_open_is() {
    let records = MemoryRecords::new();
    let limits = Limits { max_per_owner: NonZeroUsize::new(1), ..capped(2) };
    let (registry, mut backends) = testing::recorded(limits, &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    let own = registry.open(owner("ada"), ()).await.expect("there is room");
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::OwnerFull { .. })));
    backends.next().await.end();
    drop(own);
    settle().await;
    let _one = registry.open(owner("bob"), ()).await.expect("there is room");
    let _two = registry.open(owner("cyd"), ()).await.expect("there is room");
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Full { .. })));
    assert_eq!(records.len(), 4, "it sleeps on");
}

#[tokio::test(start_paused = true)]
async fn a_session_deleted_while_it_wakes_does_not_come_back() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(capped(1), &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    backends.answer(Answer::Hold);
    let mut wakes = JoinSet::new();
    wake_in(&mut wakes, &registry, id, "ada");
    let held = backends.held().await;
    registry.end(&id, &owner("ada"), KIND, StopReason::Deleted).await.expect("it is ada's");
    assert!(records.is_empty());
    held.answer(Answer::Succeed);
    let backend = backends.next().await;
    assert_eq!(backend.asked_to_stop().await, StopReason::Deleted);
    let woken = wakes.join_next().await.expect("one wake").expect("no wake panics");
    assert!(matches!(woken, Err(WakeError::Unknown)));
    assert_eq!((registry.active(), registry.slots()), (0, 1));
    backend.end();
    settle().await;
    assert_eq!(registry.slots(), 0);
}

#[tokio::test(start_paused = true)]
async fn when_the_driver_is_dropped_whoever_waits_hears_of_it() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(capped(1), &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    backends.answer(Answer::Hold);
    let mut wakes = JoinSet::new();
    wake_in(&mut wakes, &registry, id, "ada");
    let _held = backends.held().await;
    backends.drop_driver().await;
    let woken = wakes.join_next().await.expect("one wake").expect("no wake panics");
    assert!(matches!(woken, Err(WakeError::Gone)), "{woken:?}");
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Gone)));
    assert_eq!((registry.slots(), records.len()), (0, 1));
}

#[tokio::test]
async fn a_wake_fits_into_the_future_of_every_request() {
    let (registry, _backends) = testing::registry(unlimited());
    let (id, owner) = (SessionId::from_bytes([1; 24]), owner("ada"));
    let size = size_of_val(&registry.wake(&id, &owner, KIND, Purpose::Call));
    assert!(size <= 256, "{size} bytes");
    let _ = Arc::new(registry);
}

#[tokio::test(start_paused = true)]
async fn a_record_from_a_newer_program_outlives_a_rollback() {
    let records = MemoryRecords::new();
    let limits = Limits { evict_idle: SECOND, ..capped(1) };
    let (registry, mut backends) = testing::recorded(limits, &records);
    // Whatever a failed wake means: this is none.
    backends.wake_failure(WakeFailure::Permanent);
    let id = asleep(&registry, &mut backends, "ada").await;
    let readable = records.peek(&id.key()).expect("it is recorded");
    let newer = [NEWER, b" form of the state"].concat();
    records.save(&id.key(), newer.into(), readable.active).await.expect("they are there");
    let kept = records.peek(&id.key());

    let (other, idle) = opened(&registry, &mut backends, "bob").await;
    sleep(MINUTE).await;
    for _ in 0..10 {
        let refused = wake(&registry, &id, "ada").await;
        assert!(matches!(refused, Err(WakeError::Spawn(_))), "{refused:?}");
    }
    assert_eq!(registry.wake_failures(), 10);
    assert_eq!((backends.spawns(), idle.stopped()), (2, None), "bob's session made no room");
    assert!(matches!(wake(&registry, &id, "eve").await, Err(WakeError::Foreign)));
    sleep(2 * registry.limits().reap_interval).await;
    assert_eq!(records.peek(&id.key()), kept, "untouched");

    registry.end(&other, &owner("bob"), KIND, StopReason::Deleted).await.expect("it is bob's");
    idle.end();
    records.save(&id.key(), readable.snapshot, readable.active).await.expect("they are there");
    drop(wake(&registry, &id, "ada").await.expect("the next request tries at once"));
}
