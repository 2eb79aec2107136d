//! The one connection that writes, and the queue before it.
//!
//! Each job is a transaction of its own in a task of its own: a caller who leaves does not stop a
//! transaction half way, and a job that panics costs itself and the connection, which is rolled
//! back and opened anew, but not the writer.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use auth::{BoxFuture, oauth::StoreError};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::row::{Db, Result};

/// Why a change was not even tried.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// More changes wait than the limit allows.
    #[error("too many changes are waiting for the database")]
    Crowded,
    /// It waited longer than a caller waits.
    #[error("the database was busy with other changes for {0:?}")]
    Late(Duration),
    /// [`Writer::close`] was called.
    #[error("the store is closed")]
    Closed,
    /// The job went down, and the transaction with it.
    #[error("the change was given up")]
    Lost,
}

/// What a job does inside its transaction.
pub(super) trait Work<T>:
    for<'c> FnOnce(&'c mut Db) -> BoxFuture<'c, Result<T>> + Send + 'static
{
}

impl<T, W> Work<T> for W where
    W: for<'c> FnOnce(&'c mut Db) -> BoxFuture<'c, Result<T>> + Send + 'static
{
}

/// Hands jobs to the connection that writes.
pub(super) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    patience: Duration,
    closing: CancellationToken,
    proven: Arc<Proven>,
    /// The driver and nothing else. Dropping the writer aborts it.
    driver: Mutex<JoinSet<()>>,
}

impl Writer {
    /// Starts the driver over `connection`, which it opens anew with `options` when it fails.
    pub(super) fn start(
        connection: SqliteConnection,
        options: SqliteConnectOptions,
        max_waiting: usize,
        patience: Duration,
    ) -> Self {
        let (jobs, waiting) = mpsc::channel(max_waiting.max(1));
        let closing = CancellationToken::new();
        let proven = Arc::new(Proven::default());
        let run = Driver {
            connection: Some(connection),
            options,
            waiting,
            closing: closing.clone(),
            proven: Arc::clone(&proven),
        };
        let mut driver = JoinSet::new();
        driver.spawn(run.drive());
        Self { jobs, patience, closing, proven, driver: Mutex::new(driver) }
    }

    /// Whether the last change succeeded, and not longer ago than a caller waits.
    pub(super) fn is_proven(&self) -> bool {
        self.proven.within(self.patience) && !self.closing.is_cancelled()
    }

    /// Runs `work` in a transaction and commits it.
    ///
    /// # Cancel safety
    ///
    /// A job that has not begun is skipped when its caller left; one that has begun is finished.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Work<T>,
    ) -> std::result::Result<T, StoreError> {
        self.queue(work, true).await
    }

    /// Runs `work`, which changes nothing, when the writer has the database for itself. Its success
    /// does not prove that a change would succeed: nothing goes to the disk.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        work: impl Work<T>,
    ) -> std::result::Result<T, StoreError> {
        self.queue(work, false).await
    }

    async fn queue<T: Send + 'static>(
        &self,
        work: impl Work<T>,
        proves: bool,
    ) -> std::result::Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Task { work, reply, begun: Instant::now(), patience: self.patience, proves };
        // Full: refused rather than waited for, since whoever waits already fills the time that
        // clients wait.
        self.jobs.try_send(Box::new(job)).map_err(|error| {
            StoreError::new(match error {
                mpsc::error::TrySendError::Full(_) => Refused::Crowded,
                mpsc::error::TrySendError::Closed(_) => Refused::Closed,
            })
        })?;
        answer.await.unwrap_or_else(|_| Err(StoreError::new(Refused::Lost)))
    }

    /// Takes no more jobs, does those that wait, and closes the connection.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        let mut driver =
            std::mem::take(&mut *self.driver.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(Err(panic)) = driver.join_next().await {
            error!(error = %panic, "the writer of the store went down");
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.jobs.max_capacity() - self.jobs.capacity();
        f.debug_struct("Writer").field("waiting", &waiting).finish_non_exhaustive()
    }
}

/// When the last change succeeded; `None` when it failed, or there was none.
#[derive(Default)]
struct Proven(Mutex<Option<Instant>>);

