use super::*;
use crate::{Owner, Selection};

fn granted(grant: &str) -> Owner {
    owner("ada").with_grant_id(Some(grant.into()))
}

#[tokio::test(start_paused = true)]
async fn a_revoked_owner_loses_what_lives_and_what_sleeps_and_their_records() {
    for by_selection in [false, true] {
        let records = MemoryRecords::new();
        let (registry, mut backends) = testing::recorded(unlimited(), &records);
        let sleeping = asleep(&registry, &mut backends, "ada").await;
        let (live, backend) = opened(&registry, &mut backends, "ada").await;
        let (bobs, _) = opened(&registry, &mut backends, "bob").await;
        let revocation = match by_selection {
            false => registry.revoke(|owner| owner.subject() == "ada"),
            true => registry.revoke_all(Selection::Owner(owner("ada"))),
        };
        assert_eq!(registry.lease(&live, &owner("ada")).err(), Some(LeaseError::Unknown));
        assert!(matches!(wake(&registry, &sleeping, "ada").await, Err(WakeError::Unknown)));
        revocation.durable().await.expect("the store is there");
        settle().await;
        assert_eq!(records.len(), 1, "bob's");
        assert_eq!(backend.stopped(), Some(StopReason::Revoked));
        wake(&registry, &bobs, "bob").await.expect("no other owner is affected");
    }
}

#[tokio::test(start_paused = true)]
async fn a_revoked_grant_takes_its_sessions_along_and_no_others() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let mut ids = Vec::new();
    for grant in ["g1", "g2"] {
        ids.push(*registry.open(granted(grant), ()).await.expect("there is room").id());
        backends.next().await.end();
    }
    settle().await;
    let removed = registry.revoke_all(Selection::Grant("g1".into())).durable().await;
    assert_eq!(removed.expect("the store is there"), 1);
    // A request may carry another grant: the session's own is what counts.
    let gone = registry.wake(&ids[0], &granted("g2"), KIND, Purpose::Call).await;
    assert!(matches!(gone, Err(WakeError::Unknown)));
    registry.wake(&ids[1], &granted("g3"), KIND, Purpose::Call).await.expect("its grant stands");
}

#[tokio::test(start_paused = true)]
async fn a_revocation_holds_at_once_though_the_store_is_down() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let id = asleep(&registry, &mut backends, "ada").await;
    records.fail_at(0);
    let revocation = registry.revoke(|owner| owner.subject() == "ada");
    revocation.durable().await.expect_err("told to fail");
    assert_eq!(records.len(), 1);
    assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
    assert_eq!(backends.spawns(), 1);
    let (later, _) = opened(&registry, &mut backends, "ada").await;
    sleep(2 * SECOND).await;
    assert_eq!(records.len(), 1, "tried again, and the later session's record stays");
    registry.lease(&later, &owner("ada")).expect("it was opened after the revocation");
}

