//! Standard error, drained whatever else happens.

use supervisor::{Exit, Limits, Spec};
use tokio::io::AsyncReadExt;

use crate::harness::{ECHO, FLOOD, SHORT, run, run_spec, run_with_grace, soon, spec};

#[tokio::test]
async fn a_flood_on_standard_error_blocks_nothing_and_is_kept_in_bounds() {
    let mut harness = run(FLOOD, &["50000000"]).await;
    assert_eq!(harness.line().await, "done", "the child was never stuck");
    harness.child.stop();
    assert_eq!(harness.ended().await, Exit::Code(0));
    let tail = harness.child.stderr_tail();
    assert!(tail.len() <= 64 * 1024, "{}", tail.len());
    assert!(tail.len() > 60 * 1024, "{}", tail.len());
    assert!(tail.starts_with("all work") && tail.ends_with("at that\n"), "whole lines");
}

#[tokio::test]
async fn an_endless_flood_does_not_keep_the_child_from_being_stopped() {
    let harness = run_with_grace(FLOOD, &[], SHORT).await;
    harness.child.stop();
    assert_eq!(harness.ended().await, Exit::Signal(15), "SIGTERM was enough");
}

#[tokio::test]
async fn the_ring_is_as_large_as_the_limit_says() {
    let limits = Limits { stderr_ring_bytes: 100, ..Limits::default() };
    let mut harness = run_spec(Spec { limits, ..spec(FLOOD, &["100000"]) }).await;
    assert_eq!(harness.line().await, "done");
    harness.child.stop();
    harness.ended().await;
    let tail = harness.child.stderr_tail();
    assert!(tail.len() <= 100 && !tail.is_empty(), "{tail}");
}

#[tokio::test]
async fn what_the_child_said_is_still_there_after_it_has_ended() {
    let mut harness = run("printf", &["%060000d", "7"]).await;
    assert_eq!(harness.ended().await, Exit::Code(0));
    let said = harness.rest().await;
    assert_eq!(said.len(), 60_000);
    assert!(said.ends_with('7'));
    assert_eq!(harness.stdout.read(&mut [0; 8]).await.unwrap(), 0, "end of file stays");
}

#[tokio::test]
async fn dropping_stdin_is_end_of_file_for_the_child() {
    let harness = run(ECHO, &[]).await;
    drop(harness.stdin);
    assert_eq!(soon(harness.child.ended()).await, Exit::Code(0));
}
