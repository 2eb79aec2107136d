//! What a body says, by `serde_json` alone, with nothing lost: members in order and as often as they
//! stand there, numbers to the letter.

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// One JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Tree {
    /// A number, `true`, `false` or `null`, as it is written.
    Atom(String),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
}

/// The members of a message; some parser takes another spelling for the same.
const MEMBERS: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];

impl Tree {
    /// `None` when it is no JSON, or has a string that is no text.
    pub(super) fn read(text: &str) -> Option<Self> {
        Self::of(serde_json::from_str(text).ok()?)
    }

    fn of(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        Some(match text.as_bytes()[0] {
            b'{' => {
                let Members(members) = serde_json::from_str(text).ok()?;
                let tree = |(name, value)| Some((name, Self::of(value)?));
                Self::Object(members.into_iter().map(tree).collect::<Option<_>>()?)
            }
            b'[' => {
                let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                Self::List(items.into_iter().map(Self::of).collect::<Option<_>>()?)
            }
            b'"' => Self::Text(serde_json::from_str(text).ok()?),
            _ => Self::Atom(text.to_owned()),
        })
    }

    /// Arrays and objects inside each other.
    pub(super) fn depth(&self) -> usize {
        match self {
            Self::Atom(_) | Self::Text(_) => 0,
            Self::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(members) => {
                1 + members.iter().map(|(_, value)| value.depth()).max().unwrap_or(0)
            }
        }
    }

    /// The first member of this name.
    pub(super) fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().find_map(|(key, value)| (key == name).then_some(value))
    }

    /// Whether JSON-RPC 2.0 and the rules of this transport make it a message.
    pub(super) fn is_message(&self) -> bool {
        let Self::Object(members) = self else { return false };
        let once = MEMBERS.iter().all(|name| self.keys_like(name) <= 1);
        let exact = members.iter().all(|(key, _)| {
            MEMBERS.contains(&key.as_str()) || !MEMBERS.iter().any(|name| fold(key) == *name)
        });
        let has = |name| self.member(name).is_some();
        let is_object = |value: &Self| matches!(value, Self::Object(_));
        let is_version = self.member("jsonrpc") == Some(&Self::Text("2.0".to_owned()));
        let asks = matches!(self.member("method"), Some(Self::Text(_)))
            && !has("result")
            && !has("error")
            && self.member("params").is_none_or(|params| is_object(params) || params.is_null());
        let answers = !has("method")
            && !has("params")
            && has("id")
            && has("result") != has("error")
            && self.member("error").is_none_or(is_object);
        once && exact
            && is_version
            && self.member("id").is_none_or(Self::is_id)
            && (asks || answers)
    }

    /// A string or a number.
    pub(super) fn is_id(&self) -> bool {
        match self {
            Self::Text(_) => true,
            Self::Atom(atom) => {
                atom.starts_with(|first: char| first == '-' || first.is_ascii_digit())
            }
            Self::List(_) | Self::Object(_) => false,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Atom(atom) if atom == "null")
    }

    /// Whether the parameters name a token for progress in two ways, or in unusual case.
    pub(super) fn is_token_unclear(&self) -> bool {
        let unclear = |object: &Self, name| {
            object.keys_like(name) > usize::from(object.member(name).is_some())
        };
        unclear(self, "_meta")
            || self.member("_meta").is_some_and(|meta| unclear(meta, "progressToken"))
    }

    /// The parameters with another token for progress, if they have one.
    pub(super) fn with_token(mut self, token: Self) -> Self {
        if let Self::Object(members) = &mut self
            && let Some((_, Self::Object(meta))) =
                members.iter_mut().find(|(key, _)| key == "_meta")
            && let Some((_, old)) = meta.iter_mut().find(|(key, _)| key == "progressToken")
            && old.is_id()
        {
            *old = token;
        }
        self
    }

    /// How many members some parser would take for `name`.
    fn keys_like(&self, name: &str) -> usize {
        let Self::Object(members) = self else { return 0 };
        members.iter().filter(|(key, _)| fold(key) == fold(name)).count()
    }
}

/// A key as parsers compare it that do not tell upper from lower case.
fn fold(key: &str) -> String {
    let fold = |char| match char {
        '\u{17F}' => 's',
        '\u{212A}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    key.chars().map(fold).collect()
}

/// The members of an object, also those that stand twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}
