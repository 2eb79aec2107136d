//! `mcp-broker token`: the tokens of the `static` verifier. A running broker follows at once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auth::TokenRecord;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{ConfigArgs, Exit, complain, say, told};
use crate::{
    config::Environment,
    tokens::{TokenFile, TokenFileError, TokenWatch},
};

#[derive(Debug, Args)]
pub(super) struct TokenCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token and print it, once, alone on standard output
    Add {
        /// Whose it is: the subject its sessions belong to
        name: String,
        /// Refuse it after this many days [default: never]
        #[arg(long, value_name = "DAYS")]
        expires: Option<u32>,
        #[command(flatten)]
        common: Common,
    },
    /// List the tokens; the tokens themselves are not kept
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Revoke a token and end its sessions
    Revoke {
        /// Its name or id
        name: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    config: ConfigArgs,
    /// Answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &TokenCommand, environment: &dyn Environment) -> Exit {
    let (Action::Add { common, .. } | Action::List { common } | Action::Revoke { common, .. }) =
        &command.action;
    let loaded = match common.config.load(environment) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            complain(&mistakes);
            return Exit::Config;
        }
    };
    let file = TokenFile::new(&loaded.config.auth.tokens_file());
    #[expect(clippy::disallowed_methods, reason = "a command reads the calendar once")]
    let now = SystemTime::now();
    let result = match &command.action {
        Action::Add { name, expires, .. } => add(&file, name, *expires, now, common.json),
        Action::List { .. } => list(&file, now, common.json),
        Action::Revoke { name, .. } => revoke(&file, name, common.json),
    };
    match result {
        Ok(()) => Exit::Ok,
        Err(error) => {
            complain(told(&error));
            match error {
                TokenFileError::NoSuchToken { .. } | TokenFileError::NameTaken { .. } => Exit::No,
                TokenFileError::BadName { .. } => Exit::Usage,
                _ => Exit::Unavailable,
            }
        }
    }
}

fn add(
    file: &TokenFile,
    name: &str,
    expires: Option<u32>,
    now: SystemTime,
    json: bool,
) -> Result<(), TokenFileError> {
    const DAY: u64 = 24 * 60 * 60;
    let (record, token) = match expires {
        Some(days) => {
            file.add_expiring(name, now + Duration::from_secs(u64::from(days) * DAY), now)?
        }
        None => file.add(name, now)?,
    };
    // Whoever uses it at once is to be let in: a broker that runs has read it by then.
    std::thread::sleep(2 * TokenWatch::INTERVAL);
    if json {
        let mut shown = as_json(&record, now);
        shown["token"] = token.expose().into();
        say(shown);
    } else {
        complain(format_args!("token {:?} made; it is shown this once:", record.name));
        say(token.expose());
    }
    Ok(())
}

fn list(file: &TokenFile, now: SystemTime, json: bool) -> Result<(), TokenFileError> {
    let records = file.list()?;
    if json {
        say(records.iter().map(|record| as_json(record, now)).collect::<serde_json::Value>());
    } else if records.is_empty() {
        complain("there are no tokens; make one with `mcp-broker token add NAME`");
    } else {
        for record in &records {
            let state = if record.expired(now) { "  expired" } else { "" };
            say(format_args!("{}  {}{state}", record.id, record.name));
        }
    }
    Ok(())
}

fn revoke(file: &TokenFile, name: &str, json: bool) -> Result<(), TokenFileError> {
    let record = file.revoke(name)?;
    if json {
        say(json!({"id": record.id, "name": record.name, "revoked": true}));
    } else {
        say(format_args!("token {:?} revoked", record.name));
    }
    Ok(())
}

fn as_json(record: &TokenRecord, now: SystemTime) -> serde_json::Value {
    debug_assert!(now >= UNIX_EPOCH, "a clock before 1970 makes every token expired");
    json!({
        "id": record.id,
        "name": record.name,
        "created": record.created.0,
        "expires": record.expires.map(|end| end.0),
        "expired": record.expired(now),
    })
}
