//! The members of a JSON object, each as raw text.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

use crate::{
    envelope::folds_to,
    members::{RawMember, walk},
};

/// Room for the members that most objects have.
const USUAL: usize = 8;

/// By name; where a name stands twice the last one counts.
pub(super) type Members<'a> = BTreeMap<String, &'a RawValue>;

/// The members of `text`; none when it is no object.
pub(super) fn members(text: &str) -> Members<'_> {
    serde_json::from_str(text).unwrap_or_default()
}

/// A member stands twice, so that two parsers may read different values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Twice;

/// What stands under one name in an object whose members were looked at one by one.
#[derive(Debug, Default)]
pub(super) struct Mark<'a> {
    first: Option<&'a str>,
    /// It stands more than once.
    again: bool,
    /// Some parser takes another member for it.
    has_variant: bool,
}

impl<'a> Mark<'a> {
    /// Looks at a member; `name` is what is looked for.
    #[inline]
    pub(super) fn see(&mut self, name: &str, member: &RawMember<'a>) {
        if member.name == name {
            self.again |= self.first.is_some();
            self.first = self.first.or(Some(member.value));
        } else {
            self.has_variant |= folds_to(&member.name, name);
        }
    }

    /// Whether nothing is there that any parser takes for it.
    pub(super) fn is_absent(&self) -> bool {
        self.first.is_none() && !self.has_variant
    }

    /// Whether it stands there under its very name.
    pub(super) fn stands_as_it_is(&self) -> bool {
        self.first.is_some()
    }

    /// As [`Object::only`].
    pub(super) fn only(&self) -> Result<Option<&'a str>, Twice> {
        if self.again { Err(Twice) } else { Ok(self.first) }
    }

    /// As [`Object::unmistakable`].
    pub(super) fn unmistakable(&self) -> Result<Option<&'a str>, Twice> {
        if self.has_variant { Err(Twice) } else { self.only() }
    }
}

/// The members of an object in the order in which they stand: read once, asked often.
#[derive(Debug, Default)]
pub(super) struct Object<'a> {
    text: &'a str,
    members: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Object<'a> {
    /// Reads `text`, JSON that was read before. What is no object has no members.
    pub(super) fn read(text: &'a str) -> Self {
        let mut members = Vec::with_capacity(USUAL);
        members.extend(walk(text).map(|member| (member.name, member.value)));
        Self { text, members }
    }

    /// As [`read`](Self::read), and in the same pass the members of the one that is called `name`, unless that
    /// stands twice, or under a name that some parser takes for its own. They are not read where it is the
    /// object `known`: then it is its text alone.
    pub(super) fn read_with(
        text: &'a str,
        name: &str,
        known: Option<&str>,
    ) -> (Self, Result<Self, Twice>) {
        let (mut object, mut inner) = (Self::read(""), Self::default());
        object.text = text;
        let mut walk = walk(text);
        let mut see = |member: RawMember<'a>| inner.members.push((member.name, member.value));
        while let Some(member) = walk.next_with(name, known, &mut see) {
            object.members.push((member.name, member.value));
        }
        let inner =
            object.unmistakable(name).map(|value| Self { text: value.unwrap_or(""), ..inner });
        (object, inner)
    }

    /// The object itself.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Whether any member's name satisfies `is_wanted`.
    pub(super) fn has(&self, is_wanted: impl Fn(&str) -> bool) -> bool {
        self.members.iter().any(|(name, _)| is_wanted(name))
    }

    /// The values of what is called so, in order.
    fn values(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.members.iter().filter(move |(own, _)| own == name).map(|(_, value)| *value)
    }

    /// The value of what is called so; where a name stands twice, the last one counts.
    pub(super) fn last(&self, name: &str) -> Option<&'a str> {
        self.values(name).last()
    }

    /// The value of the member that is called exactly so.
    pub(super) fn only(&self, name: &str) -> Result<Option<&'a str>, Twice> {
        let mut values = self.values(name);
        let first = values.next();
        if values.next().is_some() { Err(Twice) } else { Ok(first) }
    }

    /// As [`only`](Self::only), where no other member's name is one that some parser takes for this.
    pub(super) fn unmistakable(&self, name: &str) -> Result<Option<&'a str>, Twice> {
        let mut found = None;
        for (own, value) in &self.members {
            let is_it = own == name;
            if !is_it && !folds_to(own, name) {
                continue;
            }
            if found.replace(*value).is_some() || !is_it {
                return Err(Twice);
            }
        }
        Ok(found)
    }

    /// Where `value`, which is that of a member, begins in the text.
    pub(super) fn place(&self, value: &str) -> usize {
        value.as_ptr() as usize - self.text.as_ptr() as usize
    }

    /// Writes the object, each member as `written` says. Nothing else of it changes but the blanks between
    /// members.
    pub(super) fn write<'o>(&self, out: &mut Vec<u8>, written: &dyn Fn(&str) -> Written<'o>) {
        out.push(b'{');
        let begin = out.len();
        let mut before = 0;
        for (name, value) in &self.members {
            let start = self.place(value);
            // A comma and blanks stand before the name, or nothing does.
            let name_and_colon = &self.text.as_bytes()[before..start];
            before = start + value.len();
            let written = written(name);
            if matches!(written, Written::No) {
                continue;
            }
            if out.len() > begin {
                out.push(b',');
            }
            let quote = name_and_colon.iter().position(|byte| *byte == b'"').unwrap_or(0);
            let name_and_colon = &name_and_colon[quote..];
            match written {
                Written::Object(object, written) => {
                    out.extend_from_slice(name_and_colon);
                    object.write(out, written);
                }
                Written::Raw(value) => {
                    out.extend_from_slice(name_and_colon);
                    out.extend_from_slice(value.as_bytes());
                }
                Written::AsItIs | Written::No => {
                    out.extend_from_slice(
                        &self.text.as_bytes()[start - name_and_colon.len()..before],
                    );
                }
            }
        }
        out.push(b'}');
    }
}

