//! `cargo xtask test --repeat N`: the same tests again and again, to find those that pass most of the
//! time.
//!
//! A test that waits for one thing and asserts another passes on a quiet machine. With `--busy` every
//! processor has something else to do as well.

use std::{
    collections::BTreeMap,
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::Context;
use xshell::Shell;

use super::{
    programs::{self, Scope},
    summary::parse_result,
};
use crate::{
    process::{self, BUILD_LIMIT},
    tally::Tally,
};

/// Modules of `broker/tests/it` that start the program. What the others need runs in the test's own
/// process, the children of sessions aside.
const OF_THE_PROGRAM: [&str; 10] = [
    "admin::",
    "doctor::",
    "golden::",
    "operator::",
    "outside::",
    "people::",
    "processes::",
    "store_kill::",
    "terminal::",
    "upgrade::",
];

/// Runs the tests in process of `package`, `times` times.
pub(super) fn run(sh: &Shell, package: &str, times: u32, busy: bool) -> anyhow::Result<Tally> {
    let (built, programs) = programs::build(sh, Scope::Workspace)?;
    anyhow::ensure!(built.ok, "the build failed: {}", built.how);
    let programs: Vec<_> =
        programs.iter().filter(|program| program.package == package && !program.is_bench).collect();
    anyhow::ensure!(!programs.is_empty(), "{package} has no tests");
    let skipped: Vec<_> = OF_THE_PROGRAM.iter().flat_map(|module| ["--skip", module]).collect();
    let _load = if busy { Some(Load::start()?) } else { None };
    let mut total = Tally::default();
    let mut failures: BTreeMap<String, u32> = BTreeMap::new();
    for round in 1..=times {
        let mut of_round = Tally::default();
        for program in &programs {
            let mut counted = Tally::default();
            let mut explains = false;
            let finished = process::watch(program.command(sh, &skipped), BUILD_LIMIT, |line| {
                counted += parse_result(line).unwrap_or_default();
                // What the tests that failed said stands between these lines, as libtest has it.
                explains = (explains || line == "failures:") && !line.starts_with("test result");
                if explains {
                    println!("{line}");
                }
                if let Some(name) = failed_test(line) {
                    println!("{line}");
                    *failures.entry(format!("{}: {name}", program.name())).or_default() += 1;
                }
            })?;
            if !finished.ok && counted.failed == 0 {
                counted.failed = 1;
                let died = format!("{} ended with {}", program.name(), finished.how);
                *failures.entry(died).or_default() += 1;
            }
            of_round += counted;
        }
        println!("round {round} of {times}: {of_round}");
        total += of_round;
    }
    println!();
    for (test, count) in &failures {
        println!("failed {count} times: {test}");
    }
    println!("test --repeat {times}: {total}");
    Ok(total)
}

/// The name in `test a::b ... FAILED`.
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// One process for each processor that does nothing, as fast as it can. Dropping it ends them.
struct Load(Vec<Child>);

impl Load {
    fn start() -> anyhow::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let mut load = Self(Vec::new());
        for _ in 0..processors {
            #[expect(clippy::disallowed_methods, reason = "the task runner has no supervisor")]
            let child = Command::new("sh")
                .args(["-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .context("no shell")?;
            load.0.push(child);
        }
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // Both fail for a process that has ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::root;

    #[test]
    fn what_is_skipped_is_there() {
        for module in OF_THE_PROGRAM {
            let file = module.replace("::", ".rs");
            assert!(root().join("broker/tests/it").join(&file).is_file(), "{file}");
        }
    }

    #[test]
    fn the_name_of_a_failed_test_is_found() {
        assert_eq!(failed_test("test a::b ... FAILED"), Some("a::b"));
        assert_eq!(failed_test("test a::b ... ok"), None);
        assert_eq!(failed_test("test result: FAILED. 0 passed; 1 failed"), None);
    }
}
