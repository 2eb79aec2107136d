//! `mcp-broker person`: who uses the broker, how their connections to their providers stand, and
//! keeping somebody out.

mod block;
mod known;

use std::{sync::Arc, time::SystemTime};

use auth::{
    UnixTime,
    oauth::{AuthStore, PeopleStore},
    upstream::{ConnectionState, CredentialStore, Vault},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use session::{Records, Selection};

use self::{
    block::Who,
    known::{ByAccount, Person, Stored},
};
use super::{
    context::Context,
    output::{Exit, print, print_error},
    store::{Failure, StoreArgs, brief, day, with_store},
};
use crate::{
    calendar::format, compose::connections, config::Config, error_chain::error_with_causes,
    store::Store,
};

/// How many rows are read at a time.
const BATCH: usize = 200;

#[derive(Debug, Args)]
pub(super) struct PersonCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the people who signed in: who vouches for them, whether the credential that their servers
    /// work with is good, and when they used the broker last
    List {
        #[command(flatten)]
        common: StoreArgs,
    },
    /// Keep a person out: browsers, authorizations, sessions and credentials end within seconds, also
    /// while the broker runs, and the person cannot sign in again
    Block {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        common: StoreArgs,
    },
    /// Let a person sign in again
    Unblock {
        #[command(flatten)]
        who: Who,
        #[command(flatten)]
        common: StoreArgs,
    },
}

pub(super) fn run(command: &PersonCommand, context: &Context<'_>) -> Exit {
    match &command.action {
        Action::Block { who, common } => {
            with_store(common, context, |store, config, now| async move {
                let person = who.find(&store, &everybody(&store, &config, now).await?).await?;
                block::block(&store, &person, now, common.json).await
            })
        }
        Action::Unblock { who, common } => {
            with_store(common, context, |store, config, now| async move {
                let person = who.find(&store, &everybody(&store, &config, now).await?).await?;
                block::unblock(&store, &person, common.json).await
            })
        }
        Action::List { common } => with_store(common, context, |store, config, now| async move {
            let mut people = everybody(&store, &config, now).await?;
            for blocked in store.blocked_people().await? {
                let person = people.entry((blocked.issuer, blocked.subject)).or_default();
                person.blocked = Some(blocked.since);
            }
            if common.json {
                print(people.iter().map(as_json).collect::<Value>());
            } else if people.is_empty() {
                print_error("no person has signed in for a client");
            } else {
                people.iter().for_each(|own| print(line(own)));
            }
            Ok(())
        }),
    }
}

/// Those who have authorized a client, have a session, or a credential.
async fn everybody(
    store: &Arc<Store>,
    config: &Config,
    now: SystemTime,
) -> Result<ByAccount, Failure> {
    let mut people = known(store).await?;
    let vault = connections::stored(config, store).await;
    let vault = vault.map_err(|error| Failure::Unavailable(error_with_causes(&error)))?;
    if let Some(vault) = vault {
        add_credentials(&mut people, store, &vault, now).await?;
    }
    Ok(people)
}

/// Those who have authorized a client or have a session, and when they did something last.
async fn known(store: &Store) -> Result<ByAccount, Failure> {
    let mut people = ByAccount::new();
    let mut after = String::new();
    loop {
        let batch = store.grants(&after, BATCH).await?;
        let Some(last) = batch.last() else { break };
        after.clone_from(&last.grant_id);
        for grant in batch {
            let user = grant.user;
            let person = people.entry((user.issuer, user.subject)).or_default();
            if person.last_use.is_none_or(|last| last <= grant.refreshed) {
                person.name = Some(user.display_name);
                person.provider = Some(user.provider);
            }
            person.last_use = person.last_use.max(Some(grant.refreshed));
        }
    }
    let mut after = None;
    loop {
        let batch = store.list(&Selection::All, after.as_ref(), BATCH).await?;
        let Some(last) = batch.last() else { return Ok(people) };
        after = Some(last.key);
        for session in &batch {
            let owner = (session.owner.issuer().to_owned(), session.owner.subject().to_owned());
            // Sessions of static tokens and of nobody in particular are no person's.
            if let Some(person) = people.get_mut(&owner) {
                person.last_use = person.last_use.max(Some(UnixTime::of(session.active)));
            }
        }
    }
}