/// How a member is written.
pub(super) enum Written<'o> {
    AsItIs,
    No,
    /// With this value, raw.
    Raw(&'o str),
    /// As this object, each member as it says.
    Object(&'o Object<'o>, &'o dyn Fn(&str) -> Self),
}

/// The object again, on one line when each member is.
pub(super) fn write(members: &Members<'_>) -> String {
    serde_json::to_string(members).unwrap_or_else(|_| "{}".to_owned())
}

/// `object` with these members, raw, in the place of its own of those names.
pub(super) fn with(object: &str, members_set: &[(&str, &str)]) -> String {
    let set: Vec<_> = members_set
        .iter()
        .filter_map(|(name, raw)| Some((*name, RawValue::from_string((*raw).to_owned()).ok()?)))
        .collect();
    let mut members = members(object);
    members.extend(set.iter().map(|(name, raw)| ((*name).to_owned(), &**raw)));
    write(&members)
}

/// `object` without these members. One that has none of them stays byte for byte.
pub(super) fn without<'a>(object: &'a str, names: &[&str]) -> Cow<'a, str> {
    let mut members = members(object);
    let before = members.len();
    members.retain(|name, _| !names.contains(&&**name));
    if members.len() == before { object.into() } else { write(&members).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_left_out_wherever_it_stands_and_the_others_stay_as_they_are() {
        let text = r#"{ "a" : 1.50 ,"\u0062":{"x":[",\"c\":"]}, "c": "d" ,"a":2}"#;
        let object = Object::read(text);
        let written = |is_kept: fn(&str) -> bool| {
            let mut out = Vec::new();
            object.write(&mut out, &|name| match is_kept(name) {
                true => Written::AsItIs,
                false => Written::No,
            });
            String::from_utf8(out).expect("text")
        };
        assert_eq!(written(|name| name != "a"), r#"{"\u0062":{"x":[",\"c\":"]},"c": "d"}"#);
        assert_eq!(written(|name| name != "b"), r#"{"a" : 1.50,"c": "d","a":2}"#);
        assert_eq!(written(|name| name != "c"), r#"{"a" : 1.50,"\u0062":{"x":[",\"c\":"]},"a":2}"#);
        assert_eq!(written(|_| false), "{}");
        let mut out = Vec::new();
        let inner = Object::read(r#"{"x": 1, "y" :2}"#);
        let only_y = |name: &str| if name == "y" { Written::AsItIs } else { Written::No };
        object.write(&mut out, &|name| match name {
            "b" => Written::Object(&inner, &only_y),
            "c" => Written::Raw("7"),
            _ => Written::No,
        });
        assert_eq!(out, br#"{"\u0062":{"y" :2},"c": 7}"#);
    }

    #[test]
    fn a_name_that_stands_twice_however_it_is_written_is_told() {
        let object = Object::read(r#"{"a":1,"\u0061":2,"b":3,"B":4,"c":5}"#);
        assert_eq!((object.only("a"), object.last("a")), (Err(Twice), Some("2")));
        assert_eq!((object.only("b"), object.unmistakable("b")), (Ok(Some("3")), Err(Twice)));
        assert_eq!((object.only("c"), object.unmistakable("c")), (Ok(Some("5")), Ok(Some("5"))));
        assert_eq!((object.only("d"), object.unmistakable("d")), (Ok(None), Ok(None)));
        for none in ["[1]", "null", "7", r#""a""#] {
            assert!(Object::read(none).members.is_empty(), "{none}");
        }
    }
}
