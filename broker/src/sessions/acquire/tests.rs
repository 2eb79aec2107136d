//! Which child a request gets, on fakes and a paused clock.

use std::time::Duration;

use session::Purpose;
use tokio::time::sleep;

use super::AcquireError;
use crate::sessions::{
    child::Child,
    testing::{Answer, Bench},
};

const MINUTE: Duration = Duration::from_secs(60);
/// As long as a credential lives, but for half a minute.
const NEARLY_OVER: Duration = Duration::from_secs(3570);

#[tokio::test(start_paused = true)]
async fn a_call_with_a_good_credential_asks_the_vault_for_nothing() {
    let mut bench = Bench::new(|_| {}).await;
    sleep(50 * MINUTE).await;
    drop(bench.acquire(Purpose::Call).await.expect("the child is there"));
    assert_eq!(bench.world.asked(), 0);
    assert!(bench.next_child().is_some() && bench.next_child().is_none(), "one child");
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_credential_is_about_to_end_gets_another_child() {
    let mut bench = Bench::new(|_| {}).await;
    let first = bench.next_child().expect("the session opened");
    sleep(NEARLY_OVER).await;
    let lease = bench.acquire(Purpose::Call).await.expect("another child is woken");
    assert!(first.stopped().is_some());
    assert!(!lease.version_is_before(2), "it was started with the renewed credential");
}

#[tokio::test(start_paused = true)]
async fn a_call_after_one_that_failed_asks_about_the_credential_and_gets_a_child_with_a_good_one() {
    let mut bench = Bench::new(|_| {}).await;
    let first = bench.next_child().expect("the session opened");
    first.credential().expect("it has one").doubt();
    drop(bench.acquire(Purpose::Call).await.expect("the credential stands"));
    drop(bench.acquire(Purpose::Call).await.expect("nothing failed since"));
    assert_eq!((bench.world.looks(), first.stopped()), (1, None));
    bench.world.kill_token();
    first.credential().expect("it has one").doubt();
    drop(bench.acquire(Purpose::Stream).await.expect("a stream asks for nothing"));
    assert_eq!(bench.world.looks(), 1);
    let lease = bench.acquire(Purpose::Call).await.expect("another child is woken");
    assert!(first.stopped().is_some() && !lease.version_is_before(2));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_listens_keeps_the_child() {
    let mut bench = Bench::new(|_| {}).await;
    let first = bench.next_child().expect("the session opened");
    sleep(NEARLY_OVER).await;
    drop(bench.acquire(Purpose::Stream).await.expect("the child is there"));
    assert_eq!((bench.world.asked(), first.stopped()), (0, None));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_reads_a_file_gets_its_token_there_and_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_owned();
    let mut bench = Bench::new(|world| world.file = Some(path)).await;
    let first = bench.next_child().expect("the session opened");
    sleep(NEARLY_OVER).await;
    drop(bench.acquire(Purpose::Call).await.expect("the child is there"));
    assert_eq!(first.stopped(), None);
    let token = std::fs::read_to_string(directory.path().join("token")).expect("it was written");
    assert_eq!(token, "token 2");
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_file_cannot_be_written_is_replaced() {
    let nowhere = std::path::PathBuf::from("/nonexistent/directory");
    let mut bench = Bench::new(|world| world.file = Some(nowhere)).await;
    let first = bench.next_child().expect("the session opened");
    sleep(NEARLY_OVER).await;
    drop(bench.acquire(Purpose::Call).await.expect("another child is woken"));
    assert!(first.stopped().is_some());
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_upstream_ends_no_call_while_the_token_works() {
    let mut bench = Bench::new(|_| {}).await;
    let first = bench.next_child().expect("the session opened");
    bench.world.answer(Answer::Unavailable);
    sleep(NEARLY_OVER).await;
    drop(bench.acquire(Purpose::Call).await.expect("the old token still works"));
    sleep(MINUTE).await;
    let refused = bench.acquire(Purpose::Call).await;
    assert!(matches!(refused, Err(AcquireError::Credential(_))), "the old token has ended");
    sleep(MINUTE).await;
    assert!(first.stopped().is_some(), "the session sleeps");
}

#[tokio::test(start_paused = true)]
async fn a_user_who_has_to_sign_in_again_loses_the_child_at_once() {
    let mut bench = Bench::new(|_| {}).await;
    let first = bench.next_child().expect("the session opened");
    let streaming = bench.acquire(Purpose::Stream).await.expect("the child is there");
    bench.world.answer(Answer::SignInAgain);
    sleep(NEARLY_OVER).await;
    let refused = bench.acquire(Purpose::Call).await.expect_err("there is no credential");
    assert!(matches!(&refused, AcquireError::Credential(failure) if failure.needs_sign_in()));
    sleep(Duration::from_secs(1)).await;
    assert!(first.stopped().is_some(), "though a client listens");
    drop(streaming);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_starts_slowly_with_a_short_credential_is_not_replaced_for_ever() {
    let mut bench = Bench::new(|world| {
        world.lives = Duration::from_secs(4);
        world.start = Duration::from_secs(3);
    })
    .await;
    drop(bench.acquire(Purpose::Call).await.expect("the second child serves"));
    let mut children = 0;
    while bench.next_child().is_some() {
        children += 1;
    }
    assert_eq!(children, 2);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_cannot_sleep_keeps_its_child_and_the_old_credential() {
    let mut bench = Bench::new(|world| world.stateful = true).await;
    let first = bench.next_child().expect("the session opened");
    sleep(NEARLY_OVER).await;
    drop(bench.acquire(Purpose::Call).await.expect("the child is there"));
    assert_eq!(first.stopped(), None);
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_the_child_that_follows_a_crash() {
    let mut bench = Bench::new(|_| {}).await;
    let first = bench.next_child().expect("the session opened");
    first.crash();
    drop(bench.acquire(Purpose::Call).await.expect("another child is woken"));
    assert!(bench.next_child().is_some());
}

#[tokio::test(start_paused = true)]
async fn children_that_end_at_their_start_are_given_up_after_a_few() {
    let bench = Bench::new(|world| world.crashing = true).await;
    let refused = bench.acquire(Purpose::Call).await.expect_err("none stays");
    assert!(matches!(refused, AcquireError::ChildEnded | AcquireError::Wake(_)), "{refused:?}");
}
