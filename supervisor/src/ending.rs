//! The order in which a child ends; the crate's documentation has the picture.
//!
//! Knows no process: it is given futures to wait on and [`Hands`] to act with, so that tests can
//! script the child and pause the clock.

use std::{pin::pin, time::Duration};

use rustix::process::Signal;
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::child::Ask;

#[cfg(test)]
mod tests;

/// What can be done to a child.
pub(crate) trait Hands {
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
    Asked(Option<Instant>),
    /// SIGTERM was sent; SIGKILL at the deadline.
    Told(Option<Instant>),
    /// SIGKILL was sent; nothing is left but to wait.
    Killed,
}

impl Phase {
    const fn deadline(self) -> Option<Instant> {
        match self {
            Self::Asked(deadline) | Self::Told(deadline) => deadline,
            Self::Running | Self::Killed => None,
        }
    }

    /// The request that would change this phase: more than what was asked so far.
    const fn awaits(self) -> Ask {
        match self {
            Self::Running => Ask::Stop,
            Self::Asked(_) | Self::Told(_) | Self::Killed => Ask::Kill,
        }
    }
}

/// Sees a child out: returns once `exited` has resolved and the rest of the group has got SIGKILL.
/// `besides` is polled all the time: what has to be done for the child while it lives.
pub(crate) async fn see_out(
    exited: impl Future<Output = ()>,
    besides: impl Future<Output = ()>,
    mut asks: watch::Receiver<Ask>,
    hands: &impl Hands,
    grace: Duration,
) {
    let (mut exited, mut besides) = (pin!(exited), pin!(besides));
    let mut idle = false;
    let mut phase = Phase::Running;
    loop {
        let (deadline, awaited) = (phase.deadline(), phase.awaits());
        select! {
            // In this order, so that a flood on standard error delays nothing.
            biased;
            () = &mut exited => break,
            // An error means that nobody is left to ask, and then this is pending for ever.
            Ok(ask) = wait(&mut asks, awaited), if phase != Phase::Killed => {
                phase = match ask {
                    Ask::Kill => kill(hands),
                    Ask::Stop if grace.is_zero() => kill(hands),
                    Ask::Stop | Ask::Nothing => {
                        hands.close_stdin();
                        Phase::Asked(Instant::now().checked_add(grace))
                    }
                };
            }
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                phase = if matches!(phase, Phase::Asked(_)) {
                    hands.signal(Signal::TERM);
                    Phase::Told(Instant::now().checked_add(grace))
                } else {
                    kill(hands)
                };
            }
            () = &mut besides, if !idle => idle = true,
        }
    }
    // The leader is gone; whoever it left behind in the group would hold the pipes open.
    kill(hands);
}

async fn wait(asks: &mut watch::Receiver<Ask>, least: Ask) -> Result<Ask, watch::error::RecvError> {
    asks.wait_for(|ask| *ask >= least).await.map(|ask| *ask)
}

fn kill(hands: &impl Hands) -> Phase {
    // The signal first: at end of file the child would get a head start and might leave in peace.
    hands.signal(Signal::KILL);
    hands.close_stdin();
    Phase::Killed
}
