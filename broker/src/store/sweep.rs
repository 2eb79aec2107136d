//! Removing what has served its time.

use std::time::Duration;

use auth::{
    UnixTime,
    oauth::{CLIENT_MEMORY, CODE_MEMORY},
};
use sqlx::query;

use super::row::{Db, Result, count, seconds};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long an approval is remembered after it was used last: every code that is issued on it gives
/// it anew.
pub(super) const CONSENT_MEMORY: Duration = Duration::from_secs(400 * 24 * 3600);

/// How long a removed credential leaves its version behind. A renewal that could still compare it
/// takes seconds.
const VERSION_MEMORY: Duration = DAY;

/// How long it is kept what a provider said of a person. After a day it is asked for anew.
const FACTS_MEMORY: Duration = Duration::from_secs(2 * 24 * 3600);

/// What goes when its time is over. `$1` is the latest time that is over and `$2` the limit.
///
/// Tokens and codes stand before the grants that wait for them.
const OVER: [(&str, Duration); 10] = [
    (
        "DELETE FROM sign_ins WHERE handle IN \
           (SELECT handle FROM sign_ins WHERE expires <= $1 LIMIT $2)",
        Duration::ZERO,
    ),
    (
        "DELETE FROM browsers WHERE cookie IN \
           (SELECT cookie FROM browsers WHERE expires <= $1 LIMIT $2)",
        Duration::ZERO,
    ),
    (
        "DELETE FROM codes WHERE hash IN (SELECT hash FROM codes WHERE expires <= $1 LIMIT $2)",
        CODE_MEMORY,
    ),
    (
        "DELETE FROM access_tokens WHERE hash IN \
           (SELECT hash FROM access_tokens WHERE expires <= $1 LIMIT $2)",
        Duration::ZERO,
    ),
    (
        "DELETE FROM refresh_tokens WHERE hash IN \
           (SELECT hash FROM refresh_tokens WHERE expires <= $1 LIMIT $2)",
        Duration::ZERO,
    ),
    (
        "DELETE FROM clients WHERE id IN \
           (SELECT id FROM clients WHERE unused_until <= $1 LIMIT $2)",
        Duration::ZERO,
    ),
    (
        "DELETE FROM setup_links WHERE slot IN \
           (SELECT slot FROM setup_links WHERE expires <= $1 LIMIT $2)",
        Duration::ZERO,
    ),
    (
        "DELETE FROM credentials WHERE (provider, issuer, subject) IN \
           (SELECT provider, issuer, subject FROM credentials \
            WHERE key_id IS NULL AND removed <= $1 LIMIT $2)",
        VERSION_MEMORY,
    ),
    (
        "DELETE FROM static_tokens WHERE id IN \
           (SELECT id FROM static_tokens WHERE revoked <= $1 LIMIT $2)",
        CODE_MEMORY,
    ),
    (
        "DELETE FROM person_facts WHERE (issuer, subject) IN \
           (SELECT issuer, subject FROM person_facts WHERE learnt <= $1 LIMIT $2)",
        FACTS_MEMORY,
    ),
];

/// Removes at most `limit` records.
pub(super) async fn sweep(db: &mut Db, now: UnixTime, limit: usize) -> Result<usize> {
    let mut left = limit;
    for (sql, memory) in OVER {
        let over = seconds(before(now, memory));
        let gone = query(sql).bind(over).bind(count(left)).execute(&mut *db).await?;
        left = left.saturating_sub(removed(gone.rows_affected()));
    }
    // A revoked one stays for an hour, so that other brokers learn of it.
    let sql = "DELETE FROM grants WHERE family IN ( \
                 SELECT family FROM grants \
                 WHERE ends <= $1 AND (revoked IS NULL OR revoked <= $2) \
                   AND NOT EXISTS (SELECT 1 FROM access_tokens t WHERE t.family = grants.family) \
                   AND NOT EXISTS (SELECT 1 FROM refresh_tokens t WHERE t.family = grants.family) \
                   AND NOT EXISTS (SELECT 1 FROM codes c WHERE c.family = grants.family) \
                 LIMIT $3)";
    let told = seconds(before(now, CODE_MEMORY));
    let gone = query(sql).bind(seconds(now)).bind(told).bind(count(left)).execute(&mut *db).await?;
    left = left.saturating_sub(removed(gone.rows_affected()));
    let sql = "DELETE FROM consents \
               WHERE (issuer, subject, client, redirect_uri, resource, scope) IN ( \
                 SELECT issuer, subject, client, redirect_uri, resource, scope FROM consents \
                 WHERE given <= $1 LIMIT $2)";
    let over = seconds(before(now, CONSENT_MEMORY));
    let gone = query(sql).bind(over).bind(count(left)).execute(&mut *db).await?;
    left = left.saturating_sub(removed(gone.rows_affected()));
    let sql = "DELETE FROM clients WHERE id IN ( \
                 SELECT id FROM clients \
                 WHERE redeemed <= $1 AND unused_until IS NULL AND origin = 'registration' \
                   AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.client = clients.id) \
                   AND NOT EXISTS (SELECT 1 FROM codes c WHERE c.client = clients.id) \
                 LIMIT $2)";
    let over = seconds(before(now, CLIENT_MEMORY));
    let gone = query(sql).bind(over).bind(count(left)).execute(&mut *db).await?;
    left = left.saturating_sub(removed(gone.rows_affected()));
    // Removing a credential is told no time: the first sweep after it sets the clock.
    let sql = "UPDATE credentials SET removed = $1 WHERE key_id IS NULL AND removed IS NULL";
    query(sql).bind(seconds(now)).execute(db).await?;
    Ok(limit - left)
}

fn before(now: UnixTime, span: Duration) -> UnixTime {
    UnixTime(now.0.saturating_sub(span.as_secs()))
}

fn removed(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}
