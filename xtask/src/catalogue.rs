//! The pages that say what the broker answers to, row by row, and which tests show it.
//!
//! A row is `| ID | what happens | what the broker answers | tests |`, where each test is a code span
//! `crate::test_name`.

/// Such a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Catalogue {
    /// What `cargo xtask test NAME` calls it.
    pub(crate) name: &'static str,
    /// Where it is, relative to the repository.
    pub(crate) path: &'static str,
}

pub(crate) const THREATS: Catalogue = Catalogue { name: "threats", path: "docs/THREATS.md" };
pub(crate) const SYMPTOMS: Catalogue = Catalogue { name: "symptoms", path: "docs/SYMPTOMS.md" };

/// All of them.
pub(crate) const CATALOGUES: [Catalogue; 2] = [THREATS, SYMPTOMS];

/// How the section begins whose rows need no test.
const UNANSWERED: &str = "Not answered";

/// A row of one.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) id: &'a str,
    /// What happens.
    pub(crate) what: &'a str,
    /// The tests, as `crate::name`.
    pub(crate) tests: Vec<&'a str>,
    /// Not where a page says what has no answer yet.
    pub(crate) needs_test: bool,
    pub(crate) line: usize,
}

/// The rows of every table; a table's head has no identifier.
pub(crate) fn rows(text: &str) -> Vec<Row<'_>> {
    let mut needs_test = true;
    let mut rows = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with('#') {
            needs_test = !line.trim_start_matches(['#', ' ']).starts_with(UNANSWERED);
            continue;
        }
        let Some(cells) = line.trim().strip_prefix('|') else { continue };
        let cells: Vec<_> = cells.trim_end_matches('|').split(" | ").map(str::trim).collect();
        let id = cells[0];
        let digits = id.trim_start_matches(|c: char| c.is_ascii_uppercase());
        if id.len() == digits.len() || !digits.starts_with(|c: char| c.is_ascii_digit()) {
            continue;
        }
        let last = cells[cells.len() - 1];
        // Code spans are the odd parts.
        let spans = last.split('`').skip(1).step_by(2);
        let tests = spans.filter(|span| span.contains("::")).collect();
        let what = cells.get(1).copied().unwrap_or_default();
        rows.push(Row { id, what, tests, needs_test, line: number + 1 });
    }
    rows
}
