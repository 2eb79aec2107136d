//! What the repository promises about itself: the edges between its crates, what a leaf's manifest
//! keeps out, and how its files begin and end. Part of `cargo xtask lint`, and a test, so that
//! `cargo test` alone notices too.

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::{cargo, root};

mod manifests;
mod rows;
mod sources;

/// A rule, and every place that breaks it.
pub(crate) type Findings = (&'static str, Vec<String>);

/// Looks at the whole repository.
pub(crate) fn check(sh: &Shell) -> anyhow::Result<Vec<Findings>> {
    let members = cargo::members(sh)?;
    let graph = cargo::graph(sh)?;
    let files = tracked(sh)?;
    let manifests: Vec<_> =
        files.iter().filter(|file| file.path.ends_with("/Cargo.toml")).cloned().collect();
    Ok(vec![
        ("edges between the crates", manifests::edges(&members)),
        ("promises of the manifests", manifests::promises(&members, &graph)),
        ("lint opt-in", manifests::opt_in(&manifests)),
        ("module docs", sources::module_docs(&files)),
        ("file length", sources::length(&files)),
        ("words that must not stay", sources::words(&files)),
        ("rows without a test", rows::untested(&files)),
    ])
}

/// A text file of the repository.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Relative to the repository, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Everything git knows or would add. Files that are not UTF-8 have no text to look at.
fn tracked(sh: &Shell) -> anyhow::Result<Vec<File>> {
    let list = cmd!(sh, "git ls-files -z --cached --others --exclude-standard")
        .quiet()
        .read()
        .context("git does not list the files")?;
    let mut files = Vec::new();
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        // A file that is deleted and not yet staged is listed and gone.
        let Ok(bytes) = std::fs::read(root().join(path)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path: path.to_owned(), text });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

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
