//! The table, row by row, and what it does to children.

use session::{AfterStop, Purpose, Replacement, StopWhen};
use std::time::Duration;
use tokio::time::sleep;

use super::{Decision, Event, Found, apply, decide};
use crate::sessions::{
    child::Child,
    testing::{Bench, key},
};

#[test]
fn every_event_has_the_decision_of_the_table() {
    let replace = |when, then| Decision::Replace(Replacement { when, then });
    let when_idle = replace(StopWhen::Idle, AfterStop::Awake);
    let when_drained = replace(StopWhen::Drained, AfterStop::Awake);
    let now = replace(StopWhen::Now, AfterStop::Asleep);
    let table = [
        (Event::Renewed, Decision::Deliver, when_idle),
        (Event::Stored, Decision::Deliver, when_drained),
        (Event::Removed, now, now),
        (Event::Refused, Decision::Keep, Decision::Keep),
        (Event::NotDelivered { for_call: false }, when_idle, when_idle),
        (Event::NotDelivered { for_call: true }, when_drained, when_drained),
        (Event::Due(Found::Newer), Decision::Deliver, when_drained),
        (Event::Due(Found::Same), Decision::Keep, Decision::Keep),
        (Event::Due(Found::Ended), now, now),
        (Event::Died { version: 1 }, Decision::Distrust, Decision::Distrust),
        (Event::Due(Found::Unavailable { works: true }), Decision::Keep, Decision::Keep),
        (
            Event::Due(Found::Unavailable { works: false }),
            replace(StopWhen::Idle, AfterStop::Asleep),
            replace(StopWhen::Idle, AfterStop::Asleep),
        ),
    ];
    for (event, in_file, in_environment) in table {
        assert_eq!(decide(event, true), in_file, "{event:?}, in a file");
        assert_eq!(decide(event, false), in_environment, "{event:?}, in the environment");
    }
}

#[tokio::test(start_paused = true)]
async fn a_removed_credential_stops_its_own_children_at_once_and_no_others() {
    let mut bench = Bench::new(|_| {}).await;
    let hers = bench.next_child().expect("the session opened");
    let bob = session::testing::owner("bob");
    let his = bench.sessions.open(bob, ()).await.expect("there is room");
    let in_use = bench.acquire(Purpose::Call).await.expect("the child is there");
    apply(&bench.sessions, &key(&bench.owner), Event::Removed);
    sleep(Duration::from_secs(1)).await;
    assert!(hers.stopped().is_some(), "though a call is under way");
    assert_eq!(his.stopped(), None);
    drop((in_use, his));
}

#[tokio::test(start_paused = true)]
async fn a_renewed_credential_replaces_a_child_when_nobody_uses_it() {
    let mut bench = Bench::new(|_| {}).await;
    let first = bench.next_child().expect("the session opened");
    let in_use = bench.acquire(Purpose::Call).await.expect("the child is there");
    apply(&bench.sessions, &key(&bench.owner), Event::Renewed);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(first.stopped(), None, "a call is under way");
    drop(in_use);
    sleep(Duration::from_secs(1)).await;
    assert!(first.stopped().is_some());
    assert!(bench.next_child().is_some(), "the next one is woken at once");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_reads_a_file_is_marked_and_not_replaced() {
    let nowhere = std::path::PathBuf::from("/nonexistent/directory");
    let mut bench = Bench::new(|world| world.file = Some(nowhere)).await;
    let first = bench.next_child().expect("the session opened");
    assert!(apply(&bench.sessions, &key(&bench.owner), Event::Stored), "there is one to deliver");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(first.stopped(), None);
    assert!(first.credential().is_some_and(|own| own.take_stale()));
    apply(&bench.sessions, &key(&bench.owner), Event::Removed);
    sleep(Duration::from_secs(1)).await;
    assert!(first.stopped().is_some(), "a token that was removed is not left in the file");
}
