//! One origin of settings: the file, one variable, one `--set`.
//!
//! Each becomes a figment provider of its own, so figment's tag on a merged value says which one
//! won. TOML is read with `toml_edit`, which keeps the place of every key.

use std::path::Path;

use figment::value::{Dict, Map, Tag, Value};
use figment::{Metadata, Profile, Provider};
use toml_edit::Document;

use super::error::{ConfigError, Problem, Source};
use super::path::KeyPath;
use super::toml::{Lines, convert_table, line_of, toml_value};

/// How the mistake about a broken syntax begins.
pub(super) const NOT_TOML: &str = "not TOML";

/// Settings of one origin.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    source: Source,
    /// Where each key of a file stands, from one.
    lines: Lines,
    dict: Dict,
}

impl Layer {
    /// Reads a file's text. Mistakes in its shape are added; a broken syntax gives no layer.
    pub(super) fn file(path: &Path, text: &str, mistakes: &mut Vec<ConfigError>) -> Option<Self> {
        let at = |line| Source::File { path: path.to_owned(), line };
        let document = match Document::parse(text) {
            Ok(document) => document,
            Err(error) => {
                let line = error.span().map(|span| line_of(text, span.start));
                // Not its Display: that shows the line, which may hold a secret.
                let what = format!("{NOT_TOML}: {}", error.message());
                mistakes.push(Problem::new(what).at("", at(line)));
                return None;
            }
        };
        let mut lines = Lines::new();
        let mut problems = Vec::new();
        let root = KeyPath::default();
        let dict = convert_table(document.as_table(), &root, text, &mut lines, &mut problems);
        let layer = Self { source: at(None), lines, dict };
        for (key, problem) in problems {
            let source = layer.source_of(&key);
            mistakes.push(problem.at(key.to_string(), source));
        }
        Some(layer)
    }

    /// One setting whose text comes from outside of a file. `is_text` says that a bare word or number
    /// is text there.
    pub(super) fn text(source: Source, path: &KeyPath, raw: &str, is_text: bool) -> Self {
        let value = match toml_value(raw) {
            Ok(value @ (Value::String(..) | Value::Dict(..) | Value::Array(..))) => value,
            Ok(value) if !is_text => value,
            _ => Value::from(raw),
        };
        Self::value(source, path, value)
    }

    /// One setting with its value.
    pub(super) fn value(source: Source, path: &KeyPath, value: Value) -> Self {
        let mut segments = path.0.iter().rev();
        let last = segments.next().cloned().unwrap_or_default();
        let mut dict = Dict::from([(last, value)]);
        for segment in segments {
            dict = Dict::from([(segment.clone(), Value::Dict(Tag::Default, dict))]);
        }
        Self { source, lines: Lines::new(), dict }
    }

    /// Takes the servers away, for a command line that brings its own.
    pub(super) fn forget_servers(&mut self) {
        self.dict.remove("server");
    }

    /// Where this layer sets `path`, or else the nearest table around it.
    pub(super) fn source_of(&self, path: &KeyPath) -> Source {
        let Source::File { path: file, .. } = &self.source else {
            return self.source.clone();
        };
        let mut path = path.clone();
        loop {
            if let Some(line) = self.lines.get(&path) {
                return Source::File { path: file.clone(), line: Some(*line) };
            }
            if path.0.pop().is_none() {
                return self.source.clone();
            }
        }
    }

    /// Whether this layer has a line for exactly this key.
    pub(super) fn has_line(&self, path: &KeyPath) -> bool {
        self.lines.contains_key(path)
    }

    /// The names of the tables below the table `name`.
    pub(super) fn names(&self, name: &str) -> impl Iterator<Item = &str> {
        let table = self.dict.get(name).and_then(Value::as_dict);
        table.into_iter().flat_map(|table| table.keys().map(String::as_str))
    }

    /// Every value of this layer.
    pub(super) const fn dict(&self) -> &Dict {
        &self.dict
    }

    /// Every value of this layer, to take some away.
    pub(super) const fn dict_mut(&mut self) -> &mut Dict {
        &mut self.dict
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.to_string())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}
