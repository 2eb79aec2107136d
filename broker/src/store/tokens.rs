//! Access and refresh tokens, and their rotation.

use auth::{
    TokenHash, UnixTime,
    oauth::{AccessToken, Grant, NewToken, RefreshToken, Repeat, Rotated, Rotation, in_grace},
};
use sqlx::{query, sqlite::SqliteRow};

use super::{
    grants,
    row::{Columns, Db, Result, bytes, seconds},
};

pub(super) async fn keep_access(
    db: &mut Db,
    grant_id: &str,
    scope: &str,
    token: &NewToken,
    now: UnixTime,
) -> Result<()> {
    let sql = "INSERT INTO access_tokens (hash, family, scope, issued, expires, revoked) \
               VALUES ($1, $2, $3, $4, $5, 0)";
    query(sql)
        .bind(bytes(&token.hash))
        .bind(grant_id)
        .bind(scope)
        .bind(seconds(now))
        .bind(seconds(token.expires))
        .execute(db)
        .await?;
    Ok(())
}

pub(super) async fn keep_refresh(
    db: &mut Db,
    grant_id: &str,
    token: &NewToken,
    now: UnixTime,
) -> Result<()> {
    let sql = "INSERT INTO refresh_tokens (hash, family, issued, expires) VALUES ($1, $2, $3, $4)";
    query(sql)
        .bind(bytes(&token.hash))
        .bind(grant_id)
        .bind(seconds(now))
        .bind(seconds(token.expires))
        .execute(db)
        .await?;
    Ok(())
}

pub(super) async fn access(db: &mut Db, hash: &TokenHash) -> Result<Option<AccessToken>> {
    let sql = "SELECT g.*, t.scope AS token_scope, t.issued AS token_issued, \
                      t.expires AS token_expires, t.revoked AS token_revoked \
               FROM access_tokens t JOIN grants g ON g.family = t.family WHERE t.hash = $1";
    let read = |row: SqliteRow| {
        Ok(AccessToken {
            grant: grants::read(&row)?,
            scope: row.text("token_scope")?,
            issued: row.time("token_issued")?,
            expires: row.time("token_expires")?,
            revoked: row.flag("token_revoked")?,
        })
    };
    query(sql).bind(bytes(hash)).fetch_optional(db).await?.map(read).transpose()
}

/// A refresh token with what its record says about its successors.
struct Held {
    token: RefreshToken,
    used: Option<Used>,
}

struct Used {
    at: UnixTime,
    salt: [u8; 32],
    access: TokenHash,
    refresh: TokenHash,
}

async fn held(db: &mut Db, hash: &TokenHash) -> Result<Option<Held>> {
    let sql = "SELECT g.*, t.issued AS token_issued, t.expires AS token_expires, \
                      t.used AS token_used, t.salt, t.next_access, t.next_refresh \
               FROM refresh_tokens t JOIN grants g ON g.family = t.family WHERE t.hash = $1";
    let row = query(sql).bind(bytes(hash)).fetch_optional(db).await?;
    let Some(row) = row else { return Ok(None) };
    let used = match row.maybe_time("token_used")? {
        Some(at) => Some(Used {
            at,
            salt: row.key("salt")?,
            access: row.hash("next_access")?,
            refresh: row.hash("next_refresh")?,
        }),
        None => None,
    };
    let token = RefreshToken {
        grant: grants::read(&row)?,
        issued: row.time("token_issued")?,
        expires: row.time("token_expires")?,
        used: used.as_ref().map(|own| own.at),
    };
    Ok(Some(Held { token, used }))
}

pub(super) async fn refresh(db: &mut Db, hash: &TokenHash) -> Result<Option<RefreshToken>> {
    Ok(held(db, hash).await?.map(|own| own.token))
}

pub(super) async fn revoke_access(db: &mut Db, hash: &TokenHash) -> Result<bool> {
    let sql = "UPDATE access_tokens SET revoked = 1 WHERE hash = $1 AND revoked = 0";
    Ok(query(sql).bind(bytes(hash)).execute(db).await?.rows_affected() == 1)
}

pub(super) async fn rotate(db: &mut Db, rotation: &Rotation, now: UnixTime) -> Result<Rotated> {
    let Some(Held { token, used }) = held(db, &rotation.token).await? else {
        return Ok(Rotated::Gone);
    };
    let expired = now.is_past(token.expires);
    if token.grant.revoked.is_some() || (used.is_none() && expired) {
        return Ok(Rotated::Gone);
    }
    let Some(used) = used else { return succeed(db, rotation, token.grant, now).await };
    if !expired
        && in_grace(used.at, now, rotation.grace)
        && let Some(repeat) = repeat(db, &used, &token.grant).await?
    {
        return Ok(Rotated::Repeated(Box::new(repeat)));
    }
    let revoked = grants::revoke(db, &token.grant.grant_id, now).await?;
    Ok(Rotated::Reused(revoked.map(Box::new)))
}

/// The first use: the token is marked, and its successors are kept.
async fn succeed(db: &mut Db, rotation: &Rotation, grant: Grant, now: UnixTime) -> Result<Rotated> {
    let sql = "UPDATE refresh_tokens SET used = $2, salt = $3, next_access = $4, next_refresh = $5 \
               WHERE hash = $1";
    query(sql)
        .bind(bytes(&rotation.token))
        .bind(seconds(now))
        .bind(rotation.salt.to_vec())
        .bind(bytes(&rotation.access.hash))
        .bind(bytes(&rotation.refresh.hash))
        .execute(&mut *db)
        .await?;
    keep_access(db, &grant.grant_id, &rotation.scope, &rotation.access, now).await?;
    keep_refresh(db, &grant.grant_id, &rotation.refresh, now).await?;
    let ends = rotation.access.expires.max(rotation.refresh.expires);
    grants::refreshed(db, &grant.grant_id, now, ends).await?;
    Ok(Rotated::Fresh(Box::new(Grant { refreshed: now, ..grant })))
}

/// What the first use left, unless the successor was used as well or one of the two is gone.
async fn repeat(db: &mut Db, used: &Used, grant: &Grant) -> Result<Option<Repeat>> {
    let Some(successor) = refresh(db, &used.refresh).await? else { return Ok(None) };
    let Some(token) = access(db, &used.access).await? else { return Ok(None) };
    Ok(successor.used.is_none().then(|| Repeat {
        grant: grant.clone(),
        salt: used.salt,
        access: NewToken { hash: used.access, expires: token.expires },
        scope: token.scope,
        refresh: NewToken { hash: used.refresh, expires: successor.expires },
    }))
}
