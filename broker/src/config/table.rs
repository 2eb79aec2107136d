//! The one table of keys. Everything that lists keys is derived from it: the check for unknown
//! ones, the example, the schema, the effective configuration, the report of a reload.
//!
//! To add a key: add a row in `rows`, a typed field in the parent module, its line in `read` (text to
//! field) and its line in `flat` (field to text). Tests notice each that is forgotten.

use std::fmt;

use figment::value::Value;

use super::kind::Kind;
use super::layer;
use super::rows::{SECTIONS, keys};

/// What is in force when nobody sets a key.
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

/// One row.
#[derive(Debug)]
pub(super) struct Key {
    /// Dotted; `*` stands for a server's name.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Default,
    pub(super) reload: Reload,
    /// Whether values are starred wherever they would be shown.
    pub(super) secret: bool,
    /// A value, as TOML, that means something.
    pub(super) example: &'static str,
    /// One paragraph for an operator.
    pub(super) doc: &'static str,
}

/// A table of the file, with a sentence about it.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) path: &'static str,
    pub(super) doc: &'static str,
}

/// A concrete dotted key, such as `server.notes.command`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct KeyPath(pub(super) Vec<String>);

impl KeyPath {
    pub(super) fn new(dotted: &str) -> Self {
        Self(dotted.split('.').map(str::to_owned).collect())
    }

    pub(super) fn server(name: &str, key: &str) -> Self {
        Self(vec!["server".to_owned(), name.to_owned(), key.to_owned()])
    }

    pub(super) fn child(&self, segment: &str) -> Self {
        let mut path = self.0.clone();
        path.push(segment.to_owned());
        Self(path)
    }

    /// Whether the row or section `pattern` is this path or lies below it.
    fn starts(&self, pattern: &str) -> bool {
        let mut parts = pattern.split('.');
        self.0.iter().all(|segment| parts.next().is_some_and(|part| part == "*" || part == segment))
    }

    fn is(&self, pattern: &str) -> bool {
        self.starts(pattern) && pattern.split('.').count() == self.0.len()
    }

    /// The row of exactly this key.
    pub(super) fn key(&self) -> Option<&'static Key> {
        keys().find(|key| self.is(key.path))
    }

    /// Whether keys live below this path, so that it has to be a table.
    pub(super) fn is_section(&self) -> bool {
        keys().any(|key| self.starts(key.path) && !self.is(key.path))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            let bare = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            if !segment.is_empty() && segment.bytes().all(bare) {
                f.write_str(segment)?;
            } else {
                write!(f, "{segment:?}")?;
            }
        }
        Ok(())
    }
}

impl Key {
    /// The last part of the path.
    pub(super) fn name(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// Everything before the last part; empty at the top level.
    pub(super) fn section(&self) -> &'static str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// The default as a value, where it is one.
    pub(super) fn default_value(&self) -> Option<Value> {
        match self.default {
            Default::Toml(text) => layer::toml_value(text).ok(),
            Default::Computed(_) | Default::Required => None,
        }
    }
}

/// The known key or table nearest to a misspelt one, in the spelling to write.
pub(super) fn nearest(path: &KeyPath) -> Option<String> {
    let written = path.0.join(".");
    let last = path.0.last().map_or("", String::as_str);
    let server = path.0.get(1).map_or("NAME", String::as_str);
    let depth = path.0.len();
    let mut best: Option<(usize, String)> = None;
    let mut offer = |distance: usize, candidate: String| {
        if best.as_ref().is_none_or(|(least, _)| distance < *least) {
            best = Some((distance, candidate));
        }
    };
    let rows = keys().map(|key| key.path);
    for pattern in rows.chain(SECTIONS.iter().map(|section| section.path)) {
        let candidate = pattern.replace('*', server);
        let distance = strsim::osa_distance(&written, &candidate);
        // A third of the letters may differ; more is a guess that sends people the wrong way.
        let allowed = (candidate.rsplit('.').next().unwrap_or("").len() / 3).max(1);
        if distance <= allowed {
            offer(distance, candidate);
        } else if pattern.rsplit('.').next() == Some(last) && depth <= 3 {
            // Spelt well, but in the wrong table.
            offer(100 + distance, candidate);
        }
    }
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_section_its_words_and_a_default_that_parses() {
        for (index, key) in keys().enumerate() {
            assert!(keys().take(index).all(|other| other.path != key.path), "{}", key.path);
            let known = SECTIONS.iter().any(|section| section.path == key.section());
            assert!(key.section().is_empty() || known, "{}", key.path);
            assert!(key.doc.ends_with(['.', ')']), "{}", key.path);
            layer::toml_value(key.example).expect(key.path);
            if let Default::Toml(text) = key.default {
                layer::toml_value(text).expect(key.path);
            }
        }
    }

    #[test]
    fn a_misspelt_key_finds_its_neighbour() {
        for (written, meant) in [
            ("session.max_per_ower", Some("session.max_per_owner")),
            ("session.idel", Some("session.idle")),
            ("sesion", Some("session")),
            ("lisen", Some("listen")),
            ("public-url", Some("public_url")),
            ("server.notes.comand", Some("server.notes.command")),
            ("server.notes.pass-env", Some("server.notes.pass_env")),
            ("max_per_owner", Some("session.max_per_owner")),
            ("stream.retension", Some("stream.retention")),
            ("quux", None),
            ("session.frobnicate", None),
        ] {
            assert_eq!(nearest(&KeyPath::new(written)).as_deref(), meant, "{written}");
        }
    }

    #[test]
    fn paths_know_their_rows() {
        assert_eq!(KeyPath::server("x", "args").key().map(|key| key.path), Some("server.*.args"));
        assert!(KeyPath::new("server.x").is_section() && KeyPath::new("auth").is_section());
        assert!(
            !KeyPath::new("listen").is_section() && KeyPath::new("server.x.env.A").key().is_none()
        );
        assert_eq!(KeyPath::server("a b", "args").to_string(), r#"server."a b".args"#);
    }
}
