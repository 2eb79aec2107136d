use super::*;

#[tokio::test(start_paused = true)]
async fn a_backend_that_ends_by_itself_takes_its_session_with_it_at_once() {
    let (registry, mut backends) = testing::registry(capped(1));
    let lease = registry.open(owner("ada"), ()).await.expect("there is room");
    let (id, backend) = (*lease.id(), backends.next().await);
    backend.end();
    settle().await;
    assert_eq!(registry.lease(&id, &owner("ada")).err(), Some(LeaseError::Unknown));
    assert_eq!((registry.active(), registry.stopping(), registry.slots()), (0, 0, 0));
    assert_eq!((backend.stopped(), registry.ended(StopReason::Exited)), (None, 1));
    assert!(!backend.is_dropped(), "the lease still holds it");
    drop(lease);
    assert!(backend.is_dropped());
    registry.open(owner("ada"), ()).await.expect("the slot came back");
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_ends_at_the_first_look_after_its_time() {
    let limits = Limits { idle: 2 * MINUTE, ..unlimited() };
    let (registry, mut backends) = testing::registry(limits);
    drop(registry.open(owner("ada"), ()).await.expect("there is room"));
    let backend = backends.next().await;
    sleep(2 * MINUTE - SECOND).await;
    assert_eq!(backend.stopped(), None);
    sleep(SECOND + limits.reap_interval).await;
    assert_eq!(backend.stopped(), Some(StopReason::Idle));
    assert_eq!(registry.ended(StopReason::Idle), 0, "it has not ended yet");
    backend.end();
    settle().await;
    assert_eq!(registry.ended(StopReason::Idle), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_with_a_lease_or_a_stream_is_never_reaped() {
    let limits = Limits { idle: MINUTE, lifetime: 30 * MINUTE, ..unlimited() };
    let (registry, mut backends) = testing::registry(limits);
    let stream = registry.open(owner("ada"), ()).await.expect("there is room");
    let (id, backend) = (*stream.id(), backends.next().await);
    for _ in 0..60 {
        sleep(MINUTE).await;
        // Requests come and go while the stream stays.
        drop(registry.lease(&id, &owner("ada")).expect("the stream keeps it"));
    }
    assert_eq!(backend.stopped(), None, "twice its lifetime, and still in use");
    drop(stream);
    sleep(MINUTE).await;
    assert_eq!(backend.stopped(), Some(StopReason::Lifetime));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_lease_starts_the_idle_time_anew() {
    let limits = Limits { idle: 2 * MINUTE, ..unlimited() };
    let (registry, mut backends) = testing::registry(limits);
    let id = *registry.open(owner("ada"), ()).await.expect("there is room").id();
    let backend = backends.next().await;
    for _ in 0..10 {
        sleep(MINUTE).await;
        drop(registry.lease(&id, &owner("ada")).expect("it is used often enough"));
    }
    assert_eq!(backend.stopped(), None);
    sleep(3 * MINUTE).await;
    assert_eq!(backend.stopped(), Some(StopReason::Idle));
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_ends_a_session_however_busy_it_is() {
    let limits = Limits { idle: 5 * MINUTE, lifetime: 60 * MINUTE, ..unlimited() };
    let (registry, mut backends) = testing::registry(limits);
    let id = *registry.open(owner("ada"), ()).await.expect("there is room").id();
    let backend = backends.next().await;
    let opened = Instant::now();
    let refused = loop {
        sleep(SECOND).await;
        if let Err(refused) = registry.lease(&id, &owner("ada")) {
            break refused;
        }
    };
    assert_eq!((refused, opened.elapsed()), (LeaseError::Unknown, 60 * MINUTE));
    assert_eq!(backend.asked_to_stop().await, StopReason::Lifetime);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_after_the_lifetime_does_not_wait_for_the_reaper() {
    let limits = Limits { lifetime: MINUTE, reap_interval: 60 * MINUTE, ..unlimited() };
    let (registry, mut backends) = testing::registry(limits);
    let id = *registry.open(owner("ada"), ()).await.expect("there is room").id();
    sleep(2 * MINUTE).await;
    assert_eq!(registry.lease(&id, &owner("eve")).err(), Some(LeaseError::Foreign));
    assert_eq!(registry.active(), 1, "a stranger does not end it either");
    assert_eq!(registry.lease(&id, &owner("ada")).err(), Some(LeaseError::Unknown));
    assert_eq!((registry.active(), registry.stopping()), (0, 1));
    assert_eq!(backends.next().await.asked_to_stop().await, StopReason::Lifetime);
}

#[tokio::test(start_paused = true)]
async fn a_zero_age_is_never_reached() {
    let (registry, mut backends) = testing::registry(unlimited());
    drop(registry.open(owner("ada"), ()).await.expect("there is room"));
    sleep(24 * 60 * MINUTE).await;
    assert_eq!(backends.next().await.stopped(), None);
    assert_eq!(registry.active(), 1);
}

#[tokio::test(start_paused = true)]
async fn new_ages_and_a_new_interval_hold_without_waiting_for_the_old_one() {
    let limits = Limits { reap_interval: 24 * 60 * MINUTE, ..unlimited() };
    let (registry, mut backends) = testing::registry(limits);
    drop(registry.open(owner("ada"), ()).await.expect("there is room"));
    sleep(10 * MINUTE).await;
    registry.set_limits(Limits { idle: MINUTE, reap_interval: Duration::ZERO, ..unlimited() });
    settle().await;
    assert_eq!(backends.next().await.stopped(), Some(StopReason::Idle));
}
