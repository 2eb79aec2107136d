//! Records of sessions.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use bridge::Snapshot;
use session::{Owner, Record, RecordKey, Selection, StopReason, Summary, Use};
use sqlx::{AssertSqlSafe, Row, query, sqlite::SqliteRow};

use super::row::{Columns, Db, Result, count, unreadable};

/// What a list shows: everything but the snapshot.
const SUMMARY: &str = "key, issuer, subject, client, family, kind, created, active, asleep";

pub(super) async fn create(db: &mut Db, record: &Record) -> Result<bool> {
    let sql = "INSERT INTO sessions \
                 (key, issuer, subject, client, family, kind, created, active, snapshot, asleep) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
               ON CONFLICT (key) DO NOTHING";
    let created = query(sql)
        .bind(record.key.as_bytes().as_slice())
        .bind(record.owner.issuer())
        .bind(record.owner.subject())
        .bind(record.owner.client())
        .bind(record.owner.grant_id())
        .bind(&*record.kind)
        .bind(micros(record.created))
        .bind(micros(record.active))
        .bind(&*record.snapshot)
        .bind(record.asleep.map(StopReason::as_str));
    Ok(created.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn save(
    db: &mut Db,
    key: &RecordKey,
    snapshot: &[u8],
    active: SystemTime,
) -> Result<bool> {
    let sql = "UPDATE sessions \
               SET snapshot = $2, active = CASE WHEN active < $3 THEN $3 ELSE active END \
               WHERE key = $1";
    let saved = query(sql).bind(key.as_bytes().as_slice()).bind(snapshot).bind(micros(active));
    Ok(saved.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn find(db: &mut Db, key: &RecordKey) -> Result<Option<Record>> {
    let row = query("SELECT * FROM sessions WHERE key = $1").bind(key.as_bytes().as_slice());
    row.fetch_optional(db).await?.as_ref().map(read).transpose()
}

pub(super) async fn touch(db: &mut Db, used: &[Use]) -> Result<()> {
    let sql = "UPDATE sessions \
               SET active = CASE WHEN active < $2 THEN $2 ELSE active END, asleep = $3 \
               WHERE key = $1";
    for each in used {
        let touched = query(sql)
            .bind(each.key.as_bytes().as_slice())
            .bind(micros(each.active))
            .bind(each.asleep.map(StopReason::as_str));
        touched.execute(&mut *db).await?;
    }
    Ok(())
}

/// Notes of the sessions that a killed broker had awake that they sleep. Nobody comes back to what served
/// clients without sessions: its records go.
pub(super) async fn put_to_rest(db: &mut Db) -> Result<()> {
    let awake = query("SELECT key, snapshot FROM sessions WHERE asleep IS NULL");
    for row in awake.fetch_all(&mut *db).await? {
        let snapshot: &[u8] = row.try_get("snapshot")?;
        if Snapshot::from_bytes(snapshot).is_ok_and(|snapshot| !snapshot.is_of_a_session()) {
            let key: &[u8] = row.try_get("key")?;
            query("DELETE FROM sessions WHERE key = $1").bind(key).execute(&mut *db).await?;
        }
    }
    let sql = "UPDATE sessions SET asleep = $1 WHERE asleep IS NULL";
    query(sql).bind(StopReason::Shutdown.as_str()).execute(db).await?;
    Ok(())
}

pub(super) async fn remove(db: &mut Db, keys: &[RecordKey]) -> Result<usize> {
    let mut gone = 0;
    for key in keys {
        let removed = query("DELETE FROM sessions WHERE key = $1").bind(key.as_bytes().as_slice());
        gone += removed.execute(&mut *db).await?.rows_affected();
    }
    Ok(rows(gone))
}

pub(super) async fn remove_all(
    db: &mut Db,
    which: &Selection,
    before: SystemTime,
) -> Result<usize> {
    let meant = Meant::of(which);
    let sql = format!("DELETE FROM sessions WHERE {} AND created < $4", meant.condition);
    let [first, second, third] = meant.values;
    let removed = query(AssertSqlSafe(sql)).bind(first).bind(second).bind(third);
    Ok(rows(removed.bind(micros_up(before)).execute(db).await?.rows_affected()))
}

/// Removes the records of somebody who is gone.
pub(super) async fn remove_of_user(db: &mut Db, issuer: &str, subject: &str) -> Result<()> {
    let sql = "DELETE FROM sessions WHERE issuer = $1 AND subject = $2";
    query(sql).bind(issuer).bind(subject).execute(db).await?;
    Ok(())
}

pub(super) async fn list(
    db: &mut Db,
    which: &Selection,
    after: Option<&RecordKey>,
    limit: usize,
) -> Result<Vec<Summary>> {
    let meant = Meant::of(which);
    // Every key is above the empty one.
    let after = after.map_or(&[][..], |after| after.as_bytes().as_slice());
    let sql = format!(
        "SELECT {SUMMARY} FROM sessions WHERE {} AND key > $4 ORDER BY key LIMIT $5",
        meant.condition
    );
    let [first, second, third] = meant.values;
    let listed = query(AssertSqlSafe(sql)).bind(first).bind(second).bind(third);
    let found = listed.bind(after).bind(count(limit)).fetch_all(db).await?;
    found.iter().map(read_summary).collect()
}

pub(super) async fn longest_unused(
    db: &mut Db,
    which: &Selection,
    limit: usize,
) -> Result<Vec<RecordKey>> {
    let meant = Meant::of(which);
    let sql =
        format!("SELECT key FROM sessions WHERE {} ORDER BY active, key LIMIT $4", meant.condition);
    let [first, second, third] = meant.values;
    let unused = query(AssertSqlSafe(sql)).bind(first).bind(second).bind(third);
    let found = unused.bind(count(limit)).fetch_all(db).await?;
    found.iter().map(read_key).collect()
}

pub(super) async fn count_all(db: &mut Db, which: &Selection) -> Result<usize> {
    let meant = Meant::of(which);
    let sql = format!("SELECT COUNT(*) AS many FROM sessions WHERE {}", meant.condition);
    let [first, second, third] = meant.values;
    let counted = query(AssertSqlSafe(sql)).bind(first).bind(second).bind(third);
    whole(&counted.fetch_one(db).await?, "many")
}

pub(super) async fn missing(db: &mut Db, keys: &[RecordKey]) -> Result<Vec<RecordKey>> {
    let mut missing = Vec::new();
    for key in keys {
        let there = query("SELECT 1 FROM sessions WHERE key = $1").bind(key.as_bytes().as_slice());
        if there.fetch_optional(&mut *db).await?.is_none() {
            missing.push(*key);
        }
    }
    Ok(missing)
}

pub(super) async fn kinds(db: &mut Db) -> Result<Vec<(Arc<str>, usize)>> {
    let found = query("SELECT kind, many FROM session_kinds").fetch_all(db).await?;
    let kind = |row: &SqliteRow| Ok((row.text("kind")?.into(), whole(row, "many")?));
    found.iter().map(kind).collect()
}

/// A selection as SQL. The condition is one of the texts below and holds nothing of the caller's:
/// what was asked for is bound to `$1` to `$3`, also when the condition has less of them.
struct Meant<'a> {
    condition: &'static str,
    values: [Option<&'a str>; 3],
}

impl<'a> Meant<'a> {
    fn of(which: &'a Selection) -> Self {
        let (condition, values) = match which {
            Selection::All => ("TRUE", [None; 3]),
            Selection::Grant(grant) => ("family = $1", [Some(&**grant), None, None]),
            Selection::Owner(owner) => (
                "issuer = $1 AND subject = $2 AND client = $3",
                [Some(owner.issuer()), Some(owner.subject()), Some(owner.client())],
            ),
            Selection::Person { issuer, subject } => {
                ("issuer = $1 AND subject = $2", [Some(&**issuer), Some(&**subject), None])
            }
            Selection::Client(client) => ("client = $1", [Some(&**client), None, None]),
        };
        Self { condition, values }
    }
}

fn read(row: &SqliteRow) -> Result<Record> {
    let Summary { key, owner, kind, created, active, asleep } = read_summary(row)?;
    let snapshot = Arc::from(row.try_get::<&[u8], _>("snapshot")?);
    Ok(Record { key, owner, kind, snapshot, created, active, asleep })
}

fn read_summary(row: &SqliteRow) -> Result<Summary> {
    let owner = Owner::new(row.text("issuer")?, row.text("subject")?, row.text("client")?);
    Ok(Summary {
        key: read_key(row)?,
        owner: owner.with_grant_id(row.maybe_text("family")?.map(Into::into)),
        kind: row.text("kind")?.into(),
        created: read_time(row, "created")?,
        active: read_time(row, "active")?,
        // A word of a later version says nothing here.
        asleep: row.maybe_text("asleep")?.as_deref().and_then(StopReason::from_word),
    })
}

fn whole(row: &SqliteRow, column: &str) -> Result<usize> {
    let count: i64 = row.try_get(column)?;
    usize::try_from(count).map_err(|_| unreadable(column, "a count below zero"))
}

fn read_key(row: &SqliteRow) -> Result<RecordKey> {
    row.key("key").map(RecordKey::from_bytes)
}

fn read_time(row: &SqliteRow, column: &str) -> Result<SystemTime> {
    let micros: i64 = row.try_get(column)?;
    let away = Duration::from_micros(micros.unsigned_abs());
    let time = if micros < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(away)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(away)
    };
    time.ok_or_else(|| unreadable(column, "a time that the system cannot tell"))
}

/// A time as it is stored: microseconds since 1970, what lies between two of them rounded down, and
/// what lies beyond as far away as can be.
fn micros(time: SystemTime) -> i64 {
    let whole = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => whole(since),
        Err(error) => {
            // Down is away from 1970 here.
            -whole(error.duration().saturating_add(Duration::from_nanos(999)))
        }
    }
}

/// The first stored time that is not before `time`.
fn micros_up(time: SystemTime) -> i64 {
    time.checked_add(Duration::from_nanos(999)).map_or(i64::MAX, micros)
}

fn rows(changed: u64) -> usize {
    usize::try_from(changed).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_between_two_microseconds_bounds_what_is_before_it() {
        let at = |nanos| SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
        for (nanos, down, up) in [(0, 0, 0), (1, 0, 1), (999, 0, 1), (1_000, 1, 1), (1_001, 1, 2)] {
            assert_eq!((micros(at(nanos)), micros_up(at(nanos))), (down, up), "{nanos}");
        }
        let early = |nanos| SystemTime::UNIX_EPOCH - Duration::from_nanos(nanos);
        for (nanos, down, up) in [(1, -1, 0), (1_000, -1, -1), (1_001, -2, -1)] {
            assert_eq!((micros(early(nanos)), micros_up(early(nanos))), (down, up), "-{nanos}");
        }
    }
}
