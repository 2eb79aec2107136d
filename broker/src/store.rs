//! Durable state, in SQLite: what the authorization server, the vault and the local accounts keep, the
//! static tokens, and the records from which sessions are woken.
//!
//! ```text
//!  AuthStore · CredentialStore · Accounts · StaticTokenStore · Records
//!        │ changes                      │ look-ups
//!        ▼                              ▼
//!  Writer: a queue before one       a few connections
//!  connection, BEGIN IMMEDIATE      that only read
//!        └──────────► broker.db ◄───────┘ ◄── other processes: the command line
//! ```
//!
//! # What holds
//!
//! - Every method of the traits is one transaction, or one statement. A change is on the disk before
//!   it returns (`synchronous = FULL` on the write-ahead log).
//! - A caller who leaves stops nothing half way: a change that has not begun is not made, one that
//!   has begun is finished.
//! - Several processes may have the file open. Changes wait for each other, up to
//!   [`Limits::patience`]; only then [`StoreError`] says so.
//! - Nothing fails for good: after an error the connection is opened anew for the next change.
//! - Tokens, codes, cookies, links and session ids are kept as SHA-256, passwords as argon2id,
//!   upstream credentials sealed. What a session was opened with is kept as it was said: it is no
//!   secret. Files have mode 0600. The keys are in files beside the database
//!   ([`Keys`]), so that a copy of the database alone opens nothing.
//!
//! # Retention
//!
//! `sweep` bounds every table but six: accounts, static tokens and blocks go when an operator removes
//! them, a login that a rule names has one row, and
//! credentials when they are removed, or their account is, so there is at most one per user and provider. Records of sessions are
//! bounded by who makes them: [`session::Registry`] removes each one when its session ends for good,
//! and keeps no more than [`session::Limits::max_records`]. They also go with their account. Beyond
//! what [`AuthStore::sweep`](auth::oauth::AuthStore::sweep) demands,
//!
//! - an approval is remembered for 400 days after it was last used, and at most 200 of one user;
//! - a removed credential leaves its version for a day, so that versions do not start over while a
//!   renewal may hold one.
//!
//! # PostgreSQL
//!
//! The statements are those of both: `$1`, `ON CONFLICT`, `RETURNING`, row values. What would
//! differ: types in the migration (`BYTEA`, `BIGINT`; no `STRICT`, no `WITHOUT ROWID`), `COLLATE
//! "C"` on the text keys that listings walk, the version of the schema in a table instead of
//! `user_version`, and the isolation: here writers queue for one lock, there the same transactions
//! need `SERIALIZABLE` and a retry.

use std::path::{Path, PathBuf};

use auth::{TokenHash, TokenRecord, UnixTime, oauth::StoreError};
use sqlx::{Sqlite, SqlitePool, pool::PoolConnection, sqlite::SqlitePoolOptions};
use tokio_util::task::TaskTracker;

mod accounts;
mod browsers;
mod clients;
mod codes;
mod consents;
mod credentials;
mod files;
mod grants;
mod keys;
mod limits;
mod lock;
mod open;
mod people;
mod request;
mod row;
mod schema;
mod sessions;
mod sign_ins;
mod static_tokens;
mod sweep;
mod tokens;
mod traits;
mod writer;

pub use keys::{Keys, KeysError};
pub use limits::Limits;
pub use lock::{DataLock, LockError};
pub(crate) use lock::{FileLock, NotLocked};
pub use open::OpenError;
pub use static_tokens::TokenImport;

use limits::MIN_PATIENCE;
use writer::{Refused, Work, Writer};

/// The name of the database in the data directory.
const FILE: &str = "broker.db";

/// The database that is open is not the one in the data directory.
#[derive(Debug, thiserror::Error)]
#[error("the database file was removed or replaced while the broker runs")]
struct Replaced;

/// The store in one data directory.
///
/// It implements [`AuthStore`](auth::oauth::AuthStore),
/// [`CredentialStore`](auth::upstream::CredentialStore), [`Accounts`](auth::local::Accounts),
/// [`StaticTokenStore`](auth::StaticTokenStore) and [`session::Records`].
/// Share it in an `Arc`. Dropping it gives up the changes that wait and rolls back the one under
/// way; [`close`](Self::close) does not.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// Which file the connections have open.
    file: (u64, u64),
    writer: Writer,
    readers: SqlitePool,
    /// Connections for readers that are being opened.
    opening: TaskTracker,
}

