//! `mcp-broker grant`: what users have authorized. A running broker applies a revocation within a second.

use auth::{
    UnixTime,
    oauth::{AuthStore, Grant},
};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    context::Context,
    output::{Exit, print, print_error},
    store::{Failure, StoreArgs, brief, day, with_store},
};

/// How many grants are read at a time.
const BATCH: usize = 200;

#[derive(Debug, Args)]
pub(super) struct GrantCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List which clients users have authorized, and for what
    List {
        /// Only those of this user, by name or subject
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        #[command(flatten)]
        common: StoreArgs,
    },
    /// Revoke an authorization: its tokens are refused and its sessions end
    Revoke {
        /// Its identifier, as listed
        id: String,
        #[command(flatten)]
        common: StoreArgs,
    },
}

pub(super) fn run(command: &GrantCommand, context: &Context<'_>) -> Exit {
    match &command.action {
        Action::List { user, common } => with_store(common, context, |store, _, _| async move {
            let mut found = Vec::new();
            let mut after = String::new();
            loop {
                let batch = store.grants(&after, BATCH).await?;
                let Some(last) = batch.last() else { break };
                after.clone_from(&last.grant_id);
                found.extend(batch.into_iter().filter(|grant| is_of(grant, user.as_deref())));
            }
            if common.json {
                print(found.iter().map(as_json).collect::<serde_json::Value>());
            } else if found.is_empty() {
                match user {
                    Some(user) => print_error(format_args!("{user:?} has authorized nothing")),
                    None => print_error("no user has authorized a client"),
                }
            } else {
                found.iter().for_each(|grant| print(line(grant)));
            }
            Ok(())
        }),
        Action::Revoke { id, common } => with_store(common, context, |store, _, now| async move {
            let Some(grant) = store.revoke_grant(id, UnixTime::of(now)).await? else {
                return Err(Failure::No(format!("there is no live grant {id:?}")));
            };
            store.forget_consents(&grant.user, &grant.client).await?;
            if common.json {
                print(json!({ "id": grant.grant_id, "revoked": true }));
            } else {
                print(format_args!("grant {} revoked", grant.grant_id));
            }
            Ok(())
        }),
    }
}

fn is_of(grant: &Grant, user: Option<&str>) -> bool {
    user.is_none_or(|user| grant.user.subject == user || grant.user.display_name == user)
}

fn line(grant: &Grant) -> String {
    format!(
        "{}  {}  {} ({})  {}  {}  since {}",
        grant.grant_id,
        brief(&grant.client_name),
        brief(&grant.user.display_name),
        grant.user.provider,
        grant.resource,
        grant.scope,
        day(grant.created),
    )
}

fn as_json(grant: &Grant) -> serde_json::Value {
    json!({
        "id": grant.grant_id,
        "client": grant.client,
        "client_name": grant.client_name,
        "issuer": grant.user.issuer,
        "subject": grant.user.subject,
        "user": grant.user.display_name,
        "provider": grant.user.provider,
        "resource": grant.resource,
        "scope": grant.scope,
        "created": grant.created.0,
        "refreshed": grant.refreshed.0,
    })
}
