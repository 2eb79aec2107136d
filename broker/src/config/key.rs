//! What is declared about one key, and the builder that declares it.

use std::marker::PhantomData;

use figment::value::Value;

use super::kind::{Kind, Zero};
use super::toml::{quote, toml_value};

/// What is in force when no source sets the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Default {
    /// This, as TOML.
    Toml(&'static str),
    /// Something that depends on other settings or on the machine, in words.
    Computed(&'static str),
    /// Nothing: leaving it out is a mistake.
    Required,
}

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reload {
    /// At SIGHUP.
    Live,
    /// When the broker is started again.
    Restart,
}

/// Everything that is declared about one key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The last segment of its path.
    pub(super) name: &'static str,
    /// One paragraph for an operator, in lines.
    pub(super) doc: &'static [&'static str],
    pub(super) kind: Kind,
    pub(super) default: Default,
    pub(super) reload: Reload,
    /// Whether values are starred wherever they would be shown.
    pub(super) secret: bool,
    /// Whether a table that is in use cannot do without.
    pub(super) needed: bool,
    /// A value, as TOML, that means something.
    pub(super) example: &'static str,
    /// For a secret: the key that names a file with it, and the words about that key.
    pub(super) file: Option<(&'static str, &'static [&'static str])>,
    /// For a table: what is declared below it.
    pub(super) table: Option<Declared>,
}

/// Everything that is declared about one table.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    /// A sentence or two about it, in lines.
    pub(super) about: &'static [&'static str],
    /// Its keys, in the order of the example.
    pub(super) keys: &'static [Key],
}

impl Declared {
    #[doc(hidden)]
    pub fn iter(&self) -> std::slice::Iter<'static, Key> {
        self.keys.iter()
    }
}

impl Key {
    /// The example as TOML.
    pub(super) fn example_text(&self) -> String {
        match self.kind {
            Kind::Registered => quote(&self.example),
            Kind::Name => quote(&format!("old-{}", self.example)),
            _ => self.example.to_owned(),
        }
    }

    /// The words about it as one paragraph.
    pub(super) fn words(&self) -> String {
        paragraph(self.doc)
    }

    /// Whether something else stands in when it is unset.
    pub(super) const fn is_computed(&self) -> bool {
        matches!(self.default, Default::Computed(_))
    }

    /// The default as a value, where it is one.
    pub(super) fn default_value(&self) -> Option<Value> {
        match self.default {
            Default::Toml(text) => toml_value(text).ok(),
            Default::Computed(_) | Default::Required => None,
        }
    }

    /// The key that names a file with the secret, where it may stand in one.
    pub(super) fn of_file(&self) -> Option<Self> {
        let (name, doc) = self.file?;
        Some(Self {
            name,
            doc,
            kind: Kind::Path,
            default: Default::Computed("not set"),
            secret: false,
            needed: false,
            example: r#""/run/secrets/mcp-broker-client""#,
            file: None,
            ..*self
        })
    }
}

/// The lines of a doc comment as one paragraph.
pub(super) fn paragraph(lines: &[&str]) -> String {
    lines.iter().flat_map(|line| line.split_whitespace()).collect::<Vec<_>>().join(" ")
}

/// A key that is being declared, with the type of its field.
///
/// The functions of [`declare`](super::declare) begin one; its methods add what is special. A key
/// takes effect at a restart unless it is [`live`](Self::live).
#[derive(Debug, Clone, Copy)]
pub struct Row<T> {
    key: Key,
    of: PhantomData<fn() -> T>,
}

impl<T> Row<T> {
    /// A key whose default and example is `default`, as TOML.
    pub(super) const fn of(kind: Kind, default: &'static str) -> Self {
        let key = Key {
            name: "",
            doc: &[],
            kind,
            default: Default::Toml(default),
            reload: Reload::Restart,
            secret: false,
            needed: false,
            example: default,
            file: None,
            table: None,
        };
        Self { key, of: PhantomData }
    }

    /// A key that stays unset when no source sets it.
    pub(super) const fn unset(kind: Kind) -> Self {
        Self::of(kind, r#""""#).computed("not set")
    }

    pub(super) const fn holding(mut self, table: Declared) -> Self {
        self.key.table = Some(table);
        self
    }

    pub(super) const fn secret_with_file(mut self, doc: &'static [&'static str]) -> Self {
        self.key.file = Some(("", doc));
        self.secret()
    }

    /// The default and example, as TOML.
    pub(super) const fn or(mut self, default: &'static str) -> Self {
        self.key.default = Default::Toml(default);
        self.key.example = default;
        self
    }

    /// The value in force when no source sets the key, in words: it depends on other settings.
    #[must_use]
    pub const fn computed(mut self, words: &'static str) -> Self {
        self.key.default = Default::Computed(words);
        self
    }

    /// Leaving the key out is a mistake.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.key.default = Default::Required;
        self
    }

    /// Leaving the key out is a mistake when its table is in use.
    #[must_use]
    pub const fn needed(mut self) -> Self {
        self.key.needed = true;
        self
    }

    /// A value, as TOML, for the commented example. Needed where there is no default.
    #[must_use]
    pub const fn example(mut self, example: &'static str) -> Self {
        self.key.example = example;
        self
    }

    /// Zero is accepted and means this. Otherwise a quantity must be more than zero.
    #[must_use]
    pub const fn zero(mut self, means: &'static str) -> Self {
        self.key.kind = self.key.kind.with_zero(Zero::Means(means));
        self
    }

    /// Values are starred wherever they would be shown.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.key.secret = true;
        self
    }

    /// A changed value takes effect when the configuration is loaded again. Of no effect in a table
    /// below `auth`: providers and verifiers are made once.
    #[must_use]
    pub const fn live(mut self) -> Self {
        self.key.reload = Reload::Live;
        self
    }

    /// Ends the declaration, with what only the macro knows.
    #[doc(hidden)]
    #[must_use]
    pub const fn named(
        mut self,
        name: &'static str,
        file_name: &'static str,
        doc: &'static [&'static str],
    ) -> Key {
        self.key.name = name;
        self.key.doc = doc;
        if let Some((_, words)) = self.key.file {
            self.key.file = Some((file_name, words));
        }
        self.key
    }
}
