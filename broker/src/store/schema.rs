//! The schema: which version the database has, and how it gets to ours.
//!
//! The version is SQLite's `user_version`, which changes with the transaction that migrates. A
//! migration that was released is never edited; a change is a new file at the end of the list.

use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection, query, raw_sql};

use super::row::{Db, Result};

/// Marks the file as ours (`application_id`): "mcpb" in ASCII.
const APPLICATION: i64 = 0x6d63_7062;

/// What leads from each version to the next one.
const MIGRATIONS: [&str; 8] = [
    include_str!("../../migrations/sqlite/0001_authorization.sql"),
    include_str!("../../migrations/sqlite/0002_sessions.sql"),
    include_str!("../../migrations/sqlite/0003_sessions_asleep.sql"),
    include_str!("../../migrations/sqlite/0004_static_tokens.sql"),
    include_str!("../../migrations/sqlite/0005_confidential_clients.sql"),
    include_str!("../../migrations/sqlite/0006_sign_ins_by_peer.sql"),
    include_str!("../../migrations/sqlite/0007_people.sql"),
    include_str!("../../migrations/sqlite/0008_session_kinds.sql"),
];

/// The version this program works with.
pub(super) const KNOWN: i64 = MIGRATIONS.len() as i64;

/// More than a change of tokens needs.
const PROBE_BYTES: usize = 32 * 1024;

/// What kind of file this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Ours, of this version; 0 is a new file.
    Version(i64),
    /// A database of somebody else.
    Foreign,
}

/// Looks, and changes nothing.
pub(super) async fn look(db: &mut Db) -> Result<Found> {
    let application = pragma(db, "PRAGMA application_id").await?;
    let version = pragma(db, "PRAGMA user_version").await?;
    if application == APPLICATION {
        return Ok(Found::Version(version));
    }
    let tables = query("SELECT COUNT(*) FROM sqlite_schema").fetch_one(db).await?;
    let is_new = application == 0 && version == 0 && tables.try_get::<i64, _>(0)? == 0;
    Ok(if is_new { Found::Version(0) } else { Found::Foreign })
}

/// Whether every page is what it should be; the first complaint otherwise.
pub(super) async fn check(db: &mut Db) -> Result<std::result::Result<(), String>> {
    let row = query("PRAGMA quick_check(1)").fetch_one(db).await?;
    let said: String = row.try_get(0)?;
    Ok(if said == "ok" { Ok(()) } else { Err(said) })
}

/// A change that needs room in the file and in the log. It is one of its own, without
/// [`empty_probe`]: pages that are filled and emptied in one transaction are never written.
pub(super) async fn fill_probe(db: &mut Db) -> Result<()> {
    let sql = "INSERT INTO probes (slot, filler) VALUES (1, $1) \
               ON CONFLICT (slot) DO UPDATE SET filler = excluded.filler";
    query(sql).bind(vec![0_u8; PROBE_BYTES]).execute(db).await?;
    Ok(())
}

/// Gives the room back.
pub(super) async fn empty_probe(db: &mut Db) -> Result<()> {
    query("DELETE FROM probes").execute(db).await?;
    Ok(())
}

/// Brings the database to [`KNOWN`] in one transaction, unless it is there already. Returns what it
/// was before; a version above ours, or a foreign file, is left as it is.
pub(super) async fn migrate(connection: &mut SqliteConnection) -> Result<Found> {
    migrate_with(connection, &MIGRATIONS).await
}

async fn migrate_with(
    connection: &mut SqliteConnection,
    migrations: &[&'static str],
) -> Result<Found> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    // Looked at under the lock: another process may have been faster.
    let found = look(&mut transaction).await?;
    let Found::Version(version) = found else { return Ok(found) };
    let done = usize::try_from(version).unwrap_or(0);
    let Some(missing) = migrations.get(done..).filter(|rest| !rest.is_empty()) else {
        return Ok(found);
    };
    for migration in missing {
        raw_sql(*migration).execute(&mut *transaction).await?;
    }
    let mark = format!(
        "PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {}",
        migrations.len()
    );
    raw_sql(AssertSqlSafe(mark)).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(found)
}

async fn pragma(db: &mut Db, sql: &'static str) -> Result<i64> {
    query(sql).fetch_one(db).await?.try_get(0)
}

#[cfg(test)]
mod tests {
    use sqlx::{ConnectOptions, sqlite::SqliteConnectOptions};

    use super::*;

    async fn empty() -> SqliteConnection {
        SqliteConnectOptions::new().in_memory(true).connect().await.unwrap()
    }

    #[tokio::test]
    async fn a_migration_that_fails_leaves_nothing_behind() {
        let mut db = empty().await;
        let fails = "CREATE TABLE one (a TEXT); INSERT INTO nowhere VALUES (1);";
        let broken = [MIGRATIONS.as_slice(), &[fails]].concat();
        assert!(migrate_with(&mut db, &broken).await.is_err());
        assert_eq!(look(&mut db).await.unwrap(), Found::Version(0), "not even the first one");

        assert_eq!(migrate(&mut db).await.unwrap(), Found::Version(0));
        assert!(migrate_with(&mut db, &broken).await.is_err());
        assert_eq!(look(&mut db).await.unwrap(), Found::Version(KNOWN), "and what was, stays");
        let one = query("SELECT 1 FROM sqlite_schema WHERE name = 'one'");
        assert!(one.fetch_optional(&mut db).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn migrating_twice_changes_nothing() {
        let mut db = empty().await;
        assert_eq!(migrate(&mut db).await.unwrap(), Found::Version(0));
        assert_eq!(migrate(&mut db).await.unwrap(), Found::Version(KNOWN));
        assert_eq!(check(&mut db).await.unwrap(), Ok(()));
    }

    #[test]
    fn the_page_on_rollback_names_this_schema() {
        let page = include_str!("../../../docs/ROLLBACK.md");
        let mut releases = page.lines().filter(|line| line.starts_with("| "));
        let newest = releases.next_back().expect("a table of releases");
        let schema = newest.split('|').nth(2).expect("a column").trim();
        assert_eq!(schema, KNOWN.to_string(), "{newest}");
    }

    #[tokio::test]
    async fn a_database_of_another_program_is_told_from_a_new_one() {
        let mut db = empty().await;
        raw_sql("CREATE TABLE theirs (a TEXT)").execute(&mut db).await.unwrap();
        assert_eq!(migrate(&mut db).await.unwrap(), Found::Foreign);
    }
}
