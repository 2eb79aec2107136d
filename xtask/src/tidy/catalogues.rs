//! The catalogues against the tests they name. Both ways: a test that is named exists, once in its
//! crate; a row names a test, unless it stands in the section of what has no answer yet.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    files::File,
    tokens::{Kind, Token, tokens},
};
use crate::catalogue::{CATALOGUES, Row, rows};

/// What does not fit together.
pub(super) fn check(files: &[File]) -> Vec<String> {
    let tests = tests(files);
    let mut problems = Vec::new();
    for path in CATALOGUES.map(|catalogue| catalogue.path) {
        match files.iter().find(|file| file.path == path) {
            Some(page) => problems.extend(compare(page, &tests)),
            None => problems.push(format!("there is no {path}")),
        }
    }
    problems
}

fn compare(page: &File, tests: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let path = &page.path;
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    let rows = rows(&page.text);
    if rows.is_empty() {
        problems.push(format!("{path} has no row"));
    }
    for row in rows {
        let Row { id, tests: named, needs_test, line, .. } = row;
        if !seen.insert(id) {
            problems.push(format!("{path}:{line}: {id} stands there twice"));
        }
        if needs_test && named.is_empty() {
            problems.push(format!("{path}:{line}: {id} names no test"));
        }
        let mut of_row = BTreeSet::new();
        for name in named {
            if !of_row.insert(name) {
                problems.push(format!("{path}:{line}: {id} names {name} twice"));
            }
            match tests.get(name).map_or(0, Vec::len) {
                0 => problems.push(format!("{path}:{line}: {id}: there is no test {name}")),
                1 => (),
                _ => {
                    let places = tests[name].join(", ");
                    problems.push(format!("{path}:{line}: {id}: {name} is several: {places}"));
                }
            }
        }
    }
    problems
}

/// Every test of the repository as `crate::name`, and the files that have one of that name.
fn tests(files: &[File]) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let Some((package, _)) = file.path.split_once('/') else { continue };
        for name in test_names(&tokens(&file.text)) {
            found.entry(format!("{package}::{name}")).or_default().push(file.path.clone());
        }
    }
    found
}

/// The functions after an attribute `test`, of any runtime, with other attributes between.
fn test_names<'a>(words: &[Token<'a>]) -> Vec<&'a str> {
    let mut names = Vec::new();
    let mut is_test = false;
    let mut at = 0;
    while at < words.len() {
        if words[at].is('#') && words.get(at + 1).is_some_and(|word| word.is('[')) {
            let (path, end) = attribute(words, at + 1);
            is_test |= path == Some("test");
            at = end;
            continue;
        }
        match words[at].kind {
            Kind::Word("fn") => {
                if is_test {
                    names.extend(words.get(at + 1).and_then(Token::word));
                }
                is_test = false;
            }
            Kind::Word("pub" | "async" | "unsafe" | "const") => (),
            _ => is_test = false,
        }
        at += 1;
    }
    names
}

/// The last segment of an attribute's path, and what follows the attribute.
fn attribute<'a>(words: &[Token<'a>], open: usize) -> (Option<&'a str>, usize) {
    let mut path = None;
    let mut at = open + 1;
    while let Some(word) = words.get(at) {
        match word.kind {
            Kind::Word(word) => path = Some(word),
            Kind::PathSeparator => (),
            _ => break,
        }
        at += 1;
    }
    let mut depth = 1_usize;
    while let Some(word) = words.get(at) {
        at += 1;
        match word.kind {
            Kind::Open(_) => depth += 1,
            Kind::Close(_) => depth -= 1,
            _ => (),
        }
        if depth == 0 {
            break;
        }
    }
    (path, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(page: &str, sources: &[(&str, &str)]) -> Vec<String> {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let files: Vec<_> = sources.iter().map(|(path, text)| file(path, text)).collect();
        compare(&file("T", page), &tests(&files))
    }

    const TESTS: (&str, &str) = (
        "auth/src/a.rs",
        "#[test]\nfn one() {}\n#[tokio::test(x = 1)]\n#[cfg(unix)]\nasync fn two() {}",
    );

    #[test]
    fn a_row_and_its_tests_fit_together() {
        let good = "| ID | what | answer | tests |\n|---|---|---|---|\n\
                    | O1 | a | b | `auth::one`, `auth::two` |\n## Not answered yet\n| T9 | c | d |\n";
        assert_eq!(problems(good, &[TESTS]), [""; 0]);
    }

    #[test]
    fn a_test_that_is_not_there_or_there_twice_is_found() {
        let text = "| O1 | a | b | `auth::three`, `auth::one` |\n| O2 | a | b | `bridge::one` |\n";
        let again = ("auth/tests/it/b.rs", "#[test] fn one() {}");
        assert_eq!(
            problems(text, &[TESTS, again]),
            [
                "T:1: O1: there is no test auth::three",
                "T:1: O1: auth::one is several: auth/src/a.rs, auth/tests/it/b.rs",
                "T:2: O2: there is no test bridge::one",
            ]
        );
    }

    #[test]
    fn a_row_without_a_test_and_one_that_stands_twice_are_found() {
        let text = "| O1 | a | b | – |\n| O1 | a | b | `auth::one`, `auth::one` |\n";
        assert_eq!(
            problems(text, &[TESTS]),
            [
                "T:1: O1 names no test",
                "T:2: O1 stands there twice",
                "T:2: O1 names auth::one twice"
            ]
        );
        assert_eq!(check(&[]).len(), CATALOGUES.len(), "no catalogue at all");
    }

    #[test]
    fn a_function_is_a_test_only_right_after_the_attribute() {
        let text = "#[test] fn a() {} fn b() {} #[cfg(test)] mod t { fn c() {} }\n\
                    proptest! { #[test] fn d(x in 0..1) {} } #[test]\n// why\nfn e() {}";
        assert_eq!(test_names(&tokens(text)), ["a", "d", "e"]);
    }
}
