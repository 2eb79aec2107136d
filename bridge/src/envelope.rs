//! The envelope of a JSON-RPC message: its top-level members as slices, its payload untouched.

use std::{fmt, ops::Range};

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::members::walk;

/// The members of one JSON-RPC message, borrowed from its text.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Envelope<'a> {
    pub(crate) version: Option<&'a str>,
    pub(crate) id: Option<&'a str>,
    pub(crate) method: Option<&'a str>,
    pub(crate) params: Option<&'a str>,
    pub(crate) result: Option<&'a str>,
    pub(crate) error: Option<&'a str>,
    /// A member stood twice.
    pub(crate) ambiguous: bool,
    /// A member stood under a name that only some parsers take for the real one.
    pub(crate) has_variant: bool,
}

impl<'a> Envelope<'a> {
    /// Reads the members of `text`, which must be one JSON object. Unknown members are dropped:
    /// what is passed on is built anew from the known ones.
    pub(crate) fn read(text: &'a str) -> Result<Self, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let envelope = Self::deserialize(&mut reader)?;
        reader.end()?;
        Ok(envelope)
    }

    /// Takes members that are `null` for absent. A `null` result is one, unless there is an error.
    pub(crate) fn drop_nulls(&mut self) {
        let is_null = |member: &mut &str| *member == "null";
        for member in [&mut self.id, &mut self.method, &mut self.params, &mut self.error] {
            member.take_if(is_null);
        }
        if self.error.is_some() {
            self.result.take_if(is_null);
        }
    }

    fn slot(&mut self, member: Member) -> Option<&mut Option<&'a str>> {
        Some(match member {
            Member::Version => &mut self.version,
            Member::Id => &mut self.id,
            Member::Method => &mut self.method,
            Member::Params => &mut self.params,
            Member::Result => &mut self.result,
            Member::Error => &mut self.error,
            Member::Variant | Member::Other => return None,
        })
    }
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC message object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(member) = map.next_key::<Member>()? {
            let value = map.next_value::<&'de RawValue>()?.get();
            match envelope.slot(member) {
                Some(slot @ None) => *slot = Some(value),
                Some(Some(_)) => envelope.ambiguous = true,
                None => envelope.has_variant |= member == Member::Variant,
            }
        }
        Ok(envelope)
    }
}

/// A top-level key, told apart without keeping its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    Version,
    Id,
    Method,
    Params,
    Result,
    Error,
    /// Equal to one of the above for a case-insensitive parser (Go's `encoding/json` is one).
    Variant,
    Other,
}

impl Member {
    fn of(key: &str) -> Self {
        match key {
            "jsonrpc" => Self::Version,
            "id" => Self::Id,
            "method" => Self::Method,
            "params" => Self::Params,
            "result" => Self::Result,
            "error" => Self::Error,
            other => {
                const NAMES: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
                if NAMES.iter().any(|name| folds_to(other, name)) {
                    Self::Variant
                } else {
                    Self::Other
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Key;
        impl Visitor<'_> for Key {
            type Value = Member;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E: de::Error>(self, key: &str) -> Result<Member, E> {
                Ok(Member::of(key))
            }
        }
        deserializer.deserialize_str(Key)
    }
}

/// Whether a case-insensitive parser takes `key` for `name` (ASCII, lower case). Besides ASCII
/// case, simple folding maps U+017F to `s` and U+212A to `k`.
#[inline]
pub(crate) fn folds_to(key: &str, name: &str) -> bool {
    // None of these is shorter than what it folds to, and nearly always the first letter tells.
    let may_be = |first: u8| match name.bytes().next() {
        Some(named) => !first.is_ascii() || first.eq_ignore_ascii_case(&named),
        None => false,
    };
    match key.bytes().next() {
        Some(first) => key.len() >= name.len() && may_be(first) && folds_throughout(key, name),
        None => name.is_empty(),
    }
}

fn folds_throughout(key: &str, name: &str) -> bool {
    let mut folded = key.chars().map(|char| match char {
        '\u{17F}' => 's',
        '\u{212A}' => 'k',
        other => other.to_ascii_lowercase(),
    });
    name.chars().all(|expected| folded.next() == Some(expected.to_ascii_lowercase()))
        && folded.next().is_none()
}

/// Two members of one object that some parser takes for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ambiguous;

/// Where the value of member `name` stands in `object`, JSON that was read before, if it is an object and
/// has that member. Used for the few places inside a payload where an id of the envelope is repeated.
pub(crate) fn member(object: &str, name: &str) -> Result<Option<Range<usize>>, Ambiguous> {
    let mut found = None;
    for member in walk(object) {
        let is_it = member.name == name;
        if !is_it && !folds_to(&member.name, name) {
            continue;
        }
        let start = member.value.as_ptr() as usize - object.as_ptr() as usize;
        let before = found.replace(start..start + member.value.len());
        if before.is_some() || !is_it {
            return Err(Ambiguous);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_the_very_slices_of_the_text() {
        let text = r#"{"jsonrpc":"2.0","id":1.50,"method":"a\u0062","params":{"x": 1e400}}"#;
        let envelope = Envelope::read(text).expect("it is an envelope");
        assert_eq!(envelope.id, Some("1.50"));
        assert_eq!(envelope.method, Some(r#""a\u0062""#));
        assert_eq!(envelope.params, Some(r#"{"x": 1e400}"#));
        assert!(!envelope.ambiguous);
    }

    #[test]
    fn a_key_that_stands_twice_or_in_another_case_is_ambiguous() {
        for text in [
            r#"{"id":1,"id":2}"#,
            r#"{"id":1,"\u0069d":2}"#,
            r#"{"Method":"x"}"#,
            r#"{"paramſ":{}}"#,
            r#"{"RESULT":{}}"#,
        ] {
            let envelope = Envelope::read(text).expect("it is JSON");
            assert!(envelope.ambiguous || envelope.has_variant, "{text}");
        }
        let envelope = Envelope::read(r#"{"identity":1,"meta":2}"#).expect("it is JSON");
        assert!(!envelope.ambiguous && !envelope.has_variant);
    }

    #[test]
    fn a_name_is_taken_for_another_wherever_in_it_their_letters_differ() {
        for (key, name) in [
            ("ſize", "size"),
            ("\u{212A}ind", "kind"),
            ("Meta", "meta"),
            ("metA", "meta"),
            ("taſ\u{212A}Id", "taskId"),
            ("", ""),
        ] {
            assert!(folds_to(key, name), "{key} {name}");
        }
        for (key, name) in [
            ("size", "ſize"),
            ("met", "meta"),
            ("metas", "meta"),
            ("beta", "meta"),
            ("ámeta", "meta"),
            ("a", ""),
        ] {
            assert!(!folds_to(key, name), "{key} {name}");
        }
    }

    #[test]
    fn trailing_text_is_no_message() {
        assert!(Envelope::read("{}{}").is_err());
        assert!(Envelope::read("[]").is_err());
        assert!(Envelope::read("").is_err());
    }

    #[test]
    fn a_member_is_found_where_it_stands() {
        let object = r#"{"a":{"progressToken":0},"progressToken": "t" }"#;
        let range = member(object, "progressToken").expect("it stands once").expect("found");
        assert_eq!(&object[range], r#""t""#);
        assert_eq!(member(object, "b"), Ok(None));
        assert_eq!(member("[1]", "b"), Ok(None));
        assert_eq!(member(r#"{"b":1,"B":2}"#, "b"), Err(Ambiguous));
    }
}
