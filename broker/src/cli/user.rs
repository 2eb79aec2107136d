//! `mcp-broker user`: local accounts. A running broker sees a change at once.

use auth::{
    UnixTime,
    local::{Account, Accounts, AddError, ChangeError, ISSUER, Local, LocalLimits, check_name},
    oauth::{AuthStore, Secret},
};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    context::Context,
    output::{Exit, print, print_error},
    store::{Failure, StoreArgs, day, new_password, with_store},
};
use crate::{error_chain::error_with_causes, store::Store};

/// How many accounts are read at a time.
const BATCH: usize = 200;

#[derive(Debug, Args)]
pub(super) struct UserCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add an account; the password is asked for, or is the first line of standard input
    Add {
        /// What the user types to sign in: letters a to z, digits and . _ - + @
        name: String,
        #[command(flatten)]
        common: StoreArgs,
    },
    /// List the accounts
    List {
        #[command(flatten)]
        common: StoreArgs,
    },
    /// Give an account another password; it is read as with `add`. The account's browsers are signed
    /// out, and what it authorized is revoked
    Passwd {
        /// Its name
        name: String,
        /// Leave authorizations alone: clients that the user connected go on
        #[arg(long)]
        keep_grants: bool,
        #[command(flatten)]
        common: StoreArgs,
    },
    /// Remove an account, revoke what it authorized, and end its sessions
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        common: StoreArgs,
    },
}

pub(super) fn run(command: &UserCommand, context: &Context<'_>) -> Exit {
    match &command.action {
        Action::Add { name, common } => with_store(common, context, |store, _, now| async move {
            // Before the operator types a password in vain.
            let name = &acceptable(name)?;
            let taken = || Failure::No(format!("there is an account {name:?} already"));
            if store.account(name).await?.is_some() {
                return Err(taken());
            }
            let local = local(&store)?;
            let password = Secret::new(new_password()?);
            let account = local.add(name, &password, now).await.map_err(|error| match error {
                AddError::Name(_) | AddError::Password(_) => {
                    Failure::Usage(error_with_causes(&error))
                }
                AddError::Taken => taken(),
                AddError::Busy => Failure::No(error_with_causes(&error)),
                AddError::Store(error) => Failure::Store(error),
            })?;
            if common.json {
                print(as_json(&account));
            } else {
                print(format_args!("account {} added", account.name));
            }
            Ok(())
        }),
        Action::List { common } => with_store(common, context, |store, _, _| async move {
            let mut found: Vec<Account> = Vec::new();
            let mut after = String::new();
            loop {
                let batch = store.accounts(&after, BATCH).await?;
                let Some(last) = batch.last() else { break };
                after.clone_from(&last.name);
                found.extend(batch);
            }
            if common.json {
                print(found.iter().map(as_json).collect::<Value>());
            } else if found.is_empty() {
                print_error("there are no accounts; add one with `mcp-broker user add NAME`");
            } else {
                for account in &found {
                    print(format_args!("{}  since {}", account.name, day(account.created)));
                }
            }
            Ok(())
        }),
        Action::Passwd { name, keep_grants, common } => {
            with_store(common, context, |store, _, now| async move {
                let name = &acceptable(name)?;
                let account = store.account(name).await?.ok_or_else(|| no_account(name))?;
                let local = local(&store)?;
                let password = Secret::new(new_password()?);
                local.set_password(name, &password).await.map_err(|error| match error {
                    ChangeError::Name(_) | ChangeError::Password(_) => {
                        Failure::Usage(error_with_causes(&error))
                    }
                    ChangeError::Unknown => no_account(name),
                    ChangeError::Busy => Failure::No(error_with_causes(&error)),
                    ChangeError::Store(error) => Failure::Store(error),
                })?;
                // Who knew the old password may have connected a client with it.
                let revoked = if *keep_grants {
                    0
                } else {
                    store.revoke_user(ISSUER, &account.subject, UnixTime::of(now)).await?.len()
                };
                if common.json {
                    print(json!({ "name": name, "changed": true, "revoked": revoked }));
                } else {
                    print(format_args!(
                        "the password of {name} was changed; its browsers are signed out; \
                     authorizations revoked: {revoked}"
                    ));
                }
                Ok(())
            })
        }
        Action::Remove { name, common } => {
            with_store(common, context, |store, _, now| async move {
                let name = acceptable(name)?;
                let revoked = store.remove_account(&name, UnixTime::of(now)).await?;
                let revoked = revoked.ok_or_else(|| no_account(&name))?.len();
                if common.json {
                    print(json!({ "name": name, "removed": true, "revoked": revoked }));
                } else {
                    print(format_args!(
                        "account {name} removed; authorizations revoked: {revoked}"
                    ));
                }
                Ok(())
            })
        }
    }
}

fn local(store: &std::sync::Arc<Store>) -> Result<Local, Failure> {
    let rng = auth::os_rng().map_err(|error| Failure::No(error_with_causes(&error)))?;
    Ok(Local::new(store.clone(), LocalLimits::default(), rng))
}

/// The name as it is kept.
fn acceptable(name: &str) -> Result<String, Failure> {
    check_name(name).map_err(|error| Failure::Usage(format!("{name:?} cannot be a name: {error}")))
}

fn no_account(name: &str) -> Failure {
    Failure::No(format!("there is no account {name:?}"))
}

fn as_json(account: &Account) -> Value {
    json!({
        "name": account.name,
        "subject": account.subject,
        "created": account.created.0,
    })
}
