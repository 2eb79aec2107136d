//! What is counted per person, through however many clients.

use super::*;

fn each(max: usize) -> Limits {
    Limits { max_per_owner: NonZeroUsize::new(max), ..unlimited() }
}

fn is_persons<T>(refused: &Result<T, OpenError<FakeError>>) -> bool {
    matches!(refused, Err(OpenError::OwnerFull(OwnerLimit::Person { .. })))
}

#[tokio::test(start_paused = true)]
async fn a_client_that_opens_a_session_for_every_call_is_never_refused() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(each(16), &records);
    backends.answer(Answer::SucceedAndObey);
    let begun = Instant::now();
    let mut ids = Vec::new();
    for _ in 0..40 {
        let (id, _) = opened(&registry, &mut backends, "ada").await;
        drop(wake(&registry, &id, "ada").await.expect("it has just been opened"));
        ids.push(id);
    }
    assert_eq!(begun.elapsed(), Duration::ZERO, "nothing waits");
    assert_eq!((backends.peak(), records.len()), (16, 40));
    for id in ids {
        drop(wake(&registry, &id, "ada").await.expect("it sleeps"));
    }
    assert_eq!(backends.peak(), 16);
}

#[tokio::test(start_paused = true)]
async fn three_clients_of_one_person_have_one_persons_places() {
    let (registry, backends) = testing::recorded(each(3), &MemoryRecords::new());
    backends.answer(Answer::SucceedAndObey);
    let mut busy = Vec::new();
    for client in ["first", "second", "third"] {
        busy.push(registry.open(through(client, "eve"), ()).await.expect("there is room"));
    }
    for client in ["first", "fourth"] {
        assert!(is_persons(&registry.open(through(client, "eve"), ()).await));
    }
    registry.open(owner("ada"), ()).await.expect("another person has places of their own");
    busy.remove(0);
    let opened = registry.open(through("third", "eve"), ()).await;
    opened.expect("the idle one of another client of the same person makes room");
    assert_eq!(backends.peak_of(&owner("eve")), 3);
}

#[tokio::test(start_paused = true)]
async fn a_client_has_a_bound_of_its_own_within_the_persons() {
    let limits = Limits { max_per_client: NonZeroUsize::new(1), ..each(2) };
    let (registry, mut backends) = testing::recorded(limits, &MemoryRecords::new());
    backends.answer(Answer::SucceedAndObey);
    drop(registry.open(through("second", "ada"), ()).await.expect("there is room"));
    let idle = backends.next().await;
    let busy = registry.open(through("first", "ada"), ()).await.expect("there is room");
    let refused = registry.open(through("first", "ada"), ()).await;
    assert!(
        matches!(refused, Err(OpenError::OwnerFull(OwnerLimit::Client { max })) if max.get() == 1)
    );
    assert_eq!(idle.stopped(), None, "another client's session cannot help");
    drop(busy);
    registry.open(through("first", "ada"), ()).await.expect("its own idle one makes room");
    assert_eq!(idle.stopped(), None);
}

#[tokio::test(start_paused = true)]
async fn through_many_clients_a_person_waits_in_one_line() {
    let limits = Limits { slot_wait: 10 * MINUTE, max_waiting_per_owner: 100, ..capped(1) };
    let (registry, mut backends) = testing::registry(limits);
    let busy = registry.open(owner("cyd"), ()).await.expect("there is room");
    let mut opens = JoinSet::new();
    let mut open = |owner: Owner| {
        let registry = registry.clone();
        opens.spawn(async move { registry.open(owner, ()).await });
    };
    for _ in 0..2 {
        open(through("first", "eve"));
    }
    settle().await;
    open(through("second", "eve"));
    settle().await;
    open(owner("bob"));
    settle().await;
    drop(busy);
    let mut order = Vec::new();
    for _ in 0..4 {
        backends.next().await.end();
        let lease = opens.join_next().await.expect("one open").expect("no open panics");
        let owner = lease.expect("its turn came").owner().clone();
        order.push(format!("{} {}", owner.subject(), owner.client()));
    }
    assert_eq!(order, ["eve first", "bob test-client", "eve second", "eve first"]);
    assert_eq!(registry.waiting(), 0);
}

