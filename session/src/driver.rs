//! The driver: the tasks of all sessions, and the reaper.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info};

use crate::life::{Job, live};
use crate::shared::{Phase, Shared, stopping};
use crate::{Backend, Spawn, StopReason};

/// What became of the sessions when the registry stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Sessions whose backend has released everything.
    pub ended: usize,
    /// Sessions given up at the deadline (or lost to a panic): their backends were asked to stop
    /// and were then dropped, if they had come into being at all.
    pub abandoned: usize,
}

/// Runs what the [`Registry`](crate::Registry) starts. Whoever composes the program spawns
/// [`run`](Self::run) and keeps its join handle.
pub struct Driver<A, B, E> {
    shared: Arc<Shared<B>>,
    spawn: Arc<dyn Spawn<A, B, E>>,
    jobs: mpsc::UnboundedReceiver<Job<A, B, E>>,
    lives: JoinSet<()>,
}

/// Why the driver leaves its main loop.
enum Quit {
    Stop,
    NoHandleLeft,
}

impl<A, B, E> Driver<A, B, E>
where
    A: Send + 'static,
    B: Backend,
    E: std::error::Error + Send + 'static,
{
    pub(crate) fn new(
        shared: Arc<Shared<B>>,
        spawn: Arc<dyn Spawn<A, B, E>>,
        jobs: mpsc::UnboundedReceiver<Job<A, B, E>>,
    ) -> Self {
        Self { shared, spawn, jobs, lives: JoinSet::new() }
    }

    /// Runs until [`Registry::stop`](crate::Registry::stop) has done its work, or until every
    /// handle of the registry is gone and then every session.
    ///
    /// # Cancel safety
    /// Dropping the future drops every session at once without waiting for any backend: a
    /// backstop, not a way to stop. Opens under way are answered with `Gone`.
    pub async fn run(mut self) {
        let quit = self.serve().await;
        self.jobs.close();
        while let Ok(job) = self.jobs.try_recv() {
            drop(job); // The phase tells its opener why.
        }
        // From here on nothing enters the table, so what stands there now is all there is.
        self.shared.openings.close();
        self.shared.end_all(StopReason::Shutdown, |_| true);
        let report = self.wind_up(quit).await;
        info!(ended = report.ended, abandoned = report.abandoned, "sessions stopped");
        self.shared.phase.send_replace(Phase::Gone(report));
    }

    async fn serve(&mut self) -> Quit {
        let mut phase = self.shared.phase.subscribe();
        let mut limits = self.shared.watch_limits();
        let mut last_reaped = Instant::now();
        loop {
            let next = last_reaped + limits.borrow_and_update().reap_interval();
            tokio::select! {
                job = self.jobs.recv() => match job {
                    Some(job) => {
                        let (shared, spawn) = (Arc::clone(&self.shared), Arc::clone(&self.spawn));
                        self.lives.spawn(live(shared, spawn, job));
                    }
                    None => return Quit::NoHandleLeft,
                },
                Some(over) = self.lives.join_next() => {
                    is_orderly(over);
                }
                () = sleep_until(next) => {
                    self.shared.reap();
                    last_reaped = Instant::now();
                }
                // A shorter interval holds at once. The sender is in `shared` and stays.
                _ = limits.changed() => {}
                () = stopping(&mut phase) => return Quit::Stop,
            }
        }
    }

    /// Waits for the sessions, but not beyond the deadline, which may still come nearer.
    async fn wind_up(&mut self, quit: Quit) -> Report {
        let mut phase = self.shared.phase.subscribe();
        let mut report = Report::default();
        loop {
            let deadline = match (&*phase.borrow_and_update(), &quit) {
                (Phase::Stopping { deadline }, Quit::Stop) => *deadline,
                // Nobody is left to name a deadline.
                _ => Instant::now() + Duration::from_secs(24 * 60 * 60),
            };
            tokio::select! {
                // Sessions that have ended are counted before the deadline is looked at.
                biased;
                over = self.lives.join_next() => match over {
                    Some(over) => match is_orderly(over) {
                        true => report.ended += 1,
                        false => report.abandoned += 1,
                    },
                    None => return report,
                },
                _ = phase.changed() => {}
                () = sleep_until(deadline) => {
                    report.abandoned += self.lives.len();
                    self.lives.shutdown().await;
                    return report;
                }
            }
        }
    }
}

/// Whether a session's task ran to its end; a panic is logged.
fn is_orderly(over: Result<(), JoinError>) -> bool {
    let Err(failed) = over else { return true };
    if let Ok(panic) = failed.try_into_panic() {
        let message = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("(not a text)");
        error!(panic = message, "the task of a session panicked; its place was given back");
    }
    false
}

impl<A, B, E> Drop for Driver<A, B, E> {
    fn drop(&mut self) {
        // Runs before the jobs and the tasks are dropped, so their openers see the phase.
        self.shared.openings.close();
        let abandoned = self.lives.len();
        self.shared.phase.send_if_modified(|phase| {
            let early = !matches!(phase, Phase::Gone(_));
            if early {
                *phase = Phase::Gone(Report { ended: 0, abandoned });
            }
            early
        });
    }
}

impl<A, B, E> fmt::Debug for Driver<A, B, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("tasks", &self.lives.len()).finish_non_exhaustive()
    }
}
