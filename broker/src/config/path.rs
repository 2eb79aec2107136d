//! A dotted key, such as `server.notes.command`.

use std::fmt;

/// A dotted key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct KeyPath(pub(super) Vec<String>);

impl KeyPath {
    /// A path of plain segments joined by dots.
    pub(super) fn new(dotted: &str) -> Self {
        Self(dotted.split('.').map(str::to_owned).collect())
    }

    pub(super) fn server(name: &str, key: &str) -> Self {
        Self(vec!["server".to_owned(), name.to_owned(), key.to_owned()])
    }

    /// The path of `segment` below this one.
    pub(super) fn child(&self, segment: &str) -> Self {
        let mut path = self.0.clone();
        path.push(segment.to_owned());
        Self(path)
    }

    /// The path of `segment` beside this one.
    pub(super) fn sibling(&self, segment: &str) -> Self {
        let mut path = self.0.clone();
        path.pop();
        path.push(segment.to_owned());
        Self(path)
    }

    /// Whether the table or key `pattern` is this path or lies below it; `*` is any segment.
    pub(super) fn starts(&self, pattern: &str) -> bool {
        let mut parts = pattern.split('.');
        self.0.iter().all(|segment| parts.next().is_some_and(|part| part == "*" || part == segment))
    }

    /// `pattern` with what this path has in the places of `*`.
    pub(super) fn named(&self, pattern: &str) -> String {
        let named = pattern.split('.').enumerate().map(|(at, part)| match part {
            "*" => self.0.get(at).map_or("NAME", String::as_str),
            part => part,
        });
        named.collect::<Vec<_>>().join(".")
    }

    /// Whether `pattern` is this path.
    pub(super) fn is(&self, pattern: &str) -> bool {
        self.starts(pattern) && pattern.split('.').count() == self.0.len()
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
