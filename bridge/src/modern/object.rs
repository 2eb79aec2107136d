//! The members of a JSON object, each as raw text.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// By name; where a name stands twice the last one counts.
pub(super) type Members<'a> = BTreeMap<String, &'a RawValue>;

/// The members of `text`; none when it is no object.
pub(super) fn members(text: &str) -> Members<'_> {
    serde_json::from_str(text).unwrap_or_default()
}

/// A member stands twice, so that two parsers may read different values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Twice;

/// The value of the member that is called exactly so, if `object` is an object and has it.
pub(super) fn only<'a>(object: &'a str, name: &str) -> Result<Option<&'a RawValue>, Twice> {
    struct Find<'n>(&'n str);
    impl<'de> Visitor<'de> for Find<'_> {
        type Value = (Option<&'de RawValue>, bool);

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let (mut found, mut is_there_twice) = (None, false);
            while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                if key.0 == self.0 {
                    is_there_twice |= found.replace(value).is_some();
                }
            }
            Ok((found, is_there_twice))
        }
    }
    let mut reader = serde_json::Deserializer::from_str(object);
    match reader.deserialize_map(Find(name)) {
        Ok((_, true)) => Err(Twice),
        Ok((found, false)) => Ok(found),
        Err(_) => Ok(None),
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The object again, on one line when each member is.
pub(super) fn write(members: &Members<'_>) -> String {
    serde_json::to_string(members).unwrap_or_else(|_| "{}".to_owned())
}

/// Puts `members` (`"name":value,…`, without a comma at either end) in front of those of `object`.
pub(super) fn prepend(object: &str, members: &str) -> String {
    let rest = object.trim_start().strip_prefix('{').unwrap_or("}").trim_start();
    let comma = if rest.starts_with('}') { "" } else { "," };
    ["{", members, comma, rest].concat()
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
