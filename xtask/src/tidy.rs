//! What the repository promises about itself: the edges between its crates, what a leaf's manifest
//! keeps out, in which order its files know each other, and how they begin and end.
//!
//! `cargo xtask tidy` prints it, `cargo xtask lint` has it as its last step, and a test here lets
//! `cargo test` alone notice too.

use serde_json::Value;
use xshell::Shell;

use crate::{cargo, flags, tally::Tally};

mod catalogues;
mod commits;
mod dependencies;
mod edges;
mod files;
mod floors;
mod manifests;
mod modules;
mod retired;
mod sources;
mod targets;
mod tokens;

use edges::Edges;
use files::File;

/// A rule, and every place that breaks it.
pub(crate) type Findings = (&'static str, Vec<String>);

pub(crate) fn run(sh: &Shell, _: flags::Tidy) -> anyhow::Result<Tally> {
    let files = files::tracked(sh)?;
    print!("{}", floors::print(&files));
    println!();
    let mut total = Tally::default();
    for (rule, problems) in check(sh)? {
        total += Tally::one(problems.is_empty());
        for problem in &problems {
            println!("tidy: {rule}: {problem}");
        }
    }
    println!();
    println!("tidy: {total}");
    Ok(total)
}

/// Looks at the whole repository.
pub(crate) fn check(sh: &Shell) -> anyhow::Result<Vec<Findings>> {
    let members = cargo::members(sh)?;
    let graph = cargo::graph(sh)?;
    let files = files::tracked(sh)?;
    let manifests: Vec<_> =
        files.iter().filter(|file| file.path.ends_with("/Cargo.toml")).cloned().collect();
    let policy = files.iter().find(|file| file.path == dependencies::POLICY);
    let policy = policy.map_or("", |file| &file.text);
    let mut findings = vec![
        ("edges between the crates", manifests::edges(&members)),
        ("promises of the manifests", manifests::promises(&members, &graph)),
        ("lint opt-in", manifests::opt_in(&manifests)),
        ("licences, bans and sources", dependencies::check(policy, &graph)),
        ("module docs", sources::module_docs(&files)),
        ("file length", sources::length(&files)),
        ("words that must not stay", sources::words(&files)),
        ("subjects of commits", commits::subjects(sh)?),
    ];
    findings.extend(imports(&members, &files));
    Ok(findings)
}

/// Who names what: the floors, circles, names, and the tests that the catalogues name.
fn imports(members: &Value, files: &[File]) -> Vec<Findings> {
    let mut upward = Vec::new();
    let mut circular = Vec::new();
    let mut twice = Vec::new();
    for (package, targets) in targets::modules(members, files) {
        let mut edges = Edges::new();
        for modules in &targets {
            edges::collect(modules, &mut edges);
            twice.extend(sources::names(&package, modules));
        }
        let circles = edges::circles(&edges);
        println!("{package}: {} circles", circles.len());
        circular.extend(circles.iter().map(|circle| edges::describe(circle, &edges)));
        if package == "broker" {
            upward = floors::upward(files, &edges);
        }
    }
    vec![
        ("floors of broker", upward),
        ("circles between files", circular),
        ("types of one name", twice),
        ("names that have gone", retired::names(files)),
        ("catalogues and their tests", catalogues::check(files)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cargo::root;

    #[test]
    fn the_repository_keeps_its_promises() {
        let sh = Shell::new().unwrap();
        sh.change_dir(root());
        let broken: Vec<_> = check(&sh)
            .unwrap()
            .into_iter()
            .flat_map(|(rule, problems)| problems.into_iter().map(move |p| format!("{rule}: {p}")))
            .collect();
        assert!(broken.is_empty(), "{}", broken.join("\n"));
    }
}
