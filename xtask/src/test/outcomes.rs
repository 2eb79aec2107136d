//! What became of each test, and of the rows of a catalogue that name it.

use std::collections::BTreeMap;

use crate::{catalogue, tally::Tally};

/// Whether each test that ran has passed, by `crate::name`.
#[derive(Debug, Default)]
pub(super) struct Outcomes(BTreeMap<String, bool>);

impl Outcomes {
    /// Takes `test a::b ... ok` of a program of `package`; other lines are about something else.
    pub(super) fn read(&mut self, package: &str, line: &str) {
        let Some((name, outcome)) =
            line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        else {
            return;
        };
        let passed = match outcome {
            "ok" => true,
            "FAILED" => false,
            _ => return,
        };
        let name = name.trim_end_matches(" - should panic");
        let function = name.rsplit("::").next().unwrap_or(name);
        // A name that several programs have stands in no catalogue, so which one wins is all one.
        *self.0.entry(format!("{package}::{function}")).or_insert(true) &= passed;
    }

    /// Prints the rows of `page` with their tests and what became of them. A test that did not run
    /// has not passed.
    pub(super) fn print(&self, title: &str, page: &str) -> Tally {
        let mut total = Tally::default();
        println!();
        println!("{title}");
        for row in catalogue::rows(page) {
            println!("{:<5} {}", row.id, row.what);
            if row.tests.is_empty() {
                println!("      no test: it has no answer yet");
            }
            for test in row.tests {
                let outcome = self.0.get(test).copied();
                total += Tally::one(outcome == Some(true));
                let word = match outcome {
                    Some(true) => "ok",
                    Some(false) => "FAILED",
                    None => "NOT RUN",
                };
                println!("      {word:<7} {test}");
            }
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "| T1 | a flood | 429 | `bridge::one`, `bridge::two` |\n\
                        | T2 | a drought | – | `bridge::three` |\n";

    #[test]
    fn a_row_holds_when_every_test_of_it_has_passed() {
        let mut outcomes = Outcomes::default();
        for line in [
            "test a::one ... ok",
            "test two - should panic ... ok",
            "test a::b::three ... FAILED",
            "test doc ... ignored",
            "running 3 tests",
        ] {
            outcomes.read("bridge", line);
        }
        assert_eq!(outcomes.print("threats", PAGE), Tally { passed: 2, failed: 1 });
    }

    #[test]
    fn a_test_of_another_crate_or_one_that_did_not_run_shows_nothing() {
        let mut outcomes = Outcomes::default();
        outcomes.read("session", "test a::one ... ok");
        assert_eq!(outcomes.print("threats", PAGE), Tally { passed: 0, failed: 3 });
    }
}
