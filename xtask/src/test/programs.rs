//! The programs that cargo makes of tests and benches.

use std::path::{Path, PathBuf};

use serde_json::Value;
use xshell::{Cmd, Shell, cmd};

use crate::{
    cargo::array,
    process::{self, BUILD_LIMIT, Finished},
};

/// What is built and run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope<'a> {
    /// Everything, with the features that the other tasks share.
    Workspace,
    /// One crate, with its own features.
    Package(&'a str),
}

impl<'a> Scope<'a> {
    /// What cargo calls it.
    pub(super) fn arguments(self) -> Vec<&'a str> {
        match self {
            Self::Workspace => vec!["--workspace"],
            Self::Package(package) => vec!["-p", package],
        }
    }
}

/// A test program, or a bench that is started to see whether it starts.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// The crate it belongs to.
    pub(super) package: String,
    /// The target within the crate.
    pub(super) target: String,
    pub(super) is_bench: bool,
    path: PathBuf,
    /// Where cargo would run it: the folder of its manifest.
    directory: PathBuf,
}

impl Program {
    /// `CRATE/TARGET`
    pub(super) fn name(&self) -> String {
        let kind = if self.is_bench { "bench " } else { "" };
        format!("{kind}{}/{}", self.package, self.target)
    }

    /// Runs it as cargo would.
    pub(super) fn command<'a>(&self, sh: &'a Shell, arguments: &[&str]) -> Cmd<'a> {
        let _in_package = sh.push_dir(&self.directory);
        let path = &self.path;
        cmd!(sh, "{path} {arguments...}")
    }

    /// Reads a line of cargo's report; `None` when it is about something else.
    fn read(line: &str) -> Option<Self> {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_test =
            message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
        let path = message["executable"].as_str().filter(|_| is_test)?;
        let target = &message["target"];
        let has_kind = |kind: &str| array(&target["kind"]).iter().any(|one| one == kind);
        let directory = Path::new(message["manifest_path"].as_str()?).parent()?;
        Some(Self {
            package: directory.file_name()?.to_str()?.to_owned(),
            target: target["name"].as_str()?.to_owned(),
            is_bench: has_kind("bench"),
            path: PathBuf::from(path),
            directory: directory.to_owned(),
        })
    }
}

/// Builds every test program of `scope`, in the order of the crates' names, benches last.
pub(super) fn build(sh: &Shell, scope: Scope<'_>) -> anyhow::Result<(Finished, Vec<Program>)> {
    let arguments = scope.arguments();
    let cmd = cmd!(
        sh,
        "cargo test {arguments...} --all-features --tests --examples --benches --no-run --message-format json-render-diagnostics"
    );
    let mut programs = Vec::new();
    let finished = process::watch(cmd, BUILD_LIMIT, |line| programs.extend(Program::read(line)))?;
    programs.sort_by_key(|program| (program.is_bench, program.name()));
    Ok((finished, programs))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_test_programs_are_taken_from_cargos_report() {
        let line = |test: bool, kind: &str| {
            json!({
                "reason": "compiler-artifact",
                "manifest_path": "/somewhere/bridge/Cargo.toml",
                "target": { "kind": [kind], "name": "it" },
                "profile": { "test": test },
                "executable": "/somewhere/target/debug/deps/it-0",
            })
            .to_string()
        };
        let program = Program::read(&line(true, "test")).unwrap();
        assert_eq!(program.name(), "bridge/it");
        assert_eq!(program.directory, Path::new("/somewhere/bridge"));
        assert_eq!(Program::read(&line(true, "bench")).unwrap().name(), "bench bridge/it");
        assert_eq!(Program::read(&line(false, "bin")), None, "a program that tests start");
        assert_eq!(Program::read("not JSON"), None);
        assert_eq!(Program::read(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
