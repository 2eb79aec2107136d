//! What a manifest may ask for: the map of the crates, and what each leaf keeps out.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::files::File;
use crate::cargo::array;

/// The map: who may depend on which other member, for any purpose, tests included.
const EDGES: [(&str, &[&str]); 6] = [
    ("auth", &[]),
    ("session", &[]),
    ("supervisor", &[]),
    ("bridge", &[]),
    ("broker", &["auth", "session", "supervisor", "bridge"]),
    ("xtask", &[]),
];

/// Crates that move bytes over HTTP; types alone are `http` and `http-body`.
const HTTP_ENGINES: [&str; 7] =
    ["hyper", "hyper-util", "reqwest", "axum", "ureq", "h2", "tower-http"];

/// Crates that keep rows.
const DATABASES: [&str; 5] = ["sqlx", "sqlx-core", "rusqlite", "tokio-postgres", "diesel"];

/// What a leaf promises about its dependencies.
struct Promise {
    package: &'static str,
    /// Groups of crates that it reaches on no way, however many steps; development aside.
    never: &'static [&'static [&'static str]],
    /// The only features of tokio, when there is such a list.
    tokio_only: Option<&'static [&'static str]>,
    /// Features of tokio it does without.
    tokio_never: &'static [&'static str],
    /// Features of tokio its tests may have besides.
    tokio_in_tests: &'static [&'static str],
    why: &'static str,
}

const PROMISES: [Promise; 4] = [
    Promise {
        package: "auth",
        never: &[&HTTP_ENGINES, &DATABASES],
        tokio_only: None,
        tokio_never: &["net", "process", "fs", "full"],
        tokio_in_tests: &[],
        why: "it calls `Fetch` and `AuthStore` and opens nothing itself",
    },
    Promise {
        package: "session",
        never: &[&HTTP_ENGINES, &DATABASES, &["http", "serde_json"]],
        tokio_only: Some(&["rt", "sync", "time", "macros"]),
        tokio_never: &[],
        tokio_in_tests: &["test-util"],
        why: "its tests cannot start a process or open a socket",
    },
    Promise {
        package: "supervisor",
        never: &[&HTTP_ENGINES, &DATABASES, &["http", "serde_json"]],
        tokio_only: None,
        tokio_never: &["full"],
        tokio_in_tests: &[],
        why: "it carries bytes and does not know what they say",
    },
    Promise {
        package: "bridge",
        never: &[&HTTP_ENGINES, &DATABASES],
        tokio_only: None,
        tokio_never: &["net", "process", "fs", "full"],
        tokio_in_tests: &[],
        why: "it takes any reader and writer and neither spawns nor listens",
    },
];

/// Members that depend on members they must not.
pub(super) fn edges(members: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let packages = array(&members["packages"]);
    let names: HashSet<_> =
        packages.iter().filter_map(|package| package["name"].as_str()).collect();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = EDGES.iter().find(|(from, _)| *from == name) else {
            problems.push(format!("`{name}` is not on the map"));
            continue;
        };
        for dependency in array(&package["dependencies"]) {
            let to = dependency["name"].as_str().unwrap_or_default();
            // A crate of the same name from elsewhere has no path.
            let ours = names.contains(to) && dependency["path"].is_string();
            if ours && !allowed.contains(&to) {
                let purpose = dependency["kind"].as_str().unwrap_or("normal");
                problems.push(format!(
                    "`{name}` depends on `{to}` ({purpose}); the map has no such edge"
                ));
            }
        }
    }
    problems
}

/// Leaves that ask for more than they promised.
pub(super) fn promises(members: &Value, graph: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    for promise in &PROMISES {
        let name = promise.package;
        let Some(package) = array(&members["packages"]).iter().find(|p| p["name"] == name) else {
            problems.push(format!("there is no crate `{name}`"));
            continue;
        };
        let banned = |to: &str| promise.never.iter().any(|group| group.contains(&to));
        for dependency in array(&package["dependencies"]) {
            let to = dependency["name"].as_str().unwrap_or_default();
            if banned(to) {
                problems.push(format!("`{name}` depends on `{to}`, but {}", promise.why));
            }
            if to == "tokio" {
                let features = array(&dependency["features"]).iter().filter_map(Value::as_str);
                let in_tests = dependency["kind"] == "dev";
                for feature in features.filter(|feature| !promise.tokio(feature, in_tests)) {
                    problems.push(format!(
                        "`{name}` asks for tokio's `{feature}`, but {}",
                        promise.why
                    ));
                }
            }
        }
        for to in reachable(graph, package["id"].as_str().unwrap_or_default()) {
            if banned(&to) {
                problems
                    .push(format!("`{name}` reaches `{to}` through others, but {}", promise.why));
            }
        }
    }
    problems
}

