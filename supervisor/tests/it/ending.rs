//! How a child ends, by itself and when asked.

use std::time::Duration;

use supervisor::{Exit, Reload, Started, start};
use tokio::{io::AsyncWriteExt, time::Instant};

use crate::rig::{DEAF, ECHO, EXIT, MUTE, SHORT, Stranger, run, run_with_grace, soon, spec};

#[tokio::test]
async fn an_exit_code_and_a_signal_are_told_apart() {
    let rig = run(EXIT, &["3"]).await;
    assert_eq!(rig.ended().await, Exit::Code(3));
    let rig = run(EXIT, &[]).await;
    assert_eq!(rig.ended().await.to_string(), "signal 6 (SIGABRT)");
}

#[tokio::test]
async fn everybody_learns_how_it_ended_however_late() {
    let mut rig = run(EXIT, &["3"]).await;
    let early = (rig.child.ended(), rig.child.clone());
    assert_eq!(soon(early.0).await, Exit::Code(3));
    assert_eq!(soon(rig.driver.join_next()).await.unwrap().unwrap(), Exit::Code(3));
    assert_eq!(early.1.exit(), Some(Exit::Code(3)));
    assert_eq!(soon(early.1.ended()).await, Exit::Code(3));
    early.1.stop();
    early.1.kill();
}

#[tokio::test]
async fn its_last_words_are_there_when_it_has_ended() {
    for _ in 0..20 {
        let rig = run(EXIT, &["1"]).await;
        rig.ended().await;
        assert_eq!(rig.child.stderr_tail(), "last words\n");
    }
}

#[tokio::test]
async fn a_stop_closes_stdin_though_another_holds_it() {
    let mut rig = run(ECHO, &[]).await;
    rig.stdin.write_all(b"hello\n").await.unwrap();
    assert_eq!(rig.line().await, "hello");
    rig.child.stop();
    rig.child.stop();
    assert_eq!(rig.ended().await, Exit::Code(0), "end of file was enough");
    let refused = rig.stdin.write_all(b"hello\n").await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_write_that_waits_fails_when_the_child_is_stopped() {
    let mut rig = run(MUTE, &[]).await;
    let child = rig.child.clone();
    // A stopped process reads nothing, so the pipe fills up.
    let pid = rustix::process::Pid::from_raw(child.pid().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let flood = vec![b'x'; 1 << 20];
    let (written, ()) = tokio::join!(soon(rig.stdin.write_all(&flood)), async { child.stop() });
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    child.kill();
    assert_eq!(rig.ended().await, Exit::Signal(9));
}

#[tokio::test]
async fn a_child_that_ignores_end_of_file_and_sigterm_is_killed() {
    let mut rig = run_with_grace(DEAF, &[], SHORT).await;
    assert_eq!(rig.line().await, "ready");
    let start = Instant::now();
    rig.child.stop();
    assert_eq!(rig.rest().await, "ignored SIGTERM\n");
    assert_eq!(rig.ended().await, Exit::Signal(9));
    let took = start.elapsed();
    assert!(took >= 2 * SHORT, "{took:?}");
    assert!(took < 2 * SHORT + Duration::from_secs(3), "{took:?}");
}

#[tokio::test]
async fn the_default_graces_end_the_most_stubborn_child_within_five_seconds() {
    let limits = supervisor::Limits::default();
    assert!(2 * limits.stop_grace + Duration::from_secs(1) <= Duration::from_secs(5));
}

#[tokio::test]
async fn a_signal_to_read_again_reaches_the_child() {
    for signal in Reload::ALL {
        let rig = run(ECHO, &[]).await;
        rig.child.reload(signal);
        // It does not expect it, and so it ends.
        let exit = rig.ended().await.to_string();
        assert!(exit.contains(signal.as_str()), "{signal}: {exit}");
        rig.child.reload(signal);
    }
}

#[tokio::test]
async fn a_kill_waits_for_no_grace() {
    let mut rig = run(DEAF, &[]).await;
    assert_eq!(rig.line().await, "ready");
    rig.child.stop();
    rig.child.kill();
    assert_eq!(rig.ended().await, Exit::Signal(9));
}

#[tokio::test]
async fn a_child_that_closes_its_output_is_not_taken_for_dead() {
    let mut rig = run(MUTE, &[]).await;
    assert_eq!(rig.rest().await, "");
    assert_eq!(rig.child.exit(), None);
    rig.child.stop();
    assert_eq!(rig.ended().await, Exit::Code(0));
}

#[tokio::test]
async fn dropping_the_driver_kills_and_reaps() {
    for run_it in [false, true] {
        let Started { child, stdin: _stdin, stdout: _stdout, driver } =
            start(spec(DEAF, &[])).await.unwrap();
        let stranger = Stranger::new(&child.pid().to_string());
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
        let rig = run(DEAF, &[]).await;
        let child = rig.child.clone();
        // Forgotten rather than dropped: the task belongs to the runtime now.
        std::mem::forget(rig);
        child
    });
    drop(runtime);
    let again = tokio::runtime::Runtime::new().unwrap();
    assert_eq!(again.block_on(async { soon(child.ended()).await }), Exit::Signal(9));
}
