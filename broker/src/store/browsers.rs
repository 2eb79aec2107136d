//! Browsers in which somebody is signed in.

use auth::{TokenHash, UnixTime, oauth::Browser};
use sqlx::query;

use super::{
    request::read_user,
    row::{Columns, Db, Result, bytes, seconds},
};

pub(super) async fn open(db: &mut Db, browser: &Browser) -> Result<()> {
    let sql = "INSERT INTO browsers (cookie, issuer, subject, display_name, provider, expires) \
               VALUES ($1, $2, $3, $4, $5, $6)";
    query(sql)
        .bind(bytes(&browser.cookie))
        .bind(&browser.user.issuer)
        .bind(&browser.user.subject)
        .bind(&browser.user.display_name)
        .bind(&browser.user.provider)
        .bind(seconds(browser.expires))
        .execute(db)
        .await?;
    Ok(())
}

pub(super) async fn find(
    db: &mut Db,
    cookie: &TokenHash,
    now: UnixTime,
) -> Result<Option<Browser>> {
    let sql = "SELECT * FROM browsers WHERE cookie = $1 AND expires > $2";
    let row = query(sql).bind(bytes(cookie)).bind(seconds(now)).fetch_optional(db).await?;
    let Some(row) = row else { return Ok(None) };
    let expires = row.time("expires")?;
    Ok(Some(Browser { cookie: *cookie, user: read_user(&row)?, expires }))
}

pub(super) async fn close(db: &mut Db, cookie: &TokenHash) -> Result<()> {
    query("DELETE FROM browsers WHERE cookie = $1").bind(bytes(cookie)).execute(db).await?;
    Ok(())
}

pub(super) async fn close_of_user(db: &mut Db, issuer: &str, subject: &str) -> Result<()> {
    let sql = "DELETE FROM browsers WHERE issuer = $1 AND subject = $2";
    query(sql).bind(issuer).bind(subject).execute(db).await?;
    Ok(())
}
