//! `cargo xtask test`: every crate compiled alone, then every test, bench and doc test once.
//!
//! A workspace build unifies features, so a crate that forgot to ask for one still compiles there;
//! alone it does not. So each crate is compiled alone, and run is what the workspace build made,
//! which the other tasks share. `cargo xtask test threats` and `… symptoms` run what a catalogue names,
//! and print its rows with what became of them. Benches run in the test profile: this is about whether they start,
//! and an optimised build of them would take longer than all the tests.

use xshell::{Shell, cmd};

use crate::{
    cargo::{CRATES, root},
    catalogue::{CATALOGUES, Catalogue, SYMPTOMS, rows},
    flags,
    process::{self, BUILD_LIMIT},
    tally::Tally,
};

mod outcomes;
mod programs;
mod repeat;
mod summary;

use outcomes::Outcomes;
use programs::{Program, Scope};
use summary::{Row, parse_result, summary};

pub(crate) fn run(sh: &Shell, flags: flags::Test) -> anyhow::Result<Tally> {
    let package = flags.package.as_deref();
    if let Some(catalogue) = CATALOGUES.iter().find(|one| package == Some(one.name)) {
        return of_catalogue(sh, *catalogue);
    }
    if let Some(one) = package {
        anyhow::ensure!(
            CRATES.contains(&one),
            "there is no crate {one:?}; the crates are {}, the catalogues {}",
            CRATES.join(", "),
            CATALOGUES.map(|catalogue| catalogue.name).join(", ")
        );
    }
    if let Some(times) = flags.repeat {
        return repeat::run(sh, package.unwrap_or("broker"), times, flags.busy);
    }
    anyhow::ensure!(!flags.busy, "--busy is for --repeat");

    let mut rows = Vec::new();
    // One crate's own build has its own features in any case.
    if package.is_none() {
        for package in CRATES {
            // As lint calls it, so that what lint has compiled with the same features is not once more.
            let flags = ["--quiet", "-p", package, "--all-features", "--tests"];
            let cmd = cmd!(sh, "cargo clippy {flags...} -- -D warnings");
            let finished = process::run(cmd)?;
            rows.push(Row::check(format!("{package}, compiled alone"), &finished));
        }
    }
    let scope = package.map_or(Scope::Workspace, Scope::Package);
    let (built, programs) = programs::build(sh, scope)?;
    rows.push(Row::check("build".to_owned(), &built));
    let mut outcomes = Outcomes::default();
    for program in &programs {
        rows.push(execute(sh, program, &[], &mut outcomes)?);
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
    // Who reads about a symptom wants to know what shows that it is gone. The threats are many more.
    if package.is_none() {
        outcomes.print(SYMPTOMS.name, &page(sh, SYMPTOMS)?);
    }
    Ok(summary(&rows))
}

/// Runs the tests that `catalogue` names and prints its rows.
fn of_catalogue(sh: &Shell, catalogue: Catalogue) -> anyhow::Result<Tally> {
    let page = page(sh, catalogue)?;
    let named: Vec<_> = rows(&page).into_iter().flat_map(|row| row.tests).collect();
    let (built, programs) = programs::build(sh, Scope::Workspace)?;
    anyhow::ensure!(built.ok, "the build failed: {}", built.how);
    let mut outcomes = Outcomes::default();
    for program in programs.iter().filter(|program| !program.is_bench) {
        let prefix = format!("{}::", program.package);
        let names: Vec<_> = named.iter().filter_map(|test| test.strip_prefix(&prefix)).collect();
        // Without a name, a program runs everything.
        if !names.is_empty() {
            execute(sh, program, &names, &mut outcomes)?;
        }
    }
    let tally = outcomes.print(catalogue.name, &page);
    println!();
    println!("test {}: {tally}", catalogue.name);
    Ok(tally)
}

fn page(sh: &Shell, catalogue: Catalogue) -> anyhow::Result<String> {
    Ok(sh.read_file(root().join(catalogue.path))?)
}

/// Runs the tests of a program whose names contain one of `names`, all without any, and counts what it
/// reports. A bench reports nothing and counts as one.
fn execute(
    sh: &Shell,
    program: &Program,
    names: &[&str],
    outcomes: &mut Outcomes,
) -> anyhow::Result<Row> {
    let mut tally = Tally::default();
    let finished = process::watch(program.command(sh, names), BUILD_LIMIT, |line| {
        tally += parse_result(line).unwrap_or_default();
        outcomes.read(&program.package, line);
        println!("{line}");
    })?;
    Ok(if program.is_bench {
        Row::check(program.name(), &finished)
    } else {
        Row::tests(program.name(), tally, &finished)
    })
}
