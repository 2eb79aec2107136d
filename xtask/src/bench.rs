//! `cargo xtask bench`: a load scenario or a crate's benches, kept and compared.

use std::path::PathBuf;

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::{
    cargo::{self, CRATES, root},
    flags,
    process::{self, BUILD_LIMIT},
    tally::Tally,
};

/// The scenario that is a choice of its own: it takes its time, and shows that something holds
/// rather than how fast it is.
const SLEEPERS: &str = "sleepers";

/// The scenario that kills brokers, and opens and ends thousands of sessions.
const CHILDREN: &str = "children";

/// The way of children to their upstreams: what it costs, and that tokens come and go unnoticed on it.
const EGRESS: &str = "egress";

/// The part of the load generator that measures two brokers in turn.
const COMPARE: &str = "compare";

/// The part of the load generator that has valgrind count what a call costs each of them.
const INSTRUCTIONS: &str = "instructions";

/// How often each of them, unless it is said: enough for a median that a neighbour does not move.
const ROUNDS: u32 = 10;

pub(crate) fn run(sh: &Shell, flags: flags::Bench) -> anyhow::Result<Tally> {
    let what = flags.what.as_deref();
    if let Some(what) = what {
        anyhow::ensure!(
            [SLEEPERS, CHILDREN, EGRESS].contains(&what) || CRATES.contains(&what),
            "there is no crate {what:?}; the crates are {}, and {SLEEPERS:?}, {CHILDREN:?} and \
             {EGRESS:?} are scenarios",
            CRATES.join(", ")
        );
    }
    anyhow::ensure!(
        flags.minutes.is_none() || what == Some(SLEEPERS),
        "--minutes is for {SLEEPERS:?}"
    );
    anyhow::ensure!(
        flags.rounds.is_none() || flags.baseline.is_some(),
        "--rounds is for --baseline"
    );
    if let Some(baseline) = &flags.baseline {
        anyhow::ensure!(what.is_none(), "--baseline compares brokers under calls, nothing else");
        anyhow::ensure!(baseline.is_file(), "there is no {}", baseline.display());
    }
    anyhow::ensure!(
        !flags.instructions || flags.baseline.is_some() && flags.rounds.is_none(),
        "--instructions is for --baseline, and counts once"
    );
    let what = match &flags.baseline {
        Some(_) if flags.instructions => Some(INSTRUCTIONS),
        Some(_) => Some(COMPARE),
        None => what,
    };
    let name = match flags.name {
        Some(name) => name,
        None => commit(sh)?,
    };
    // Read first: the new result may bear the same name.
    let before = match &flags.against {
        Some(against) => {
            let path = result(against, what);
            let hint = "run it there first, with `--name`";
            Some(sh.read_file(&path).with_context(|| format!("no result {against:?}; {hint}"))?)
        }
        None => None,
    };

    let cmds = match what {
        Some(SLEEPERS) => {
            cargo::build_release_broker(sh)?;
            let minutes = flags.minutes.iter().flat_map(|minutes| ["--minutes", minutes]);
            let load = cmd!(sh, "cargo run --release -p broker --example load");
            vec![load.args(["--", SLEEPERS]).args(minutes)]
        }
        Some(CHILDREN) => {
            cargo::build_release_broker(sh)?;
            vec![cmd!(sh, "cargo run --release -p broker --example load -- {CHILDREN}")]
        }
        Some(EGRESS) => {
            let test = cmd!(sh, "cargo test --release -p broker --all-features --test it");
            let only = ["--nocapture", "--test-threads", "1", "people::egress"];
            // Without it the same stories are told in seconds.
            vec![test.arg("--").args(only).env("MEASURE_EGRESS", "1")]
        }
        Some(part @ (COMPARE | INSTRUCTIONS)) => {
            // What is released, on both sides: the profile alone is worth more than most changes.
            cargo::build_dist_broker(sh)?;
            let (baseline, broker) = (flags.baseline, root().join(cargo::DIST_BROKER));
            let rounds = flags.rounds.unwrap_or(ROUNDS).to_string();
            let load = cmd!(sh, "cargo run --release -p broker --example load -- {part}");
            let load = load.arg("--broker").arg(broker).arg("--baseline").args(baseline);
            vec![load.args(["--rounds", &rounds])]
        }
        Some(package) => {
            // By name: a plain `cargo bench` starts the unit tests too, which list themselves.
            let benches = cargo::benches(&cargo::members(sh)?, package);
            anyhow::ensure!(!benches.is_empty(), "{package} has no benches");
            let benches = benches.iter().flat_map(|bench| ["--bench", bench]);
            vec![cmd!(sh, "cargo bench -p {package} {benches...}")]
        }
        None => {
            // The broker apart from the example, whose dev-dependencies add features to it.
            cargo::build_release_broker(sh)?;
            let churn = cmd!(sh, "cargo run --release -p broker --example load -- churn");
            let eras = cmd!(sh, "cargo run --release -p broker --example load -- eras");
            vec![cmd!(sh, "cargo run --release -p broker --example load"), churn, eras]
        }
    };
    let mut now = String::new();
    let mut failed = None;
    for cmd in cmds {
        let finished = process::watch(cmd, BUILD_LIMIT, |line| {
            println!("{line}");
            now += line;
            now.push('\n');
        })?;
        // What was measured is kept, and what follows is measured too.
        if !finished.ok {
            failed = Some(finished.how);
        }
    }

    let path = result(&name, what);
    sh.write_file(&path, &now)?;
    println!();
    println!("saved as {}", path.display());
    if let (Some(before), Some(against)) = (before, flags.against) {
        println!();
        print!("{}", beside(&against, &before, &name, &now));
    }
    if let Some(how) = failed {
        anyhow::bail!("it ended with {how}");
    }
    Ok(Tally::default())
}