impl Store {
    /// Opens the database in `data_dir`, or makes it: the directory with mode 0700, the file with
    /// mode 0600. A schema of an earlier version is brought up to date.
    ///
    /// Must be called in a tokio runtime with time, which the store's tasks run on.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; nothing was changed then, except that directory and file may be there now.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the schema migrated or not.
    pub async fn open(data_dir: &Path) -> Result<Self, OpenError> {
        Self::open_with(data_dir, &Limits::default()).await
    }

    /// [`open`](Self::open) with other limits.
    ///
    /// # Errors
    ///
    /// As `open`.
    pub async fn open_with(data_dir: &Path, limits: &Limits) -> Result<Self, OpenError> {
        let path = data_dir.join(FILE);
        let limits = &Limits { patience: limits.patience.max(MIN_PATIENCE), ..limits.clone() };
        let (connection, options) = open::open(&path, limits).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(limits.readers.max(1))
            .acquire_timeout(limits.patience)
            // A connection to a file does not go stale.
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_lazy_with(open::reading(&path, limits));
        let file = files::identity(&path)
            .map_err(|source| OpenError::File { path: path.clone(), source })?;
        let writer = Writer::start(connection, options, limits.max_waiting, limits.patience);
        Ok(Self { path, file, writer, readers, opening: TaskTracker::new() })
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the store answers and takes changes: for a load balancer to ask. It looks something
    /// up, and makes a small change unless one succeeded within [`Limits::patience`], so asking
    /// often costs little, and a locked database or a full disk is noticed about that late.
    ///
    /// # Errors
    ///
    /// [`StoreError`] says what stands in the way. When the file was removed or another one was put
    /// in its place, only a restart helps: changes go to a file that has no name any more.
    pub async fn ready(&self) -> Result<(), StoreError> {
        if files::identity(&self.path).ok() != Some(self.file) {
            return Err(StoreError::new(Replaced));
        }
        self.read(|db| Box::pin(schema::look(db))).await?;
        if self.writer.is_proven() {
            // Another process may have taken the database since.
            return self.writer.look(|db| Box::pin(schema::look(db))).await.map(drop);
        }
        self.write(|db| Box::pin(schema::fill_probe(db))).await?;
        self.write(|db| Box::pin(schema::empty_probe(db))).await
    }

    /// Says that no session is awake, which holds when a broker starts: the one before may have had
    /// no time to say so.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when that cannot be stored.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves it said or not.
    pub async fn put_sessions_to_rest(&self) -> Result<(), StoreError> {
        self.write(|db| Box::pin(sessions::put_to_rest(db))).await
    }

    /// Takes over the static tokens of a file, once for a store: all of `records` or none. `file` is the
    /// SHA-256 of the file.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store did not answer, and nothing was changed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves them taken over or not.
    pub async fn import_static_tokens(
        &self,
        records: Vec<TokenRecord>,
        file: TokenHash,
        now: UnixTime,
    ) -> Result<TokenImport, StoreError> {
        self.write(move |db| {
            Box::pin(async move { static_tokens::import(db, &records, &file, now).await })
        })
        .await
    }

    /// Does the changes that wait, takes no more, and closes every connection, which also empties
    /// the write-ahead log when no other process has the file open.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the changes that still wait, as dropping the store does.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Runs a look-up.
    async fn read<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, StoreError> {
        let mut connection = self.reader().await?;
        work(&mut connection).await.map_err(StoreError::new)
    }

    /// A connection for a look-up. One that is being opened is opened to its end, also when who wanted
    /// it has left: given up half-way it would outlive [`close`](Self::close), and the log with it.
    async fn reader(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        if let Some(connection) = self.readers.try_acquire() {
            return Ok(connection);
        }
        let readers = self.readers.clone();
        let opened = self.opening.spawn(async move { readers.acquire().await });
        let opened = opened.await.map_err(|_| StoreError::new(Refused::Lost))?;
        opened.map_err(StoreError::new)
    }

    /// Runs a change.
    async fn write<T: Send + 'static>(&self, work: impl Work<T>) -> Result<T, StoreError> {
        self.writer.run(work).await
    }
}
