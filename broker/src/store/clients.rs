//! Registered clients.

use auth::{
    TokenHash, UnixTime,
    oauth::{Client, Grant, Origin, Registered},
};
use sqlx::{Row, query, sqlite::SqliteRow};

use super::{
    grants,
    row::{Columns, Db, Result, bytes, count, seconds, unreadable},
};

pub(super) async fn find(db: &mut Db, id: &str, now: UnixTime) -> Result<Option<Client>> {
    let sql = "SELECT * FROM clients WHERE id = $1 AND (unused_until IS NULL OR unused_until > $2)";
    let row = query(sql).bind(id).bind(seconds(now)).fetch_optional(db).await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn register(
    db: &mut Db,
    client: &Client,
    fingerprint: Option<TokenHash>,
    max_unused: usize,
    now: UnixTime,
) -> Result<Registered> {
    if let Some(fingerprint) = &fingerprint
        && let Some(known) = prolong(db, fingerprint, client.unused_until, now).await?
    {
        return Ok(Registered::Known(Box::new(known)));
    }
    if client.unused_until.is_some() {
        if max_unused == 0 {
            return Ok(Registered::Full);
        }
        let sql = "SELECT COUNT(*) AS waiting FROM clients WHERE unused_until > $1";
        let row = query(sql).bind(seconds(now)).fetch_one(&mut *db).await?;
        let waiting = row.try_get::<i64, _>("waiting")?;
        let surplus = waiting.saturating_add(1).saturating_sub(count(max_unused));
        if surplus > 0 {
            let sql = "DELETE FROM clients WHERE id IN (SELECT id FROM clients \
                         WHERE unused_until > $1 ORDER BY unused_until LIMIT $2)";
            query(sql).bind(seconds(now)).bind(surplus).execute(&mut *db).await?;
        }
    }
    if let Some(fingerprint) = &fingerprint {
        // Whoever still has it is past its unused time and waits for a sweep.
        let sql = "UPDATE clients SET fingerprint = NULL WHERE fingerprint = $1";
        query(sql).bind(bytes(fingerprint)).execute(&mut *db).await?;
    }
    insert(db, client, fingerprint.as_ref()).await?;
    Ok(Registered::New)
}

pub(super) async fn has_fingerprint(
    db: &mut Db,
    fingerprint: &TokenHash,
    now: UnixTime,
) -> Result<bool> {
    let sql = "SELECT 1 FROM clients \
               WHERE fingerprint = $1 AND (unused_until IS NULL OR unused_until > $2)";
    let found = query(sql).bind(bytes(fingerprint)).bind(seconds(now));
    Ok(found.fetch_optional(db).await?.is_some())
}

/// The live client with this fingerprint, kept until `until` at least.
async fn prolong(
    db: &mut Db,
    fingerprint: &TokenHash,
    until: Option<UnixTime>,
    now: UnixTime,
) -> Result<Option<Client>> {
    let sql = "SELECT * FROM clients \
               WHERE fingerprint = $1 AND (unused_until IS NULL OR unused_until > $2)";
    let found = query(sql).bind(bytes(fingerprint)).bind(seconds(now));
    let Some(row) = found.fetch_optional(&mut *db).await? else { return Ok(None) };
    let mut known = read(&row)?;
    if known.unused_until.is_some() && until > known.unused_until {
        known.unused_until = until;
        let sql = "UPDATE clients SET unused_until = $2 WHERE id = $1";
        query(sql).bind(&known.id).bind(until.map(seconds)).execute(db).await?;
    }
    Ok(Some(known))
}

async fn insert(db: &mut Db, client: &Client, fingerprint: Option<&TokenHash>) -> Result<()> {
    let redirect_uris = serde_json::to_string(&client.redirect_uris)
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    let origin = match client.origin {
        Origin::Operator => "operator",
        Origin::Registration => "registration",
        Origin::Document => "document",
    };
    let sql = "INSERT INTO clients \
                 (id, origin, name, uri, redirect_uris, secret, refreshes, created, unused_until, \
                  fingerprint, redeemed) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $8) \
               ON CONFLICT (id) DO UPDATE SET \
                 origin = excluded.origin, name = excluded.name, uri = excluded.uri, \
                 redirect_uris = excluded.redirect_uris, secret = excluded.secret, \
                 refreshes = excluded.refreshes, created = excluded.created, \
                 unused_until = excluded.unused_until, fingerprint = excluded.fingerprint, \
                 redeemed = excluded.redeemed";
    query(sql)
        .bind(&client.id)
        .bind(origin)
        .bind(&client.name)
        .bind(&client.uri)
        .bind(redirect_uris)
        .bind(client.secret.as_ref().map(bytes))
        .bind(i64::from(client.refreshes))
        .bind(seconds(client.created))
        .bind(client.unused_until.map(seconds))
        .bind(fingerprint.map(bytes))
        .execute(db)
        .await?;
    Ok(())
}

pub(super) async fn list(db: &mut Db, after: &str, limit: usize) -> Result<Vec<Client>> {
    let sql = "SELECT * FROM clients WHERE id > $1 ORDER BY id LIMIT $2";
    let rows = query(sql).bind(after).bind(count(limit)).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

pub(super) async fn has_confidential(db: &mut Db) -> Result<bool> {
    let sql = "SELECT 1 FROM clients WHERE origin = 'operator' AND secret IS NOT NULL LIMIT 1";
    Ok(query(sql).fetch_optional(db).await?.is_some())
}

/// The client had a code redeemed: it is no longer an unused one.
pub(super) async fn redeemed(db: &mut Db, id: &str, now: UnixTime) -> Result<()> {
    let sql = "UPDATE clients SET unused_until = NULL, redeemed = $2 WHERE id = $1";
    query(sql).bind(id).bind(seconds(now)).execute(db).await?;
    Ok(())
}

pub(super) async fn remove(db: &mut Db, id: &str, now: UnixTime) -> Result<Vec<Grant>> {
    query("DELETE FROM clients WHERE id = $1").bind(id).execute(&mut *db).await?;
    query("DELETE FROM consents WHERE client = $1").bind(id).execute(&mut *db).await?;
    // A code that is on its way would make a grant of a client that is gone.
    query("UPDATE codes SET used = 1 WHERE client = $1").bind(id).execute(&mut *db).await?;
    grants::revoke_of_client(db, id, now).await
}

fn read(row: &SqliteRow) -> Result<Client> {
    let origin = match row.text("origin")?.as_str() {
        "operator" => Origin::Operator,
        "registration" => Origin::Registration,
        "document" => Origin::Document,
        _ => return Err(unreadable("origin", "an unknown origin")),
    };
    let redirect_uris = serde_json::from_str(&row.text("redirect_uris")?)
        .map_err(|_| unreadable("redirect_uris", "not a list of texts"))?;
    Ok(Client {
        id: row.text("id")?,
        origin,
        name: row.maybe_text("name")?,
        uri: row.maybe_text("uri")?,
        redirect_uris,
        secret: row.maybe_hash("secret")?,
        refreshes: row.flag("refreshes")?,
        created: row.time("created")?,
        unused_until: row.maybe_time("unused_until")?,
    })
}
