//! How a child ends, by itself and when asked.

use std::time::Duration;

use supervisor::{Exit, Reload, Started, start};
use tokio::{io::AsyncWriteExt, time::Instant};

use crate::harness::{
    DEAF, ECHO, EXIT, MUTE, OtherProcess, SHORT, TIMEOUT, run, run_with_grace, soon, spec,
};

#[tokio::test]
async fn an_exit_code_and_a_signal_are_told_apart() {
    let harness = run(EXIT, &["3"]).await;
    assert_eq!(harness.ended().await, Exit::Code(3));
    let harness = run(EXIT, &[]).await;
    assert_eq!(harness.ended().await.to_string(), "signal 6 (SIGABRT)");
}

#[tokio::test]
async fn everybody_learns_how_it_ended_however_late() {
    let mut harness = run(EXIT, &["3"]).await;
    let early = (harness.child.ended(), harness.child.clone());
    assert_eq!(soon(early.0).await, Exit::Code(3));
    assert_eq!(soon(harness.driver.join_next()).await.unwrap().unwrap(), Exit::Code(3));
    assert_eq!(early.1.exit(), Some(Exit::Code(3)));
    assert_eq!(soon(early.1.ended()).await, Exit::Code(3));
    early.1.stop();
    early.1.kill();
}

#[tokio::test]
async fn its_last_words_are_there_when_it_has_ended() {
    for _ in 0..20 {
        let harness = run(EXIT, &["1"]).await;
        harness.ended().await;
        assert_eq!(harness.child.stderr_tail(), "last words\n");
    }
}

#[tokio::test]
async fn a_stop_closes_stdin_though_another_holds_it() {
    let mut harness = run(ECHO, &[]).await;
    harness.stdin.write_all(b"hello\n").await.unwrap();
    assert_eq!(harness.line().await, "hello");
    harness.child.stop();
    harness.child.stop();
    assert_eq!(harness.ended().await, Exit::Code(0), "end of file was enough");
    let refused = harness.stdin.write_all(b"hello\n").await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_write_that_waits_fails_when_the_child_is_stopped() {
    let mut harness = run(MUTE, &[]).await;
    let child = harness.child.clone();
    // A stopped process reads nothing, so the pipe fills up.
    let pid = rustix::process::Pid::from_raw(child.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let flood = vec![b'x'; 1 << 20];
    let (written, ()) = tokio::join!(soon(harness.stdin.write_all(&flood)), async { child.stop() });
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    child.kill();
    assert_eq!(harness.ended().await, Exit::Signal(9));
}

#[tokio::test]
async fn a_child_that_ignores_end_of_file_and_sigterm_is_killed() {
    let mut harness = run_with_grace(DEAF, &[], SHORT).await;
    assert_eq!(harness.line().await, "ready");
    let start = Instant::now();
    harness.child.stop();
    assert_eq!(harness.rest().await, "ignored SIGTERM\n");
    assert_eq!(harness.ended().await, Exit::Signal(9));
    let took = start.elapsed();
    assert!(took >= 2 * SHORT, "{took:?}");
    assert!(took < TIMEOUT, "{took:?}");
}

#[tokio::test]
async fn the_default_graces_end_the_most_stubborn_child_within_five_seconds() {
    let limits = supervisor::Limits::default();
    assert!(2 * limits.stop_grace + Duration::from_secs(1) <= Duration::from_secs(5));
}

#[tokio::test]
async fn a_signal_to_read_again_reaches_the_child() {
    for signal in Reload::ALL {
        let harness = run(ECHO, &[]).await;
        harness.child.reload(signal);
        // It does not expect it, and so it ends.
        let exit = harness.ended().await.to_string();
        assert!(exit.contains(signal.as_str()), "{signal}: {exit}");
        harness.child.reload(signal);
    }
}

#[tokio::test]
async fn a_kill_waits_for_no_grace() {
    let mut harness = run(DEAF, &[]).await;
    assert_eq!(harness.line().await, "ready");
    harness.child.stop();
    harness.child.kill();
    assert_eq!(harness.ended().await, Exit::Signal(9));
}

#[tokio::test]
async fn a_child_that_closes_its_output_is_not_taken_for_dead() {
    let mut harness = run(MUTE, &[]).await;
    assert_eq!(harness.rest().await, "");
    assert_eq!(harness.child.exit(), None);
    harness.child.stop();
    assert_eq!(harness.ended().await, Exit::Code(0));
}

#[tokio::test]
async fn dropping_the_driver_kills_and_reaps() {
    for run_it in [false, true] {
        let Started { child, stdin: _stdin, stdout: _stdout, driver, .. } =
            start(spec(DEAF, &[])).await.unwrap();
        let stranger = OtherProcess::new(&child.pid().to_string());
        if run_it {
            let mut running = Box::pin(driver.run());
            let poll = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(running.as_mut().poll(cx).is_pending())
            });
            assert!(poll.await);
            drop(running);
        } else {
            drop(driver);
        }
        stranger.is_gone().await;
        assert_eq!(soon(child.ended()).await, Exit::Signal(9));
    }
}

#[test]
fn a_runtime_that_goes_away_takes_its_children_along() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let child = runtime.block_on(async {
        let harness = run(DEAF, &[]).await;
        let child = harness.child.clone();
        // Forgotten rather than dropped: the task belongs to the runtime now.
        std::mem::forget(harness);
        child
    });
    drop(runtime);
    let again = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(again.block_on(async { soon(child.ended()).await }), Exit::Signal(9));
}
