//! Licences, bans and sources of the dependencies, as `deny.toml` states them.
//!
//! `cargo deny` takes longer to install than everything else that is checked here. It reads the same
//! file; what only it can tell are advisories, whose database is elsewhere.

use serde_json::Value;

use crate::cargo::array;

/// The file, relative to the repository.
pub(super) const POLICY: &str = "deny.toml";

/// Every package of `graph` that `policy`, the text of [`POLICY`], refuses.
pub(super) fn check(policy: &str, graph: &Value) -> Vec<String> {
    let allowed = list(policy, "licenses", "allow");
    let banned = list(policy, "bans", "deny");
    let registries = list(policy, "sources", "allow-registry");
    let mut problems = Vec::new();
    for (what, strings) in [
        ("licenses.allow", &allowed),
        ("bans.deny", &banned),
        ("sources.allow-registry", &registries),
    ] {
        if strings.is_empty() {
            problems.push(format!("{POLICY} has no {what}"));
        }
    }
    for package in array(&graph["packages"]) {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let name = format!("{} {}", text("name"), text("version"));
        if banned.iter().any(|banned| *banned == text("name")) {
            problems.push(format!("{name} is banned"));
        }
        // Ours have no source.
        if let Some(source) = package["source"].as_str()
            && !registries.iter().any(|registry| source.strip_prefix("registry+") == Some(registry))
        {
            problems.push(format!("{name} comes from {source}"));
        }
        if package["source"].is_null() {
            // "Any version" is a version that was not tested. Members name each other by path.
            let of_any_version = array(&package["dependencies"])
                .iter()
                .filter(|dependency| dependency["req"] == "*" && dependency["path"].is_null())
                .map(|to| format!("{name} takes any version of {}", to["name"]));
            problems.extend(of_any_version);
        }
        match Expression::parse(text("license")) {
            Some(licence) if licence.holds(&allowed) => (),
            Some(_) => problems.push(format!("{name} is under {}", text("license"))),
            None => problems.push(format!("{name} states no licence: {:?}", text("license"))),
        }
    }
    problems
}

/// The strings of the array `key` in the table `table`; enough of TOML for a list of names.
fn list<'a>(policy: &'a str, table: &str, key: &str) -> Vec<&'a str> {
    let header = format!("[{table}]");
    let of_table = policy
        .lines()
        .skip_while(|line| line.trim() != header)
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    let mut strings = Vec::new();
    let mut is_within = false;
    for line in of_table {
        let line = line.split('#').next().unwrap_or_default();
        let value = match line.split_once('=') {
            Some((name, value)) if !is_within && name.trim() == key => value,
            _ if is_within => line,
            _ => continue,
        };
        is_within = !value.contains(']');
        strings.extend(value.split('"').skip(1).step_by(2));
    }
    strings
}

/// A licence expression of SPDX, and the older `MIT/Apache-2.0`.
#[derive(Debug, PartialEq, Eq)]
enum Expression<'a> {
    Licence(&'a str),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
}

impl<'a> Expression<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut words = Words(text);
        let whole = Self::either(&mut words)?;
        words.next().is_none().then_some(whole)
    }

    /// `OR` binds less than `AND`.
    fn either(words: &mut Words<'a>) -> Option<Self> {
        let mut left = Self::both(words)?;
        while words.skip("OR") || words.skip("/") {
            left = Self::Or(Box::new(left), Box::new(Self::both(words)?));
        }
        Some(left)
    }

    fn both(words: &mut Words<'a>) -> Option<Self> {
        let mut left = Self::one(words)?;
        while words.skip("AND") {
            left = Self::And(Box::new(left), Box::new(Self::one(words)?));
        }
        Some(left)
    }

    fn one(words: &mut Words<'a>) -> Option<Self> {
        let word = words.next()?;
        if word == "(" {
            let inner = Self::either(words)?;
            return words.skip(")").then_some(inner);
        }
        // An exception permits more, so the licence alone decides.
        if words.skip("WITH") {
            words.next()?;
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-.+".contains(c);
        word.chars().all(is_name).then_some(Self::Licence(word))
    }

    fn holds(&self, allowed: &[&str]) -> bool {
        match self {
            Self::Licence(name) => allowed.contains(name),
            Self::And(left, right) => left.holds(allowed) && right.holds(allowed),
            Self::Or(left, right) => left.holds(allowed) || right.holds(allowed),
        }
    }
}

