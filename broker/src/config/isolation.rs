//! What the processes of a server see and reach.

use std::fmt;
use std::path::PathBuf;

use figment::value::Value;

use super::error::{Problem, Problems};
use super::key::Key;
use super::kind::Kind;
use super::path::KeyPath;
use super::reader::Reader;
use super::setting::value::{Given, word};
use super::setting::{Entry, Setting, Single, shape};
use super::toml::quote;
use super::words::{Words, words};
use crate::settings;

settings! {
    /// What the processes of a server see of the machine. Linux only.
    pub struct IsolationConfig {
        /// "sandbox": a process sees no other processes than its own, and the file system read-only,
        /// without data_dir, the configuration, its secret files and people's homes. It can write to
        /// its private directory, its cache, cwd, /tmp of its own, and to absolute paths in args, env
        /// and write. It has no capabilities, and cannot trace processes or mount. "none": a process
        /// sees and reaches what the broker's user does, other users' processes included.
        pub level: IsolationLevel = word(r#""none""#).example(r#""sandbox""#).live(),
        /// What the processes reach: "any", "none" (not even the broker's own machine), or a list of
        /// TCP ports that they may connect to, at any address. The list does not cover UDP.
        pub network: NetworkAccess = special(Kind::NetworkAccess)
            .computed("\"any\"")
            .example("[443]")
            .live(),
        /// Absolute paths of files and directories that the processes may write to in the sandbox.
        pub write: Vec<String> = texts("[]").example(r#"["/srv/notes"]"#).live(),
        /// Absolute paths that are there to be read in the sandbox, though they are in a home.
        pub read: Vec<String> = texts("[]").example(r#"["/home/ada/tools"]"#).live(),
    }
}

words! {
    /// How far processes are separated.
    pub enum IsolationLevel {
        /// Not at all.
        None = "none",
        /// By namespaces.
        Sandbox = "sandbox",
    }
}

/// What the processes of a server reach over the network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NetworkAccess {
    /// Everything.
    #[default]
    Any,
    /// Nothing.
    None,
    /// These TCP ports.
    Ports(Vec<u16>),
}

impl fmt::Display for NetworkAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::None => f.write_str("none"),
            Self::Ports(ports) => write!(f, "TCP ports {ports:?}"),
        }
    }
}

impl IsolationLevel {
    /// The word of the configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        Words::word(self)
    }
}

impl Single for NetworkAccess {
    type Shape = shape::Other;

    fn unset() -> Self {
        Self::Any
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        let Value::Array(_, entries) = given.value else {
            let words = ["any", "none"];
            return Ok(if word(given.text()?, &words)? == 0 { Self::Any } else { Self::None });
        };
        let port = |entry: &Value| {
            let number = entry.to_i128().and_then(|number| u16::try_from(number).ok());
            number.filter(|port| *port > 0).ok_or_else(|| {
                Problem::new("expected port numbers from 1 to 65535 in the list")
                    .hint("write numbers without quotes, such as [443]")
            })
        };
        let ports = entries.iter().map(port).collect::<Result<Vec<_>, Problem>>()?;
        Ok(Self::Ports(ports))
    }

    fn toml(&self, _: &Key) -> Option<String> {
        match self {
            Self::Any => None,
            Self::None => Some(quote(&"none")),
            Self::Ports(ports) => Some(format!("{ports:?}")),
        }
    }
}

/// Paths that no child in a sandbox sees. Filled in after reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrivatePaths(pub Vec<PathBuf>);

impl Setting for PrivatePaths {
    fn read(_: &mut Reader<'_>, _: &KeyPath, _: &Key) -> Self {
        Self::default()
    }

    fn list(&self, _: &KeyPath, _: &Key, _: &mut Vec<Entry>) {}
}
