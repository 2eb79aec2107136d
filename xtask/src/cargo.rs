//! What cargo says about the workspace.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::process::{self, Finished};

/// The members, leaves first: when a leaf is broken, that is the first thing to know.
pub(crate) const CRATES: [&str; 6] = ["auth", "session", "supervisor", "bridge", "broker", "xtask"];

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the repository")
}

/// The broker that is handed out, relative to the repository.
pub(crate) const DIST_BROKER: &str = "target/dist/mcp-broker";

/// `cargo metadata` without the dependencies of dependencies.
pub(crate) fn members(sh: &Shell) -> anyhow::Result<Value> {
    metadata(cmd!(sh, "cargo metadata --format-version 1 --no-deps"))
}

/// `cargo metadata` with the whole graph of this platform.
pub(crate) fn graph(sh: &Shell) -> anyhow::Result<Value> {
    let version = cmd!(sh, "rustc -vV").quiet().read().context("rustc does not run")?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc does not name its host")?;
    metadata(cmd!(sh, "cargo metadata --format-version 1 --filter-platform {host}"))
}

/// The names of the benches of `package`, in a value of [`members`].
pub(crate) fn benches(members: &Value, package: &str) -> Vec<String> {
    let packages = array(&members["packages"]);
    let targets =
        packages.iter().filter(|p| p["name"] == package).flat_map(|p| array(&p["targets"]));
    targets
        .filter(|target| array(&target["kind"]).iter().any(|kind| kind == "bench"))
        .filter_map(|target| target["name"].as_str().map(str::to_owned))
        .collect()
}

/// Builds the broker and the fixture server as the tests do, which have compiled them already where they
/// ran: with debug assertions and overflow checks. The broker's path is
/// [`broker::binary`](crate::broker::binary), the fixture's `target/debug/examples/everything`.
///
/// In one call: an example has the broker's dev-dependencies, and these turn on features of what the
/// broker depends on. Without an example, half of the dependencies would be compiled once more.
pub(crate) fn build_broker(sh: &Shell) -> anyhow::Result<()> {
    let programs = ["--bin", "mcp-broker", "--example", "everything"];
    succeed(process::run(cmd!(sh, "cargo build --workspace --all-features {programs...}"))?)
}

/// Builds the broker that is measured; its path is `target/release/mcp-broker`.
pub(crate) fn build_release_broker(sh: &Shell) -> anyhow::Result<()> {
    succeed(process::run(cmd!(sh, "cargo build --release -p broker --bin mcp-broker"))?)
}

/// Builds the broker that is handed out; its path is [`DIST_BROKER`].
pub(crate) fn build_dist_broker(sh: &Shell) -> anyhow::Result<()> {
    succeed(process::run(cmd!(sh, "cargo build --profile dist -p broker --bin mcp-broker"))?)
}

/// Builds examples of `broker` as the tests do; their paths are `target/debug/examples/…`.
///
/// With the features of the whole workspace, which the tests have compiled already.
pub(crate) fn build_examples(sh: &Shell, names: &[&str]) -> anyhow::Result<()> {
    let flags = names.iter().flat_map(|name| ["--example", name]);
    succeed(process::run(cmd!(sh, "cargo build --workspace --all-features {flags...}"))?)
}

/// The elements of a JSON array, none for anything else.
pub(crate) fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn succeed(finished: Finished) -> anyhow::Result<()> {
    anyhow::ensure!(finished.ok, "the build failed: {}", finished.how);
    Ok(())
}

fn metadata(cmd: xshell::Cmd<'_>) -> anyhow::Result<Value> {
    let text = cmd.quiet().read().context("cargo metadata failed")?;
    serde_json::from_str(&text).context("cargo metadata is not JSON")
}
