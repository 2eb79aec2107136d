//! A secret of the operator's, written down or kept in a file of its own.

use std::fmt;
use std::path::PathBuf;

use super::value::quoted_path;
use super::{Entry, Setting};
use crate::config::error::Problem;
use crate::config::key::Key;
use crate::config::path::KeyPath;
use crate::config::reader::Reader;
use crate::config::toml::quote;

/// A secret of the operator's, written down or kept in a file of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecretSetting {
    /// The secret in force.
    pub value: Option<SecretText>,
    /// The file it was read from, if it was.
    pub file: Option<PathBuf>,
}

impl SecretSetting {
    /// The secret in force, as identity providers and verifiers take it.
    #[must_use]
    pub fn secret(&self) -> Option<auth::oauth::Secret> {
        self.value.as_ref().map(|own| auth::oauth::Secret::new(own.expose()))
    }
}

/// Text that `Debug` stars.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// The secret itself; for its one use and for no log.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Two keys: the secret, and the file that holds it, which wins.
impl Setting for SecretSetting {
    fn read(reader: &mut Reader<'_>, path: &KeyPath, key: &Key) -> Self {
        let value = <Option<String> as Setting>::read(reader, path, key).map(SecretText);
        let Some(of_file) = key.of_file() else { return Self { value, file: None } };
        let path = path.sibling(of_file.name);
        let Some(file) = <Option<PathBuf> as Setting>::read(reader, &path, &of_file) else {
            return Self { value, file: None };
        };
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                let text = text.trim_end_matches(['\r', '\n']);
                if text.is_empty() {
                    reader.refuse(&path, Problem::new(format!("{} is empty", quoted_path(&file))));
                }
                Self { value: Some(SecretText(text.to_owned())), file: Some(file) }
            }
            Err(error) => {
                let what = format!("{} cannot be read: {}", quoted_path(&file), error.kind());
                reader.refuse(&path, Problem::new(what));
                Self { value, file: Some(file) }
            }
        }
    }

    /// What the file holds is not repeated.
    fn list(&self, path: &KeyPath, key: &Key, into: &mut Vec<Entry>) {
        let written = self.value.as_ref().filter(|_| self.file.is_none());
        let value = written.map(|secret| quote(&secret.expose()));
        into.push(Entry { path: path.clone(), key: *key, value });
        if let Some(of_file) = key.of_file() {
            self.file.list(&path.sibling(of_file.name), &of_file, into);
        }
    }
}
