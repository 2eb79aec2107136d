//! The floors of `broker`: a file names nothing of a higher one.

use std::collections::BTreeMap;

use super::{edges::Edges, files::File};

/// From the top down. A name stands for the file and the folder of that name in `broker/src`; names of
/// one line may use each other.
const FLOORS: [&[&str]; 8] = [
    // The binary, and the faces of the library.
    &["main", "lib", "builder"],
    &["cli"],
    &["serve"],
    &["http"],
    &["compose"],
    &["sessions"],
    &["server"],
    &[
        "admissions",
        "calendar",
        "calls",
        "clock",
        "config",
        "demo",
        "egress",
        "error_chain",
        "fetch",
        "body_budget",
        "host_policy",
        "listener",
        "log",
        "memory",
        "metrics",
        "pages",
        "shell_word",
        "store",
        "tokens",
    ],
];

const ROOT: &str = "broker/src/";

/// Where a file of `broker` stands, 0 being the top.
fn floor(path: &str) -> Option<usize> {
    let name = name(path)?;
    FLOORS.iter().position(|floor| floor.contains(&name))
}

/// The first folder of a file below `broker/src`, or its own name.
fn name(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(ROOT)?;
    Some(rest.split_once('/').map_or(rest.trim_end_matches(".rs"), |(folder, _)| folder))
}

/// Imports that lead up, and files that stand on no floor.
pub(super) fn upward(files: &[File], edges: &Edges) -> Vec<String> {
    let mut problems = Vec::new();
    let mut unknown: Vec<_> = files
        .iter()
        .filter(|file| file.path.ends_with(".rs") && floor(&file.path).is_none())
        .filter_map(|file| name(&file.path))
        .collect();
    unknown.dedup();
    for name in unknown {
        problems.push(format!("{ROOT}{name} has no floor; FLOORS in xtask names them all"));
    }
    for ((from, to), named) in edges {
        if let (Some(below), Some(above)) = (floor(from), floor(to))
            && above < below
        {
            let names: Vec<_> =
                named.iter().map(|named| format!("{}, line {}", named.item, named.line)).collect();
            problems.push(format!("{from} reaches up to {to} ({})", names.join("; ")));
        }
    }
    problems
}

/// The floors and how many files stand on each.
pub(super) fn print(files: &[File]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        if let Some(name) = name(&file.path) {
            *counts.entry(name).or_default() += 1;
        }
    }
    let mut text = "floors of broker, from the top down (files)\n".to_owned();
    for floor in FLOORS {
        let names: Vec<_> = floor
            .iter()
            .filter_map(|name| counts.get(name).map(|count| format!("{name} ({count})")))
            .collect();
        text += &format!("  {}\n", names.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{
        super::{edges::collect, modules::Modules},
        *,
    };

    fn check(sources: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = sources
            .iter()
            .map(|(path, text)| File { path: format!("{ROOT}{path}"), text: (*text).to_owned() })
            .collect();
        let mut edges = Edges::new();
        collect(&Modules::read(&files, "broker/src/lib.rs"), &mut edges);
        upward(&files, &edges)
    }

    #[test]
    fn an_import_that_leads_up_is_refused_and_one_that_leads_down_is_not() {
        let lib = ("lib.rs", "mod http; mod sessions; mod store;");
        let down = [
            lib,
            ("http.rs", "mod words;"),
            ("http/words.rs", "use crate::sessions::Lease; fn f() { crate::store::g(); }"),
            ("sessions.rs", "pub(crate) struct Lease;"),
            ("store.rs", "pub(crate) fn g() {}"),
        ];
        assert_eq!(check(&down), [""; 0]);
        let up = [
            lib,
            ("http.rs", "pub(crate) mod words;"),
            ("http/words.rs", "pub(crate) struct Word;"),
            ("sessions.rs", "\nuse crate::http::words::Word;"),
            ("store.rs", ""),
        ];
        assert_eq!(
            check(&up),
            ["broker/src/sessions.rs reaches up to broker/src/http/words.rs (Word, line 2)"]
        );
    }

    #[test]
    fn a_file_without_a_floor_is_named() {
        let problems = check(&[("lib.rs", "mod attic;"), ("attic/more.rs", "")]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("broker/src/attic has no floor"), "{problems:?}");
    }
}