/// Members whose lints are not the workspace's.
pub(super) fn opt_in(manifests: &[File]) -> Vec<String> {
    let missing = |manifest: &&File| {
        let mut lines = manifest.text.lines().map(str::trim).skip_while(|line| *line != "[lints]");
        lines.next();
        !lines.take_while(|line| !line.starts_with('[')).any(|line| line == "workspace = true")
    };
    manifests
        .iter()
        .filter(missing)
        .map(|manifest| format!("{} lacks `[lints]` with `workspace = true`", manifest.path))
        .collect()
}

impl Promise {
    fn tokio(&self, feature: &str, in_tests: bool) -> bool {
        let listed = self.tokio_only.is_none_or(|only| only.contains(&feature))
            || (in_tests && self.tokio_in_tests.contains(&feature));
        listed && !self.tokio_never.contains(&feature)
    }
}

/// The names of all packages that `start` needs to run, itself excluded.
fn reachable(graph: &Value, start: &str) -> Vec<String> {
    let nodes: HashMap<_, _> = array(&graph["resolve"]["nodes"])
        .iter()
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .collect();
    let names: HashMap<_, _> = array(&graph["packages"])
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package["name"].as_str()?)))
        .collect();
    let mut seen = HashSet::from([start]);
    let mut open = vec![start];
    let mut found = Vec::new();
    while let Some(id) = open.pop() {
        let Some(node) = nodes.get(id) else { continue };
        for dependency in array(&node["deps"]) {
            let normal = array(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            let Some(to) = dependency["pkg"].as_str().filter(|_| normal) else { continue };
            if seen.insert(to) {
                open.push(to);
                found.extend(names.get(to).map(|name| (*name).to_owned()));
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, dependencies: Value) -> Value {
        json!({ "id": name, "name": name, "dependencies": dependencies })
    }

    #[test]
    fn an_edge_between_leaves_is_found_also_when_only_tests_use_it() {
        let members = json!({ "packages": [
            package("auth", json!([{ "name": "session", "kind": "dev", "path": "/x/session" }])),
            package("session", json!([{ "name": "bridge", "kind": null }])),
            package("broker", json!([{ "name": "auth", "kind": null, "path": "/x/auth" }])),
            package("stranger", json!([])),
        ] });
        let problems = edges(&members);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("`auth` depends on `session` (dev)"), "{problems:?}");
        assert!(problems[1].contains("`stranger` is not on the map"), "{problems:?}");
    }

    #[test]
    fn a_leaf_that_asks_for_more_than_it_promised_is_found() {
        let tokio = |kind: Value, features: &[&str]| json!({ "name": "tokio", "kind": kind, "features": features });
        let members = json!({ "packages": [
            package("auth", json!([{ "name": "reqwest", "kind": null, "features": [] }])),
            package("session", json!([tokio(json!("dev"), &["test-util", "net"]), tokio(Value::Null, &["rt", "test-util"])])),
            package("supervisor", json!([tokio(Value::Null, &["process", "net"])])),
            package("bridge", json!([tokio(Value::Null, &["sync", "process"])])),
        ] });
        let problems = promises(&members, &json!({}));
        assert_eq!(problems.len(), 4, "{problems:?}");
        assert!(problems[0].contains("`auth` depends on `reqwest`"), "{problems:?}");
        assert!(problems[1].contains("`session` asks for tokio's `net`"), "{problems:?}");
        assert!(problems[2].contains("`session` asks for tokio's `test-util`"), "{problems:?}");
        assert!(problems[3].contains("`bridge` asks for tokio's `process`"), "{problems:?}");
    }

    #[test]
    fn what_a_dependency_brings_along_counts_and_what_its_tests_need_does_not() {
        let members = json!({ "packages": PROMISES.map(|p| package(p.package, json!([]))) });
        let to = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let graph = json!({
            "packages": [{ "id": "helper", "name": "helper" }, { "id": "h", "name": "hyper" }, { "id": "s", "name": "sqlx" }],
            "resolve": { "nodes": [
                { "id": "bridge", "deps": [to("helper", Value::Null), to("s", json!("dev"))] },
                { "id": "helper", "deps": [to("h", Value::Null)] },
            ] },
        });
        let problems = promises(&members, &graph);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("`bridge` reaches `hyper`"), "{problems:?}");
    }

    #[test]
    fn a_manifest_without_the_workspace_lints_is_found() {
        let manifest =
            |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let problems = opt_in(&[
            manifest("a/Cargo.toml", "[package]\n[lints]\nworkspace = true\n"),
            manifest("b/Cargo.toml", "[lints]\n[dependencies]\nworkspace = true\n"),
            manifest("c/Cargo.toml", "[package]\n"),
        ]);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("b/") && problems[1].starts_with("c/"), "{problems:?}");
    }
}
