//! What every declared table can do, and what the code that `settings!` makes calls.

use std::fmt;
use std::slice::Iter;

use super::key::{Declared, Key};
use super::path::KeyPath;
use super::reader::Reader;
use super::setting::{Entry, Setting};

/// A declared table. [`settings!`](crate::settings) implements it.
pub trait Table: fmt::Debug + Clone + PartialEq + Send + Sync + 'static {
    /// What is declared about it.
    #[doc(hidden)]
    const DECLARED: Declared;

    /// Reads the table at `at`.
    #[doc(hidden)]
    fn read(reader: &mut Reader<'_>, at: &KeyPath) -> Self;

    /// Lists what is in force in the table at `at`.
    #[doc(hidden)]
    fn list(&self, at: &KeyPath, into: &mut Vec<Entry>);

    /// Takes over what a reload may change, and nothing else.
    #[doc(hidden)]
    fn adopt(&mut self, new: &Self);
}

/// What a declaration comes to.
#[doc(hidden)]
#[must_use]
pub const fn declared(about: &'static [&'static str], keys: &'static [Key]) -> Declared {
    Declared { about, keys }
}

/// Reads the field of the next key.
#[doc(hidden)]
pub fn read_next<T: Setting>(reader: &mut Reader<'_>, at: &KeyPath, keys: &mut Iter<'_, Key>) -> T {
    let key = keys.next().expect("a table has as many keys as fields");
    T::read(reader, &at.child(key.name), key)
}

/// Lists the field of the next key.
#[doc(hidden)]
pub fn list_next<T: Setting>(
    field: &T,
    at: &KeyPath,
    keys: &mut Iter<'_, Key>,
    into: &mut Vec<Entry>,
) {
    let key = keys.next().expect("a table has as many keys as fields");
    field.list(&at.child(key.name), key, into);
}

/// Has the field of the next key take over what a reload may change.
#[doc(hidden)]
pub fn adopt_next<T: Setting>(field: &mut T, new: &T, keys: &mut Iter<'_, Key>) {
    let key = keys.next().expect("a table has as many keys as fields");
    field.adopt(new, key);
}
