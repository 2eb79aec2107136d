//! What the style sheet promises: contrast, and nothing that is not used.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Pages, headers::stylesheet, samples};
use super::html::Document;

/// WCAG 2.2, 1.4.3: text against what it stands on.
const TEXT: f64 = 4.5;
/// WCAG 2.2, 1.4.11: edges of controls and the focus ring.
const EDGE: f64 = 3.0;

/// Pairs that meet by inheritance, which no single rule names.
const MEET: [(&str, &str, f64); 15] = [
    ("ink", "bg", TEXT),
    ("ink", "card", TEXT),
    ("ink", "chip", TEXT),
    ("soft", "bg", TEXT),
    ("soft", "card", TEXT),
    ("soft", "chip", TEXT),
    ("accent", "card", TEXT),
    ("accent", "bg", TEXT),
    ("on-accent", "accent-deep", TEXT),
    ("bad-ink", "card", TEXT),
    ("bad-ink", "bg", TEXT),
    ("edge", "card", EDGE),
    ("edge", "bg", EDGE),
    ("warn-edge", "warn-bg", EDGE),
    ("accent", "on-accent", EDGE),
];

type Colours = BTreeMap<String, [u8; 3]>;

/// The colours in light and in dark.
fn schemes() -> [Colours; 2] {
    let css = stylesheet().1;
    let (light, rest) = css.split_once("@media (prefers-color-scheme: dark)").expect("a dark one");
    let (dark, _) = rest.split_once("@media").expect("something after it");
    let (light, dark) = (colours(light), colours(dark));
    let names = |colours: &Colours| colours.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&light), names(&dark), "every colour has both");
    [light, dark]
}

fn colours(css: &str) -> Colours {
    let lines = css.lines().filter_map(|line| line.trim().strip_prefix("--")?.split_once(": #"));
    lines
        .map(|(name, value)| {
            let mut colour = [0; 3];
            hex::decode_to_slice(value.trim_end_matches(';'), &mut colour).expect("six digits");
            (name.to_owned(), colour)
        })
        .collect()
}

/// WCAG 2.2, "contrast ratio".
fn contrast(one: [u8; 3], other: [u8; 3]) -> f64 {
    let luminance = |colour: [u8; 3]| {
        let [red, green, blue] = colour.map(|channel| {
            let channel = f64::from(channel) / 255.0;
            if channel <= 0.040_45 {
                channel / 12.92
            } else {
                ((channel + 0.055) / 1.055).powf(2.4)
            }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    };
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// The rules as selector and declarations, those inside of `@media` too.
fn rules() -> Vec<(&'static str, &'static str)> {
    let mut rules = Vec::new();
    for part in stylesheet().1.split('}') {
        if let Some((selector, declarations)) = part.rsplit_once('{') {
            let selector = selector.rsplit(['{', '/']).next().unwrap_or_default();
            rules.push((selector.trim(), declarations));
        }
    }
    rules
}

/// The colour variable that `property` takes in `declarations`.
fn variable<'a>(declarations: &'a str, property: &str) -> Option<&'a str> {
    let mut lines = declarations.lines().filter_map(|line| line.trim().split_once(": "));
    let value = lines.rfind(|(own, _)| *own == property)?.1;
    value.strip_prefix("var(--")?.strip_suffix(");")
}

#[test]
fn the_ratio_is_that_of_the_standard() {
    assert!((contrast([0; 3], [255; 3]) - 21.0).abs() < 1e-9);
    // #767676 on white is the well-known last grey that passes.
    assert!((contrast([0x76; 3], [255; 3]) - 4.54).abs() < 0.01);
}

#[test]
fn colours_that_meet_can_be_told_apart_in_light_and_dark() {
    let mut pairs: BTreeSet<(String, String, u64)> = BTreeSet::new();
    let tenths = |ratio: f64| if ratio > 4.0 { 45 } else { 30 };
    for (one, other, ratio) in MEET {
        pairs.insert((one.into(), other.into(), tenths(ratio)));
    }
    for (_, declarations) in rules() {
        let pair = (variable(declarations, "color"), variable(declarations, "background"));
        if let (Some(ink), Some(ground)) = pair {
            pairs.insert((ink.into(), ground.into(), tenths(TEXT)));
        }
    }
    assert!(pairs.len() > MEET.len(), "the rules name pairs of their own");
    for (scheme, colours) in ["light", "dark"].into_iter().zip(schemes()) {
        for (one, other, least) in &pairs {
            let ratio = contrast(colours[one], colours[other]);
            let least = f64::from(u32::try_from(*least).expect("small")) / 10.0;
            assert!(ratio >= least, "{scheme}: {one} on {other} is {ratio:.2}, needs {least}");
        }
    }
}

#[test]
fn the_sheet_fetches_nothing() {
    let css = stylesheet().1;
    for word in ["url(", "@import", "@font-face", "http:", "https:", "expression("] {
        assert!(!css.contains(word), "{word}");
    }
}

#[test]
fn every_class_has_a_rule_and_every_rule_a_page() {
    let mut used = BTreeSet::new();
    for (_, html) in samples::all(&Pages::at("https://mcp.example.org")) {
        for element in Document::parse(&html).0 {
            let classes = element.get("class").unwrap_or_default();
            used.extend(classes.split_whitespace().map(str::to_owned));
        }
    }
    let mut known = BTreeSet::new();
    for (selector, _) in rules() {
        for part in selector.split('.').skip(1) {
            let end = part.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            known.insert(part[..end.unwrap_or(part.len())].to_owned());
        }
    }
    assert_eq!(used, known);
}

#[test]
fn the_path_of_the_sheet_names_its_content() {
    let (path, _) = stylesheet();
    let name = path.strip_prefix("/assets/pages-").and_then(|name| name.strip_suffix(".css"));
    assert!(
        name.is_some_and(|name| name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit()))
    );
}
