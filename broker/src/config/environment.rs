//! The environment of the broker's own process, behind a trait so that tests never set variables.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;

/// What the names of our environment variables begin with.
pub(super) const PREFIX: &str = "MCP_BROKER_";

/// Something that has environment variables.
pub trait Environment: fmt::Debug + Send + Sync {
    /// Every variable with its value, in no particular order.
    fn variables(&self) -> Vec<(OsString, OsString)>;

    /// One variable; an empty value counts as set.
    fn variable(&self, name: &str) -> Option<OsString>;
}

/// The real environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variables(&self) -> Vec<(OsString, OsString)> {
        std::env::vars_os().collect()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "every other module reads the environment through this one"
    )]
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }
}

/// A made-up environment, for tests and for tools that describe another machine's.
impl Environment for BTreeMap<String, String> {
    fn variables(&self) -> Vec<(OsString, OsString)> {
        self.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn variable(&self, name: &str) -> Option<OsString> {
        self.get(name).map(|value| OsStr::new(value).to_owned())
    }
}
