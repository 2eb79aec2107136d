//! Starting a child, and the task that lives beside it.

use std::{net::TcpListener, sync::Arc, time::Duration};

use rustix::process::Signal;
use tokio::{
    process::{ChildStderr, ChildStdin, ChildStdout},
    sync::watch,
};
use tracing::{debug, info};

use crate::{
    child::{Child, Shared},
    ending::{ChildControl, run_shutdown},
    error::SpawnError,
    exit::Exit,
    launch,
    leader::Leader,
    reload::Reload,
    spawner::{self, Fresh},
    spec::Spec,
    stderr::Stderr,
    stdin::{self, Closer, Stdin},
    stdout::Stdout,
    watch::Watch,
};

/// A child that has started.
#[derive(Debug)]
pub struct Started {
    /// The handle, to ask and to wait.
    pub child: Child,
    /// What the child reads.
    pub stdin: Stdin,
    /// What the child writes.
    pub stdout: Stdout,
    /// Where connections of the child come, with [`Network::Listener`](crate::Network::Listener). It
    /// does not block.
    pub listener: Option<TcpListener>,
    /// Must be run, or the child can neither be stopped nor reaped. Dropping it kills the child.
    pub driver: Driver,
}

/// Starts a child. Must be called in a tokio runtime with IO and time enabled.
///
/// # Errors
/// See [`SpawnError`]; no process is left behind.
///
/// # Cancel safety
/// Dropping the future kills and reaps what may have been started.
pub async fn start(spec: Spec) -> Result<Started, SpawnError> {
    let limits = spec.limits;
    let program = spec.program.clone();
    let Fresh { leader, stdin, stdout, stderr, pidfd, report } = spawner::spawn(spec).await?;
    // From here on `leader` owns the child: each `?` below kills and reaps it.
    let mut listener = None;
    if let Some(report) = report {
        let said = launch::report::receive(report).await.map_err(SpawnError::from_system)?;
        if let Some(failure) = said.failure {
            return Err(SpawnError::from_launch(program, &failure));
        }
        listener = said.listener.map(TcpListener::from);
    }
    let number = match leader.keeper() {
        Some(keeper) => launch::start::child_of(leader.number(), keeper),
        None => leader.number(),
    };
    let watch = Watch::new(pidfd).map_err(SpawnError::from_system)?;
    let stdin = ChildStdin::from_std(stdin).map_err(SpawnError::from_system)?;
    let stdout = ChildStdout::from_std(stdout).map_err(SpawnError::from_system)?;
    let stderr = ChildStderr::from_std(stderr).map_err(SpawnError::from_system)?;

    let shared = Shared::new(number, limits.stderr_ring_bytes);
    let (stdin, closer) = stdin::split(stdin);
    let child = Child::new(Arc::clone(&shared), leader.subscribe());
    let stdout = Stdout::new(stdout, leader.subscribe());
    let stderr = Stderr::new(stderr, Arc::clone(&shared), child.pid(), limits);
    info!(pid = child.pid(), "child started");
    let driver = Driver { leader, closer, watch, stderr, shared, grace: limits.stop_grace };
    Ok(Started { child, stdin, stdout, listener, driver })
}

/// The work that a child needs: drain its standard error, carry out requests, reap it.
///
/// Dropping it, before or while it runs, sends SIGKILL to the group; a thread of its own then reaps
/// the child, and [`Child::ended`] resolves as always. That is the backstop, not the way to stop.
#[derive(Debug)]
pub struct Driver {
    // First, so that dropping kills before it closes any pipe.
    leader: Leader,
    closer: Closer,
    watch: Watch,
    stderr: Stderr,
    shared: Arc<Shared>,
    grace: Duration,
}

impl Driver {
    /// Runs until the child has ended and been reaped, and says how.
    ///
    /// # Cancel safety
    /// Dropping the future kills the child, as dropping the driver does.
    pub async fn run(self) -> Exit {
        let Self { mut leader, closer, mut watch, mut stderr, shared, grace } = self;
        let control = Group { leader: &leader, closer: &closer };
        let requests = shared.stop_requests();
        let alongside = async {
            tokio::join!(stderr.drain(), reload(&leader, shared.reloads()));
        };
        run_shutdown(watch.exited(&leader), alongside, requests, &control, grace).await;

        let exit = leader.reap();
        stderr.finish();
        info!(pid = shared.pid(), %exit, "child ended");
        leader.publish(exit);
        exit
    }
}

/// Passes on the signals that are requested.
async fn reload(leader: &Leader, mut requested: watch::Receiver<Option<Reload>>) {
    // One may have been requested before this was first polled.
    requested.mark_changed();
    // An error means that no handle is left.
    while requested.changed().await.is_ok() {
        let signal = *requested.borrow_and_update();
        if let Some(signal) = signal {
            debug!(pid = leader.number(), %signal, "signalling the child to reload");
            leader.signal(signal.signal());
        }
    }
}

/// The real group, for the sequence of the ending.
struct Group<'a> {
    leader: &'a Leader,
    closer: &'a Closer,
}

impl ChildControl for Group<'_> {
    fn close_stdin(&self) {
        self.closer.close();
    }

    fn signal(&self, signal: Signal) {
        debug!(pid = self.leader.number(), ?signal, "signalling the group");
        self.leader.signal_group(signal);
    }
}
