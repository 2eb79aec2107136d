//! Static tokens, and the file that they were kept in once.

use auth::{StaticTokens, TokenAdded, TokenHash, TokenRecord, UnixTime};
use sqlx::{query, sqlite::SqliteRow};

use super::{
    row::{Columns, Db, Result, bytes, count, seconds},
    sessions,
};

/// What became of the import of a token file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenImport {
    /// The records are in the store.
    Done,
    /// This very file was imported before, and nothing was changed.
    Known,
    /// Another file was imported before, at this time, and nothing was changed.
    Spent(UnixTime),
    /// The name, or the id, of one of the records is taken by a token in the store; nothing was changed.
    Taken {
        /// The record's name.
        name: String,
    },
}

pub(super) async fn add(db: &mut Db, record: &TokenRecord, now: UnixTime) -> Result<TokenAdded> {
    let known = query("SELECT 1 FROM static_tokens WHERE hash = $1").bind(bytes(&record.sha256));
    if known.fetch_optional(&mut *db).await?.is_some() {
        return Ok(TokenAdded::Known);
    }
    let sql = "SELECT id FROM static_tokens WHERE revoked IS NULL \
               AND (id = $1 OR (name = $1 AND (expires IS NULL OR expires > $2)))";
    let in_the_way = query(sql).bind(&record.name).bind(seconds(now));
    if let Some(row) = in_the_way.fetch_optional(&mut *db).await? {
        return Ok(TokenAdded::NameTaken { id: row.text("id")? });
    }
    let sql = "SELECT 1 FROM static_tokens WHERE id = $1 OR (name = $1 AND revoked IS NULL)";
    if query(sql).bind(&record.id).fetch_optional(&mut *db).await?.is_some() {
        return Ok(TokenAdded::IdTaken);
    }
    // An expired one makes room.
    let sql = "DELETE FROM static_tokens WHERE name = $1 AND revoked IS NULL";
    query(sql).bind(&record.name).execute(&mut *db).await?;
    let sql = "INSERT INTO static_tokens (id, name, hash, created, expires, revoked) \
               VALUES ($1, $2, $3, $4, $5, $6)";
    query(sql)
        .bind(&record.id)
        .bind(&record.name)
        .bind(bytes(&record.sha256))
        .bind(seconds(record.created))
        .bind(record.expires.map(seconds))
        .bind(record.revoked.map(seconds))
        .execute(db)
        .await?;
    Ok(TokenAdded::New)
}

pub(super) async fn find(db: &mut Db, hash: &TokenHash) -> Result<Option<TokenRecord>> {
    let row = query("SELECT * FROM static_tokens WHERE hash = $1").bind(bytes(hash));
    row.fetch_optional(db).await?.as_ref().map(read).transpose()
}

pub(super) async fn named(db: &mut Db, name: &str) -> Result<Option<TokenRecord>> {
    let row = query("SELECT * FROM static_tokens WHERE name = $1 AND revoked IS NULL").bind(name);
    row.fetch_optional(db).await?.as_ref().map(read).transpose()
}

pub(super) async fn list(db: &mut Db, after: &str, limit: usize) -> Result<Vec<TokenRecord>> {
    let sql = "SELECT * FROM static_tokens WHERE name > $1 AND revoked IS NULL \
               ORDER BY name LIMIT $2";
    let rows = query(sql).bind(after).bind(count(limit)).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

pub(super) async fn revoke(
    db: &mut Db,
    id_or_name: &str,
    now: UnixTime,
) -> Result<Option<TokenRecord>> {
    // No name is another token's id, so that there is one at most.
    let sql = "UPDATE static_tokens SET revoked = $2 \
               WHERE (id = $1 OR name = $1) AND revoked IS NULL RETURNING *";
    let row = query(sql).bind(id_or_name).bind(seconds(now)).fetch_optional(&mut *db).await?;
    let Some(record) = row.as_ref().map(read).transpose()? else { return Ok(None) };
    // The name is free for another client now, which is not to find these.
    sessions::remove_of_user(db, StaticTokens::ISSUER, &record.name).await?;
    Ok(Some(record))
}

pub(super) async fn revoked_since(
    db: &mut Db,
    since: UnixTime,
    limit: usize,
) -> Result<Vec<TokenRecord>> {
    let sql = "SELECT * FROM static_tokens WHERE revoked >= $1 ORDER BY revoked, id LIMIT $2";
    let rows = query(sql).bind(seconds(since)).bind(count(limit)).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

/// Takes over the records of a file with this hash: all of them, and once for a store.
pub(super) async fn import(
    db: &mut Db,
    records: &[TokenRecord],
    file: &TokenHash,
    now: UnixTime,
) -> Result<TokenImport> {
    let before = query("SELECT hash, imported FROM token_imports").fetch_optional(&mut *db).await?;
    if let Some(row) = before {
        let is_same = row.hash("hash")? == *file;
        let then = row.time("imported")?;
        return Ok(if is_same { TokenImport::Known } else { TokenImport::Spent(then) });
    }
    for record in records {
        // Expired ones of the store are in the way as well: an import removes nothing.
        let sql = "SELECT 1 FROM static_tokens \
                   WHERE id IN ($1, $2) OR (name IN ($1, $2) AND revoked IS NULL)";
        let taken = query(sql).bind(&record.id).bind(&record.name);
        if taken.fetch_optional(&mut *db).await?.is_some() {
            return Ok(TokenImport::Taken { name: record.name.clone() });
        }
    }
    for record in records {
        add(db, record, now).await?;
    }
    let sql = "INSERT INTO token_imports (slot, hash, imported) VALUES (1, $1, $2)";
    query(sql).bind(bytes(file)).bind(seconds(now)).execute(db).await?;
    Ok(TokenImport::Done)
}

fn read(row: &SqliteRow) -> Result<TokenRecord> {
    Ok(TokenRecord {
        id: row.text("id")?,
        name: row.text("name")?,
        sha256: row.hash("hash")?,
        created: row.time("created")?,
        expires: row.maybe_time("expires")?,
        revoked: row.maybe_time("revoked")?,
    })
}
