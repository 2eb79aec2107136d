//! Comparing what was asked for with what was granted.

/// The words of `asked` that `granted` does not contain. `covers(held, wanted)` tells which word
/// contains another one beside itself; words for which `limits_nothing` is true are never missing.
pub(crate) fn missing(
    asked: &[String],
    granted: &str,
    limits_nothing: impl Fn(&str) -> bool,
    covers: impl Fn(&str, &str) -> bool,
) -> Vec<String> {
    let held: Vec<_> = granted.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let is_held = |wanted: &str| held.iter().any(|own| *own == wanted || covers(own, wanted));
    let wanted = asked.iter().filter(|word| !limits_nothing(word));
    wanted.filter(|word| !is_held(word)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_repetition_and_separators_do_not_make_a_grant_narrower() {
        let asked = ["a", "b", "say"].map(String::from);
        let missing = |granted| missing(&asked, granted, |own| own == "say", |_, _| false);
        assert!(missing("b a").is_empty());
        assert!(missing("b,a, a c").is_empty());
        assert_eq!(missing("b"), ["a"]);
        assert_eq!(missing(""), ["a", "b"]);
    }
}
