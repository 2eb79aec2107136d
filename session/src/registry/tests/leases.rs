use super::*;

#[tokio::test(start_paused = true)]
async fn an_id_nobody_minted_is_unknown() {
    let (registry, _backends) = testing::registry(unlimited());
    let lease = registry.open(owner("ada"), ()).await.expect("there is room");
    let guess = SessionId::from_bytes([9; 24]);
    assert_eq!(registry.lease(&guess, lease.owner()).err(), Some(LeaseError::Unknown));
    let ended = registry.end(&guess, lease.owner(), KIND, StopReason::Deleted).await;
    assert_eq!(plain(ended), Err(LeaseError::Unknown));
    assert_eq!(registry.last_active(&guess), None);
}

#[tokio::test(start_paused = true)]
async fn a_stolen_id_is_foreign_and_leaves_the_session_as_it_was() {
    let limits = Limits { idle: 5 * MINUTE, lifetime: 20 * MINUTE, ..unlimited() };
    let (registry, mut backends) = testing::registry(limits);
    let lease = registry.open(owner("ada"), ()).await.expect("there is room");
    let (id, backend) = (*lease.id(), backends.next().await);
    drop(lease);
    let last_active = registry.last_active(&id).expect("it lives");
    for _ in 0..4 {
        sleep(MINUTE).await;
        assert_eq!(registry.lease(&id, &owner("eve")).err(), Some(LeaseError::Foreign));
        let deleted = registry.end(&id, &owner("eve"), KIND, StopReason::Deleted).await;
        assert_eq!(plain(deleted), Err(LeaseError::Foreign));
        assert_eq!(registry.last_active(&id), Some(last_active), "the idle time goes on");
        assert_eq!(backend.stopped(), None);
    }
    sleep(2 * MINUTE).await;
    assert_eq!(backend.stopped(), Some(StopReason::Idle), "eve's probes kept it from nothing");
}

#[tokio::test(start_paused = true)]
async fn a_session_outlives_the_token_that_opened_it_but_not_its_client() {
    let (registry, _backends) = testing::registry(unlimited());
    let at_sign_in = Owner::new("https://id", "ada", "editor");
    let id = *registry.open(at_sign_in, ()).await.expect("there is room").id();
    // A refreshed token is verified anew: the same parts, another allocation.
    let refreshed = Owner::new("https://id", "ada", "editor");
    registry.lease(&id, &refreshed).expect("the same owner");
    for (other, refused) in [
        (Owner::new("https://id", "ada", "browser"), LeaseError::Unknown),
        (Owner::new("https://id", "bob", "editor"), LeaseError::Foreign),
        (Owner::new("https://other", "ada", "editor"), LeaseError::Foreign),
    ] {
        assert_eq!(registry.lease(&id, &other).err(), Some(refused));
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_session_is_unknown_at_once_and_to_everyone() {
    let (registry, mut backends) = testing::registry(capped(1));
    let lease = registry.open(owner("ada"), ()).await.expect("there is room");
    let (id, backend) = (*lease.id(), backends.next().await);
    registry.end(&id, &owner("ada"), KIND, StopReason::Deleted).await.expect("it is ada's");
    for name in ["ada", "eve"] {
        assert_eq!(registry.lease(&id, &owner(name)).err(), Some(LeaseError::Unknown));
        let again = registry.end(&id, &owner(name), KIND, StopReason::Deleted).await;
        assert_eq!(plain(again), Err(LeaseError::Unknown));
    }
    assert_eq!((registry.active(), registry.stopping()), (0, 1));
    assert_eq!(backend.asked_to_stop().await, StopReason::Deleted);
    assert!(lease.is(&backend), "the lease still reaches the backend, which says what it says");
    assert!(matches!(registry.open(owner("ada"), ()).await, Err(OpenError::Full { .. })));
    backend.end();
    settle().await;
    assert_eq!(registry.stopping(), 0);
    registry.open(owner("ada"), ()).await.expect("the slot came back");
    assert_eq!((backend.stop_calls(), registry.ended(StopReason::Deleted)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn last_active_is_now_while_leased_and_then_the_end_of_the_last_lease() {
    let (registry, _backends) = testing::registry(unlimited());
    let first = registry.open(owner("ada"), ()).await.expect("there is room");
    let id = *first.id();
    sleep(MINUTE).await;
    assert_eq!(registry.last_active(&id), Some(Instant::now()));
    let second = registry.lease(&id, &owner("ada")).expect("it lives");
    drop(first);
    sleep(MINUTE).await;
    assert_eq!(registry.last_active(&id), Some(Instant::now()), "one lease is left");
    drop(second);
    let dropped = Instant::now();
    sleep(MINUTE).await;
    assert_eq!(registry.last_active(&id), Some(dropped));
    drop(registry.lease(&id, &owner("ada")).expect("it lives"));
    assert_eq!(registry.last_active(&id), Some(dropped + MINUTE), "bumped per request");
    registry.end(&id, &owner("ada"), KIND, StopReason::Deleted).await.expect("it lives");
    assert_eq!(registry.last_active(&id), None);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_owner_loses_every_session_and_nobody_else_does() {
    let (registry, mut backends) = testing::registry(unlimited());
    let mut leases = Vec::new();
    for name in ["ada", "ada", "bob"] {
        leases.push(registry.open(owner(name), ()).await.expect("there is room"));
    }
    registry.revoke(|owner| owner.subject() == "ada");
    assert_eq!(registry.lease(leases[0].id(), &owner("ada")).err(), Some(LeaseError::Unknown));
    assert_eq!((registry.active(), registry.stopping()), (1, 2));
    settle().await;
    for expected in [Some(StopReason::Revoked), Some(StopReason::Revoked), None] {
        assert_eq!(backends.next().await.stopped(), expected);
    }
    registry.open(owner("ada"), ()).await.expect("a later sign-in opens anew");
}

#[tokio::test(start_paused = true)]
async fn a_revocation_reaches_a_session_that_is_being_spawned() {
    let (registry, mut backends) = testing::registry(capped(1));
    backends.answer(Answer::Hold);
    let mut opens = JoinSet::new();
    open_in(&mut opens, &registry, "ada");
    let held = backends.held().await;
    registry.revoke(|owner| owner.subject() == "ada");
    held.answer(Answer::Succeed);
    let backend = backends.next().await;
    assert_eq!(backend.asked_to_stop().await, StopReason::Revoked);
    assert!(matches!(answer_of(&mut opens), Some(Err(OpenError::Revoked))));
    assert_eq!((registry.active(), registry.slots()), (0, 1));
    backend.end();
    settle().await;
    assert_eq!(registry.slots(), 0);
}

#[test]
fn leases_and_registries_can_be_held_anywhere() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<Lease<FakeBackend>>();
    anywhere::<FakeRegistry>();
}

#[tokio::test(start_paused = true)]
async fn whoever_lists_sessions_sees_whose_they_are_and_since_when_they_are_idle() {
    let (registry, _backends) = testing::registry(unlimited());
    let busy = registry.open(owner("ada"), ()).await.expect("there is room");
    drop(registry.open(owner("ada"), ()).await.expect("there is room"));
    drop(registry.open(owner("bob"), ()).await.expect("there is room"));
    let of_ada = |owner: &Owner| owner.subject() == "ada";
    let seen = registry.look(of_ada, |view| (*view.id, view.idle_since.is_some()));
    assert_eq!(seen.len(), 2, "bob's is bob's alone");
    assert!(seen.contains(&(*busy.id(), false)), "a held lease is not idle");
}
