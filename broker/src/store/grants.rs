//! Grants: one per token family.

use auth::{UnixTime, oauth::Grant};
use sqlx::{query, sqlite::SqliteRow};

use super::{
    request::read_user,
    row::{Columns, Db, Result, count, seconds},
};

pub(super) async fn insert(db: &mut Db, grant: &Grant, ends: UnixTime) -> Result<()> {
    let sql = "INSERT INTO grants \
                 (family, client, client_name, issuer, subject, display_name, provider, resource, \
                  scope, created, refreshed, revoked, ends) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    query(sql)
        .bind(&grant.grant_id)
        .bind(&grant.client)
        .bind(&grant.client_name)
        .bind(&grant.user.issuer)
        .bind(&grant.user.subject)
        .bind(&grant.user.display_name)
        .bind(&grant.user.provider)
        .bind(&grant.resource)
        .bind(&grant.scope)
        .bind(seconds(grant.created))
        .bind(seconds(grant.refreshed))
        .bind(grant.revoked.map(seconds))
        .bind(seconds(ends))
        .execute(db)
        .await?;
    Ok(())
}

pub(super) async fn find(db: &mut Db, grant_id: &str) -> Result<Option<Grant>> {
    let row = query("SELECT * FROM grants WHERE family = $1").bind(grant_id);
    row.fetch_optional(db).await?.as_ref().map(read).transpose()
}

/// The grant got new tokens, of which the last one ends at `ends`.
pub(super) async fn refreshed(
    db: &mut Db,
    grant_id: &str,
    now: UnixTime,
    ends: UnixTime,
) -> Result<()> {
    let sql = "UPDATE grants \
               SET refreshed = $2, ends = CASE WHEN ends < $3 THEN $3 ELSE ends END \
               WHERE family = $1";
    query(sql).bind(grant_id).bind(seconds(now)).bind(seconds(ends)).execute(db).await?;
    Ok(())
}

pub(super) async fn revoke(db: &mut Db, grant_id: &str, now: UnixTime) -> Result<Option<Grant>> {
    let sql = "UPDATE grants SET revoked = $2 WHERE family = $1 AND revoked IS NULL RETURNING *";
    let row = query(sql).bind(grant_id).bind(seconds(now)).fetch_optional(db).await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn revoke_of_client(db: &mut Db, id: &str, now: UnixTime) -> Result<Vec<Grant>> {
    let sql = "UPDATE grants SET revoked = $2 WHERE client = $1 AND revoked IS NULL RETURNING *";
    let rows = query(sql).bind(id).bind(seconds(now)).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

pub(super) async fn revoke_of_user(
    db: &mut Db,
    issuer: &str,
    subject: &str,
    now: UnixTime,
) -> Result<Vec<Grant>> {
    let sql = "UPDATE grants SET revoked = $3 \
               WHERE issuer = $1 AND subject = $2 AND revoked IS NULL RETURNING *";
    let rows = query(sql).bind(issuer).bind(subject).bind(seconds(now)).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

pub(super) async fn revoke_surplus(
    db: &mut Db,
    grant: &Grant,
    keep: usize,
    now: UnixTime,
) -> Result<Vec<Grant>> {
    let sql = "UPDATE grants SET revoked = $6 WHERE family IN ( \
                 SELECT family FROM grants \
                 WHERE issuer = $1 AND subject = $2 AND client = $3 AND resource = $4 \
                   AND revoked IS NULL AND ends > $6 AND family <> $5 \
                 ORDER BY refreshed DESC, created DESC, family DESC LIMIT -1 OFFSET $7) \
               RETURNING *";
    let rows = query(sql)
        .bind(&grant.user.issuer)
        .bind(&grant.user.subject)
        .bind(&grant.client)
        .bind(&grant.resource)
        .bind(&grant.grant_id)
        .bind(seconds(now))
        .bind(count(keep.saturating_sub(1)))
        .fetch_all(db)
        .await?;
    rows.iter().map(read).collect()
}

pub(super) async fn of_user(
    db: &mut Db,
    issuer: &str,
    subject: &str,
    after: Option<&Grant>,
    limit: usize,
) -> Result<Vec<Grant>> {
    let sql = "SELECT * FROM grants WHERE issuer = $1 AND subject = $2 AND revoked IS NULL \
                 AND ($4 IS NULL OR created < $4 OR (created = $4 AND family > $5)) \
               ORDER BY created DESC, family LIMIT $3";
    let rows = query(sql)
        .bind(issuer)
        .bind(subject)
        .bind(count(limit))
        .bind(after.map(|grant| seconds(grant.created)))
        .bind(after.map(|grant| &*grant.grant_id))
        .fetch_all(db)
        .await?;
    rows.iter().map(read).collect()
}

pub(super) async fn list(db: &mut Db, after: &str, limit: usize) -> Result<Vec<Grant>> {
    let sql = "SELECT * FROM grants WHERE family > $1 AND revoked IS NULL ORDER BY family LIMIT $2";
    let rows = query(sql).bind(after).bind(count(limit)).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

pub(super) async fn revoked_since(
    db: &mut Db,
    since: UnixTime,
    limit: usize,
) -> Result<Vec<Grant>> {
    let sql = "SELECT * FROM grants WHERE revoked >= $1 ORDER BY revoked, family LIMIT $2";
    let rows = query(sql).bind(seconds(since)).bind(count(limit)).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

pub(super) fn read(row: &SqliteRow) -> Result<Grant> {
    Ok(Grant {
        grant_id: row.text("family")?,
        client: row.text("client")?,
        client_name: row.text("client_name")?,
        user: read_user(row)?,
        resource: row.text("resource")?,
        scope: row.text("scope")?,
        created: row.time("created")?,
        refreshed: row.time("refreshed")?,
        revoked: row.maybe_time("revoked")?,
    })
}
