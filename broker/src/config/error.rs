//! What is wrong with a configuration, where it stands and what to do about it.

use std::fmt;
use std::path::PathBuf;

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// No source set it; the broker's own value is in force.
    Default,
    /// The configuration file.
    File {
        /// The file as it was named or found.
        path: PathBuf,
        /// The line, counted from one; `None` when the whole file is meant.
        line: Option<usize>,
    },
    /// An environment variable, by its full name.
    Variable(String),
    /// `--set`, with the key that was written there.
    Set(String),
    /// An option of the command line with a meaning of its own, such as `--listen`.
    Option(&'static str),
    /// The server given as `-- COMMAND ARG…`.
    Command,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Set(key) => write!(f, "--set {key}"),
            Self::Option(option) => f.write_str(option),
            Self::Command => f.write_str("-- COMMAND"),
        }
    }
}

/// One thing an operator has to change, or (as a warning) should know.
///
/// It never quotes a value of a secret key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The dotted key it is about; empty when it is about a whole file.
    pub key: String,
    /// Where that key was set.
    pub source: Source,
    /// What is wrong, as a sentence fragment.
    pub what: String,
    /// What to write instead, where we can tell.
    pub hint: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // "FILE:LINE: …" first: editors and terminals make a link of it.
        if self.source != Source::Default {
            write!(f, "{}: ", self.source)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n    hint: {hint}")?;
        }
        Ok(())
    }
}

/// Every mistake of a configuration; never empty.
///
/// Its `Display` has several lines and is made for an operator's terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("1 mistake in the configuration:")?,
            many => write!(f, "{many} mistakes in the configuration:")?,
        }
        for mistake in &self.0 {
            write!(f, "\n\n  {}", mistake.to_string().replace('\n', "\n  "))?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// What a parser has to say about a value before its key is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub(super) what: String,
    pub(super) hint: Option<String>,
}

impl Problem {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn at(self, key: impl Into<String>, source: Source) -> ConfigError {
        ConfigError { key: key.into(), source, what: self.what, hint: self.hint }
    }
}

/// Lists report one problem per bad entry.
pub type Problems = Vec<Problem>;

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        vec![problem]
    }
}

/// `text` in quotes, with control characters escaped and a bounded length, so that a hostile or
/// broken file cannot paint the operator's terminal.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    if text.chars().count() <= SHOWN {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(SHOWN).collect();
    format!("{start:?}…")
}
