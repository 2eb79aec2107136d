//! The kinds of keys: each function begins the declaration of one.
//!
//! A `default` is TOML, such as `r#""15m""#` or `"256"`. A key without a default is unset until a
//! source sets it, and needs an example.

use std::collections::BTreeMap;

use crate::config::address::{Listen, PublicUrl};
use crate::config::key::Row;
use crate::config::kind::{Kind, Zero};
use crate::config::setting::{SecretSetting, Single, shape};
use crate::config::table::Table;
use crate::config::template::Template;
use crate::config::words::Words;

/// `true` or `false`.
#[must_use]
pub const fn flag(default: &'static str) -> Row<bool> {
    Row::of(Kind::Bool, default)
}

/// Text that is not empty.
#[must_use]
pub const fn text<T: Single<Shape = shape::Text>>() -> Row<T> {
    Row::unset(Kind::Text)
}

/// One OAuth scope.
#[must_use]
pub const fn scope(default: &'static str) -> Row<String> {
    Row::of(Kind::Scope, default)
}

/// An absolute http or https address; a slash at its end is taken away.
#[must_use]
pub const fn address<T: Single<Shape = shape::Text>>() -> Row<T> {
    Row::unset(Kind::Address)
}

/// The same with a default.
#[must_use]
pub const fn address_or(default: &'static str) -> Row<String> {
    Row::of(Kind::Address, default)
}

/// An absolute http or https address that is a name: it is kept as it is written.
#[must_use]
pub const fn issuer<T: Single<Shape = shape::Text>>() -> Row<T> {
    Row::unset(Kind::Issuer)
}

/// The name of a file, without a directory.
#[must_use]
pub const fn file_name() -> Row<Option<String>> {
    Row::unset(Kind::FileName)
}

/// The name of a host, without a port.
#[must_use]
pub const fn host_name() -> Row<Option<String>> {
    Row::unset(Kind::HostName)
}

/// A filter for the log.
#[must_use]
pub const fn log_filter(default: &'static str) -> Row<String> {
    Row::of(Kind::Filter, default)
}

/// A path, whether there is something or not.
#[must_use]
pub const fn path<T: Single<Shape = shape::Path>>() -> Row<T> {
    Row::unset(Kind::Path)
}

/// The path of a file that is there.
#[must_use]
pub const fn file<T: Single<Shape = shape::Path>>() -> Row<T> {
    Row::unset(Kind::File)
}

/// The path of a directory that is there.
#[must_use]
pub const fn directory<T: Single<Shape = shape::Path>>() -> Row<T> {
    Row::unset(Kind::Directory)
}

/// A time with a unit; more than zero unless [`Row::zero`] says what zero means.
#[must_use]
pub const fn duration<T: Single<Shape = shape::Time>>(default: &'static str) -> Row<T> {
    Row::of(Kind::Duration(Zero::Refused), default)
}

/// Bytes, with or without a unit; more than zero unless [`Row::zero`] says what zero means.
#[must_use]
pub const fn size<T: Single<Shape = shape::Number>>(default: &'static str) -> Row<T> {
    Row::of(Kind::Size(Zero::Refused), default)
}

/// A whole number; more than zero unless [`Row::zero`] says what zero means.
#[must_use]
pub const fn count<T: Single<Shape = shape::Number>>(default: &'static str) -> Row<T> {
    Row::of(Kind::Count(Zero::Refused), default)
}

/// One of the words of an enumeration, as TOML with quotes.
#[must_use]
pub const fn word<T: Words>(default: &'static str) -> Row<T> {
    Row::of(Kind::Word(T::WORDS), default)
}

/// The same without a default.
#[must_use]
pub const fn optional_word<T: Words>() -> Row<Option<T>> {
    Row::unset(Kind::Word(T::WORDS))
}

/// A list of texts.
#[must_use]
pub const fn texts(default: &'static str) -> Row<Vec<String>> {
    Row::of(Kind::Texts, default)
}

/// A list of URI schemes.
#[must_use]
pub const fn schemes(default: &'static str) -> Row<Vec<String>> {
    Row::of(Kind::Schemes, default)
}

/// A secret, which may also stand in a file. The file's key ends in `_file`, and `of_file` is its
/// documentation.
#[must_use]
pub const fn secret(of_file: &'static [&'static str]) -> Row<SecretSetting> {
    Row::unset(Kind::Text).secret_with_file(of_file)
}

/// A table within the table, introduced by the documentation of its struct.
#[must_use]
pub const fn table<T: Table>() -> Row<T> {
    Row::unset(Kind::Table).holding(T::DECLARED)
}

/// The broker's listening address.
#[must_use]
pub(in crate::config) const fn listen(default: &'static str) -> Row<Listen> {
    Row::of(Kind::Listen, default)
}

/// Another listening address.
#[must_use]
pub(in crate::config) const fn optional_listen() -> Row<Option<Listen>> {
    Row::unset(Kind::Listen)
}

/// The broker's public URL.
#[must_use]
pub(in crate::config) const fn public_url() -> Row<Option<PublicUrl>> {
    Row::unset(Kind::Url)
}

/// A list of things with a kind of their own.
#[must_use]
pub(in crate::config) const fn list<T>(kind: Kind, default: &'static str) -> Row<Vec<T>> {
    Row::of(kind, default)
}

/// The environment of a child.
#[must_use]
pub(in crate::config) const fn environment() -> Row<BTreeMap<String, Template>> {
    Row::of(Kind::Environment, "{}").secret()
}

/// A type with rules of its own.
#[must_use]
pub(in crate::config) const fn special<T>(kind: Kind) -> Row<T> {
    Row::unset(kind)
}

/// A field that is no key: it is filled in after reading.
#[must_use]
pub(in crate::config) const fn derived<T>() -> Row<T> {
    Row::unset(Kind::Derived)
}
