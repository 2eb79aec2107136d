//! The driver: the tasks of all sessions, the queue for slots, and the reaper.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{error, info};

use crate::backend::Backend;
use crate::context::Context;
use crate::entry::Entry;
use crate::open::{self, OpenJob};
use crate::phase::{Phase, Report, stopping};
use crate::purpose::Purpose;
use crate::reason::StopReason;
use crate::shared::Shared;
use crate::single_flight::InFlight;
use crate::sweep::Sweep;
use crate::wake;

/// How often the queue is served without a notification: a session may have been idle for long
/// enough by now.
const QUEUE_INTERVAL: Duration = Duration::from_millis(50);

/// What the driver is asked to do.
pub(crate) enum Job<A, B, E> {
    Open(OpenJob<A, B, E>),
    Wake(InFlight<B, E>),
    Sweep(Sweep),
    /// To end a backend that was kept, unless it has gone to a session by its time.
    Expire(Weak<Entry<B>>),
}

/// Runs what the [`Registry`](crate::Registry) starts. The composing program spawns
/// [`run`](Self::run) and keeps its join handle.
pub struct Driver<A, B, E> {
    shared: Arc<Shared<B>>,
    context: Context<A, B, E>,
    jobs: mpsc::UnboundedReceiver<Job<A, B, E>>,
    /// One task per session with a backend, or about to have one; it says whether it had.
    sessions: JoinSet<bool>,
    /// What is done to the records in the background.
    background: JoinSet<Background>,
}

/// What a task in the background did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Background {
    Flushed,
    Swept,
    Expired,
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
    E: std::error::Error + Send + Sync + 'static,
{
    pub(crate) fn new(
        context: Context<A, B, E>,
        jobs: mpsc::UnboundedReceiver<Job<A, B, E>>,
    ) -> Self {
        let shared = Arc::clone(&context.shared);
        Self { shared, context, jobs, sessions: JoinSet::new(), background: JoinSet::new() }
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
            match job {
                Job::Sweep(sweep) => self.sweep(sweep),
                // The phase tells the waiting requests why.
                other => drop(other),
            }
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
        let mut next_look = Instant::now();
        let mut is_flushing = false;
        loop {
            let next = last_reaped + limits.borrow_and_update().reap_interval();
            let is_awaited = !self.shared.queue.is_empty();
            tokio::select! {
                job = self.jobs.recv() => match job {
                    Some(job) => self.take(job),
                    None => return Quit::NoHandleLeft,
                },
                Some(over) = self.sessions.join_next() => {
                    outcome(over);
                }
                Some(done) = self.background.join_next() => {
                    is_flushing &= outcome(done).is_some_and(|done| done != Background::Flushed);
                }
                () = self.shared.counts.notified() => self.serve_queue(),
                () = sleep_until(next_look), if is_awaited => {
                    self.serve_queue();
                    next_look = Instant::now() + QUEUE_INTERVAL;
                }
                () = sleep_until(next) => {
                    self.shared.reap();
                    self.shared.starts.forget_full();
                    self.context.failures.forget_old(&self.shared.limits());
                    last_reaped = Instant::now();
                    // A slow store is not asked a second time meanwhile.
                    if self.shared.writer.is_some() && !is_flushing {
                        is_flushing = true;
                        let shared = Arc::clone(&self.shared);
                        self.background.spawn(async move {
                            shared.flush().await;
                            Background::Flushed
                        });
                    }
                }
                // A shorter interval holds at once. The sender is in `shared` and stays.
                _ = limits.changed() => {}
                () = stopping(&mut phase) => return Quit::Stop,
            }
        }
    }

    fn take(&mut self, job: Job<A, B, E>) {
        match job {
            Job::Open(job) => {
                self.sessions.spawn(open::run(self.context.clone(), job));
            }
            Job::Wake(in_flight) => {
                self.sessions.spawn(wake::run(self.context.clone(), in_flight));
            }
            Job::Sweep(sweep) => self.sweep(sweep),
            Job::Expire(spare) => self.expire(spare),
        }
    }

    /// Ends a backend that was kept when it is time, which is shorter than the reaper's interval.
    fn expire(&mut self, spare: Weak<Entry<B>>) {
        let shared = Arc::clone(&self.shared);
        self.background.spawn(async move {
            let mut phase = shared.phase.subscribe();
            tokio::select! {
                () = sleep(shared.limits().spare) => {}
                () = stopping(&mut phase) => {}
            }
            if let Some(spare) = spare.upgrade() {
                let (limits, now) = (shared.limits(), Instant::now());
                let _ = shared.end_if(&spare, None, |activity| activity.due(&limits, now));
            }
            Background::Expired
        });
    }

    fn sweep(&mut self, sweep: Sweep) {
        let shared = Arc::clone(&self.shared);
        self.background.spawn(async move {
            shared.sweep(sweep).await;
            Background::Swept
        });
    }

    fn serve_queue(&self) {
        self.shared.queue.serve(|owner| self.shared.reserve(owner, Purpose::Call));
    }

    /// Waits for the sessions and then for the records, but not beyond the deadline, which may
    /// still come nearer.
    async fn wind_up(&mut self, quit: Quit) -> Report {
        let mut phase = self.shared.phase.subscribe();
        let mut report = Report::default();
        let mut was_flushed = false;
        loop {
            let deadline = match (&*phase.borrow_and_update(), &quit) {
                (Phase::Stopping { deadline }, Quit::Stop) => *deadline,
                // No handle is left that could name a deadline.
                _ => Instant::now() + Duration::from_secs(24 * 60 * 60),
            };
            tokio::select! {
                // Sessions that have ended are counted before the deadline is looked at.
                biased;
                Some(over) = self.sessions.join_next() => match outcome(over) {
                    Some(had_backend) => report.ended += usize::from(had_backend),
                    None => report.abandoned += 1,
                },
                Some(done) = self.background.join_next() => {
                    outcome(done);
                }
                // Only when both sets are empty: the times of last use are told once more.
                () = std::future::ready(()), if self.sessions.is_empty() && self.background.is_empty() => {
                    if was_flushed || self.shared.writer.is_none() {
                        return report;
                    }
                    was_flushed = true;
                    let shared = Arc::clone(&self.shared);
                    self.background.spawn(async move {
                        shared.flush().await;
                        Background::Flushed
                    });
                }
                _ = phase.changed() => {}
                () = sleep_until(deadline) => {
                    report.abandoned += self.sessions.len();
                    self.sessions.shutdown().await;
                    self.background.shutdown().await;
                    return report;
                }
            }
        }
    }
}

/// What a task said when it ran to its end; a panic is logged.
fn outcome<T>(over: Result<T, JoinError>) -> Option<T> {
    let failed = match over {
        Ok(said) => return Some(said),
        Err(failed) => failed,
    };
    if let Ok(panic) = failed.try_into_panic() {
        let message = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("(not a text)");
        error!(panic = message, "the task of a session panicked; its slot was given back");
    }
    None
}

impl<A, B, E> Drop for Driver<A, B, E> {
    fn drop(&mut self) {
        // Runs before the jobs and the tasks are dropped, so their openers see the phase.
        self.shared.openings.close();
        let abandoned = self.sessions.len();
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
        f.debug_struct("Driver").field("tasks", &self.sessions.len()).finish_non_exhaustive()
    }
}
