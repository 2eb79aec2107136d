//! The members of a JSON object, found without reading what they hold.

use std::borrow::Cow;

use serde::Deserialize;

/// One member of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawMember<'a> {
    pub(crate) name: Cow<'a, str>,
    /// The value, raw.
    pub(crate) value: &'a str,
}

/// What a raw value says, if it is text.
pub(crate) fn text(raw: &str) -> Option<Cow<'_, str>> {
    let is_string = raw.len() > 1 && raw.starts_with('"') && raw.ends_with('"');
    is_string.then(|| string(raw, memchr::memchr(b'\\', raw.as_bytes()).is_some()))?
}

/// What a string says, `raw` with its quotes. Without escapes it says what it is.
fn string(raw: &str, is_escaped: bool) -> Option<Cow<'_, str>> {
    match is_escaped {
        false => raw.get(1..raw.len() - 1).map(Cow::Borrowed),
        true => serde_json::from_str(raw).ok().map(Cow::Owned),
    }
}

/// What the members of `text` say; `None` when it is no object. Structures that derive `Deserialize` also
/// read an array, as their members in the order of the code.
pub(crate) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    let text = text.trim_ascii_start();
    text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()
}

/// Walks the members of an object in the order in which they stand.
///
/// The object has to be JSON, which the reader of the message around it has made sure of: strings and
/// brackets are stepped over, and that is all that this costs. Of any other text there are some members
/// or none.
#[derive(Debug, Clone)]
pub(crate) struct MemberWalk<'a> {
    text: &'a str,
    at: usize,
}

/// The members of `object`; none, when it is something else.
pub(crate) fn walk(object: &str) -> MemberWalk<'_> {
    MemberWalk::at(object, 0)
}

impl<'a> MemberWalk<'a> {
    /// Of the object that begins there; of nothing, when none does.
    fn at(text: &'a str, start: usize) -> Self {
        let is_object = text.as_bytes().get(start) == Some(&b'{');
        Self { text, at: if is_object { start + 1 } else { text.len() } }
    }

    /// The next name. Its value is next: [skipped](Self::skip), or [walked](Self::inside).
    fn name(&mut self) -> Option<Cow<'a, str>> {
        let text = self.text.as_bytes();
        while matches!(text.get(self.at)?, b' ' | b'\t' | b'\n' | b'\r' | b',') {
            self.at += 1;
        }
        if text[self.at] != b'"' {
            return None;
        }
        let (end, is_escaped) = string_end(text, self.at)?;
        let name = self.text.get(self.at..end)?;
        self.at = blanks_end(text, blanks_end(text, end) + 1);
        Some(string(name, is_escaped).unwrap_or_default())
    }

    /// The value that is next.
    fn skip(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.at = value_end(self.text.as_bytes(), start)?;
        self.text.get(start..self.at)
    }

    /// The value that is next, each of whose members is given to `see`; it need not be an object. Nothing is
    /// given of the object `known`.
    fn inside(
        &mut self,
        known: Option<&str>,
        mut see: impl FnMut(RawMember<'a>),
    ) -> Option<&'a str> {
        let start = self.at;
        // An object ends where its text does, whatever follows.
        if let Some(known) = known.filter(|known| self.text[start..].starts_with(*known)) {
            self.at += known.len();
            return self.text.get(start..self.at);
        }
        let mut inner = Self::at(self.text, start);
        if inner.at == start + 1 {
            inner.by_ref().for_each(&mut see);
            // At its closing bracket.
            self.at = inner.at + 1;
            return self.text.get(start..self.at);
        }
        self.skip()
    }

    /// The next member. Of the one called `name` each member is given to `see`, in the same pass, unless it
    /// is the object `known`.
    pub(crate) fn next_with(
        &mut self,
        name: &str,
        known: Option<&str>,
        see: impl FnMut(RawMember<'a>),
    ) -> Option<RawMember<'a>> {
        let own = self.name()?;
        let value = if own == name { self.inside(known, see) } else { self.skip() }?;
        Some(RawMember { name: own, value })
    }
}

impl<'a> Iterator for MemberWalk<'a> {
    type Item = RawMember<'a>;

    fn next(&mut self) -> Option<RawMember<'a>> {
        Some(RawMember { name: self.name()?, value: self.skip()? })
    }
}

fn blanks_end(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// Where the string ends that begins at `start`, and whether anything in it is escaped.
fn string_end(text: &[u8], start: usize) -> Option<(usize, bool)> {
    let (mut at, mut is_escaped) = (start + 1, false);
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some((at + 1, is_escaped));
        }
        is_escaped = true;
        at += 2;
    }
}

/// Where the value ends that begins at `start`.
fn value_end(text: &[u8], start: usize) -> Option<usize> {
    if text.get(start)? == &b'"' {
        return Some(string_end(text, start)?.0);
    }
    let (mut at, mut depth) = (start, 0_usize);
    loop {
        match text.get(at)? {
            b'"' => at = string_end(text, at)?.0,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
                continue;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            _ if depth > 0 => {
                at += 1;
                continue;
            }
            _ => {
                let ends =
                    |byte: &u8| matches!(byte, b',' | b'}' | b']') || byte.is_ascii_whitespace();
                return Some(at + text[at..].iter().position(ends)?);
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, value::RawValue};

    use super::*;

    #[test]
    fn members_are_found_whatever_stands_in_them() {
        let object = r#"{ "a" : 1.50 ,"\u0062":{"x":[",\"}",{}]}, "c": "\\" ,"":null,"a":[ ] }"#;
        let found: Vec<_> =
            walk(object).map(|member| (member.name.into_owned(), member.value)).collect();
        let expected = [
            ("a", "1.50"),
            ("b", r#"{"x":[",\"}",{}]}"#),
            ("c", r#""\\""#),
            ("", "null"),
            ("a", "[ ]"),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)));
        for none in ["{}", "{ }", "[1]", "null", "7", r#""{""#, "", "{", r#"{"a"#, r#"{"a":"#] {
            assert_eq!(walk(none).count(), 0, "{none}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[\"\\\\{}\\[\\],: \u{e9}a\n]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[\"\\\\{}:,a]{0,3}", inner, 0..4)
                    .prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_whole_parser_finds(value in json(), is_pretty: bool) {
            let text = if is_pretty { format!("{value:#}") } else { value.to_string() };
            let expected: BTreeMap<String, &RawValue> =
                serde_json::from_str(&text).unwrap_or_default();
            let expected: Vec<_> =
                expected.into_iter().map(|(name, raw)| (name, raw.get().to_owned())).collect();
            // A value's members are sorted by their names.
            let found: Vec<_> = walk(&text)
                .map(|member| (member.name.into_owned(), member.value.to_owned()))
                .collect();
            prop_assert_eq!(&found, &expected);
            // What is walked on the way is what would be walked alone.
            for (name, inner) in &expected {
                let (mut walk, mut seen) = (walk(&text), Vec::new());
                let mut outer = Vec::new();
                while let Some(member) = walk.next_with(name, None, |inner| seen.push(inner)) {
                    outer.push((member.name.into_owned(), member.value.to_owned()));
                }
                prop_assert_eq!(&outer, &expected);
                prop_assert_eq!(seen, super::walk(inner).collect::<Vec<_>>());
            }
        }

        #[test]
        fn what_is_no_json_does_no_harm(text in "[{}\\[\\]\":,\\\\a1 \u{e9}]{0,24}") {
            let _ = walk(&text).count();
            let mut walk = walk(&text);
            while walk.next_with("a", None, drop).is_some() {}
        }
    }
}
