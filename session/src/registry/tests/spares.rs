use super::*;
use crate::{AfterStop, Replacement, StopWhen};

/// A session of `name` whose client has ended it, and its backend, which was kept.
async fn retired(
    registry: &FakeRegistry,
    backends: &mut Backends,
    name: &str,
) -> (SessionId, BackendHandle) {
    let (id, backend) = opened(registry, backends, name).await;
    backend.fit_for_another();
    retire(registry, &id, name).await.expect("it is there");
    (id, backend)
}

async fn retire(registry: &FakeRegistry, id: &SessionId, name: &str) -> Result<(), EndError> {
    registry.retire(id, &owner(name), KIND, StopReason::Deleted).await
}

#[tokio::test(start_paused = true)]
async fn a_backend_outlives_the_session_that_its_client_ended_and_no_lookup_finds_it() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let (id, backend) = retired(&registry, &mut backends, "ada").await;
    assert_eq!((backend.stopped(), records.len()), (None, 0));
    assert_eq!((registry.active(), registry.spares(), registry.slots()), (0, 1, 1));
    for name in ["ada", "bob"] {
        let unknown = LeaseError::Unknown;
        assert_eq!(registry.lease(&id, &owner(name)).err(), Some(unknown), "{name}");
        assert!(matches!(wake(&registry, &id, name).await, Err(WakeError::Unknown)), "{name}");
        assert!(matches!(retire(&registry, &id, name).await, Err(EndError::Unknown)), "{name}");
        assert!(!registry.is_anothers(&id, &owner(name)).await.expect("no store fails"));
    }
    assert_eq!(backend.stopped(), None);
}

#[tokio::test(start_paused = true)]
async fn the_next_session_of_the_owner_finds_the_backend_that_was_kept_before_any_other() {
    let (registry, mut backends) = testing::recorded(unlimited(), &MemoryRecords::new());
    let (_, open) = opened(&registry, &mut backends, "ada").await;
    sleep(SECOND).await;
    let (_, kept) = retired(&registry, &mut backends, "ada").await;
    let ada = owner("ada");
    for other in [owner("bob"), through("another client", "ada")] {
        assert!(registry.vacate(&other, |_| true).await.is_none());
    }
    let mut vacated = Box::pin(registry.vacate(&ada, |_| true));
    assert!(tokio::time::timeout(SECOND, &mut vacated).await.is_err(), "it is there yet");
    assert_eq!((kept.asked_to_stop().await, open.stopped()), (StopReason::Replaced, None));
    kept.end();
    let vacated = vacated.await.expect("the slot is ada's");
    drop(registry.open_in(vacated, ()).await.expect("the slot was kept"));
    assert_eq!((registry.active(), registry.spares(), registry.slots()), (2, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_not_fit_for_another_session_ends_with_its_own() {
    let limits = [unlimited(), Limits { spare: Duration::ZERO, ..unlimited() }];
    for (limits, is_fit) in limits.into_iter().zip([false, true]) {
        let (registry, mut backends) = testing::recorded(limits, &MemoryRecords::new());
        let (id, backend) = opened(&registry, &mut backends, "ada").await;
        if is_fit {
            backend.fit_for_another();
        }
        retire(&registry, &id, "ada").await.expect("it is there");
        assert_eq!(backend.asked_to_stop().await, StopReason::Deleted);
        assert_eq!(registry.spares(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_without_a_session_ends_after_its_time_or_when_its_owner_may_not_go_on() {
    let limits = Limits { spare: MINUTE, lifetime: 10 * SECOND, ..unlimited() };
    let (registry, mut backends) = testing::recorded(limits, &MemoryRecords::new());
    let (_, backend) = retired(&registry, &mut backends, "ada").await;
    sleep(MINUTE - SECOND).await;
    assert_eq!((backend.stopped(), registry.ended(StopReason::Deleted)), (None, 1));
    sleep(SECOND + SECOND / 2).await;
    assert_eq!(backend.stopped(), Some(StopReason::Idle));
    backend.end();

    let (_, backend) = retired(&registry, &mut backends, "ada").await;
    registry.revoke(|owner| owner.subject() == "ada").durable().await.expect("no store fails");
    assert_eq!(backend.asked_to_stop().await, StopReason::Revoked);
    backend.end();

    let (_, backend) = retired(&registry, &mut backends, "ada").await;
    let how = Replacement { when: StopWhen::Idle, then: AfterStop::Awake };
    assert_eq!(registry.replace(|_| true, how), 1, "its credential is not the newest any more");
    assert_eq!(backend.asked_to_stop().await, StopReason::Replaced);
    backend.end();
    settle().await;
    assert_eq!((registry.spares(), registry.slots(), backends.alive()), (0, 0, 0));

    let (_, backend) = retired(&registry, &mut backends, "ada").await;
    let stopping = registry.clone();
    let stop = async move { stopping.stop(Instant::now() + MINUTE).await };
    let ending = async {
        assert_eq!(backend.asked_to_stop().await, StopReason::Shutdown);
        backend.end();
    };
    let (report, ()) = tokio::join!(stop, ending);
    assert_eq!((report.ended, report.abandoned), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn at_a_cap_a_backend_without_a_session_makes_room_before_any_session_does() {
    let two = NonZeroUsize::new(2);
    // In all it does so for anybody, and also where no session ever makes room.
    for (limits, opener) in [
        (Limits { max_per_owner: two, ..unlimited() }, "ada"),
        (Limits { max_sessions: two, ..unlimited() }, "bob"),
    ] {
        let (registry, mut backends) = testing::recorded(limits, &MemoryRecords::new());
        let (_, open) = opened(&registry, &mut backends, "ada").await;
        sleep(SECOND).await;
        let (_, kept) = retired(&registry, &mut backends, "ada").await;
        let mut tasks = JoinSet::new();
        open_in(&mut tasks, &registry, opener);
        assert_eq!(kept.asked_to_stop().await, StopReason::Evicted);
        kept.end();
        settle().await;
        answer_of(&mut tasks).expect("it has an answer").expect("there is room");
        assert_eq!(open.stopped(), None, "{opener}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_without_a_session_that_crashes_leaves_nothing_behind() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let (_, backend) = retired(&registry, &mut backends, "ada").await;
    backend.end();
    settle().await;
    assert_eq!((registry.spares(), registry.slots(), registry.remembered()), (0, 0, 0));
    let ended = [StopReason::Deleted, StopReason::Exited].map(|why| registry.ended(why));
    assert_eq!((records.len(), ended), (0, [1, 0]), "the session is counted once");
}
