//! A scripted child on a paused clock.

use std::{
    future::pending,
    sync::{Arc, Mutex},
};

use tokio::{sync::oneshot, task::JoinSet};

use super::*;
use crate::child::Shared;

const GRACE: Duration = Duration::from_secs(2);
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Close,
    Signal(Signal),
}
use Action::{Close, Signal as Sent};

const TERM: Action = Sent(Signal::TERM);
const KILL: Action = Sent(Signal::KILL);

/// Records what is done to the child, and when.
#[derive(Clone, Debug)]
struct ActionLog {
    start: Instant,
    actions: Arc<Mutex<Vec<(u64, Action)>>>,
}

impl ActionLog {
    fn record(&self, action: Action) {
        let after = self.start.elapsed().as_secs();
        self.actions.lock().unwrap().push((after, action));
    }
}

impl ChildControl for ActionLog {
    fn close_stdin(&self) {
        self.record(Close);
    }

    fn signal(&self, signal: Signal) {
        self.record(Sent(signal));
    }
}

/// The scripted child: `exit` makes it exit.
struct Script {
    shared: Arc<Shared>,
    log: ActionLog,
    exit: oneshot::Sender<()>,
    driver: JoinSet<()>,
}

impl Script {
    fn new(grace: Duration) -> Self {
        Self::with_noise(grace, pending())
    }

    fn with_noise(grace: Duration, noise: impl Future<Output = ()> + Send + 'static) -> Self {
        let shared = Shared::new(1, 0);
        let log = ActionLog { start: Instant::now(), actions: Arc::default() };
        let (exit, exited) = oneshot::channel::<()>();
        let (requests, control) = (shared.stop_requests(), log.clone());
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            run_shutdown(async { drop(exited.await) }, noise, requests, &control, grace).await;
        });
        Self { shared, log, exit, driver }
    }

    fn actions(&self) -> Vec<(u64, Action)> {
        self.log.actions.lock().unwrap().clone()
    }

    /// Lets the child exit and returns all that was done to it.
    async fn exit(mut self) -> Vec<(u64, Action)> {
        self.exit.send(()).unwrap();
        self.driver.join_next().await.unwrap().unwrap();
        self.log.actions.lock().unwrap().clone()
    }
}

/// On the paused clock: lets everything happen that is due within `span`.
async fn pass(span: Duration) {
    tokio::time::sleep(span).await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_ignores_everything_gets_end_of_file_then_sigterm_then_sigkill() {
    let script = Script::new(GRACE);
    pass(HOUR).await;
    assert_eq!(script.actions(), [], "nothing was requested");
    script.shared.request(StopRequest::Stop);
    pass(HOUR).await;
    assert_eq!(script.actions(), [(3600, Close), (3602, TERM), (3604, KILL), (3604, Close)]);
    assert_eq!(script.exit().await.len(), 6, "and the group once more when the leader is gone");
}

#[tokio::test(start_paused = true)]
async fn a_child_that_leaves_at_end_of_file_gets_no_sigterm() {
    let script = Script::new(GRACE);
    script.shared.request(StopRequest::Stop);
    pass(Duration::from_secs(1)).await;
    assert_eq!(script.exit().await, [(0, Close), (1, KILL), (1, Close)]);
}

#[tokio::test(start_paused = true)]
async fn a_child_that_leaves_at_sigterm_is_followed_by_the_rest_of_its_group() {
    let script = Script::new(GRACE);
    script.shared.request(StopRequest::Stop);
    pass(Duration::from_secs(3)).await;
    assert_eq!(script.exit().await, [(0, Close), (2, TERM), (3, KILL), (3, Close)]);
}

#[tokio::test(start_paused = true)]
async fn stopping_again_does_not_prolong_the_grace() {
    let script = Script::new(GRACE);
    for _ in 0..5 {
        script.shared.request(StopRequest::Stop);
        pass(Duration::from_secs(1)).await;
    }
    assert_eq!(script.actions(), [(0, Close), (2, TERM), (4, KILL), (4, Close)]);
}

#[tokio::test(start_paused = true)]
async fn a_grace_of_zero_kills_at_once() {
    let script = Script::new(Duration::ZERO);
    script.shared.request(StopRequest::Stop);
    pass(Duration::from_secs(1)).await;
    assert_eq!(script.actions(), [(0, KILL), (0, Close)]);
}

#[tokio::test(start_paused = true)]
async fn a_kill_cuts_a_stop_short() {
    let script = Script::new(GRACE);
    script.shared.request(StopRequest::Stop);
    pass(Duration::from_secs(1)).await;
    script.shared.request(StopRequest::Kill);
    script.shared.request(StopRequest::Stop);
    pass(HOUR).await;
    assert_eq!(script.actions(), [(0, Close), (1, KILL), (1, Close)], "a stop takes nothing back");
}

#[tokio::test(start_paused = true)]
async fn a_request_made_before_the_driver_runs_is_carried_out() {
    let script = Script::new(GRACE);
    script.shared.request(StopRequest::Kill);
    pass(Duration::from_secs(1)).await;
    assert_eq!(script.actions(), [(0, KILL), (0, Close)]);
}

#[tokio::test(start_paused = true)]
async fn an_endless_grace_waits_without_a_deadline() {
    let script = Script::new(Duration::MAX);
    script.shared.request(StopRequest::Stop);
    pass(1000 * HOUR).await;
    assert_eq!(script.actions(), [(0, Close)]);
    script.shared.request(StopRequest::Kill);
    pass(HOUR).await;
    assert_eq!(script.actions()[1..], [(3_600_000, KILL), (3_600_000, Close)]);
}

#[tokio::test(start_paused = true)]
async fn a_child_without_standard_error_lives_on() {
    let script = Script::with_noise(GRACE, std::future::ready(()));
    pass(HOUR).await;
    assert_eq!(script.actions(), []);
    assert_eq!(script.exit().await, [(3600, KILL), (3600, Close)]);
}

#[tokio::test(start_paused = true)]
async fn endless_noise_delays_neither_the_deadlines_nor_the_exit() {
    let noise = async {
        loop {
            tokio::task::yield_now().await;
        }
    };
    let script = Script::with_noise(Duration::ZERO, noise);
    script.shared.request(StopRequest::Stop);
    while script.actions().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(script.exit().await.len(), 4);
}
