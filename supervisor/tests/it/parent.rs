//! What needs a process of its own.

use supervisor::Exit;

use crate::harness::{BROOD, DEAF, ECHO, MUTE, OtherProcess, PARENT, TWO_SECONDS, Turns, run};

#[tokio::test]
async fn a_child_dies_with_a_parent_that_got_sigkill() {
    // Deaf, so that it is the signal and not end of file that ends it.
    let mut parent = run(PARENT, &["doomed", DEAF]).await;
    let child = OtherProcess::new(&parent.line().await);
    assert!(child.lives());
    // The parent alone, not its group: the child has a group of its own.
    parent.child.kill();
    assert_eq!(parent.ended().await, Exit::Signal(9));
    let mut turns = Turns::begin();
    while child.lives() {
        assert!(turns.count() < TWO_SECONDS, "it is left");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn children_outlive_the_threads_that_asked_for_them() {
    let children = std::thread::spawn(|| {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let started = runtime.block_on(supervisor::start(crate::harness::spec(MUTE, &[]))).unwrap();
        // Kept across the end of the runtime and of this thread.
        (started, runtime.shutdown_background())
    });
    let ((started, ()), harness) = (children.join().unwrap(), run(MUTE, &[]).await);
    let child = OtherProcess::new(&started.child.pid().to_string());
    harness.child.stop();
    assert_eq!(harness.ended().await, Exit::Code(0), "time enough for a stray signal");
    assert!(child.lives());
    drop(started);
    child.is_gone().await;
}

#[tokio::test]
async fn a_thousand_starts_and_stops_leave_nothing_behind() {
    let mut parent = run(PARENT, &["churn", ECHO, "1000"]).await;
    let said = parent.rest().await;
    assert_eq!(parent.ended().await, Exit::Code(0), "{}", parent.child.stderr_tail());
    let counts: Vec<i64> = said.split_whitespace().map(|count| count.parse().unwrap()).collect();
    let [before, after] = counts[..] else { panic!("{said}") };
    assert!((before - after).abs() <= 5, "{before} descriptors became {after}");
}

#[tokio::test]
async fn descendants_in_the_group_are_no_exception() {
    let mut parent = run(PARENT, &["churn", BROOD, "abandon", "100"]).await;
    parent.rest().await;
    assert_eq!(parent.ended().await, Exit::Code(0), "{}", parent.child.stderr_tail());
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_leaves_no_child() {
    let mut parent = run(PARENT, &["impatient", DEAF, "100"]).await;
    parent.rest().await;
    assert_eq!(parent.ended().await, Exit::Code(0), "{}", parent.child.stderr_tail());
}

#[tokio::test]
async fn running_out_of_descriptors_is_told_and_passes() {
    let mut parent = run(PARENT, &["starved", ECHO]).await;
    let said = parent.rest().await;
    assert_eq!(parent.ended().await, Exit::Code(0), "{}", parent.child.stderr_tail());
    assert!(said.lines().all(|line| ["refused", "started"].contains(&line)), "{said}");
    assert!(said.starts_with("refused\nrefused\nrefused\n"), "{said}");
}

#[tokio::test]
async fn a_child_costs_its_parent_little_memory() {
    let mut parent = run(PARENT, &["crowd", ECHO, "100"]).await;
    let said = parent.rest().await;
    assert_eq!(parent.ended().await, Exit::Code(0), "{}", parent.child.stderr_tail());
    let bytes: u64 = said.split_whitespace().next().unwrap().parse().unwrap();
    assert!(bytes < 32 * 1024, "{said}");
}
