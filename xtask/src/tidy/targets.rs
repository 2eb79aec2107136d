//! Which sources cargo compiles, crate by crate.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{files::File, modules::Modules};
use crate::cargo::{array, root};

/// The modules of every target of each member. Tests are no part of it, wherever they stand.
pub(super) fn modules(members: &Value, files: &[File]) -> BTreeMap<String, Vec<Modules>> {
    let read = |paths: Vec<String>| paths.iter().map(|root| Modules::read(files, root)).collect();
    roots(members).into_iter().map(|(package, paths)| (package, read(paths))).collect()
}

/// The root files of each member's targets, relative to the repository.
fn roots(members: &Value) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in array(&members["packages"]) {
        let roots =
            found.entry(package["name"].as_str().unwrap_or_default().to_owned()).or_default();
        let paths = array(&package["targets"]).iter().filter_map(|target| {
            let path = target["src_path"].as_str()?.strip_prefix(root().to_str()?)?;
            Some(path.trim_start_matches('/').to_owned())
        });
        roots.extend(paths.filter(|path| !path.split('/').any(|folder| folder == "tests")));
    }
    found
}