#[tokio::test(start_paused = true)]
async fn a_session_opened_after_a_revocation_wakes_though_the_records_of_that_are_not_gone_yet() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    asleep(&registry, &mut backends, "ada").await;
    records.delay(SECOND / 10);
    let revocation = registry.revoke(|owner| owner.subject() == "ada");
    let (id, backend) = opened(&registry, &mut backends, "ada").await;
    backend.end();
    settle().await;
    wake(&registry, &id, "ada").await.expect("it is none of those");
    revocation.durable().await.expect("the store is there");
    assert_eq!(records.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_reaches_a_session_at_every_step_of_its_wake() {
    // By the grant the session was opened with, which the waking request does not carry.
    for spawning in [false, true] {
        let records = MemoryRecords::new();
        let (registry, mut backends) = testing::recorded(capped(1), &records);
        let id = *registry.open(granted("g1"), ()).await.expect("there is room").id();
        backends.next().await.end();
        sleep(MINUTE).await;
        records.delay(SECOND);
        backends.answer(Answer::Hold);
        let mut wakes = JoinSet::new();
        wake_in(&mut wakes, &registry, id, "ada");
        settle().await;
        let mut held = None;
        if spawning {
            held = Some(backends.held().await);
        }
        let revocation = registry.revoke(|owner| owner.grant_id() == Some("g1"));
        if let Some(held) = held {
            held.answer(Answer::Succeed);
            let backend = backends.next().await;
            assert_eq!(backend.asked_to_stop().await, StopReason::Revoked);
            backend.end();
        }
        let woken = wakes.join_next().await.expect("one wake").expect("no wake panics");
        assert!(matches!(woken, Err(WakeError::Unknown)), "{woken:?}");
        revocation.durable().await.expect("the store is there");
        settle().await;
        assert_eq!((registry.slots(), backends.alive(), records.len()), (0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_listed_and_ended_by_its_key() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let sleeping = asleep(&registry, &mut backends, "ada").await;
    let (live, _) = opened(&registry, &mut backends, "ada").await;
    opened(&registry, &mut backends, "bob").await;
    let which = Selection::Owner(owner("ada"));
    let list = registry.list(&which, None, 10).await.expect("the store is there");
    assert_eq!(list.len(), 2);
    for each in &list {
        let id = if each.awake { live } else { sleeping };
        assert_eq!(each.summary.key, id.key());
    }
    assert_eq!(registry.recorded(&Selection::All).await.expect("the store is there"), 3);
    for id in [live, sleeping] {
        let bob = Selection::Owner(owner("bob"));
        let foreign = registry.end_by_key(&id.key(), &bob, StopReason::Deleted).await;
        assert_eq!(plain(foreign), Err(LeaseError::Foreign));
        registry.end_by_key(&id.key(), &which, StopReason::Deleted).await.expect("it is ada's");
        assert!(matches!(wake(&registry, &id, "ada").await, Err(WakeError::Unknown)));
    }
    settle().await;
    assert_eq!(records.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wake_is_judged_by_the_sessions_grant_and_not_by_that_of_whoever_asks() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let id = *registry.open(granted("g1"), ()).await.expect("there is room").id();
    backends.next().await.end();
    sleep(MINUTE).await;
    records.delay(SECOND);
    let (asking, asker) = (registry.clone(), granted("g2"));
    let mut wakes = JoinSet::new();
    wakes.spawn(async move { asking.wake(&id, &asker, KIND, Purpose::Call).await });
    settle().await;
    registry.revoke_all(Selection::Grant("g2".into()));
    let woken = wakes.join_next().await.expect("one wake").expect("no wake panics");
    woken.expect("its grant stands");
}

#[tokio::test(start_paused = true)]
async fn a_revoked_session_does_not_wake_from_a_record_that_was_read_before_and_delivered_after() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let id = *registry.open(granted("g1"), ()).await.expect("there is room").id();
    backends.next().await.end();
    sleep(MINUTE).await;
    records.delay_answers(SECOND);
    let (asking, asker) = (registry.clone(), granted("g2"));
    let mut wakes = JoinSet::new();
    wakes.spawn(async move { asking.wake(&id, &asker, KIND, Purpose::Call).await });
    settle().await;
    records.delay_answers(Duration::ZERO);
    let revocation = registry.revoke_all(Selection::Grant("g1".into()));
    revocation.durable().await.expect("the store is there");
    let woken = wakes.join_next().await.expect("one wake").expect("no wake panics");
    assert!(matches!(woken, Err(WakeError::Unknown)), "{woken:?}");
    assert_eq!(backends.spawns(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_revoked_during_its_replacement_was_revoked_and_not_deleted() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let (_, first) = opened(&registry, &mut backends, "ada").await;
    backends.answer(Answer::Hold);
    registry.replace(
        |_| true,
        crate::Replacement { when: crate::StopWhen::Now, then: crate::AfterStop::Awake },
    );
    first.end();
    let held = backends.held().await;
    registry.revoke(|owner| owner.subject() == "ada");
    // The reaper removes what is left of it meanwhile.
    sleep(MINUTE).await;
    held.answer(Answer::SucceedAndObey);
    assert_eq!(backends.next().await.asked_to_stop().await, StopReason::Revoked);
}
