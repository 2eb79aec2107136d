//! The name of a table below `auth`, which is part of addresses and of stored data.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use super::error::{Problem, Problems, quoted};
use super::key::Key;
use super::setting::value::Given;
use super::setting::{Single, shape};
use super::toml::quote;

/// Words that mean something else where a table is named. A table that is called like one of the
/// kinds among them is of that kind.
pub(super) const RESERVED: [&str; 10] = [
    "local",
    "user",
    "oauth",
    "static",
    "none",
    "jwt",
    "introspection",
    "verifiers",
    "identity",
    "ca_file",
];

/// The name of a table below `auth`, such as `forgejo`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName(Arc<str>);

impl TableName {
    /// Reads a name of 1 to 64 characters of `a-z`, `0-9` and `-`.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) {
            return Err(Problem::new(format!("{} cannot be the name of a table", quoted(text)))
                .hint("a name has 1 to 64 characters of a-z, 0-9 and -"));
        }
        Ok(Self(text.into()))
    }

    /// A name that is known to be one.
    pub(super) fn known(name: &str) -> Self {
        Self(name.into())
    }

    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Single for Option<TableName> {
    type Shape = shape::Other;

    fn unset() -> Self {
        None
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        Ok(Some(TableName::parse(given.text()?)?))
    }

    fn toml(&self, _: &Key) -> Option<String> {
        self.as_ref().map(quote)
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// So that a map can be asked with a text.
impl Borrow<str> for TableName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for TableName {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for TableName {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}
