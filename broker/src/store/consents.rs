//! Remembered approvals.

use auth::oauth::{Consent, User};
use sqlx::{query, sqlite::SqliteRow};

use super::row::{Columns, Db, Result, seconds};

/// How many approvals of one user are remembered; the ones that were given longest ago go first.
pub(super) const MAX_PER_USER: i64 = 200;

pub(super) async fn remember(db: &mut Db, consent: &Consent) -> Result<()> {
    let sql = "INSERT INTO consents \
                 (issuer, subject, client, redirect_uri, scope, resource, given) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) \
               ON CONFLICT (issuer, subject, client, redirect_uri, resource, scope) \
               DO UPDATE SET given = excluded.given";
    query(sql)
        .bind(&consent.issuer)
        .bind(&consent.subject)
        .bind(&consent.client)
        .bind(&consent.redirect_uri)
        .bind(&consent.scope)
        .bind(&consent.resource)
        .bind(seconds(consent.given))
        .execute(&mut *db)
        .await?;
    let sql = "DELETE FROM consents \
               WHERE (issuer, subject, client, redirect_uri, resource, scope) IN ( \
                 SELECT issuer, subject, client, redirect_uri, resource, scope FROM consents \
                 WHERE issuer = $1 AND subject = $2 \
                 ORDER BY given DESC LIMIT 1000 OFFSET $3)";
    let spare = query(sql).bind(&consent.issuer).bind(&consent.subject).bind(MAX_PER_USER);
    spare.execute(db).await?;
    Ok(())
}

pub(super) async fn is_given(db: &mut Db, asked: &Consent) -> Result<bool> {
    let sql = "SELECT * FROM consents WHERE issuer = $1 AND subject = $2 AND client = $3 \
               AND redirect_uri = $4 AND resource = $5";
    let rows = query(sql)
        .bind(&asked.issuer)
        .bind(&asked.subject)
        .bind(&asked.client)
        .bind(&asked.redirect_uri)
        .bind(&asked.resource)
        .fetch_all(db)
        .await?;
    for row in &rows {
        if read(row)?.answers(asked) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) async fn has_given(
    db: &mut Db,
    user: &User,
    client: &str,
    redirect_uri: &str,
) -> Result<bool> {
    let sql = "SELECT 1 FROM consents WHERE issuer = $1 AND subject = $2 AND client = $3 \
               AND redirect_uri = $4 LIMIT 1";
    let found = query(sql).bind(&user.issuer).bind(&user.subject).bind(client).bind(redirect_uri);
    Ok(found.fetch_optional(db).await?.is_some())
}

pub(super) async fn forget(db: &mut Db, user: &User, client: &str) -> Result<()> {
    let sql = "DELETE FROM consents WHERE issuer = $1 AND subject = $2 AND client = $3";
    query(sql).bind(&user.issuer).bind(&user.subject).bind(client).execute(db).await?;
    Ok(())
}

pub(super) async fn forget_user(db: &mut Db, issuer: &str, subject: &str) -> Result<()> {
    let sql = "DELETE FROM consents WHERE issuer = $1 AND subject = $2";
    query(sql).bind(issuer).bind(subject).execute(db).await?;
    Ok(())
}

fn read(row: &SqliteRow) -> Result<Consent> {
    Ok(Consent {
        issuer: row.text("issuer")?,
        subject: row.text("subject")?,
        client: row.text("client")?,
        redirect_uri: row.text("redirect_uri")?,
        scope: row.text("scope")?,
        resource: row.text("resource")?,
        given: row.time("given")?,
    })
}
