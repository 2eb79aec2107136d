//! The task runner: `cargo xtask SUBCOMMAND`.
//!
//! It runs cargo and built binaries, prints every command line so that it can be pasted, and sums
//! up what held. What a contributor runs is what CI runs: `cargo xtask ci` is the other
//! subcommands in a row.
//!
//! | Module | Holds |
//! |---|---|
//! | `flags` | the command line |
//! | `test`, `lint`, `e2e`, `conformance`, `bench`, `demo`, `dist`, `ci` | one subcommand each |
//! | `tidy` | what the repository promises about itself: a subcommand, part of `lint`, and a test |
//! | `process` | running a command, its lines and its time |
//! | `broker` | a broker on loopback, from its first line to its last child |
//! | `pinned` | packages of other languages, installed under `target/` |
//! | `port` | an address that is known before a program listens there |
//! | `rpc` | just enough HTTP to open a session |
//! | `cargo` | what cargo says about the workspace |
//! | `catalogue` | the pages of threats and symptoms, and the tests they name |
//! | `tally` | how much passed and how much failed |
//!
//! It links no other member of the workspace: when one of them does not compile, its lints and the
//! tests of the others still run.

#![expect(clippy::print_stdout, reason = "the output of a task runner is for a terminal")]

use std::process::ExitCode;

use anyhow::Context;
use xshell::Shell;

mod bench;
mod broker;
mod cargo;
mod catalogue;
mod ci;
mod conformance;
mod demo;
mod dist;
mod e2e;
mod flags;
mod lint;
mod packages;
mod pinned;
mod port;
mod process;
mod rpc;
mod tally;
mod test;
mod tidy;

use cargo::root;
use flags::{Xtask, XtaskCmd};
use tally::Tally;

fn main() -> ExitCode {
    let flags = Xtask::from_env_or_exit();
    match dispatch(flags) {
        Ok(tally) if tally.failed == 0 => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(flags: Xtask) -> anyhow::Result<Tally> {
    let sh = Shell::new().context("no current directory")?;
    sh.change_dir(root());
    // Paths under `target/` are written out in several places, also where a contributor has moved
    // the directory for other work.
    sh.set_var("CARGO_TARGET_DIR", root().join("target"));
    match flags.subcommand {
        XtaskCmd::Test(flags) => test::run(&sh, flags),
        XtaskCmd::Lint(flags) => lint::run(&sh, flags),
        XtaskCmd::Tidy(flags) => tidy::run(&sh, flags),
        XtaskCmd::E2e(flags) => e2e::run(&sh, flags),
        XtaskCmd::Conformance(flags) => conformance::run(&sh, flags),
        XtaskCmd::Packages(flags) => packages::run(&sh, flags),
        XtaskCmd::Bench(flags) => bench::run(&sh, flags),
        XtaskCmd::Demo(flags) => demo::run(&sh, flags),
        XtaskCmd::Dist(flags) => dist::run(&sh, flags),
        XtaskCmd::Ci(flags) => ci::run(&sh, flags),
    }
}