/// The reason is the owner's own, whoever else waits and however soon the client tries again.
#[tokio::test(start_paused = true)]
async fn at_the_owners_cap_the_reason_is_the_owners_also_while_others_of_theirs_wait() {
    let limits = Limits { slot_wait: 5 * SECOND, ..each(3) };
    let (registry, _backends) = testing::recorded(limits, &MemoryRecords::new());
    let mut busy = Vec::new();
    for _ in 0..3 {
        busy.push(registry.open(owner("ann"), ()).await.expect("there is room"));
    }
    assert!(is_persons(&registry.open(owner("ann"), ()).await));
    assert!(is_persons(&registry.open(owner("ann"), ()).await), "tried again at once");
    let mut opens = JoinSet::new();
    for _ in 0..3 {
        open_in(&mut opens, &registry, "ann");
    }
    sleep(SECOND).await;
    let begun = Instant::now();
    registry.open(owner("bob"), ()).await.expect("bob has nothing to do with it");
    assert_eq!(begun.elapsed(), Duration::ZERO, "bob does not wait behind ann");
    for refused in opens.join_all().await {
        assert!(is_persons(&refused), "{refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_at_their_own_cap_gets_a_turn_though_the_total_cap_is_reached() {
    let limits = Limits { slot_wait: MINUTE, max_per_owner: NonZeroUsize::new(1), ..capped(2) };
    let (registry, backends) = testing::recorded(limits, &MemoryRecords::new());
    backends.answer(Answer::SucceedAndObey);
    let _adas = registry.open(owner("ada"), ()).await.expect("there is room");
    let bobs = registry.open(owner("bob"), ()).await.expect("there is room");
    let (mut cyds, mut second) = (JoinSet::new(), JoinSet::new());
    open_in(&mut cyds, &registry, "cyd");
    settle().await;
    open_in(&mut second, &registry, "bob");
    settle().await;
    drop(bobs);
    settle().await;
    let opened = answer_of(&mut second).expect("bob's own idle session has made room");
    opened.expect("a slot");
    assert!(answer_of(&mut cyds).is_none(), "no session is idle long enough for another's");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_says_goodbye_forgets_its_own_sessions_first() {
    let records = MemoryRecords::new();
    let limits = Limits { max_records_per_owner: NonZeroUsize::new(3), ..unlimited() };
    let (registry, backends) = testing::recorded(limits, &records);
    backends.answer(Answer::SucceedAndObey);
    let (idle, careless) = (Limits { idle: SECOND, ..limits }, through("careless", "ada"));
    registry.set_limits(idle);
    let sleeping = async |owner: Owner| {
        let id = *registry.open(owner, ()).await.expect("there is room").id();
        sleep(MINUTE).await;
        id
    };
    let editor = sleeping(through("editor", "ada")).await;
    let mut last = editor;
    for _ in 0..5 {
        last = sleeping(careless.clone()).await;
    }
    assert_eq!(records.len(), 3, "counted per person");
    for (id, client) in [(editor, "editor"), (last, "careless")] {
        let woken = registry.wake(&id, &through(client, "ada"), KIND, Purpose::Call).await;
        woken.expect("it is recorded");
    }
    let bound = Limits { max_records_per_client: NonZeroUsize::new(1), ..idle };
    registry.set_limits(bound);
    sleep(2 * MINUTE).await;
    let newest = sleeping(careless.clone()).await;
    let forgotten = registry.wake(&last, &careless, KIND, Purpose::Call).await;
    assert!(matches!(forgotten, Err(WakeError::Unknown)));
    for (id, owner) in [(editor, through("editor", "ada")), (newest, careless)] {
        registry.wake(&id, &owner, KIND, Purpose::Call).await.expect("it is recorded");
    }
    let refused = {
        let _busy = registry.open(through("one at a time", "ada"), ()).await.expect("room");
        registry.open(through("one at a time", "ada"), ()).await
    };
    assert!(
        matches!(refused, Err(OpenError::OwnerFull(OwnerLimit::Records { max })) if max.get() == 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_session_of_the_same_persons_other_client_is_unknown_and_not_foreign() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let sleeping = asleep(&registry, &mut backends, "ada").await;
    let (live, backend) = opened(&registry, &mut backends, "ada").await;
    let again = through("registered again", "ada");
    for id in [sleeping, live] {
        assert_eq!(registry.lease(&id, &again).err(), Some(LeaseError::Unknown));
        let woken = registry.wake(&id, &again, KIND, Purpose::Call).await;
        assert!(matches!(woken, Err(WakeError::Unknown)), "{woken:?}");
        let ended = registry.end(&id, &again, KIND, StopReason::Deleted).await;
        assert_eq!(plain(ended), Err(LeaseError::Unknown));
        let foreign = registry.end(&id, &owner("eve"), KIND, StopReason::Deleted).await;
        assert_eq!(plain(foreign), Err(LeaseError::Foreign), "another person's");
    }
    assert_eq!((backends.spawns(), backend.stopped(), records.len()), (2, None, 2));
}

#[tokio::test(start_paused = true)]
async fn whose_a_session_is_can_be_asked_without_waking_it() {
    let records = MemoryRecords::new();
    let (registry, mut backends) = testing::recorded(unlimited(), &records);
    let sleeping = asleep(&registry, &mut backends, "ada").await;
    let (live, _) = opened(&registry, &mut backends, "ada").await;
    let guess = SessionId::from_bytes([9; 24]);
    for (id, eves) in [(sleeping, true), (live, true), (guess, false)] {
        for (asker, expected) in
            [(owner("ada"), false), (through("another", "ada"), false), (owner("eve"), eves)]
        {
            let asked = registry.is_anothers(&id, &asker).await;
            assert_eq!(asked.expect("the store is there"), expected);
        }
    }
    records.fail(true);
    registry.is_anothers(&sleeping, &owner("eve")).await.expect_err("it cannot be known");
    assert_eq!(backends.spawns(), 2);
}
