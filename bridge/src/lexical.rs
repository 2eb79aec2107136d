//! The lexical pass over JSON: what a grammar check alone would let through, and the characters at
//! which some reader ends a line.
//!
//! `serde_json` decides what is JSON. This pass refuses what is JSON but would crash or split some
//! reader behind us (nesting without end, lone surrogates), and escapes the characters that some line
//! reader takes for the end of a line. It refuses what its own rewriting would turn into JSON: a
//! text means the same before and after, or it is refused.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// Nesting a message may have. `serde_json` and most servers stop at the same depth.
const MAX_DEPTH: usize = 128;

/// Why a text was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// More than [`MAX_DEPTH`] arrays or objects inside each other.
    TooDeep,
    /// A `\uD800`–`\uDFFF` escape without its other half: no text, and fatal to strict readers.
    LoneSurrogate,
    /// A string holds a raw line break, or a backslash before what needs none (RFC 8259 section 7).
    BadString,
}

/// Returns `text` as exactly one line, for every kind of reader.
///
/// Line feeds and carriage returns between tokens become spaces; U+0085, U+2028 and U+2029, at
/// which some readers split although JSON allows them inside strings, become escapes. Everything
/// else stays as it came. What was no JSON is none afterwards.
pub(crate) fn one_line(text: &str) -> Result<Cow<'_, str>, Fault> {
    if check(text.as_bytes())? { Ok(Cow::Owned(rewrite(text))) } else { Ok(Cow::Borrowed(text)) }
}

/// `text` without the white space around it that JSON knows (RFC 8259 section 2). ASCII has more.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\n', '\r'])
}

/// Whether some reader of lines would split `line`, which holds no line feed. One search over the
/// bytes: every line of a child passes here.
pub(crate) fn splits(line: &[u8]) -> bool {
    memchr::memchr3_iter(b'\r', 0xC2, 0xE2, line).any(|at| match line[at] {
        b'\r' => true,
        0xC2 => line.get(at + 1) == Some(&0x85),
        _ => line.get(at + 1) == Some(&0x80) && matches!(line.get(at + 2), Some(0xA8 | 0xA9)),
    })
}

/// `text`, which holds no line feed, without what [`splits`] a line; `None` when it is no JSON. Of
/// that nothing is rewritten, or the change could make it JSON.
pub(crate) fn escape_splits(text: &str) -> Option<String> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    Some(rewrite(text))
}

/// Checks nesting, strings and surrogates; `true` when the text needs [`rewrite`].
fn check(text: &[u8]) -> Result<bool, Fault> {
    // Most texts hold nothing that ends a line for anybody, and then strings are only stepped over.
    let is_one_line =
        memchr::memchr3(b'\n', 0xC2, 0xE2, text).is_none() && memchr::memchr(b'\r', text).is_none();
    // Nor is anything escaped, and not more opened than may be: whatever of it stands in strings.
    if is_one_line && memchr::memchr(b'\\', text).is_none() && openings(text) <= MAX_DEPTH {
        return Ok(false);
    }
    let mut depth = 0_usize;
    let mut splits = false;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                let (end, separators) = string(text, at + 1, is_one_line)?;
                splits |= separators;
                at = end;
                continue;
            }
            b'{' | b'[' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(Fault::TooDeep);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'\n' | b'\r' => splits = true,
            _ => {}
        }
        at += 1;
    }
    Ok(splits)
}

/// How many brackets and braces are opened, those in strings included. Summed up in bytes, so that many
/// are looked at in one step.
fn openings(text: &[u8]) -> usize {
    let of =
        |chunk: &[u8]| chunk.iter().map(|byte| u8::from(matches!(byte, b'{' | b'['))).sum::<u8>();
    text.chunks(usize::from(u8::MAX)).map(|chunk| usize::from(of(chunk))).sum()
}

/// Walks a string from behind its opening quote; returns where it ends and whether it holds a
/// separator that some readers take for a line end. An unfinished string ends with the text:
/// saying so is the grammar's business. Where the text `is_one_line` there are no separators in it.
fn string(text: &[u8], mut at: usize, is_one_line: bool) -> Result<(usize, bool), Fault> {
    let mut separators = false;
    loop {
        if is_one_line {
            let rest = text.get(at..).unwrap_or_default();
            at += memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        }
        let Some(&byte) = text.get(at) else { return Ok((at, separators)) };
        match byte {
            b'"' => return Ok((at + 1, separators)),
            b'\\' => {
                at = match text.get(at + 1) {
                    Some(b'u') => surrogate_pair(text, at)?,
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at + 2,
                    _ => return Err(Fault::BadString),
                };
                continue;
            }
            // To the rewriting these would be line ends between tokens.
            b'\n' | b'\r' => return Err(Fault::BadString),
            0xC2 => separators |= text.get(at + 1) == Some(&0x85),
            0xE2 => {
                separators |= text.get(at + 1) == Some(&0x80)
                    && matches!(text.get(at + 2), Some(0xA8 | 0xA9));
            }
            _ => {}
        }
        at += 1;
    }
}

