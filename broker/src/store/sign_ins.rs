//! Sign-ins under way.

use auth::{
    TokenHash, UnixTime,
    oauth::{Purpose, Transaction, TransactionKey, Upstream},
};
use sqlx::{Row, query, sqlite::SqliteRow};

use super::{
    request::read_request,
    row::{Columns, Db, Result, bytes, count, seconds, unreadable},
};

pub(super) async fn open(
    db: &mut Db,
    own: &Transaction,
    max_open: usize,
    now: UnixTime,
) -> Result<bool> {
    if max_open == 0 {
        return Ok(false);
    }
    let sql = "SELECT COUNT(*) AS open FROM sign_ins WHERE expires > $1";
    let row = query(sql).bind(seconds(now)).fetch_one(&mut *db).await?;
    let surplus = row.try_get::<i64, _>("open")?.saturating_add(1).saturating_sub(count(max_open));
    if surplus > 0 {
        make_room(db, surplus, count(max_open) / 100, &own.peer.to_string(), now).await?;
    }
    let (page, request) = match &own.purpose {
        Purpose::Page(path) => (Some(path), None),
        Purpose::Authorize(request) => (None, Some(&**request)),
    };
    let sql = "INSERT INTO sign_ins \
                 (handle, page, client, client_name, redirect_uri, state, challenge, resource, \
                  scope, refreshes, reauthenticate, binding, provider, upstream_state, peer, expires) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
    query(sql)
        .bind(bytes(&own.handle))
        .bind(page)
        .bind(request.map(|own| &own.client))
        .bind(request.map(|own| &own.client_name))
        .bind(request.map(|own| &own.redirect_uri))
        .bind(request.and_then(|own| own.state.as_ref()))
        .bind(request.map(|own| &own.challenge))
        .bind(request.map(|own| &own.resource))
        .bind(request.map(|own| &own.scope))
        .bind(request.map(|own| i64::from(own.refreshes)))
        .bind(request.map(|own| i64::from(own.reauthenticate)))
        .bind(own.binding.as_ref().map(bytes))
        .bind(own.upstream.as_ref().map(|own| &own.provider))
        .bind(own.upstream.as_ref().map(|own| bytes(&own.state)))
        .bind(own.peer.to_string())
        .bind(seconds(own.expires))
        .execute(db)
        .await?;
    Ok(true)
}

/// Removes at least `surplus` sign-ins that are under way: those that no browser approved, and others only
/// when there are no such. Sorting them costs tens of milliseconds of the only writer, so `spare` more go
/// with them.
async fn make_room(
    db: &mut Db,
    surplus: i64,
    spare: i64,
    newcomer: &str,
    now: UnixTime,
) -> Result<()> {
    let mut left = surplus;
    for approved in [false, true] {
        let sql = "DELETE FROM sign_ins WHERE handle IN ( \
                     SELECT own.handle FROM sign_ins own JOIN ( \
                       SELECT peer, COUNT(*) AS open FROM sign_ins WHERE expires > $1 GROUP BY peer \
                     ) many ON many.peer = own.peer \
                     WHERE own.expires > $1 AND (own.binding IS NOT NULL) = $2 \
                     ORDER BY own.peer <> $3, many.open DESC, own.expires LIMIT $4)";
        let gone = query(sql)
            .bind(seconds(now))
            .bind(i64::from(approved))
            .bind(newcomer)
            .bind(left.saturating_add(spare))
            .execute(&mut *db)
            .await?
            .rows_affected();
        left = left.saturating_sub_unsigned(gone);
        if left <= 0 {
            break;
        }
    }
    Ok(())
}

pub(super) async fn find(
    db: &mut Db,
    handle: &TokenHash,
    now: UnixTime,
) -> Result<Option<Transaction>> {
    let sql = "SELECT * FROM sign_ins WHERE handle = $1 AND expires > $2";
    let row = query(sql).bind(bytes(handle)).bind(seconds(now)).fetch_optional(db).await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn approve(
    db: &mut Db,
    handle: &TokenHash,
    binding: &TokenHash,
    now: UnixTime,
) -> Result<bool> {
    let sql = "UPDATE sign_ins SET binding = $2 \
               WHERE handle = $1 AND binding IS NULL AND expires > $3";
    let approved = query(sql).bind(bytes(handle)).bind(bytes(binding)).bind(seconds(now));
    Ok(approved.execute(db).await?.rows_affected() == 1)
}

pub(super) async fn begin_upstream(
    db: &mut Db,
    handle: &TokenHash,
    provider: &str,
    state: &TokenHash,
    now: UnixTime,
) -> Result<bool> {
    let sql = "UPDATE sign_ins SET provider = $2, upstream_state = $3 \
               WHERE handle = $1 AND binding IS NOT NULL AND expires > $4";
    let begun = query(sql).bind(bytes(handle)).bind(provider).bind(bytes(state)).bind(seconds(now));
    Ok(begun.execute(db).await?.rows_affected() == 1)
}

/// By what a sign-in is taken, on its way to the writer.
#[derive(Clone, Copy)]
pub(super) enum Key {
    Handle(TokenHash),
    State(TokenHash),
}

impl From<TransactionKey<'_>> for Key {
    fn from(key: TransactionKey<'_>) -> Self {
        match key {
            TransactionKey::Handle(hash) => Self::Handle(*hash),
            TransactionKey::State(hash) => Self::State(*hash),
        }
    }
}

/// Renames a provider wherever one is named outside of credentials.
pub(super) async fn rename_provider(db: &mut Db, from: &str, to: &str) -> Result<usize> {
    let mut changed = 0;
    for sql in [
        "UPDATE sign_ins SET provider = $2 WHERE provider = $1",
        "UPDATE codes SET provider = $2 WHERE provider = $1",
        "UPDATE grants SET provider = $2 WHERE provider = $1",
        "UPDATE browsers SET provider = $2 WHERE provider = $1",
    ] {
        changed += query(sql).bind(from).bind(to).execute(&mut *db).await?.rows_affected();
    }
    Ok(usize::try_from(changed).unwrap_or(usize::MAX))
}

pub(super) async fn take(db: &mut Db, key: Key, now: UnixTime) -> Result<Option<Transaction>> {
    let (sql, hash) = match key {
        Key::Handle(hash) => ("DELETE FROM sign_ins WHERE handle = $1 RETURNING *", hash),
        Key::State(hash) => ("DELETE FROM sign_ins WHERE upstream_state = $1 RETURNING *", hash),
    };
    let row = query(sql).bind(bytes(&hash)).fetch_optional(db).await?;
    let taken = row.as_ref().map(read).transpose()?;
    // One that is past its time is gone as well, and not good any more.
    Ok(taken.filter(|own| !now.is_past(own.expires)))
}

fn read(row: &SqliteRow) -> Result<Transaction> {
    let purpose = match row.maybe_text("page")? {
        Some(path) => Purpose::Page(path),
        None => Purpose::Authorize(Box::new(read_request(row)?)),
    };
    let upstream = match (row.maybe_text("provider")?, row.maybe_hash("upstream_state")?) {
        (Some(provider), Some(state)) => Some(Upstream { provider, state }),
        _ => None,
    };
    Ok(Transaction {
        handle: row.hash("handle")?,
        purpose,
        binding: row.maybe_hash("binding")?,
        upstream,
        peer: row.text("peer")?.parse().map_err(|_| unreadable("peer", "not an address"))?,
        expires: row.time("expires")?,
    })
}
