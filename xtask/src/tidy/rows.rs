//! The rows of the catalogue of attacks and faults that signing in answers, and that each of them has
//! a test.
//!
//! A row's test is a function whose name begins with the row's number, `o13_…` for O13, in the crate
//! where the row is decided. A test elsewhere that goes the same way over the wire is welcome and does
//! not count: the crate must hold its promise alone.

use super::files::File;

/// What a row is about, in the words of a reviewer, and the crates one of which must test it.
struct Row {
    number: &'static str,
    about: &'static str,
    lives: &'static [&'static str],
}

const fn row(number: &'static str, about: &'static str, lives: &'static [&'static str]) -> Row {
    Row { number, about, lives }
}

const AUTH: &[&str] = &["auth"];
const BROKER: &[&str] = &["broker"];
const BOTH: &[&str] = &["auth", "broker"];

/// O for the authorization server, S for what it stores.
const ROWS: [Row; 47] = [
    row("O1", "PKCE is missing, plain or malformed", AUTH),
    row("O2", "the verifier is wrong", AUTH),
    row("O3", "PKCE is downgraded", AUTH),
    row("O4", "unknown client or redirect address", AUTH),
    row("O5", "ports of loopback addresses", AUTH),
    row("O6", "another redirect address at the token endpoint", AUTH),
    row("O7", "a code comes twice", BOTH),
    row("O8", "a code of another client, too old, or for another resource", AUTH),
    row("O9", "a refresh token comes twice", BOTH),
    row("O10", "a refresh asks for more", AUTH),
    row("O11", "mix-up of issuers", AUTH),
    row("O12", "confused deputy", BOTH),
    row("O13", "the callback in another browser", BOTH),
    row("O14", "a state that is missing, forged, replayed or old", BOTH),
    row("O15", "two tabs", BOTH),
    row("O16", "forged forms", BOTH),
    row("O17", "headers of pages", BROKER),
    row("O18", "redirects that carry a form along", BROKER),
    row("O19", "dangerous redirect addresses", AUTH),
    row("O20", "hostile client metadata on a page", BROKER),
    row("O21", "a flood of registrations", AUTH),
    row("O22", "addresses of metadata documents", AUTH),
    row("O23", "metadata documents inside the network", BROKER),
    row("O24", "metadata documents that exhaust", BOTH),
    row("O25", "metadata documents that contradict themselves", AUTH),
    row("O26", "tokens for somebody else", BOTH),
    row("O27", "no token, a bad one, one in the address, two", BOTH),
    row("O28", "too small a scope", BOTH),
    row("O29", "another resource", AUTH),
    row("O30", "hygiene of the token endpoint", AUTH),
    row("O31", "revocation", BOTH),
    row("O32", "timing", AUTH),
    row("O33", "confused algorithms of signed tokens", AUTH),
    row("O34", "rotation and floods of keys", AUTH),
    row("O35", "clocks that differ or step", AUTH),
    row("O36", "poisoned host and forwarding headers", BOTH),
    row("O37", "identities that change hands", BOTH),
    row("O38", "guessing passwords", BOTH),
    row("O39", "racing renewals upstream", BOTH),
    row("O40", "no question upstream for every request", BOTH),
    row("S1", "killed at any point", BROKER),
    row("S2", "secrets at rest", BROKER),
    row("S3", "keys that rotate or are lost", BOTH),
    row("S4", "the database is locked, full or gone", BROKER),
    row("S5", "many token requests at once", BROKER),
    row("S6", "every table stays bounded", BROKER),
    row("S7", "a corrupt or newer schema", BROKER),
];

/// Rows without a test in a crate where they live.
pub(super) fn untested(files: &[File]) -> Vec<String> {
    let missing = |row: &&Row| !row.lives.iter().all(|of| is_tested(files, of, row.number));
    ROWS.iter()
        .filter(missing)
        .map(|row| {
            let own = format!("`{}_…`", row.number.to_lowercase());
            let lacking = row.lives.iter().filter(|of| !is_tested(files, of, row.number));
            let lacking: Vec<_> = lacking.copied().collect();
            format!("{} ({}) has no test {own} in {}", row.number, row.about, lacking.join(", "))
        })
        .collect()
}

fn is_tested(files: &[File], of: &str, number: &str) -> bool {
    let begins = format!("fn {}_", number.to_lowercase());
    files
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .filter(|file| file.path.strip_prefix(of).is_some_and(|rest| rest.starts_with('/')))
        .any(|file| has_test(&file.text, &begins))
}

/// Whether a function that begins like this is a test: an attribute that ends in `test` stands before
/// it, with nothing but other attributes between.
fn has_test(text: &str, begins: &str) -> bool {
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") {
            let name = line.trim_start_matches("#[").split(['(', ']']).next().unwrap_or_default();
            is_test |= name == "test" || name.ends_with("::test");
        } else {
            let name = line.trim_start_matches("async ");
            if is_test && name.starts_with(begins) {
                return true;
            }
            // Arguments of an attribute, and comments, may go over several lines.
            is_test &= line.starts_with("//") || !line.contains("fn ") && !line.contains('}');
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_row_without_a_test_is_told_with_the_crate_that_lacks_it() {
        let problems = untested(&[]);
        assert_eq!(problems.len(), ROWS.len());
        assert_eq!(
            problems[12],
            "O13 (the callback in another browser) has no test `o13_…` in auth, broker"
        );
        let only = [file("auth/src/a.rs", "#[test]\nfn o13_a_story() {}\n")];
        let problems = untested(&only);
        assert!(problems[12].ends_with("in broker"), "{}", problems[12]);
        let other = [file("author/src/a.rs", "#[test]\nfn o1_a_story() {}\n")];
        assert_eq!(untested(&other).len(), ROWS.len(), "another crate that begins like it");
    }

    #[test]
    fn a_test_is_a_function_after_an_attribute_and_numbers_are_whole() {
        for good in [
            "#[test]\nfn o1_a() {",
            "    #[tokio::test(start_paused = true)]\n    async fn o1_a() {",
            "#[test]\n#[cfg(unix)]\nfn o1_a() {",
            "#[tokio::test(\n    flavor = \"multi_thread\"\n)]\nasync fn o1_a() {",
            "#[test]\n// why\nfn o1_a() {",
        ] {
            assert!(has_test(good, "fn o1_"), "{good}");
        }
        for bad in [
            "fn o1_a() {",
            "#[test]\nfn o11_a() {",
            "#[test]\nfn b() {}\nfn o1_a() {",
            "#[cfg(test)]\nmod tests {\nfn o1_a() {",
            "#[test]\nfn b() { o1_a() }",
        ] {
            assert!(!has_test(bad, "fn o1_"), "{bad}");
        }
    }

    #[test]
    fn every_row_is_listed_once_and_in_order() {
        let expected = (1..=40).map(|n| format!("O{n}")).chain((1..=7).map(|n| format!("S{n}")));
        assert_eq!(ROWS.map(|row| row.number).to_vec(), expected.collect::<Vec<_>>());
    }
}
