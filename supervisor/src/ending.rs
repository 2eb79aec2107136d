//! The order in which a child ends; the crate's documentation has the picture.
//!
//! Knows no process: it is given futures to wait on and a [`ChildControl`] to act with, so that tests can
//! script the child and pause the clock.

use std::{pin::pin, time::Duration};

use rustix::process::Signal;
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::child::StopRequest;

#[cfg(test)]
mod tests;

/// What can be done to a child.
pub(crate) trait ChildControl {
    /// Lets the child read end of file. May be called again.
    fn close_stdin(&self);
    /// Signals the whole group.
    fn signal(&self, signal: Signal);
}

/// How far the ending has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Stdin is closed; SIGTERM at the deadline. `None` is a deadline too far away to name.
    StdinClosed(Option<Instant>),
    /// SIGTERM was sent; SIGKILL at the deadline.
    Terminated(Option<Instant>),
    /// SIGKILL was sent; nothing is left but to wait.
    Killed,
}

impl Phase {
    const fn deadline(self) -> Option<Instant> {
        match self {
            Self::StdinClosed(deadline) | Self::Terminated(deadline) => deadline,
            Self::Running | Self::Killed => None,
        }
    }

    /// The least request that changes this phase.
    const fn awaited(self) -> StopRequest {
        match self {
            Self::Running => StopRequest::Stop,
            Self::StdinClosed(_) | Self::Terminated(_) | Self::Killed => StopRequest::Kill,
        }
    }
}

/// Waits for the child to exit, and carries out `requests` to stop it. Returns once `exited` has
/// resolved and the rest of the group has got SIGKILL. `alongside` is polled until then: what has to
/// be done for the child while it lives.
pub(crate) async fn run_shutdown(
    exited: impl Future<Output = ()>,
    alongside: impl Future<Output = ()>,
    mut requests: watch::Receiver<StopRequest>,
    control: &impl ChildControl,
    grace: Duration,
) {
    let (mut exited, mut alongside) = (pin!(exited), pin!(alongside));
    let mut alongside_is_done = false;
    let mut phase = Phase::Running;
    loop {
        let (deadline, awaited) = (phase.deadline(), phase.awaited());
        select! {
            // In this order, so that a flood on standard error delays nothing.
            biased;
            () = &mut exited => break,
            // An error means that no handle is left; then this branch is off.
            Ok(request) = wait(&mut requests, awaited), if phase != Phase::Killed => {
                phase = match request {
                    StopRequest::Kill => kill(control),
                    StopRequest::Stop if grace.is_zero() => kill(control),
                    StopRequest::Stop | StopRequest::None => {
                        control.close_stdin();
                        Phase::StdinClosed(Instant::now().checked_add(grace))
                    }
                };
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                phase = if matches!(phase, Phase::StdinClosed(_)) {
                    control.signal(Signal::TERM);
                    Phase::Terminated(Instant::now().checked_add(grace))
                } else {
                    kill(control)
                };
            }
            () = &mut alongside, if !alongside_is_done => alongside_is_done = true,
        }
    }
    // The leader is gone; processes that it left in the group would hold the pipes open.
    kill(control);
}

async fn wait(
    requests: &mut watch::Receiver<StopRequest>,
    least: StopRequest,
) -> Result<StopRequest, watch::error::RecvError> {
    requests.wait_for(|request| *request >= least).await.map(|request| *request)
}

fn kill(control: &impl ChildControl) -> Phase {
    // The signal first: at end of file the child would get a head start and might exit by itself.
    control.signal(Signal::KILL);
    control.close_stdin();
    Phase::Killed
}
