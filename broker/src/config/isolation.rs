//! What the processes of a server see and reach.

use std::fmt;
use std::path::PathBuf;

use figment::value::Value;

use super::error::{Problem, Problems, quoted};
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
    /// What isolates the processes of all servers.
    pub struct IsolationUsers {
        /// The user numbers (uids) that the broker gives to people, one each, for servers with
        /// isolation.level = "user". No account of the system may have one of them. A person keeps a
        /// number for ever; data_dir/uids says whose each is.
        pub uids: Option<UidRange> = special(Kind::Text)
            .computed("not set; no server can have level = \"user\"")
            .example(r#""200000-265535""#),
    }
}

settings! {
    /// What the processes of a server see of the machine. Linux only.
    pub struct IsolationConfig {
        /// "sandbox": a process sees no other processes than its own, and the file system read-only,
        /// without data_dir, the configuration, its secret files and people's homes. It can write to
        /// its private directory, its cache, cwd, /tmp of its own (of the size of limits.memory, else
        /// 512MiB), and to absolute paths in args, env and write. If the broker is root, files that root
        /// alone may read are not read, unless args, env, read or write name them or their directory. It has no capabilities, and cannot trace processes or mount. "user": the same,
        /// and the processes run as a user of the operating system that each person has alone, out of
        /// isolation.uids; the broker must be root, and cwd and write need access for those users.
        /// "none": a process sees and reaches what the broker's user does, other users' processes included.
        pub level: Option<IsolationLevel> = optional_word()
            .computed(
                "\"sandbox\" if the system allows it; \"none\" for the server of `-- COMMAND`, the \
                 demo server, with new_privs, and for docker, podman and nerdctl",
            )
            .example(r#""sandbox""#)
            .live(),
        /// What happens when the system does not give what level and network ask for: with "refuse"
        /// the broker does not start; with "warn" the processes run with as much as there is, or
        /// without any, and the log says so. The same happens without "warn" where level and network
        /// are not set.
        pub fallback: IsolationFallback = word(r#""refuse""#).live(),
        /// What the processes reach: "any", "none" (not even the broker's own machine), "egress" (the
        /// upstreams of the table egress, by way of the broker, and nothing else), or a list of
        /// TCP ports that they may connect to, at any address. The list does not cover UDP. Without
        /// network namespaces "egress" is such a list, of the port of the broker's listener.
        pub network: Option<NetworkAccess> = special(Kind::NetworkAccess)
            .computed("\"egress\" in a sandbox whose env asks for ${egress.base_url}, unless the command \
                 is a package runner such as npx or uvx; else \"any\"")
            .example("[443]")
            .live(),
        /// Absolute paths of files and directories that the processes may write to in the sandbox.
        pub write: Vec<String> = texts("[]").example(r#"["/srv/notes"]"#).live(),
        /// Absolute paths that the processes may read, even in a home or where only root may read.
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
        /// By namespaces, and by users of the operating system.
        User = "user",
    }
}

words! {
    /// What is done about isolation that cannot be had.
    pub enum IsolationFallback {
        /// The broker does not start.
        Refuse = "refuse",
        /// The processes run without.
        Warn = "warn",
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
    /// The server's upstreams, by way of the broker.
    Egress,
    /// These TCP ports.
    Ports(Vec<u16>),
}

impl fmt::Display for NetworkAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::None => f.write_str("none"),
            Self::Egress => f.write_str("egress"),
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

impl Single for Option<NetworkAccess> {
    type Shape = shape::Other;

    fn unset() -> Self {
        None
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        let Value::Array(_, entries) = given.value else {
            let words = ["any", "none", "egress"];
            return Ok(Some(match word(given.text()?, &words)? {
                0 => NetworkAccess::Any,
                1 => NetworkAccess::None,
                _ => NetworkAccess::Egress,
            }));
        };
        let port = |entry: &Value| {
            let number = entry.to_i128().and_then(|number| u16::try_from(number).ok());
            number.filter(|port| *port > 0).ok_or_else(|| {
                Problem::new("expected port numbers from 1 to 65535 in the list")
                    .hint("write numbers without quotes, such as [443]")
            })
        };
        let ports = entries.iter().map(port).collect::<Result<Vec<_>, Problem>>()?;
        Ok(Some(NetworkAccess::Ports(ports)))
    }

    fn toml(&self, _: &Key) -> Option<String> {
        Some(match self.as_ref()? {
            NetworkAccess::Any => quote(&"any"),
            NetworkAccess::None => quote(&"none"),
            NetworkAccess::Egress => quote(&"egress"),
            NetworkAccess::Ports(ports) => format!("{ports:?}"),
        })
    }
}

/// User numbers, the last included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UidRange {
    /// The smallest.
    pub first: u32,
    /// The largest.
    pub last: u32,
}

impl UidRange {
    /// Whether `uid` is one of them.
    #[must_use]
    pub fn contains(self, uid: u32) -> bool {
        (self.first..=self.last).contains(&uid)
    }
}

impl Single for Option<UidRange> {
    type Shape = shape::Other;

    fn unset() -> Self {
        None
    }

    fn parse(given: &Given<'_>) -> Result<Self, Problems> {
        let text = String::parse(given)?;
        let bounds = text.split_once('-');
        let bounds = bounds.and_then(|(first, last)| {
            Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
        });
        match bounds {
            // Below are the accounts of the system; the largest number means none at all.
            Some((first, last)) if first >= 1000 && first <= last && last < u32::MAX => {
                Ok(Some(UidRange { first, last }))
            }
            _ => Err(Problem::new(format!("{} is not a range of user numbers", quoted(&text)))
                .hint("write the first and the last, from 1000 on, such as \"200000-265535\"")
                .into()),
        }
    }

    fn toml(&self, _: &Key) -> Option<String> {
        self.map(|range| quote(&format!("{}-{}", range.first, range.last)))
    }
}

/// Paths that a child in a sandbox does not see. Filled in after reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PrivatePaths {
    /// The broker's own, which no child sees.
    pub own: Vec<PathBuf>,
    /// The homes of people, which a child sees whose settings name them.
    pub homes: Vec<PathBuf>,
}

impl Setting for PrivatePaths {
    fn read(_: &mut Reader<'_>, _: &KeyPath, _: &Key) -> Self {
        Self::default()
    }

    fn list(&self, _: &KeyPath, _: &Key, _: &mut Vec<Entry>) {}
}
