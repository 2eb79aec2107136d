//! `cargo xtask test`: every crate compiled alone, then every test, bench and doc test once.
//!
//! A workspace build unifies features, so a crate that forgot to ask for one still compiles there;
//! alone it does not. So each crate is compiled alone, and run is what the workspace build made,
//! which the other tasks share. Benches run in the test profile: this is about whether they start,
//! and an optimised build of them would take longer than all the tests.

use xshell::{Shell, cmd};

use crate::{
    cargo::CRATES,
    flags,
    process::{self, BUILD_LIMIT},
    tally::Tally,
};

mod programs;
mod repeat;
mod summary;

use programs::{Program, Scope};
use summary::{Row, parse_result, summary};

pub(crate) fn run(sh: &Shell, flags: flags::Test) -> anyhow::Result<Tally> {
    let package = match &flags.package {
        Some(one) => {
            anyhow::ensure!(
                CRATES.contains(&one.as_str()),
                "there is no crate {one:?}; the crates are {}",
                CRATES.join(", ")
            );
            Some(one.as_str())
        }
        None => None,
    };
    if let Some(times) = flags.repeat {
        return repeat::run(sh, package.unwrap_or("broker"), times, flags.busy);
    }
    anyhow::ensure!(!flags.busy, "--busy is for --repeat");

    let mut rows = Vec::new();
    // One crate's own build has its own features in any case.
    if package.is_none() {
        for package in CRATES {
            let cmd = cmd!(sh, "cargo check --quiet -p {package} --all-features --tests");
            let finished = process::run(cmd)?;
            rows.push(Row::check(format!("{package}, compiled alone"), &finished));
        }
    }
    let scope = package.map_or(Scope::Workspace, Scope::Package);
    let (built, programs) = programs::build(sh, scope)?;
    rows.push(Row::check("build".to_owned(), &built));
    for program in &programs {
        rows.push(execute(sh, program)?);
    }
    // A package without a library has no doc tests, and cargo calls asking for them a mistake.
    if package != Some("xtask") {
        let arguments = scope.arguments();
        let cmd = cmd!(sh, "cargo test {arguments...} --all-features --doc --no-fail-fast");
        let mut tally = Tally::default();
        let finished = process::watch(cmd, BUILD_LIMIT, |line| {
            tally += parse_result(line).unwrap_or_default();
            println!("{line}");
        })?;
        rows.push(Row::tests("doc tests".to_owned(), tally, &finished));
    }
    Ok(summary(&rows))
}

/// Runs one test program and counts what it reports. A bench reports nothing and counts as one.
fn execute(sh: &Shell, program: &Program) -> anyhow::Result<Row> {
    let mut tally = Tally::default();
    let finished = process::watch(program.command(sh, &[]), BUILD_LIMIT, |line| {
        tally += parse_result(line).unwrap_or_default();
        println!("{line}");
    })?;
    Ok(if program.is_bench {
        Row::check(program.name(), &finished)
    } else {
        Row::tests(program.name(), tally, &finished)
    })
}
