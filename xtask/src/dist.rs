//! `cargo xtask dist`: what a release consists of, under `target/artifacts`.
//!
//! `target/dist` is where cargo builds what the profile of that name makes.

use std::collections::{BTreeSet, HashMap, HashSet};

use anyhow::Context;
use serde_json::Value;
use xshell::{Shell, cmd};

use crate::{
    cargo::{self, array, root},
    flags,
    tally::Tally,
};

pub(crate) fn run(sh: &Shell, _: flags::Dist) -> anyhow::Result<Tally> {
    cargo::build_dist_broker(sh)?;
    let dir = root().join("target/artifacts");
    sh.remove_path(&dir)?;
    sh.create_dir(&dir)?;
    sh.copy_file(root().join(cargo::DIST_BROKER), dir.join("mcp-broker"))?;
    let _in_dir = sh.push_dir(&dir);

    let list = licences(&cargo::graph(sh)?)?;
    println!("{} packages, see LICENCES.txt", list.lines().count());
    sh.write_file("LICENCES.txt", list)?;

    let files = ["mcp-broker", "LICENCES.txt"];
    let sums = cmd!(sh, "sha256sum {files...}").quiet().read().context("sha256sum is missing")?;
    sh.write_file("SHA256SUMS", format!("{sums}\n"))?;
    println!("{sums}");
    let size = std::fs::metadata(dir.join("mcp-broker"))?.len();
    println!("target/artifacts/mcp-broker: {:.1} MiB", size as f64 / f64::from(1 << 20));
    Ok(Tally::default())
}

/// `NAME VERSION LICENCE` for everything that is linked into the binary or makes part of it.
fn licences(graph: &Value) -> anyhow::Result<String> {
    let packages: HashMap<_, _> =
        array(&graph["packages"]).iter().filter_map(|p| Some((p["id"].as_str()?, p))).collect();
    let nodes: HashMap<_, _> = array(&graph["resolve"]["nodes"])
        .iter()
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .collect();
    let start = packages.iter().find(|(_, package)| package["name"] == "broker");
    let (start, _) = start.context("there is no crate `broker`")?;
    let mut seen = HashSet::from([*start]);
    let mut open = vec![*start];
    while let Some(id) = open.pop() {
        for dependency in nodes.get(id).map_or(&[][..], |node| array(&node["deps"])) {
            let kinds = array(&dependency["dep_kinds"]);
            if kinds.iter().any(|kind| kind["kind"] != "dev")
                && let Some(to) = dependency["pkg"].as_str()
                && seen.insert(to)
            {
                open.push(to);
            }
        }
    }
    let lines: BTreeSet<_> = seen
        .into_iter()
        .filter_map(|id| packages.get(id))
        .map(|package| {
            let text = |key: &str| package[key].as_str().unwrap_or("none stated").to_owned();
            format!("{} {} {}\n", text("name"), text("version"), text("license"))
        })
        .collect();
    Ok(lines.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_list_holds_what_is_shipped_and_not_what_only_tests_use() {
        let package =
            |name: &str| json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT" });
        let to = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let graph = json!({
            "packages": [package("broker"), package("tokio"), package("cc"), package("rmcp")],
            "resolve": { "nodes": [{ "id": "broker", "deps": [
                to("tokio", Value::Null), to("cc", json!("build")), to("rmcp", json!("dev")),
            ] }] },
        });
        assert_eq!(licences(&graph).unwrap(), "broker 1.0.0 MIT\ncc 1.0.0 MIT\ntokio 1.0.0 MIT\n");
    }
}
