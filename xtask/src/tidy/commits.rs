//! Subjects of commits: `area: imperative`, of at most 72 characters.

use xshell::{Shell, cmd};

/// The last commit before the rule.
const BEFORE: &str = "68053b9af96db9d3df43df2391e15c51c01a0239";

/// The longest subject, in characters: what `git log --oneline` shows in a terminal.
const MAX_LENGTH: usize = 72;

/// Commits since the rule whose subjects break it. In a clone without the commit before the rule, all
/// that is there is younger.
pub(super) fn subjects(sh: &Shell) -> anyhow::Result<Vec<String>> {
    let is_there = cmd!(sh, "git merge-base --is-ancestor {BEFORE} HEAD");
    let range = if is_there.quiet().ignore_stderr().run().is_ok() {
        format!("{BEFORE}..HEAD")
    } else if cmd!(sh, "git rev-parse --is-shallow-repository").quiet().read()? == "true" {
        "HEAD".to_owned()
    } else {
        // Another history: nothing is known about its rules.
        return Ok(Vec::new());
    };
    let list = cmd!(sh, "git log --no-merges --format=%s {range}").quiet().read()?;
    Ok(list.lines().filter_map(problem).collect())
}

/// What is wrong with a subject.
fn problem(subject: &str) -> Option<String> {
    let length = subject.chars().count();
    if length > MAX_LENGTH {
        return Some(format!("{length} characters, more than {MAX_LENGTH}: {subject}"));
    }
    let is_area = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_/,.- ".contains(c);
    let fits = subject.split_once(": ").is_some_and(|(area, what)| {
        !area.is_empty() && area.chars().all(is_area) && !what.trim().is_empty()
    });
    (!fits).then(|| format!("not `area: imperative`: {subject}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_its_area_and_is_short() {
        for good in ["session: give failures a tracker", "xtask, build: mend", "broker/http: x"] {
            assert_eq!(problem(good), None);
        }
        for bad in ["Join the load", "Session: x", "session:x", ": x", "session: "] {
            assert!(problem(bad).is_some_and(|why| why.starts_with("not `area")), "{bad}");
        }
        assert_eq!(problem(&format!("a: {}", "x".repeat(69))), None);
        assert!(
            problem(&format!("a: {}", "x".repeat(70))).is_some_and(|why| why.starts_with("73"))
        );
    }
}