impl Proven {
    fn note(&self, good: bool) {
        let now = good.then(Instant::now);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    fn within(&self, span: Duration) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|at| at.elapsed() < span)
    }
}

struct Driver {
    connection: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    waiting: mpsc::Receiver<Box<dyn Job>>,
    closing: CancellationToken,
    proven: Arc<Proven>,
}

impl Driver {
    /// Does jobs one after another, until the writer is closed and none waits any more.
    async fn drive(mut self) {
        loop {
            let job = tokio::select! {
                job = self.waiting.recv() => job,
                () = self.closing.cancelled(), if !self.waiting.is_closed() => {
                    self.waiting.close();
                    continue;
                }
            };
            let Some(job) = job else { break };
            let Some(job) = job.still_wanted() else { continue };
            self.connection = self.attempt(job).await;
        }
        if let Some(connection) = self.connection
            && let Err(error) = connection.close().await
        {
            warn!(%error, "the store did not close cleanly; nothing is lost by that");
        }
    }

    /// Does one job, and returns the connection if it succeeded. After any error the connection is
    /// opened anew: what is wrong may be wrong with it, and errors are rare.
    async fn attempt(&mut self, job: Box<dyn Job>) -> Option<SqliteConnection> {
        let connection = self.connection.take();
        let (options, proven) = (self.options.clone(), Arc::clone(&self.proven));
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connection = match connection {
                Some(connection) => connection,
                None => match options.connect().await {
                    Ok(connection) => connection,
                    Err(error) => {
                        job.fail(error, &proven);
                        return None;
                    }
                },
            };
            job.run(&mut connection, &proven).await.then_some(connection)
        });
        match running.join_next().await? {
            Ok(connection) => connection,
            Err(panic) => {
                self.proven.note(false);
                error!(error = %panic, "a change of the store went down");
                None
            }
        }
    }
}

/// A transaction whose result the driver need not know.
trait Job: Send {
    /// The job, unless its caller waits for it no more or it is too late.
    fn still_wanted(self: Box<Self>) -> Option<Box<dyn Job>>;
    /// Runs it, and says whether it succeeded.
    fn run<'c>(
        self: Box<Self>,
        connection: &'c mut SqliteConnection,
        proven: &'c Proven,
    ) -> BoxFuture<'c, bool>;
    /// There is no connection.
    fn fail(self: Box<Self>, error: sqlx::Error, proven: &Proven);
}

struct Task<T, W> {
    work: W,
    reply: oneshot::Sender<std::result::Result<T, StoreError>>,
    begun: Instant,
    patience: Duration,
    /// Whether its success shows that changes succeed.
    proves: bool,
}

impl<T: Send + 'static, W: Work<T>> Job for Task<T, W> {
    fn still_wanted(self: Box<Self>) -> Option<Box<dyn Job>> {
        if self.reply.is_closed() {
            return None;
        }
        if self.begun.elapsed() >= self.patience {
            let _ = self.reply.send(Err(StoreError::new(Refused::Late(self.patience))));
            return None;
        }
        Some(self)
    }

    fn run<'c>(
        self: Box<Self>,
        connection: &'c mut SqliteConnection,
        proven: &'c Proven,
    ) -> BoxFuture<'c, bool> {
        Box::pin(async move {
            let outcome = transact(connection, self.work).await;
            let good = outcome.is_ok();
            // Before the answer: who hears of a failure and asks, is told of it.
            if self.proves || !good {
                proven.note(good);
            }
            let _ = self.reply.send(outcome.map_err(StoreError::new));
            good
        })
    }

    fn fail(self: Box<Self>, error: sqlx::Error, proven: &Proven) {
        proven.note(false);
        let _ = self.reply.send(Err(StoreError::new(error)));
    }
}

async fn transact<T>(connection: &mut SqliteConnection, work: impl Work<T>) -> Result<T> {
    // The lock is taken before anything is read: a transaction that began by reading could find
    // the database changed when it wants to write, and would have to start over.
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let outcome = work(&mut transaction).await?;
    transaction.commit().await?;
    Ok(outcome)
}

#[cfg(test)]
mod tests;
