//! Starting a fixture, and looking at processes.

use std::{ffi::OsString, os::fd::OwnedFd, sync::Arc, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};
use supervisor::{Child, Environment, Exit, Limits, Spec, Started, Stdin, Stdout, start};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    select,
    task::JoinSet,
    time::{Instant, sleep},
};

pub(crate) const BROOD: &str = env!("CARGO_BIN_EXE_child-brood");
pub(crate) const DEAF: &str = env!("CARGO_BIN_EXE_child-deaf");
pub(crate) const ECHO: &str = env!("CARGO_BIN_EXE_child-echo");
pub(crate) const ESCAPE: &str = env!("CARGO_BIN_EXE_child-escape");
pub(crate) const EXIT: &str = env!("CARGO_BIN_EXE_child-exit");
pub(crate) const FLOOD: &str = env!("CARGO_BIN_EXE_child-flood");
pub(crate) const GREEDY: &str = env!("CARGO_BIN_EXE_child-greedy");
pub(crate) const MIRROR: &str = env!("CARGO_BIN_EXE_child-mirror");
pub(crate) const MUTE: &str = env!("CARGO_BIN_EXE_child-mute");
pub(crate) const PARENT: &str = env!("CARGO_BIN_EXE_child-parent");
pub(crate) const REACH: &str = env!("CARGO_BIN_EXE_child-reach");
pub(crate) const RUNAWAY: &str = env!("CARGO_BIN_EXE_child-runaway");

/// Far longer than anything here takes on a busy machine, so that a hang fails instead of hanging.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(40);

/// A grace that no test waits for.
pub(crate) const LONG: Duration = Duration::from_secs(300);

/// Within this, all that a killed program has started is gone.
pub(crate) const TWO_SECONDS: Duration = Duration::from_secs(2);

/// A grace that a test can sit out.
pub(crate) const SHORT: Duration = Duration::from_millis(100);

/// A child whose driver runs.
pub(crate) struct Harness {
    pub(crate) child: Child,
    pub(crate) stdin: Stdin,
    pub(crate) stdout: BufReader<Stdout>,
    /// Dropping it drops the driver.
    pub(crate) driver: JoinSet<Exit>,
}

pub(crate) fn spec(program: &str, args: &[&str]) -> Spec {
    Spec {
        program: program.into(),
        args: args.iter().map(OsString::from).collect(),
        env: Environment::default(),
        cwd: None,
        containment: None,
        isolation: supervisor::Isolation::default(),
        new_privs: false,
        limits: Limits { stop_grace: LONG, ..Limits::default() },
    }
}

pub(crate) async fn run(program: &str, args: &[&str]) -> Harness {
    run_spec(spec(program, args)).await
}

pub(crate) async fn run_with_grace(program: &str, args: &[&str], stop_grace: Duration) -> Harness {
    let limits = Limits { stop_grace, ..Limits::default() };
    run_spec(Spec { limits, ..spec(program, args) }).await
}

pub(crate) async fn run_spec(spec: Spec) -> Harness {
    Harness::of(soon(start(spec)).await.expect("a start"))
}

impl Harness {
    pub(crate) fn of(started: Started) -> Self {
        let Started { child, stdin, stdout, driver, .. } = started;
        let mut tasks = JoinSet::new();
        tasks.spawn(driver.run());
        Self { child, stdin, stdout: BufReader::new(stdout), driver: tasks }
    }

    /// The next line the child says, without its end; empty at end of file.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        soon(self.stdout.read_line(&mut line)).await.expect("readable");
        line.trim_end().to_owned()
    }

    /// Everything the child says until end of file.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = String::new();
        soon(self.stdout.read_to_string(&mut rest)).await.expect("readable");
        rest
    }

    pub(crate) async fn ended(&self) -> Exit {
        soon(self.child.ended()).await
    }
}

/// Fails when `future` takes unreasonably long, also when it is ready by then but was not woken.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    select! {
        biased;
        () = sleep(TIMEOUT) => panic!("this should not take long"),
        output = future => output,
    }
}

/// The time for which a test looks for something. On a busy machine it passes more slowly: what is looked for
/// gets no more turns there than this process, of whose pauses little is counted.
pub(crate) struct Turns {
    looked: Instant,
    counted: Duration,
}

impl Turns {
    pub(crate) fn begin() -> Self {
        Self { looked: Instant::now(), counted: Duration::ZERO }
    }

    /// To be called at every look.
    pub(crate) fn count(&mut self) -> Duration {
        let now = Instant::now();
        self.counted += (now - self.looked).min(Duration::from_millis(10));
        self.looked = now;
        self.counted
    }
}

/// A process that is no child of the test, held so that its number cannot pass to another.
pub(crate) struct OtherProcess {
    pid: Pid,
    pidfd: Arc<OwnedFd>,
}

impl OtherProcess {
    /// Must be called while the process is known to be there.
    pub(crate) fn new(pid: &str) -> Self {
        let pid = Pid::from_raw(pid.parse().expect("a number")).expect("not zero");
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("a living process");
        Self { pid, pidfd: Arc::new(pidfd) }
    }

    pub(crate) async fn is_gone(&self) {
        let pidfd = Arc::clone(&self.pidfd);
        let gone = tokio::task::spawn_blocking(move || exits_within(&pidfd, TIMEOUT));
        assert!(gone.await.expect("no panic"), "process {:?} is still there", self.pid);
    }

    pub(crate) fn lives(&self) -> bool {
        !exits_within(&self.pidfd, Duration::ZERO)
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("a living process");
    }
}

fn exits_within(pidfd: &OwnedFd, span: Duration) -> bool {
    let span = Timespec::try_from(span).expect("a short span");
    let mut wanted = [PollFd::new(pidfd, PollFlags::IN)];
    poll(&mut wanted, Some(&span)).expect("pollable") > 0
}
