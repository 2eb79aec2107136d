//! What the operator and the identity providers say of people.

use auth::{
    UnixTime,
    oauth::{BlockedPerson, Grant, PeopleStore, Stored},
};
use sqlx::query;

use super::{
    Store, browsers, codes, consents, credentials,
    row::{Columns, Db, Result, seconds},
    sessions,
};

async fn block(db: &mut Db, issuer: &str, subject: &str, now: UnixTime) -> Result<Vec<Grant>> {
    let sql = "INSERT INTO blocked_people (issuer, subject, since) VALUES ($1, $2, $3) \
               ON CONFLICT (issuer, subject) DO NOTHING";
    query(sql).bind(issuer).bind(subject).bind(seconds(now)).execute(&mut *db).await?;
    end_all_of(db, issuer, subject, now).await
}

/// Ends everything a person has. Returns the grants that were live.
pub(super) async fn end_all_of(
    db: &mut Db,
    issuer: &str,
    subject: &str,
    now: UnixTime,
) -> Result<Vec<Grant>> {
    browsers::close_of_user(db, issuer, subject).await?;
    consents::forget_user(db, issuer, subject).await?;
    credentials::remove_of_user(db, issuer, subject).await?;
    sessions::remove_of_user(db, issuer, subject).await?;
    codes::revoke_user(db, issuer, subject, now).await
}

async fn unblock(db: &mut Db, issuer: &str, subject: &str) -> Result<bool> {
    let sql = "DELETE FROM blocked_people WHERE issuer = $1 AND subject = $2";
    Ok(query(sql).bind(issuer).bind(subject).execute(db).await?.rows_affected() == 1)
}

async fn is_blocked(db: &mut Db, issuer: &str, subject: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM blocked_people WHERE issuer = $1 AND subject = $2";
    Ok(query(sql).bind(issuer).bind(subject).fetch_optional(db).await?.is_some())
}

async fn blocked(db: &mut Db) -> Result<Vec<BlockedPerson>> {
    let rows = query("SELECT * FROM blocked_people ORDER BY issuer, subject").fetch_all(db).await?;
    let read = |row: &sqlx::sqlite::SqliteRow| {
        Ok(BlockedPerson {
            issuer: row.text("issuer")?,
            subject: row.text("subject")?,
            since: row.time("since")?,
        })
    };
    rows.iter().map(read).collect()
}

async fn keep_facts(
    db: &mut Db,
    issuer: &str,
    subject: &str,
    facts: &str,
    learnt: UnixTime,
) -> Result<()> {
    let sql = "INSERT INTO person_facts (issuer, subject, facts, learnt) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (issuer, subject) DO UPDATE SET \
                 facts = excluded.facts, learnt = excluded.learnt";
    query(sql).bind(issuer).bind(subject).bind(facts).bind(seconds(learnt)).execute(db).await?;
    Ok(())
}

async fn facts(db: &mut Db, issuer: &str, subject: &str) -> Result<Option<(String, UnixTime)>> {
    let sql = "SELECT facts, learnt FROM person_facts WHERE issuer = $1 AND subject = $2";
    let row = query(sql).bind(issuer).bind(subject).fetch_optional(db).await?;
    row.map(|row| Ok((row.text("facts")?, row.time("learnt")?))).transpose()
}

async fn claim_login(db: &mut Db, issuer: &str, login: &str, subject: &str) -> Result<String> {
    // The change that changes nothing makes RETURNING answer with the first one.
    let sql = "INSERT INTO rule_logins (issuer, login, subject) VALUES ($1, $2, $3) \
               ON CONFLICT (issuer, login) DO UPDATE SET subject = rule_logins.subject \
               RETURNING subject";
    let row = query(sql).bind(issuer).bind(login).bind(subject).fetch_one(db).await?;
    row.text("subject")
}

async fn claimed_logins(db: &mut Db, issuer: &str, subject: &str) -> Result<Vec<String>> {
    let sql = "SELECT login FROM rule_logins WHERE issuer = $1 AND subject = $2 ORDER BY login";
    let rows = query(sql).bind(issuer).bind(subject).fetch_all(db).await?;
    rows.iter().map(|row| row.text("login")).collect()
}

impl PeopleStore for Store {
    fn block_person<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
        now: UnixTime,
    ) -> Stored<'a, Vec<Grant>> {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        Box::pin(
            self.write(move |db| Box::pin(async move { block(db, &issuer, &subject, now).await })),
        )
    }

    fn unblock_person<'a>(&'a self, issuer: &'a str, subject: &'a str) -> Stored<'a, bool> {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        Box::pin(
            self.write(move |db| Box::pin(async move { unblock(db, &issuer, &subject).await })),
        )
    }

    fn is_blocked<'a>(&'a self, issuer: &'a str, subject: &'a str) -> Stored<'a, bool> {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        Box::pin(
            self.read(move |db| Box::pin(async move { is_blocked(db, &issuer, &subject).await })),
        )
    }

    fn blocked_people(&self) -> Stored<'_, Vec<BlockedPerson>> {
        Box::pin(self.read(move |db| Box::pin(blocked(db))))
    }

    fn keep_facts<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
        facts: String,
        learnt: UnixTime,
    ) -> Stored<'a, ()> {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        Box::pin(self.write(move |db| {
            Box::pin(async move { keep_facts(db, &issuer, &subject, &facts, learnt).await })
        }))
    }

    fn facts<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
    ) -> Stored<'a, Option<(String, UnixTime)>> {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        Box::pin(self.read(move |db| Box::pin(async move { facts(db, &issuer, &subject).await })))
    }

    fn claim_login<'a>(
        &'a self,
        issuer: &'a str,
        login: &'a str,
        subject: &'a str,
    ) -> Stored<'a, String> {
        let (issuer, login) = (issuer.to_owned(), login.to_owned());
        let subject = subject.to_owned();
        Box::pin(self.write(move |db| {
            Box::pin(async move { claim_login(db, &issuer, &login, &subject).await })
        }))
    }

    fn claimed_logins<'a>(&'a self, issuer: &'a str, subject: &'a str) -> Stored<'a, Vec<String>> {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        Box::pin(
            self.read(move |db| {
                Box::pin(async move { claimed_logins(db, &issuer, &subject).await })
            }),
        )
    }
}
