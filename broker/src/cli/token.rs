//! `mcp-broker token`: the tokens of the `static` verifier. A running broker accepts a new one at once and
//! refuses a revoked one within a second.

use std::time::{Duration, SystemTime};

use auth::{StaticTokenStore, TokenRecord, UnixTime};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    context::Context,
    output::{Exit, print, print_error},
    store::{Failure, StoreArgs, with_store},
};
use crate::{
    error_chain::error_with_causes,
    store::Store,
    tokens::{self, AddTokenError},
};

/// How many tokens are read at a time.
const BATCH: usize = 200;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Args)]
pub(super) struct TokenCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token and print it, once, alone on standard output
    Add {
        /// Whose it is: the subject that its sessions belong to
        name: String,
        /// Refuse it after this many days [default: never]
        #[arg(long, value_name = "DAYS")]
        expires: Option<u32>,
        #[command(flatten)]
        common: StoreArgs,
    },
    /// List the tokens; the tokens themselves are not kept
    List {
        #[command(flatten)]
        common: StoreArgs,
    },
    /// Revoke a token and end its sessions
    Revoke {
        /// Its name or id
        name: String,
        #[command(flatten)]
        common: StoreArgs,
    },
}

pub(super) fn run(command: &TokenCommand, context: &Context<'_>) -> Exit {
    let (Action::Add { common, .. } | Action::List { common } | Action::Revoke { common, .. }) =
        &command.action;
    with_store(common, context, |store, config, now| async move {
        tokens::import(&store, config.auth.tokens_file(), now)
            .await
            .map_err(|error| Failure::Unavailable(error_with_causes(&error)))?;
        match &command.action {
            Action::Add { name, expires, .. } => {
                add(&store, name, *expires, now, common.json).await
            }
            Action::List { .. } => list(&store, now, common.json).await,
            Action::Revoke { name, .. } => revoke(&store, name, now, common.json).await,
        }
    })
}

async fn add(
    store: &Store,
    name: &str,
    expires: Option<u32>,
    now: SystemTime,
    json: bool,
) -> Result<(), Failure> {
    let expires = expires.map(|days| UnixTime::of(now + days * DAY));
    let added = tokens::add(store, name, expires, now).await;
    let (record, token) = added.map_err(|error| match error {
        AddTokenError::NameTaken { .. } => Failure::No(error_with_causes(&error)),
        AddTokenError::BadName { .. } => Failure::Usage(error_with_causes(&error)),
        AddTokenError::Store(error) => Failure::Store(error),
        AddTokenError::Seed(_) => Failure::Unavailable(error_with_causes(&error)),
    })?;
    if json {
        let mut shown = as_json(&record, now);
        shown["token"] = token.expose().into();
        print(shown);
    } else {
        print_error(format_args!("token {:?} made; it is shown once:", record.name));
        print(token.expose());
    }
    Ok(())
}

async fn list(store: &Store, now: SystemTime, json: bool) -> Result<(), Failure> {
    let mut records: Vec<TokenRecord> = Vec::new();
    loop {
        let after = records.last().map(|last| last.name.clone()).unwrap_or_default();
        let batch = store.static_tokens(&after, BATCH).await?;
        if batch.is_empty() {
            break;
        }
        records.extend(batch);
    }
    records.sort_by(|one, other| (one.created, &one.name).cmp(&(other.created, &other.name)));
    if json {
        print(records.iter().map(|record| as_json(record, now)).collect::<Value>());
    } else if records.is_empty() {
        print_error("there are no tokens; make one with `mcp-broker token add NAME`");
    } else {
        for record in &records {
            let state = if record.expired(now) { "  expired" } else { "" };
            print(format_args!("{}  {}{state}", record.id, record.name));
        }
    }
    Ok(())
}

async fn revoke(store: &Store, name: &str, now: SystemTime, json: bool) -> Result<(), Failure> {
    let revoked = store.revoke_static_token(name, UnixTime::of(now)).await?;
    let record =
        revoked.ok_or_else(|| Failure::No(format!("no token has the id or name {name:?}")))?;
    if json {
        print(json!({ "id": record.id, "name": record.name, "revoked": true }));
    } else {
        print(format_args!("token {:?} revoked", record.name));
    }
    Ok(())
}

fn as_json(record: &TokenRecord, now: SystemTime) -> Value {
    json!({
        "id": record.id,
        "name": record.name,
        "created": record.created.0,
        "expires": record.expires.map(|end| end.0),
        "expired": record.expired(now),
    })
}
