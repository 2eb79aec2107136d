//! Descendants: those that stay in the group die with the child, those that left delay nothing.

use supervisor::Exit;
use tokio::io::{copy, sink};

use crate::harness::{BROOD, OtherProcess, RUNAWAY, run, soon};

#[tokio::test]
async fn a_grandchild_in_the_group_dies_with_a_child_that_leaves_by_itself() {
    let mut harness = run(BROOD, &["wait"]).await;
    let grandchild = OtherProcess::new(&harness.line().await);
    assert!(grandchild.lives());
    drop(harness.stdin);
    assert_eq!(soon(harness.child.ended()).await, Exit::Code(0));
    grandchild.is_gone().await;
}

#[tokio::test]
async fn a_grandchild_that_was_abandoned_at_once_does_not_hold_stdout_open() {
    let mut harness = run(BROOD, &["abandon"]).await;
    assert_ne!(harness.rest().await, "");
    assert_eq!(harness.ended().await, Exit::Code(0));
}

#[tokio::test]
async fn a_kill_reaches_the_grandchildren() {
    let mut harness = run(BROOD, &["wait"]).await;
    let grandchild = OtherProcess::new(&harness.line().await);
    harness.child.kill();
    assert_eq!(harness.ended().await, Exit::Signal(9));
    grandchild.is_gone().await;
}

#[tokio::test]
async fn a_grandchild_that_left_the_group_delays_neither_the_end_nor_end_of_file() {
    for habit in ["quiet", "chatter"] {
        let mut harness = run(RUNAWAY, &[habit]).await;
        let runaway = OtherProcess::new(&harness.line().await);
        harness.child.stop();
        // Read first, so that nothing but the end of the child can wake the reader.
        soon(copy(&mut harness.stdout, &mut sink())).await.expect("readable");
        assert_eq!(harness.ended().await, Exit::Code(0));
        // Not a wish but the limit of a process group; containing it takes a cgroup.
        assert!(runaway.lives());
        runaway.kill();
        runaway.is_gone().await;
    }
}
