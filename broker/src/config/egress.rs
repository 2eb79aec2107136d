//! A server's way to its upstream, on which the broker puts the user's token in.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use figment::value::Value;

use super::error::{Problem, quoted};
use super::key::Key;
use super::kind::Kind;
use super::path::KeyPath;
use super::reader::Reader;
use super::setting::{Entry, Setting};
use super::table::Table;
use super::words::words;
use crate::settings;

settings! {
    /// The way to the upstream on which the user's token stays in the broker. The process gets a
    /// loopback address of the broker in the place of its upstream's, ${egress.base_url} in env, and
    /// a random token that is worth nothing elsewhere, ${egress.token}. The broker forwards requests
    /// that have that token to origin, with the user's current token in its place. The random token
    /// ends with the process, and a renewed token of the user needs no new process.
    pub struct EgressConfig {
        /// The address that requests are forwarded to, and to no other. With a path, only what lies
        /// below it is forwarded.
        pub origin: Option<String> = address()
            .computed("the address of the forge that upstream names, or GitHub's API")
            .example(r#""https://git.example.org""#)
            .live(),
        /// How the upstream wants the token: "bearer" and "token" are words of the Authorization
        /// header, "basic" is a password there, "private-token" is a header of that name.
        pub style: EgressStyle = word(r#""bearer""#).live(),
        /// Whether the origin's own address becomes ${egress.base_url} in JSON answers and in the
        /// headers Link, Location and Content-Location, so that a process which follows it comes back
        /// to the broker. Other addresses stay what they are.
        pub rewrite: bool = flag("true").live(),
        /// How many requests of one process may be under way at once. Others wait.
        pub max_requests: usize = count("64").live(),
        /// How many requests a second one process may make. Others wait.
        pub max_rate: Option<NonZeroUsize> = count("200").zero("no limit").live(),
        /// How long the upstream may be silent, before its answer and within it.
        pub silence_timeout: Duration = duration(r#""5m""#).live(),
        /// The further upstreams, by name.
        pub more: BTreeMap<OriginName, OriginConfig> = special(Kind::Beside)
            .holding(OriginConfig::DECLARED),
    }
}

settings! {
    /// A further upstream of the server, for which the user's token is good as well, such as a host
    /// for uploads. ${egress.NAME.base_url} in env is the address that stands for it; the token is
    /// ${egress.token}. The name has 1 to 32 characters of a-z, 0-9, - and _.
    pub struct OriginConfig {
        /// The address that requests to this base URL are forwarded to, and to no other.
        pub origin: String = address()
            .needed()
            .example(r#""https://uploads.example.org""#)
            .live(),
        /// How this upstream wants the token, as above.
        pub style: EgressStyle = word(r#""bearer""#).live(),
    }
}

words! {
    /// How an upstream wants a token.
    pub enum EgressStyle {
        /// `Authorization: Bearer` (RFC 6750).
        Bearer = "bearer",
        /// `Authorization: token`, as forges and GitHub know it.
        Token = "token",
        /// `Authorization: Basic`, as a password (RFC 7617).
        Basic = "basic",
        /// `PRIVATE-TOKEN`, for personal tokens of GitLab.
        PrivateToken = "private-token",
    }
}

/// The name of a further upstream: 1 to 32 of `a-z`, `0-9`, `-`, `_`, the first a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginName(String);

impl OriginName {
    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_one(name: &str) -> bool {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let starts = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() && fits(b));
        starts && name.len() <= 32 && name.bytes().all(fits)
    }
}

/// Those tables beside the keys of `egress`, whatever they are called; a name that is refused is kept,
/// so that the other mistakes in its table are found.
impl Setting for BTreeMap<OriginName, OriginConfig> {
    fn read(reader: &mut Reader<'_>, path: &KeyPath, _: &Key) -> Self {
        let (_, around) = path.0.split_last().expect("a key has a name");
        let around = KeyPath(around.to_vec());
        let named = reader.value(&around).and_then(Value::as_dict);
        let tables = named.into_iter().flatten().filter(|(_, value)| value.as_dict().is_some());
        let origin = |(name, _): (&String, &Value)| {
            let path = around.child(name);
            if !OriginName::is_one(name) {
                let what = format!("{} cannot be the name of an upstream", quoted(name));
                let hint = "a name has 1 to 32 characters of a-z, 0-9, - and _ and begins with a \
                            letter or digit";
                reader.refuse(&path, Problem::new(what).hint(hint));
            }
            (OriginName(name.clone()), <OriginConfig as Table>::read(reader, &path))
        };
        tables.map(origin).collect()
    }

    fn list(&self, path: &KeyPath, _: &Key, into: &mut Vec<Entry>) {
        for (name, origin) in self {
            Table::list(origin, &path.sibling(name.as_str()), into);
        }
    }

    /// Taken over as one, since what a process may ask for is told by the names too.
    fn adopt(&mut self, new: &Self, _: &Key) {
        self.clone_from(new);
    }
}
