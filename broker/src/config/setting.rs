//! The types that settings have: how each is read from a value, and written as one.

mod lists;
mod plain;
mod quantities;
mod secret;
pub(super) mod value;
mod variables;

use super::error::Problems;
use super::key::{Key, Reload};
use super::path::KeyPath;
use super::reader::Reader;

pub use secret::{SecretSetting, SecretText};
pub use value::Given;

/// A type that a field of a declared table can have.
pub trait Setting: Sized + Clone {
    /// Takes the value at `path`, and what stands in for it after a mistake.
    fn read(reader: &mut Reader<'_>, path: &KeyPath, key: &Key) -> Self;

    /// Adds what is in force at `path` to a listing.
    fn list(&self, path: &KeyPath, key: &Key, into: &mut Vec<Entry>);

    /// Takes over what a reload may change.
    fn adopt(&mut self, new: &Self, key: &Key) {
        if key.reload == Reload::Live {
            self.clone_from(new);
        }
    }
}

/// A setting that is one value.
pub trait Single: Sized + Clone {
    /// What kinds of keys can have this type; one of [`shape`].
    type Shape;

    /// What is in force without a value and without a default.
    fn unset() -> Self;

    /// Reads a value.
    #[doc(hidden)]
    fn parse(given: &Given<'_>) -> Result<Self, Problems>;

    /// The value as TOML; `None` when it is unset.
    #[doc(hidden)]
    fn toml(&self, key: &Key) -> Option<String>;
}

/// What kinds of keys a type fits, for the functions that begin a declaration.
pub mod shape {
    /// One word or sentence.
    #[derive(Debug)]
    pub enum Text {}
    /// A path in the file system.
    #[derive(Debug)]
    pub enum Path {}
    /// A duration.
    #[derive(Debug)]
    pub enum Time {}
    /// A whole number.
    #[derive(Debug)]
    pub enum Number {}
    /// A list of texts.
    #[derive(Debug)]
    pub enum Texts {}
    /// One of several words.
    #[derive(Debug)]
    pub enum Word {}
    /// Something with a kind of its own.
    #[derive(Debug)]
    pub enum Other {}
}

/// One key that is in force.
#[derive(Debug, Clone)]
pub struct Entry {
    pub(super) path: KeyPath,
    pub(super) key: Key,
    /// The value as TOML, unstarred; `None` when the key is unset and that is its meaning.
    pub(super) value: Option<String>,
}

impl<T: Single> Setting for T {
    fn read(reader: &mut Reader<'_>, path: &KeyPath, key: &Key) -> Self {
        let verbatim = reader.source(path) == super::error::Source::Command;
        if let Some(value) = reader.value(path) {
            match T::parse(&Given { value, kind: key.kind, verbatim }) {
                Ok(parsed) => return parsed,
                Err(problems) => {
                    problems.into_iter().for_each(|problem| reader.refuse(path, problem));
                }
            }
        }
        let default = key.default_value();
        let parse = |value| T::parse(&Given { value, kind: key.kind, verbatim: false }).ok();
        default.as_ref().and_then(parse).unwrap_or_else(T::unset)
    }

    fn list(&self, path: &KeyPath, key: &Key, into: &mut Vec<Entry>) {
        into.push(Entry { path: path.clone(), key: *key, value: self.toml(key) });
    }
}
