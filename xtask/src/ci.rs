//! `cargo xtask ci`: everything that has to hold, and one line at the end.
//!
//! Tests run alone: they keep every processor busy, and some look at the clock. Packages come from their
//! registries while lint compiles. The stories of real clients and the conformance suite mostly wait, for
//! browsers, for tokens to end, for children to start. So these parts are processes of their own, two at a
//! time, each with its output in one piece.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::{
    cargo::root,
    e2e, flags, lint,
    process::{self, Errors, Stopwatch},
    tally::Tally,
    test,
};

/// The parts that wait, the longest first, as arguments of this program.
const WAITING: [&[&str]; 7] = [
    &["e2e", "--sign-in"],
    &["e2e", "--calls"],
    &["e2e", "--outlive", "--rotate-for", "30"],
    &["e2e", "--levels"],
    &["conformance"],
    &["e2e", "--clients"],
    &["e2e", "forge"],
];

/// How many of them run at once.
const AT_ONCE: usize = 2;

/// Longer than any part takes on a slow machine.
const LIMIT: Duration = Duration::from_mins(40);

/// One line of the summary.
struct Part {
    name: String,
    tally: Tally,
    took: Duration,
}

pub(crate) fn run(sh: &Shell, _: flags::Ci) -> anyhow::Result<Tally> {
    let mut parts = Vec::new();
    thread::scope(|scope| {
        let packages = scope.spawn(|| Apart::run(&["packages"], Errors::Among));
        parts.push(part("lint", || lint::run(sh, flags::Lint { fix: false })));
        // Not beside the tests.
        parts.push(packages.join().expect("an installation that fails is an outcome").show());
    });
    parts.push(part("test", || {
        test::run(sh, flags::Test { package: None, repeat: None, busy: false })
    }));
    parts.push(part("builds", || {
        e2e::build(sh)?;
        Ok(Tally::one(true))
    }));
    parts.extend(waiting());

    let mut total = Tally::default();
    println!();
    for Part { name, tally, took } in parts {
        println!("{name:<32} {tally} in {} s", took.as_secs());
        total += tally;
    }
    println!("{total}");
    Ok(total)
}

fn part(name: &str, run: impl FnOnce() -> anyhow::Result<Tally>) -> Part {
    println!();
    println!("##### {name}");
    let watch = Stopwatch::start();
    let tally = run().unwrap_or_else(|error| {
        println!("error: {error:#}");
        Tally::one(false)
    });
    Part { name: name.to_owned(), tally, took: watch.elapsed() }
}

/// Runs the parts that wait, and shows what each has said when it is done.
fn waiting() -> Vec<Part> {
    let open = Mutex::new(VecDeque::from(WAITING));
    let done = Mutex::new(Vec::new());
    let next = || open.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(arguments) = next() {
                    let apart = Apart::run(arguments, Errors::Ours);
                    let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                    // Under the lock, so that no other part comes in between.
                    done.push(apart.show());
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// A part that ran as a process of its own.
struct Apart {
    name: String,
    /// All of its output.
    said: Vec<String>,
    outcome: anyhow::Result<Tally>,
    took: Duration,
}

impl Apart {
    /// Runs this program with other arguments, and shows nothing yet.
    fn run(arguments: &[&str], errors: Errors) -> Self {
        let watch = Stopwatch::start();
        let mut said = Vec::new();
        let outcome = separately(arguments, errors, &mut said);
        Self { name: arguments.join(" "), said, outcome, took: watch.elapsed() }
    }

    /// Shows what it has said, in one piece.
    fn show(self) -> Part {
        let shown = part(&self.name, || {
            self.said.iter().for_each(|line| println!("{line}"));
            self.outcome
        });
        Part { took: self.took, ..shown }
    }
}

/// Runs this program with other arguments, and reads the sum at its end.
fn separately(arguments: &[&str], errors: Errors, said: &mut Vec<String>) -> anyhow::Result<Tally> {
    // A shell belongs to one thread.
    let sh = Shell::new()?;
    sh.change_dir(root());
    let program = std::env::current_exe().context("this program has no path")?;
    let cmd = cmd!(sh, "{program} {arguments...}");
    let finished = process::watch_with(errors, cmd, LIMIT, |line| said.push(line.to_owned()))?;
    let tally = said.iter().rev().find_map(|line| sum(line, arguments[0]));
    let mut tally = tally.with_context(|| format!("it ended with {}", finished.how))?;
    if !finished.ok && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

/// `e2e: 12 passed, 0 failed`
fn sum(line: &str, name: &str) -> Option<Tally> {
    let (passed, failed) = line.strip_prefix(name)?.strip_prefix(": ")?.split_once(" passed, ")?;
    let failed = failed.strip_suffix(" failed")?;
    Some(Tally { passed: passed.parse().ok()?, failed: failed.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_a_part_is_read_as_it_is_written() {
        let tally = Tally { passed: 12, failed: 3 };
        assert_eq!(sum(&format!("e2e: {tally}"), "e2e"), Some(tally));
        assert_eq!(sum("conformance: 1 passed, 0 failed", "e2e"), None);
        assert_eq!(sum("e2e: nothing", "e2e"), None);
    }
}