/// `target/bench/NAME.txt`, or `target/bench/NAME-WHAT.txt` for a crate's benches or the sleepers.
fn result(name: &str, what: Option<&str>) -> PathBuf {
    let file = match what {
        Some(what) => format!("{name}-{what}.txt"),
        None => format!("{name}.txt"),
    };
    root().join("target/bench").join(file)
}

/// The commit's short name, with a mark when there is more than the commit.
fn commit(sh: &Shell) -> anyhow::Result<String> {
    let commit = cmd!(sh, "git rev-parse --short HEAD").quiet().read().context("no commit")?;
    let changes = cmd!(sh, "git status --porcelain").quiet().read()?;
    Ok(if changes.is_empty() { commit } else { format!("{commit}-changed") })
}

/// Two results in two columns; a line stands beside the first one that differs in numbers only.
fn beside(left_name: &str, left: &str, right_name: &str, right: &str) -> String {
    let mut left: Vec<_> = left.lines().collect();
    let width =
        left.iter().map(|line| line.chars().count()).max().unwrap_or(0).max(left_name.len());
    let mut text = format!("{left_name:<width$} | {right_name}\n");
    for line in right.lines() {
        let partner = left.iter().position(|other| words(other) == words(line));
        let partner = partner.map_or("", |at| left.remove(at));
        text += format!("{partner:<width$} | {line}").trim_end();
        text.push('\n');
    }
    // What is measured no longer.
    for line in left {
        text += format!("{line:<width$} |").trim_end();
        text.push('\n');
    }
    text
}

/// A line without its numbers and its spaces.
fn words(line: &str) -> String {
    line.chars()
        .filter(|c| !c.is_ascii_digit() && !c.is_whitespace() && !".,-".contains(*c))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_differ_in_numbers_stand_beside_each_other() {
        let text = beside("old", "lookup: 10 ns\ngone: 1\n", "new", "added: 2\nlookup:  9.5 ns\n");
        assert_eq!(
            text,
            "old           | new\n              | added: 2\nlookup: 10 ns | lookup:  9.5 ns\ngone: 1       |\n"
        );
    }
}
