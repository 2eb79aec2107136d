//! Sealed upstream credentials.

use auth::{
    UnixTime,
    upstream::{CredentialKey, CredentialRealm, Sealed},
};
use sqlx::{Row, query, sqlite::SqliteRow};

use super::row::{Columns, Db, Result, count, seconds, unreadable};

pub(super) async fn find(db: &mut Db, key: &CredentialKey) -> Result<Option<Sealed>> {
    let sql = "SELECT * FROM credentials \
               WHERE provider = $1 AND issuer = $2 AND subject = $3 AND key_id IS NOT NULL";
    let row = query(sql).bind(key.realm.to_string()).bind(&key.issuer).bind(&key.subject);
    row.fetch_optional(db).await?.as_ref().map(read).transpose()
}

pub(super) async fn put(
    db: &mut Db,
    key: &CredentialKey,
    key_id: &str,
    sealed: &[u8],
    replaces: Option<u64>,
    now: UnixTime,
) -> Result<Option<u64>> {
    if let Some(expected) = replaces {
        let current = find(db, key).await?.map(|own| own.version);
        if current != Some(expected) {
            return Ok(None);
        }
    }
    let sql = "INSERT INTO credentials (provider, issuer, subject, version, key_id, sealed, stored) \
               VALUES ($1, $2, $3, 1, $4, $5, $6) \
               ON CONFLICT (provider, issuer, subject) DO UPDATE SET \
                 version = credentials.version + 1, key_id = excluded.key_id, \
                 sealed = excluded.sealed, stored = excluded.stored, claimed_until = NULL, \
                 removed = NULL \
               RETURNING version";
    let row = query(sql)
        .bind(key.realm.to_string())
        .bind(&key.issuer)
        .bind(&key.subject)
        .bind(key_id)
        .bind(sealed)
        .bind(seconds(now))
        .fetch_one(db)
        .await?;
    version(&row).map(Some)
}

pub(super) async fn remove(db: &mut Db, key: &CredentialKey) -> Result<bool> {
    let sql = "UPDATE credentials SET key_id = NULL, sealed = NULL, claimed_until = NULL \
               WHERE provider = $1 AND issuer = $2 AND subject = $3 AND key_id IS NOT NULL";
    let removed = query(sql).bind(key.realm.to_string()).bind(&key.issuer).bind(&key.subject);
    Ok(removed.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn remove_of_user(db: &mut Db, issuer: &str, subject: &str) -> Result<()> {
    let sql = "UPDATE credentials SET key_id = NULL, sealed = NULL, claimed_until = NULL \
               WHERE issuer = $1 AND subject = $2 AND key_id IS NOT NULL";
    query(sql).bind(issuer).bind(subject).execute(db).await?;
    Ok(())
}

pub(super) async fn claim(
    db: &mut Db,
    key: &CredentialKey,
    version: u64,
    until: UnixTime,
    now: UnixTime,
) -> Result<bool> {
    let sql = "UPDATE credentials SET claimed_until = $5 \
               WHERE provider = $1 AND issuer = $2 AND subject = $3 AND version = $4 \
                 AND key_id IS NOT NULL AND (claimed_until IS NULL OR claimed_until <= $6)";
    let claimed = query(sql)
        .bind(key.realm.to_string())
        .bind(&key.issuer)
        .bind(&key.subject)
        .bind(i64::try_from(version).unwrap_or(i64::MAX))
        .bind(seconds(until))
        .bind(seconds(now));
    Ok(claimed.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn release(db: &mut Db, key: &CredentialKey, version: u64) -> Result<()> {
    let sql = "UPDATE credentials SET claimed_until = NULL \
               WHERE provider = $1 AND issuer = $2 AND subject = $3 AND version = $4";
    query(sql)
        .bind(key.realm.to_string())
        .bind(&key.issuer)
        .bind(&key.subject)
        .bind(i64::try_from(version).unwrap_or(i64::MAX))
        .execute(db)
        .await?;
    Ok(())
}

pub(super) async fn sealed_otherwise(
    db: &mut Db,
    key_id: &str,
    limit: usize,
) -> Result<Vec<(CredentialKey, Sealed)>> {
    // Two ranges of the index; with `<>` it would be read from end to end.
    let sql = "SELECT * FROM credentials WHERE key_id < $1 OR key_id > $1 LIMIT $2";
    let rows = query(sql).bind(key_id).bind(count(limit)).fetch_all(db).await?;
    rows.iter().map(|row| Ok((read_key(row)?, read(row)?))).collect()
}

pub(super) async fn in_realm(
    db: &mut Db,
    realm: &CredentialRealm,
    (issuer, subject): (&str, &str),
    limit: usize,
) -> Result<Vec<(CredentialKey, Sealed)>> {
    let sql = "SELECT * FROM credentials \
               WHERE provider = $1 AND (issuer, subject) > ($2, $3) AND key_id IS NOT NULL \
               ORDER BY issuer, subject LIMIT $4";
    let rows = query(sql).bind(realm.to_string()).bind(issuer).bind(subject).bind(count(limit));
    let rows = rows.fetch_all(db).await?;
    rows.iter().map(|row| Ok((read_key(row)?, read(row)?))).collect()
}

pub(super) async fn realms(db: &mut Db) -> Result<Vec<CredentialRealm>> {
    let sql =
        "SELECT DISTINCT provider FROM credentials WHERE key_id IS NOT NULL ORDER BY provider";
    query(sql).fetch_all(db).await?.iter().map(read_realm).collect()
}

pub(super) async fn sealing_keys(db: &mut Db) -> Result<Vec<String>> {
    let sql = "SELECT DISTINCT key_id FROM credentials WHERE key_id IS NOT NULL ORDER BY key_id";
    query(sql).fetch_all(db).await?.iter().map(|row| row.text("key_id")).collect()
}

pub(super) async fn of_user(
    db: &mut Db,
    issuer: &str,
    subject: &str,
) -> Result<Vec<(CredentialKey, Sealed)>> {
    let sql = "SELECT * FROM credentials \
               WHERE issuer = $1 AND subject = $2 AND key_id IS NOT NULL ORDER BY provider";
    let rows = query(sql).bind(issuer).bind(subject).fetch_all(db).await?;
    rows.iter().map(|row| Ok((read_key(row)?, read(row)?))).collect()
}

fn version(row: &SqliteRow) -> Result<u64> {
    u64::try_from(row.try_get::<i64, _>("version")?)
        .map_err(|_| unreadable("version", "a version below zero"))
}

fn read_key(row: &SqliteRow) -> Result<CredentialKey> {
    Ok(CredentialKey {
        realm: read_realm(row)?,
        issuer: row.text("issuer")?,
        subject: row.text("subject")?,
    })
}

fn read_realm(row: &SqliteRow) -> Result<CredentialRealm> {
    Ok(CredentialRealm::from_stored(&row.text("provider")?))
}

fn read(row: &SqliteRow) -> Result<Sealed> {
    Ok(Sealed {
        version: version(row)?,
        key_id: row.text("key_id")?,
        bytes: row.try_get("sealed")?,
        stored: row.time("stored")?,
    })
}
