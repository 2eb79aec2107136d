//! `config --effective`: what is in force, and who said so.

use std::fmt;

use super::Config;
use super::error::Source;
use super::key::Default;
use super::setting::Entry;
use super::tree::Tree;

/// Every key with the value in force. `Display` gives TOML with the sources as comments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective(pub Vec<EffectiveValue>);

/// One key that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveValue {
    /// The dotted key.
    pub key: String,
    /// The value as TOML, `"***"` if it is secret; `None` if it is not set and has no default.
    pub value: Option<String>,
    /// Where it came from.
    pub source: Source,
    /// For a value that is not set: what happens then.
    pub unset: Option<&'static str>,
}

impl Effective {
    /// Lists `config`, with the sources from the `tree` it was read from.
    pub(super) fn of(config: &Config, tree: &Tree) -> Self {
        Self(config.entries().iter().map(|entry| EffectiveValue::of(entry, tree)).collect())
    }
}

impl EffectiveValue {
    fn of(entry: &Entry, tree: &Tree) -> Self {
        let row = &entry.key;
        // An empty table or list has nothing to hide.
        let hide = row.secret && entry.value.as_deref().is_some_and(|value| value != "{}");
        let unset = match (&entry.value, row.default) {
            (None, Default::Computed(words)) => Some(words),
            // The one server without a command of its own.
            (None, Default::Required) => Some("the built-in demo server"),
            _ => None,
        };
        Self {
            key: entry.path.to_string(),
            value: if hide { Some("\"***\"".to_owned()) } else { entry.value.clone() },
            source: tree.own_source(&entry.path),
            unset,
        }
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = |entry: &EffectiveValue| match &entry.value {
            Some(value) => format!("{} = {value}", entry.key),
            None => format!("#{} =", entry.key),
        };
        // Long lists stand out to the right rather than push everything there.
        let width = self.0.iter().map(|entry| left(entry).chars().count()).max().unwrap_or(0);
        let width = width.min(56);
        for entry in &self.0 {
            let text = left(entry);
            match entry.unset {
                Some(words) => writeln!(f, "{text:<width$}  # {words}")?,
                None => writeln!(f, "{text:<width$}  # {}", entry.source)?,
            }
        }
        Ok(())
    }
}
