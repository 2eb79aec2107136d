//! Local accounts, and the link that makes the first one.

use auth::{
    TokenHash, UnixTime,
    local::{Account, ISSUER},
    oauth::Grant,
};
use sqlx::{query, sqlite::SqliteRow};

use super::{
    browsers, people,
    row::{Columns, Db, Result, bytes, count, seconds},
};

pub(super) async fn find(db: &mut Db, name: &str) -> Result<Option<Account>> {
    let row = query("SELECT * FROM accounts WHERE name = $1").bind(name);
    row.fetch_optional(db).await?.as_ref().map(read).transpose()
}

pub(super) async fn add(db: &mut Db, account: &Account) -> Result<bool> {
    let sql = "INSERT INTO accounts (subject, name, password, created) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (name) DO NOTHING";
    let added = query(sql)
        .bind(&account.subject)
        .bind(&account.name)
        .bind(&account.password)
        .bind(seconds(account.created));
    Ok(added.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn list(db: &mut Db, after: &str, limit: usize) -> Result<Vec<Account>> {
    let sql = "SELECT * FROM accounts WHERE name > $1 ORDER BY name LIMIT $2";
    let rows = query(sql).bind(after).bind(count(limit)).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

pub(super) async fn set_password(db: &mut Db, name: &str, password: &str) -> Result<bool> {
    let sql = "UPDATE accounts SET password = $2 WHERE name = $1 RETURNING subject";
    let row = query(sql).bind(name).bind(password).fetch_optional(&mut *db).await?;
    let Some(row) = row else { return Ok(false) };
    browsers::close_of_user(db, ISSUER, &row.text("subject")?).await?;
    Ok(true)
}

pub(super) async fn rehash(db: &mut Db, name: &str, from: &str, to: &str) -> Result<bool> {
    let sql = "UPDATE accounts SET password = $3 WHERE name = $1 AND password = $2";
    let changed = query(sql).bind(name).bind(from).bind(to).execute(db).await?;
    Ok(changed.rows_affected() == 1)
}

pub(super) async fn remove(db: &mut Db, name: &str, now: UnixTime) -> Result<Option<Vec<Grant>>> {
    let sql = "DELETE FROM accounts WHERE name = $1 RETURNING subject";
    let row = query(sql).bind(name).fetch_optional(&mut *db).await?;
    let Some(row) = row else { return Ok(None) };
    let subject = row.text("subject")?;
    people::end_all_of(db, ISSUER, &subject, now).await.map(Some)
}

pub(super) async fn offer_setup(db: &mut Db, secret: &TokenHash, expires: UnixTime) -> Result<()> {
    let sql = "INSERT INTO setup_links (slot, secret, expires) VALUES (1, $1, $2) \
               ON CONFLICT (slot) DO UPDATE SET \
                 secret = excluded.secret, expires = excluded.expires";
    query(sql).bind(bytes(secret)).bind(seconds(expires)).execute(db).await?;
    Ok(())
}

pub(super) async fn is_setup(db: &mut Db, secret: &TokenHash, now: UnixTime) -> Result<bool> {
    let sql = "SELECT secret FROM setup_links WHERE expires > $1";
    let row = query(sql).bind(seconds(now)).fetch_optional(db).await?;
    let Some(row) = row else { return Ok(false) };
    // Compared here rather than in SQL: hashes are compared in constant time.
    Ok(row.hash("secret")? == *secret)
}

pub(super) async fn set_up(
    db: &mut Db,
    secret: &TokenHash,
    account: &Account,
    now: UnixTime,
) -> Result<bool> {
    let taken = query("SELECT 1 FROM accounts LIMIT 1").fetch_optional(&mut *db).await?.is_some();
    if taken || !is_setup(db, secret, now).await? {
        return Ok(false);
    }
    query("DELETE FROM setup_links").execute(&mut *db).await?;
    add(db, account).await
}

fn read(row: &SqliteRow) -> Result<Account> {
    Ok(Account {
        subject: row.text("subject")?,
        name: row.text("name")?,
        password: row.text("password")?,
        created: row.time("created")?,
    })
}
