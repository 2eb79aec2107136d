//! The table at the end of the tests.

use std::time::Duration;

use crate::{process::Finished, tally::Tally};

/// One line of it.
#[derive(Debug)]
pub(super) struct Row {
    what: String,
    tally: Tally,
    took: Duration,
}

impl Row {
    /// Something that works or does not.
    pub(super) fn check(what: String, finished: &Finished) -> Self {
        Self { what, tally: Tally::one(finished.ok), took: finished.took }
    }

    /// A program that has counted its tests.
    pub(super) fn tests(what: String, mut tally: Tally, finished: &Finished) -> Self {
        // It did not compile, or died before it could count.
        if !finished.ok && tally.failed == 0 {
            println!("{what}: {}", finished.how);
            tally.failed = 1;
        }
        Self { what, tally, took: finished.took }
    }
}

/// `test result: ok. 12 passed; 0 failed; …`
pub(super) fn parse_result(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| {
        counts.split("; ").find_map(|part| part.strip_suffix(word)?.trim_end().parse().ok())
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")? })
}

/// Prints the table and sums it up.
pub(super) fn summary(rows: &[Row]) -> Tally {
    let mut total = Tally::default();
    let mut took = Duration::ZERO;
    println!();
    println!("{:<28} {:>7} {:>7} {:>8}", "what", "passed", "failed", "seconds");
    for row in rows {
        total += row.tally;
        took += row.took;
        print_row(&row.what, row.tally, row.took);
    }
    print_row("total", total, took);
    println!();
    println!("test: {total}");
    total
}

fn print_row(what: &str, tally: Tally, took: Duration) {
    println!("{what:<28} {:>7} {:>7} {:>8.1}", tally.passed, tally.failed, took.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_line_of_a_test_program_is_counted() {
        let line = "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.01s";
        assert_eq!(parse_result(line), Some(Tally { passed: 12, failed: 0 }));
        let line = "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured";
        assert_eq!(parse_result(line), Some(Tally { passed: 1, failed: 2 }));
        assert_eq!(parse_result("test a_result ... ok"), None);
    }

    #[test]
    fn a_program_that_dies_before_it_counts_has_failed_once() {
        let died = Finished { ok: false, how: "signal: 11".to_owned(), took: Duration::ZERO };
        let none = Tally::default();
        assert_eq!(Row::tests("it".to_owned(), none, &died).tally, Tally { passed: 0, failed: 1 });
        let counted = Tally { passed: 3, failed: 2 };
        assert_eq!(Row::tests("it".to_owned(), counted, &died).tally, counted);
    }
}
