//! The name of a server.

use std::borrow::Borrow;
use std::fmt;

use super::error::{Problem, quoted};
use super::key::Key;
use super::path::KeyPath;
use super::reader::Reader;
use super::setting::{Entry, Setting};

/// First parts of paths that belong to the broker itself, so that no server can stand there.
pub(super) const RESERVED: [&str; 12] = [
    "oauth",
    "login",
    "consent",
    "callback",
    "account",
    "assets",
    "admin",
    "healthz",
    "readyz",
    "metrics",
    ".well-known",
    "mcp",
];

/// What [`ServerName`] accepts, for the schema.
pub(super) const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9_-]{0,31}$";

/// A server's name: 1 to 32 of `a-z`, `0-9`, `-`, `_`, the first a letter or digit, and not a
/// word that begins a path of the broker's own. It is the first part of `/{name}/mcp`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(String);

impl ServerName {
    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn parse(name: &str) -> Result<Self, Problem> {
        if RESERVED.contains(&name) {
            return Err(Problem::new(format!("/{name} is a path of the broker itself")).hint(
                format!("call the server \"{}-server\", for example", name.trim_start_matches('.')),
            ));
        }
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        let starts = name.bytes().next().is_some_and(|b| fits(b) && b != b'-' && b != b'_');
        if !starts || name.len() > 32 || !name.bytes().all(fits) {
            return Err(Problem::new(format!("{} cannot be the name of a server", quoted(name)))
                .hint("a name has 1 to 32 characters of a-z, 0-9, - and _ and begins with a letter or digit"));
        }
        Ok(Self(name.to_owned()))
    }

    /// A name that was refused, for a configuration that is as well.
    pub(super) fn refused(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// A name that the program itself chose.
    pub(super) fn known(name: &'static str) -> Self {
        Self(name.to_owned())
    }
}

/// For the default server, which is known when all have been read.
impl Setting for ServerName {
    fn read(_: &mut Reader<'_>, _: &KeyPath, _: &Key) -> Self {
        Self::known("")
    }

    fn list(&self, _: &KeyPath, _: &Key, _: &mut Vec<Entry>) {}
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// So that a map can be asked with the text from a path.
impl Borrow<str> for ServerName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain_and_not_ours() {
        for good in ["a", "0", "notes", "my-server_2", &"x".repeat(32)] {
            assert_eq!(ServerName::parse(good).expect(good).as_str(), good);
        }
        for bad in ["", "-a", "_a", "A", "a.b", "a/b", "ü", "a b", "..", &"x".repeat(33)] {
            ServerName::parse(bad).expect_err(bad);
        }
        for reserved in RESERVED {
            ServerName::parse(reserved).expect_err(reserved);
        }
    }
}
