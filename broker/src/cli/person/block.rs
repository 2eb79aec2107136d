//! Who is meant by the name of a person, and keeping them out.

use std::{sync::Arc, time::SystemTime};

use auth::{
    UnixTime,
    local::{Accounts, ISSUER},
    oauth::PeopleStore,
};
use clap::Args;
use serde_json::json;

use super::known::ByAccount;
use crate::{
    cli::{
        output::print,
        store::{Failure, brief},
    },
    store::Store,
};

/// Whom a command is about.
#[derive(Debug, Args)]
pub(in crate::cli) struct Who {
    /// The subject or the login of the person, as `person list` shows them, or the name of a local
    /// account
    who: String,
    /// The issuer of the person, as `person list` shows it in brackets: for a login that several
    /// people have, and for the subject of a person who has never signed in
    #[arg(long)]
    issuer: Option<String>,
}

type Account = (String, String);

impl Who {
    /// The one person who is meant.
    pub(super) async fn find(&self, store: &Store, people: &ByAccount) -> Result<Account, Failure> {
        let is_meant = |(issuer, subject): &Account, login: Option<&str>| {
            let is_named = subject == &self.who || login.is_some_and(|own| own == self.who);
            is_named && self.issuer.as_ref().is_none_or(|wanted| wanted == issuer)
        };
        let mut found: Vec<Account> = people
            .iter()
            .filter(|(account, own)| is_meant(account, own.login()))
            .map(|(account, _)| account.clone())
            .collect();
        let blocked = store.blocked_people().await?.into_iter();
        found
            .extend(blocked.map(|own| (own.issuer, own.subject)).filter(|own| is_meant(own, None)));
        if let Some(account) = store.account(&self.who.to_lowercase()).await?
            && self.issuer.as_deref().is_none_or(|issuer| issuer == ISSUER)
        {
            found.push((ISSUER.to_owned(), account.subject));
        }
        found.sort_unstable();
        found.dedup();
        match (&found[..], &self.issuer) {
            ([only], _) => Ok(only.clone()),
            ([], Some(issuer)) => Ok((issuer.clone(), self.who.clone())),
            ([], None) => Err(Failure::No(format!(
                "no person has the subject or login {:?}; `mcp-broker person list` shows who has \
                 signed in, and with --issuer a person can be named who has not",
                self.who
            ))),
            (several, _) => {
                let several =
                    several.iter().map(|(issuer, subject)| format!("{subject} ({issuer})"));
                let several = several.collect::<Vec<_>>().join(", ");
                Err(Failure::No(format!(
                    "{:?} may be any of these people: {several}; give the subject and --issuer",
                    self.who
                )))
            }
        }
    }
}

pub(super) async fn block(
    store: &Arc<Store>,
    (issuer, subject): &Account,
    now: SystemTime,
    in_json: bool,
) -> Result<(), Failure> {
    let revoked = store.block_person(issuer, subject, UnixTime::of(now)).await?.len();
    if in_json {
        let told = json!({
            "issuer": issuer, "subject": subject, "blocked": true, "revoked": revoked,
        });
        print(told);
    } else {
        print(format_args!(
            "{} ({issuer}) is blocked; browsers, sessions and credentials end within seconds; \
             authorizations revoked: {revoked}",
            brief(subject)
        ));
    }
    Ok(())
}

pub(super) async fn unblock(
    store: &Arc<Store>,
    (issuer, subject): &Account,
    in_json: bool,
) -> Result<(), Failure> {
    if !store.unblock_person(issuer, subject).await? {
        return Err(Failure::No(format!("{} ({issuer}) is not blocked", brief(subject))));
    }
    if in_json {
        print(json!({ "issuer": issuer, "subject": subject, "blocked": false }));
    } else {
        print(format_args!("{} ({issuer}) may sign in again", brief(subject)));
    }
    Ok(())
}
