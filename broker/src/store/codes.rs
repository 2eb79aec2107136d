//! Authorization codes, and their exchange for tokens.

use auth::{
    TokenHash, UnixTime,
    oauth::{CODE_GRACE, CODE_MEMORY, Code, Consent, Grant, NewToken, Redeemed, in_grace},
};
use sqlx::{query, sqlite::SqliteRow};

use super::{
    clients, consents, grants,
    request::{read_request, read_user},
    row::{Columns, Db, Result, bytes, seconds},
    tokens,
};

pub(super) async fn issue(db: &mut Db, code: &Code, consent: &Consent) -> Result<()> {
    consents::remember(db, consent).await?;
    let sql = "INSERT INTO codes \
                 (hash, family, issuer, subject, display_name, provider, client, client_name, \
                  redirect_uri, state, challenge, resource, scope, refreshes, reauthenticate, \
                  issued, expires, used) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
                       $17, $18)";
    query(sql)
        .bind(bytes(&code.hash))
        .bind(&code.grant_id)
        .bind(&code.user.issuer)
        .bind(&code.user.subject)
        .bind(&code.user.display_name)
        .bind(&code.user.provider)
        .bind(&code.request.client)
        .bind(&code.request.client_name)
        .bind(&code.request.redirect_uri)
        .bind(&code.request.state)
        .bind(&code.request.challenge)
        .bind(&code.request.resource)
        .bind(&code.request.scope)
        .bind(i64::from(code.request.refreshes))
        .bind(i64::from(code.request.reauthenticate))
        .bind(seconds(code.issued))
        .bind(seconds(code.expires))
        .bind(i64::from(code.used))
        .execute(db)
        .await?;
    Ok(())
}

pub(super) async fn find(db: &mut Db, hash: &TokenHash) -> Result<Option<Code>> {
    let row = query("SELECT * FROM codes WHERE hash = $1").bind(bytes(hash));
    row.fetch_optional(db).await?.as_ref().map(read).transpose()
}

/// Marks a code as used and says to which grant it belongs.
async fn mark_used(db: &mut Db, hash: &TokenHash) -> Result<Option<String>> {
    let sql = "UPDATE codes SET used = 1 WHERE hash = $1 RETURNING family";
    let row = query(sql).bind(bytes(hash)).fetch_optional(db).await?;
    row.map(|row| row.text("family")).transpose()
}

pub(super) async fn burn(db: &mut Db, hash: &TokenHash, now: UnixTime) -> Result<Option<Grant>> {
    let Some(grant_id) = mark_used(db, hash).await? else { return Ok(None) };
    grants::revoke(db, &grant_id, now).await
}

/// Nothing is scanned but the codes of the last hour.
pub(super) async fn burn_of_user(db: &mut Db, issuer: &str, subject: &str) -> Result<()> {
    let sql = "UPDATE codes SET used = 1 WHERE issuer = $1 AND subject = $2";
    query(sql).bind(issuer).bind(subject).execute(db).await?;
    Ok(())
}

/// Revokes a user's grants, and burns the codes that would make others.
pub(super) async fn revoke_user(
    db: &mut Db,
    issuer: &str,
    subject: &str,
    now: UnixTime,
) -> Result<Vec<Grant>> {
    burn_of_user(db, issuer, subject).await?;
    grants::revoke_of_user(db, issuer, subject, now).await
}

pub(super) async fn redeem(
    db: &mut Db,
    hash: &TokenHash,
    access: &NewToken,
    refresh: Option<&NewToken>,
    now: UnixTime,
) -> Result<Redeemed> {
    let Some(code) = find(db, hash).await? else { return Ok(Redeemed::Gone) };
    if code.used {
        // A burned code has no grant.
        let Some(grant) = grants::find(db, &code.grant_id).await? else {
            return Ok(Redeemed::Gone);
        };
        if in_grace(grant.created, now, CODE_GRACE) {
            return Ok(Redeemed::Repeated);
        }
        let revoked = grants::revoke(db, &code.grant_id, now).await?;
        return Ok(Redeemed::Replayed(revoked.map(Box::new)));
    }
    if now.is_past(code.expires) {
        return Ok(Redeemed::Gone);
    }
    mark_used(db, hash).await?;
    let grant = Grant {
        grant_id: code.grant_id,
        client: code.request.client,
        client_name: code.request.client_name,
        user: code.user,
        resource: code.request.resource,
        scope: code.request.scope,
        created: now,
        refreshed: now,
        revoked: None,
    };
    let ends = refresh.map_or(access.expires, |own| own.expires.max(access.expires));
    grants::insert(db, &grant, ends.max(code.expires.plus(CODE_MEMORY))).await?;
    tokens::keep_access(db, &grant.grant_id, &grant.scope, access, now).await?;
    if let Some(refresh) = refresh {
        tokens::keep_refresh(db, &grant.grant_id, refresh, now).await?;
    }
    clients::redeemed(db, &grant.client, now).await?;
    Ok(Redeemed::Fresh(Box::new(grant)))
}

fn read(row: &SqliteRow) -> Result<Code> {
    Ok(Code {
        hash: row.hash("hash")?,
        grant_id: row.text("family")?,
        user: read_user(row)?,
        request: read_request(row)?,
        issued: row.time("issued")?,
        expires: row.time("expires")?,
        used: row.flag("used")?,
    })
}
