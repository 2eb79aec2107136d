//! How files begin, how long they are, and which words must not stay in them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    files::File,
    modules::{Modules, Visibility},
};

/// Past this many lines, a noun wants to leave the file.
const MAX_LINES: usize = 600;

/// Places on one machine. In pieces, because this file is looked at too.
const PATHS: [&str; 3] = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/fa", "rm/")];

/// Left-overs of work that was not finished.
const LEFT_OVERS: [&str; 4] = [
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("db", "g!("),
    concat!("#[ig", "nore"),
];

/// Sources that do not say in their first line what they are. Modules of tests are exempt.
pub(super) fn module_docs(files: &[File]) -> Vec<String> {
    let must = |path: &str| {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut folders = folders.split('/');
        let of_tests = name == "tests.rs" || folders.clone().any(|folder| folder == "tests");
        let names_a_program = name == "lib.rs" || name == "main.rs";
        names_a_program || (folders.any(|folder| folder == "src") && !of_tests)
    };
    rust(files)
        .filter(|file| must(&file.path))
        .filter(|file| !file.text.starts_with("//!"))
        .map(|file| format!("{} does not begin with `//!`", file.path))
        .collect()
}

/// Sources that are too long to be about one thing.
pub(super) fn length(files: &[File]) -> Vec<String> {
    rust(files)
        .map(|file| (file, file.text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(file, lines)| format!("{} has {lines} lines, more than {MAX_LINES}", file.path))
        .collect()
}

/// Words that belong to a machine or to unfinished work.
pub(super) fn words(files: &[File]) -> Vec<String> {
    let mut problems = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            let left_overs = LEFT_OVERS.iter().filter(|_| file.path.ends_with(".rs"));
            for word in PATHS.iter().chain(left_overs).filter(|word| line.contains(**word)) {
                problems.push(format!("{}:{} holds `{word}`", file.path, number + 1));
            }
        }
    }
    problems
}

/// Types that a module shows to its crate under one name: a reader of the name has to look twice.
pub(super) fn names(package: &str, modules: &Modules) -> Vec<String> {
    let mut places: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for module in &modules.0 {
        for definition in &module.definitions {
            let is_type =
                matches!(definition.keyword.as_str(), "struct" | "enum" | "trait" | "union");
            if is_type && definition.visibility >= Visibility::Crate {
                let place = format!("{}:{}", module.file, definition.line);
                places.entry(&definition.name).or_default().insert(place);
            }
        }
    }
    let twice = places.into_iter().filter(|(_, places)| places.len() > 1);
    twice
        .map(|(name, places)| {
            let places: Vec<_> = places.into_iter().collect();
            format!("`{name}` is more than one type of {package}: {}", places.join(", "))
        })
        .collect()
}

fn rust(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.path.ends_with(".rs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_source_without_a_first_sentence_is_found_and_tests_need_none() {
        let problems = module_docs(&[
            file("a/src/lib.rs", "//! Good.\n"),
            file("a/src/noun.rs", "use std;\n"),
            file("a/src/noun/tests.rs", "use std;\n"),
            file("a/src/noun/tests/more.rs", "use std;\n"),
            file("a/tests/it/main.rs", "use std;\n"),
            file("a/tests/it/story.rs", "use std;\n"),
            file("a/examples/all/main.rs", "use std;\n"),
        ]);
        let found: Vec<_> = problems.iter().map(|p| p.split(' ').next().unwrap()).collect();
        assert_eq!(found, ["a/src/noun.rs", "a/tests/it/main.rs", "a/examples/all/main.rs"]);
    }

    #[test]
    fn a_long_source_is_found() {
        let long = "x\n".repeat(MAX_LINES + 1);
        assert_eq!(length(&[file("a/src/b.rs", &long), file("a/list.txt", &long)]).len(), 1);
        assert!(length(&[file("a/src/b.rs", &long[2..])]).is_empty());
    }

    #[test]
    fn left_overs_are_found_in_sources_and_paths_of_a_machine_anywhere() {
        let text = format!("fine\n{}later\")\n{}x\n", LEFT_OVERS[0], PATHS[0]);
        assert_eq!(words(&[file("a/src/b.rs", &text)]).len(), 2);
        let problems = words(&[file("README.md", &text)]);
        assert_eq!(problems, [format!("README.md:3 holds `{}`", PATHS[0])]);
    }
}
