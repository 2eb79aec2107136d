//! `cargo xtask e2e`: real clients against real servers through the broker.
//!
//! | Part | Its stories |
//! |---|---|
//! | `calls` | each client with each server |
//! | `sign_in` | people sign in with a browser |
//! | `outlive` | sessions outlive their process |
//! | `clients` | clients and servers that are packages of their own |
//! | `levels` | servers from elsewhere at each level of isolation |
//! | `forge` | setting the broker up at a forge, and all that happens to accounts, grants and tokens there |
//!
//! Each part has brokers of its own, and directories of its own under `target/e2e`, so that `cargo
//! xtask ci` may tell them at the same time.

use std::time::Duration;

use anyhow::Context;
use xshell::Shell;

use crate::{flags, tally::Tally};

mod calls;
mod cell;
mod clients;
mod forge;
mod harness;
mod levels;
mod outlive;
mod provider;
mod repository;
mod sign_in;

use calls::{CLIENTS, SERVERS};
use harness::Harness;

pub(crate) fn run(sh: &Shell, flags: flags::E2e) -> anyhow::Result<Tally> {
    let total = match flags.subcommand {
        flags::E2eCmd::Stories(flags) => stories(sh, &flags)?,
        flags::E2eCmd::Forge(flags) => forge::run(sh, &flags)?,
    };
    println!();
    println!("e2e: {total}");
    Ok(total)
}

/// Clients and servers, people who sign in, and sessions that outlive their process; packages.
fn stories(sh: &Shell, flags: &flags::Stories) -> anyhow::Result<Tally> {
    let (client, server) = (flags.client.as_deref(), flags.server.as_deref());
    let only = flags.only.as_deref();
    // Who asks for one server or one client means calls, or the part that alone knows the name.
    let is_one = server.is_some() || client.is_some();
    let is_package = client.is_some_and(|client| clients::CLIENTS.contains(&client))
        || server
            .is_some_and(|server| clients::SERVERS.contains(&server) && !SERVERS.contains(&server));
    let are_chosen = flags.calls || flags.sign_in || flags.outlive || flags.clients || flags.levels;
    let harness = Harness::prepare(sh)?;
    let mut total = Tally::default();
    if flags.calls || !(are_chosen || is_package) {
        let clients = chosen("client", &CLIENTS, client)?;
        let servers = chosen("server", &SERVERS, server)?;
        total += calls::run(sh, &harness, &clients, &servers, only)?;
    }
    if flags.sign_in || !(are_chosen || is_one) {
        total += sign_in::run(sh, &harness, client, only)?;
    }
    if flags.outlive || !(are_chosen || is_one) {
        let alone = flags.outlive && !flags.calls && !flags.sign_in;
        let usual = if alone { outlive::ROTATE_FOR } else { outlive::ROTATE_FOR_AMONG_OTHERS };
        let rotate_for = flags.rotate_for.map_or(usual, Duration::from_secs);
        total += outlive::run(sh, &harness, client, only, rotate_for)?;
    }
    if flags.clients || (!are_chosen && (is_package || !is_one)) {
        let clients = chosen("client", &clients::CLIENTS, client)?;
        let servers = chosen("server", &clients::SERVERS, server)?;
        total += clients::run(sh, &harness, &clients, &servers, only)?;
    }
    if flags.levels || !(are_chosen || is_one) {
        total += levels::run(sh, &harness, only)?;
    }
    Ok(total)
}

/// Builds what every part needs.
pub(crate) fn build(sh: &Shell) -> anyhow::Result<()> {
    harness::build(sh)?;
    provider::build(sh)
}

/// Installs the packages of every part.
pub(crate) fn packages(sh: &Shell) -> anyhow::Result<()> {
    harness::packages(sh)?;
    provider::packages(sh)?;
    clients::packages(sh)?;
    levels::packages(sh)?;
    Ok(())
}

/// All names, or the one that was asked for.
fn chosen<'a>(what: &str, all: &[&'a str], one: Option<&str>) -> anyhow::Result<Vec<&'a str>> {
    let Some(one) = one else { return Ok(all.to_vec()) };
    let found = all.iter().copied().find(|name| *name == one);
    Ok(vec![found.with_context(|| format!("there is no {what} {one:?}, only {}", all.join(", ")))?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        assert_eq!(chosen("client", &CLIENTS, Some("rmcp")).unwrap(), ["rmcp"]);
        let error = chosen("client", &CLIENTS, Some("ruby")).unwrap_err().to_string();
        assert!(
            error.contains("typescript, python, rmcp, go, typescript-modern, python-modern, rmcp"),
            "{error}"
        );
    }
}
