//! How values go into columns and come out of them.

use auth::{TokenHash, UnixTime};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};

/// What every statement runs on.
pub(super) type Db = SqliteConnection;

/// What every statement gives.
pub(super) type Result<T> = std::result::Result<T, sqlx::Error>;

/// A time as it is stored. The column has a sign and a `UnixTime` has not; what lies beyond is as far
/// away as can be.
pub(super) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// A limit as SQL takes it.
pub(super) fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A hash as it is stored: 32 bytes.
pub(super) fn bytes(hash: &TokenHash) -> Vec<u8> {
    hash.as_bytes().to_vec()
}

/// Columns by name and meaning.
pub(super) trait Columns {
    fn text(&self, column: &str) -> Result<String>;
    fn maybe_text(&self, column: &str) -> Result<Option<String>>;
    fn flag(&self, column: &str) -> Result<bool>;
    fn time(&self, column: &str) -> Result<UnixTime>;
    fn maybe_time(&self, column: &str) -> Result<Option<UnixTime>>;
    fn key(&self, column: &str) -> Result<[u8; 32]>;
    fn maybe_key(&self, column: &str) -> Result<Option<[u8; 32]>>;

    fn hash(&self, column: &str) -> Result<TokenHash> {
        Ok(TokenHash::from_bytes(self.key(column)?))
    }

    fn maybe_hash(&self, column: &str) -> Result<Option<TokenHash>> {
        Ok(self.maybe_key(column)?.map(TokenHash::from_bytes))
    }
}

impl Columns for SqliteRow {
    fn text(&self, column: &str) -> Result<String> {
        self.try_get(column)
    }

    fn maybe_text(&self, column: &str) -> Result<Option<String>> {
        self.try_get(column)
    }

    fn flag(&self, column: &str) -> Result<bool> {
        Ok(self.try_get::<i64, _>(column)? != 0)
    }

    fn time(&self, column: &str) -> Result<UnixTime> {
        Ok(from_seconds(self.try_get(column)?))
    }

    fn maybe_time(&self, column: &str) -> Result<Option<UnixTime>> {
        Ok(self.try_get::<Option<i64>, _>(column)?.map(from_seconds))
    }

    fn key(&self, column: &str) -> Result<[u8; 32]> {
        key(column, self.try_get(column)?)
    }

    fn maybe_key(&self, column: &str) -> Result<Option<[u8; 32]>> {
        self.try_get::<Option<&[u8]>, _>(column)?.map(|bytes| key(column, bytes)).transpose()
    }
}

fn from_seconds(seconds: i64) -> UnixTime {
    UnixTime(u64::try_from(seconds).unwrap_or(0))
}

fn key(column: &str, bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| unreadable(column, "not 32 bytes"))
}

/// A column holds what no version of ours wrote. The value itself stays out of the error.
pub(super) fn unreadable(column: &str, why: &'static str) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: why.into() }
}