/// What is left of an expression.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start();
        let first = text.chars().next()?;
        let is_mark = |c: char| "()/".contains(c);
        let ends = |c: char| c.is_whitespace() || is_mark(c);
        let end = if is_mark(first) { 1 } else { text.find(ends).unwrap_or(text.len()) };
        let (word, rest) = text.split_at(end);
        self.0 = rest;
        Some(word)
    }

    /// Goes past `word`, if that comes next.
    fn skip(&mut self, word: &str) -> bool {
        let mut ahead = Words(self.0);
        let is_next = ahead.next() == Some(word);
        if is_next {
            self.0 = ahead.0;
        }
        is_next
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const REGISTRY: &str = "https://example.org/index";

    fn problems(name: &str, licence: &str, source: Option<&str>) -> Vec<String> {
        let policy = format!(
            "[licenses]\n# why\nallow = [\n  \"MIT\", # permissive\n  \"ISC\",\n]\n\n[bans]\n\
             wildcards = \"deny\"\ndeny = [\"rsa\"]\n\n[sources]\nallow-registry = [\"{REGISTRY}\"]\n"
        );
        let graph = json!({ "packages": [
            { "name": name, "version": "1.0.0", "license": licence, "source": source },
        ] });
        check(&policy, &graph)
    }

    #[test]
    fn a_choice_of_licences_holds_when_one_of_them_is_allowed() {
        for licence in [
            "MIT",
            "GPL-3.0 OR MIT",
            "Apache-2.0/MIT",
            "ISC AND (MIT OR Apache-2.0 WITH LLVM-exception)",
            "MIT WITH Some-exception",
        ] {
            assert_eq!(problems("a", licence, None), [""; 0], "{licence}");
        }
    }

    #[test]
    fn a_licence_that_is_not_allowed_is_found_and_so_is_none_at_all() {
        for licence in ["GPL-3.0", "MIT AND GPL-3.0", "GPL-3.0 OR Apache-2.0", "MIT-0"] {
            assert_eq!(problems("a", licence, None), [format!("a 1.0.0 is under {licence}")]);
        }
        for licence in ["", "MIT OR", "(MIT", "MIT ISC", "see LICENSE.txt"] {
            let stated = format!("a 1.0.0 states no licence: {licence:?}");
            assert_eq!(problems("a", licence, None), [stated]);
        }
    }

    #[test]
    fn a_banned_crate_and_one_from_elsewhere_are_found() {
        let registry = format!("registry+{REGISTRY}");
        assert_eq!(problems("a", "MIT", Some(&registry)), [""; 0]);
        assert_eq!(problems("rsa", "MIT", Some(&registry)), ["rsa 1.0.0 is banned"]);
        assert_eq!(
            problems("a", "MIT", Some("git+https://example.org/a")),
            ["a 1.0.0 comes from git+https://example.org/a"]
        );
    }

    #[test]
    fn a_member_that_takes_any_version_is_found() {
        let member = json!({ "name": "a", "version": "1.0.0", "license": "MIT", "dependencies": [
            { "name": "b", "req": "*", "path": "/b" }, { "name": "c", "req": "^1" },
            { "name": "d", "req": "*" },
        ] });
        let found = check("", &json!({ "packages": [member] }));
        assert!(found.contains(&"a 1.0.0 takes any version of \"d\"".to_owned()), "{found:?}");
        assert_eq!(found.iter().filter(|problem| problem.contains("any version")).count(), 1);
    }

    #[test]
    fn a_policy_that_cannot_be_read_is_no_permission() {
        assert_eq!(check("", &json!({ "packages": [] })).len(), 3);
    }
}
