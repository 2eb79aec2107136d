//! Opening the database file.

use std::{
    io,
    path::{Path, PathBuf},
};

use sqlx::{
    ConnectOptions, Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};
use tokio::time::{Duration, Instant, sleep};
use tracing::info;

use super::{
    files::{make_directory, make_private},
    limits::Limits,
    schema::{self, Found},
};

/// The write-ahead log is cut back to this size when it was larger.
const MAX_LOG_BYTES: u32 = 16 * 1024 * 1024;

/// Pages that each connection keeps in memory. Little, because the system keeps the file there as
/// well, once for all connections, and a broker whose sessions sleep should be small.
const CACHE_KIB: u32 = 256;

/// Why the store did not open. Each one says what the operator can do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory or the file cannot be made or read.
    #[error("cannot use {path:?}; check that the directory is there and belongs to the broker")]
    File {
        /// The directory or the file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// SQLite cannot work with the file, and it says why.
    #[error("cannot open the database {path:?}")]
    Unusable {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// Another process keeps the database to itself.
    #[error(
        "the database {path:?} is locked by another process; stop that process and start again"
    )]
    Locked {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// The file is damaged, or no database.
    #[error(
        "the database {path:?} is damaged ({complaint}); put a backup in its place, or move it \
         away to start with an empty one, which signs everybody out"
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite found first.
        complaint: String,
    },
    /// The file is a database of another program.
    #[error("{path:?} is a database of another program; give the broker another data directory")]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// A later version of the broker was here.
    #[error(
        "the database {path:?} has schema version {found} and this program knows {known}; run the \
         newer program, or put the backup from before the upgrade in its place"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// The schema version of the file.
        found: i64,
        /// The schema version of this program.
        known: i64,
    },
}

/// Makes directory and file if they are missing, brings the schema up to date and returns the
/// connection that writes, with what opens another one like it.
pub(super) async fn open(
    path: &Path,
    limits: &Limits,
) -> Result<(SqliteConnection, SqliteConnectOptions), OpenError> {
    let file = |path: &Path, source| OpenError::File { path: path.to_owned(), source };
    if let Some(directory) = path.parent() {
        make_directory(directory).map_err(|source| file(directory, source))?;
    }
    make_private(path).map_err(|source| file(path, source))?;
    let options = writing(path, limits);
    let mut connection = connect(&options, path, limits).await?;
    let before = prepare(&mut connection, path).await?;
    if before != schema::KNOWN {
        info!(path = %path.display(), from = before, to = schema::KNOWN, "database schema migrated");
    }
    Ok((connection, options))
}

/// Checks the file and migrates it; returns the version it had.
async fn prepare(connection: &mut SqliteConnection, path: &Path) -> Result<i64, OpenError> {
    let found = look(connection).await.map_err(|error| explain(path, error))?;
    let version = judge(found, path)?;
    if let Err(complaint) = schema::check(connection).await.map_err(|error| explain(path, error))? {
        return Err(OpenError::Corrupt { path: path.to_owned(), complaint });
    }
    if version < schema::KNOWN {
        let found = schema::migrate(connection).await.map_err(|error| explain(path, error))?;
        return judge(found, path);
    }
    Ok(version)
}

/// What the file is, at one moment: another process that makes the database meanwhile would show its
/// tables beside the mark of an empty file, and the database would look like another program's.
async fn look(connection: &mut SqliteConnection) -> sqlx::Result<Found> {
    let mut snapshot = connection.begin().await?;
    let found = schema::look(&mut snapshot).await?;
    snapshot.rollback().await?;
    Ok(found)
}

fn judge(found: Found, path: &Path) -> Result<i64, OpenError> {
    let path = path.to_owned();
    match found {
        Found::Foreign => Err(OpenError::Foreign { path }),
        Found::Version(found) if found > schema::KNOWN => {
            Err(OpenError::Newer { path, found, known: schema::KNOWN })
        }
        Found::Version(version) => Ok(version),
    }
}

/// Turning on the write-ahead log of a new file is refused at once while another process does the
/// same, whatever the busy timeout; so it is tried again.
async fn connect(
    options: &SqliteConnectOptions,
    path: &Path,
    limits: &Limits,
) -> Result<SqliteConnection, OpenError> {
    let begun = Instant::now();
    loop {
        match options.connect().await {
            Ok(connection) => return Ok(connection),
            Err(error) if is_busy(&error) && begun.elapsed() < limits.patience => {
                sleep(Duration::from_millis(20)).await;
            }
            Err(error) => return Err(explain(path, error)),
        }
    }
}

/// How the connection that writes is opened.
fn writing(path: &Path, limits: &Limits) -> SqliteConnectOptions {
    let options = common(path, limits)
        .journal_mode(SqliteJournalMode::Wal)
        // The log reaches the disk before a commit returns, and not only at checkpoints: a token
        // that a client got must not be lost with the power.
        .synchronous(SqliteSynchronous::Full)
        .pragma("journal_size_limit", MAX_LOG_BYTES.to_string());
    match limits.max_pages {
        Some(pages) => options.pragma("max_page_count", pages.to_string()),
        None => options,
    }
}

/// How the connections that read are opened.
pub(super) fn reading(path: &Path, limits: &Limits) -> SqliteConnectOptions {
    common(path, limits).pragma("query_only", "ON")
}

fn common(path: &Path, limits: &Limits) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(limits.patience)
        // Nothing is spilled to files outside of our directory.
        .pragma("cache_size", format!("-{CACHE_KIB}"))
        .pragma("temp_store", "MEMORY")
        .pragma("trusted_schema", "OFF")
        // Statements are the same all the time; the log would tell nothing.
        .disable_statement_logging()
}

/// What SQLite said, in the operator's words.
fn explain(path: &Path, source: sqlx::Error) -> OpenError {
    let path = path.to_owned();
    match primary_code(&source) {
        Some(SQLITE_BUSY) => OpenError::Locked { path, source },
        Some(SQLITE_CORRUPT | SQLITE_NOTADB) => {
            OpenError::Corrupt { path, complaint: source.to_string() }
        }
        _ => OpenError::Unusable { path, source },
    }
}

// https://www.sqlite.org/rescode.html
const SQLITE_BUSY: u32 = 5;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_NOTADB: u32 = 26;

fn is_busy(error: &sqlx::Error) -> bool {
    primary_code(error) == Some(SQLITE_BUSY)
}

/// The low byte of an extended result code says what kind of failure it is.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let code: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xff)
}