/// What each of them, and those who have nothing else, is connected with.
async fn add_credentials(
    people: &mut ByAccount,
    store: &Arc<Store>,
    vault: &Vault,
    now: SystemTime,
) -> Result<(), Failure> {
    for realm in store.credential_realms().await? {
        // A token for one server that a user set does not say who they are.
        let Some(provider) = realm.provider() else { continue };
        let mut after = (String::new(), String::new());
        loop {
            let batch = store.credentials_at(&realm, (&after.0, &after.1), BATCH).await?;
            let Some((last, _)) = batch.last() else { break };
            after = (last.issuer.clone(), last.subject.clone());
            for (key, sealed) in batch {
                let all = vault.connections(&key.issuer, &key.subject, now).await?;
                let Some(own) = all.into_iter().find(|own| own.realm == realm) else {
                    continue;
                };
                let person = people.entry((key.issuer, key.subject)).or_default();
                person.provider = Some(provider.to_owned());
                person.last_use = person.last_use.max(Some(sealed.stored));
                let state = match own.account_refused {
                    Some(_) => "account refused",
                    None => word(own.state),
                };
                person.credential = Some(Stored { login: own.username, state, scope: own.scope });
            }
        }
    }
    Ok(())
}

/// How a credential stands, in one word or two; part of the JSON.
fn word(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::Fine { .. } => "good",
        ConnectionState::SignInAgain { works_until: Some(_) } => "ending",
        ConnectionState::SignInAgain { works_until: None } => "sign in again",
        ConnectionState::Unreadable => "unreadable",
    }
}

fn line(((issuer, subject), person): (&(String, String), &Person)) -> String {
    let unknown = "unknown";
    let stored = person.credential.as_ref();
    let login = person.login().or(person.name.as_deref());
    let credential = match stored {
        None => "no credential".to_owned(),
        Some(own) => {
            let scope = own.scope.as_deref().map_or(unknown.to_owned(), brief);
            format!("credential {}, scope {scope}", own.state)
        }
    };
    let last_use = person.last_use;
    let blocked = person.blocked.map(|since| format!("  blocked since {}", day(since)));
    format!(
        "{}  {}  {} ({issuer})  {credential}  last use {}{}",
        person.provider.as_deref().unwrap_or(unknown),
        brief(login.unwrap_or(unknown)),
        brief(subject),
        last_use.map_or(unknown.to_owned(), |time| format(time, "%Y-%m-%d %H:%MZ")),
        blocked.unwrap_or_default(),
    )
}

fn as_json(((issuer, subject), person): (&(String, String), &Person)) -> Value {
    let stored = person.credential.as_ref();
    json!({
        "issuer": issuer,
        "subject": subject,
        "provider": person.provider,
        "name": person.name,
        "login": person.login(),
        "credential": stored.map_or("none", |own| own.state),
        "scope": stored.and_then(|own| own.scope.as_deref()),
        "last_use": person.last_use.map(|time| time.0),
        "blocked": person.blocked.map(|time| time.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_one_line_whatever_they_call_themselves() {
        let owner = ("https://git.example.org".to_owned(), "7".to_owned());
        let mut person = Person {
            provider: Some("forgejo".to_owned()),
            name: Some("Ada\n\u{1b}[2J".to_owned()),
            last_use: Some(UnixTime(1_709_164_800)),
            credential: None,
            blocked: None,
        };
        let told = line((&owner, &person));
        assert!(!told.contains(char::is_control), "{told:?}");
        assert!(told.contains("no credential  last use 2024-02-29 00:00Z"), "{told}");
        let login = Some("ada".to_owned());
        person.credential = Some(Stored { login, state: "good", scope: None });
        assert_eq!(
            line((&owner, &person)),
            "forgejo  ada  7 (https://git.example.org)  credential good, scope unknown  last use \
             2024-02-29 00:00Z"
        );
        assert_eq!(as_json((&owner, &person))["scope"], Value::Null);
    }
}