/// Steps over the escape at `at` (`\uXXXX`, or two of them when they are a pair).
fn surrogate_pair(text: &[u8], at: usize) -> Result<usize, Fault> {
    match unit(text, at) {
        Some(0xD800..=0xDBFF) => match unit(text, at + 6) {
            Some(0xDC00..=0xDFFF) => Ok(at + 12),
            _ => Err(Fault::LoneSurrogate),
        },
        Some(0xDC00..=0xDFFF) => Err(Fault::LoneSurrogate),
        // A malformed escape is refused by the grammar; step over the two bytes seen.
        _ => Ok(at + 2),
    }
}

/// The UTF-16 unit of an escape `\uXXXX` at `at`, if there is one.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let escape = text.get(at..at + 6)?;
    if &escape[..2] != b"\\u" || !escape[2..].iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(&escape[2..]).ok()?, 16).ok()
}

fn rewrite(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        match char {
            // Between tokens only: a string with a raw one was refused.
            '\n' | '\r' => out.push(' '),
            '\u{85}' => out.push_str("\\u0085"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pretty_printed_text_becomes_one_line() {
        let line = one_line("{\r\n\t\"a\": 1,\n \"b\": \"x\"\n}").expect("it is fine");
        assert_eq!(line, "{  \t\"a\": 1,  \"b\": \"x\" }");
    }

    #[test]
    fn separators_inside_strings_become_escapes() {
        let line = one_line("[\"a\u{2028}b\u{2029}c\u{85}d\"]").expect("it is fine");
        assert_eq!(line, r#"["a\u2028b\u2029c\u0085d"]"#);
    }

    #[test]
    fn nesting_deeper_than_128_is_refused() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(one_line(&deep(128)).is_ok());
        assert_eq!(one_line(&deep(129)), Err(Fault::TooDeep));
        let in_string = format!("\"{}\"", "[".repeat(500));
        assert!(one_line(&in_string).is_ok(), "brackets in a string are text");
        let wide = |n: usize| "[]".repeat(n);
        assert!(one_line(&wide(500)).is_ok(), "they stand beside each other");
        for n in [127, 128, 129, 255, 256, 257, 600] {
            let mixed = "{[".repeat(n) + &"]}".repeat(n);
            assert_eq!(openings(mixed.as_bytes()), 2 * n);
        }
    }

    #[test]
    fn a_lone_surrogate_is_refused_and_a_pair_is_not() {
        assert!(one_line(r#"["\ud83d\ude00"]"#).is_ok());
        for lone in
            [r#"["\ud83d"]"#, r#"["\ude00"]"#, r#"["\ud83dx\ude00"]"#, r#"["\uD83D\uD83D"]"#]
        {
            assert_eq!(one_line(lone), Err(Fault::LoneSurrogate), "{lone}");
        }
        assert!(one_line(r#"["\\ud83d"]"#).is_ok(), "an escaped backslash is no escape");
    }

    #[test]
    fn what_the_rewriting_would_turn_into_json_is_refused() {
        for bad in
            ["[\"a\nb\"]", "[\"a\rb\"]", "[\"\\\u{2028}\"]", "[\"\\x\"]", "[\"\\\n\"]", "[\"\\"]
        {
            assert_eq!(one_line(bad), Err(Fault::BadString), "{bad:?}");
        }
        for good in [r#"["\"\\\/\b\f\n\r\t\u2028"]"#, "[\"\\\\\u{2028}\"]"] {
            let line = one_line(good).expect("it is fine");
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
            assert_eq!(value(&line), value(good));
        }
    }

    #[test]
    fn a_childs_line_is_rewritten_only_if_it_is_json() {
        assert!(!splits("\u{e9} \u{2019} \u{a0} \u{1F600}".as_bytes()), "no line ends there");
        assert!(!splits(b"\xC2"), "half a character");
        assert!(!splits(b"\xE2\x80"), "half a character");
        for text in ["{\"a\":\"x\u{2028}y\"}", "{\"a\":\r\"\u{85}\"}", "[\"\u{2029}\"]"] {
            assert!(splits(text.as_bytes()), "{text:?}");
            let line = escape_splits(text).expect("it is JSON");
            assert!(!splits(line.as_bytes()), "{line:?}");
            let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
            assert_eq!(value(&line), value(text));
        }
        for text in ["[\"a\rb\"]", "[\"\\\u{2028}\"]", "hello\u{2028}"] {
            assert_eq!(escape_splits(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_checked_without_panic(text in "[\\[\\]{}\"\\\\u0-9a-fD\\n\u{2028} ]{0,64}") {
            let _ = one_line(&text);
        }

        #[test]
        fn a_rewritten_document_still_means_the_same(
            value in proptest::collection::vec(any::<String>(), 0..6)
        ) {
            let pretty = serde_json::to_string_pretty(&value).expect("strings serialize");
            let line = one_line(&pretty).expect("it is fine");
            let splits = line.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
            prop_assert!(!splits, "one line, for every reader");
            let back: Vec<String> = serde_json::from_str(&line).expect("still JSON");
            prop_assert_eq!(back, value);
        }
    }
}
