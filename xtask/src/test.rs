//! `cargo xtask test`: each crate alone, then all together, doc tests, and every bench once.
//!
//! A workspace build unifies features, so a crate that forgot to ask for one still compiles there;
//! alone it does not. Benches run in the test profile: this is about whether they start, and an
//! optimised build of them would take longer than all the tests.

use std::time::Duration;

use xshell::{Cmd, Shell, cmd};

use crate::{
    cargo::{self, CRATES},
    flags,
    process::{self, BUILD_LIMIT},
    tally::Tally,
};

/// One line of the summary.
#[derive(Debug)]
struct Row {
    what: String,
    tally: Tally,
    took: Duration,
}

pub(crate) fn run(sh: &Shell, flags: flags::Test) -> anyhow::Result<Tally> {
    let members = cargo::members(sh)?;
    let crates = match &flags.package {
        Some(one) => {
            anyhow::ensure!(
                CRATES.contains(&one.as_str()),
                "there is no crate {one:?}; the crates are {}",
                CRATES.join(", ")
            );
            vec![one.as_str()]
        }
        None => CRATES.to_vec(),
    };
    let mut rows = Vec::new();
    for package in &crates {
        let cmd = cmd!(sh, "cargo test -p {package} --all-features --tests --no-fail-fast");
        rows.push(tests(package, cmd)?);
    }
    if flags.package.is_none() {
        let cmd =
            cmd!(sh, "cargo test --workspace --all-features --tests --examples --no-fail-fast");
        rows.push(tests("all together", cmd)?);
    }
    let scope: &[&str] = match &flags.package {
        Some(package) => &["-p", package],
        None => &["--workspace"],
    };
    // A package without a library has no doc tests, and cargo calls asking for them a mistake.
    if flags.package.as_deref() != Some("xtask") {
        let cmd = cmd!(sh, "cargo test {scope...} --all-features --doc --no-fail-fast");
        rows.push(tests("doc tests", cmd)?);
    }
    for package in &crates {
        for bench in cargo::benches(&members, package) {
            // The features of the workspace build, which has compiled everything by now.
            let cmd = cmd!(sh, "cargo test {scope...} --all-features --bench {bench}");
            let finished = process::run(cmd)?;
            rows.push(Row {
                what: format!("bench {package}/{bench}"),
                tally: Tally::one(finished.ok),
                took: finished.took,
            });
        }
    }
    Ok(summary(&rows))
}

/// Runs one `cargo test` and counts what its test programs report.
fn tests(what: &str, cmd: Cmd<'_>) -> anyhow::Result<Row> {
    let mut tally = Tally::default();
    let finished = process::watch(cmd, BUILD_LIMIT, |line| {
        if let Some(result) = parse_result(line) {
            tally += result;
        }
        println!("{line}");
    })?;
    // It did not compile, or a test program died before it could count.
    if !finished.ok && tally.failed == 0 {
        println!("{what}: {}", finished.how);
        tally.failed = 1;
    }
    Ok(Row { what: what.to_owned(), tally, took: finished.took })
}

/// `test result: ok. 12 passed; 0 failed; …`
fn parse_result(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| {
        counts.split("; ").find_map(|part| part.strip_suffix(word)?.trim_end().parse().ok())
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")? })
}

fn summary(rows: &[Row]) -> Tally {
    let mut total = Tally::default();
    let mut took = Duration::ZERO;
    println!();
    println!("{:<24} {:>7} {:>7} {:>8}", "crate", "passed", "failed", "seconds");
    for row in rows {
        total += row.tally;
        took += row.took;
        print_row(&row.what, row.tally, row.took);
    }
    print_row("total", total, took);
    println!();
    println!("test: {total}");
    total
}

fn print_row(what: &str, tally: Tally, took: Duration) {
    println!("{what:<24} {:>7} {:>7} {:>8.1}", tally.passed, tally.failed, took.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_line_of_a_test_program_is_counted() {
        let line = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(parse_result(line), Some(Tally { passed: 12, failed: 0 }));
        let line = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured";
        assert_eq!(parse_result(line), Some(Tally { passed: 1, failed: 2 }));
        assert_eq!(parse_result("test a_result ... ok"), None);
    }
}
