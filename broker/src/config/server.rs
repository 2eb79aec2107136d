//! One MCP server: its name, its program, its bounds.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use supervisor::Reload;

use super::access::Upstream;
use super::mistake::{Problem, quoted};
use super::template::Template;

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

    /// A name that the program itself chose.
    pub(super) fn known(name: &'static str) -> Self {
        Self(name.to_owned())
    }
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

/// What is started for a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerCommand {
    /// A program of the operator's.
    Program {
        /// A path, or a name to look up in PATH. Not empty, no NUL.
        program: String,
        /// Its arguments, passed as they are. No NUL.
        args: Vec<String>,
    },
    /// The built-in demo server: the broker's own executable with the argument `demo-server`.
    Demo,
}

/// A file in a child's private directory that has its user's access token at the upstream, always the
/// current one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenFile {
    /// The file's name: no directory in it, and it does not begin with a dot.
    pub name: String,
    /// What the child is sent when there is another token; `None`: it looks by itself.
    pub signal: Option<Reload>,
}

impl TokenFile {
    pub(super) fn parse_name(name: &str) -> Result<String, Problem> {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) || name.len() > 64
        {
            let what = format!("{} is not the name of a file", quoted(name));
            return Err(Problem::new(what).hint(
                "write a name such as \"token\", without a directory: the file is in a private \
                 one, and ${upstream.token_file} in env stands for its path",
            ));
        }
        Ok(name.to_owned())
    }
}

/// One MCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// What is started.
    pub command: ServerCommand,
    /// What the pages call it; `None`: its name.
    pub title: Option<String>,
    /// Whose credential the environment or the file can have. Set when they ask for one.
    pub upstream: Option<Upstream>,
    /// The scope a token needs here; one word, default `mcp`.
    pub scope: String,
    /// The file in which a child finds its user's token; `None` when it does not look for one.
    pub token_file: Option<TokenFile>,
    /// Variables of the child's environment. They win over `pass_env`.
    pub env: BTreeMap<String, Template>,
    /// Variables copied from the broker's environment when set there; nothing else is. Default
    /// PATH alone. Never one of the broker's own settings.
    pub pass_env: Vec<String>,
    /// The child's working directory; it existed when the configuration was read. `None` leaves
    /// the choice to the broker.
    pub cwd: Option<PathBuf>,
    /// Whether the process keeps state that a new one could not have: a session ends with it then.
    pub stateful: bool,
    /// How long a new process may take to start and answer `initialize`; more than zero, default
    /// 20 s.
    pub initialize_timeout: Duration,
    /// How long a request may take, progress starting the time anew; `None` waits for ever,
    /// default 5 min.
    pub request_timeout: Option<Duration>,
    /// How long a process may take to end before the next, harder step; zero kills at once,
    /// default 2 s.
    pub stop_grace: Duration,
    /// The longest line it may write, in bytes; more than zero, default 16 MiB.
    pub max_line: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_has_a_name_and_no_directory() {
        for good in ["token", "forgejo.token", "a b"] {
            assert_eq!(TokenFile::parse_name(good).expect(good), good);
        }
        for bad in ["", ".", "..", ".token", "a/b", "/etc/passwd", "a\0", &"x".repeat(65)] {
            TokenFile::parse_name(bad).expect_err(bad);
        }
    }

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
