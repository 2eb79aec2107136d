//! Which keys there are, by table and in the order of the example: what the search for unknown keys,
//! the hints, the example and the schema go through.

use super::key::{Declared, Key, paragraph};
use super::kind::Kind;
use super::path::KeyPath;

/// A table of the file.
#[derive(Debug, Clone)]
pub(super) struct Section {
    /// Dotted; `*` stands for any name.
    pub(super) path: String,
    pub(super) about: String,
    pub(super) keys: Vec<Key>,
}

/// Every table of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    pub(super) sections: Vec<Section>,
}

impl Layout {
    /// Adds a table with the tables in it.
    pub(super) fn add_table(&mut self, path: &str, table: &Declared) {
        self.add(path, paragraph(table.about), table.keys);
        for key in table.keys {
            let Some(inner) = &key.table else { continue };
            let below = join(path, key.name);
            match key.kind {
                Kind::Tables => {
                    self.add(&below, key.words(), &[]);
                    self.add_table(&join(&below, "*"), inner);
                }
                Kind::Beside => self.add_table(&join(path, "*"), inner),
                _ => self.add_table(&below, inner),
            }
        }
    }

    /// Adds one table, without the tables in it.
    pub(super) fn add(&mut self, path: &str, about: String, keys: &[Key]) {
        let is_key = |key: &&Key| {
            !matches!(key.kind, Kind::Table | Kind::Tables | Kind::Beside | Kind::Derived)
        };
        let keys = keys.iter().filter(is_key).flat_map(|key| [Some(*key), key.of_file()]);
        let keys = keys.flatten().collect();
        self.sections.push(Section { path: path.to_owned(), about, keys });
    }

    /// Every key with its path, in which `*` stands for any name.
    pub(super) fn keys(&self) -> impl Iterator<Item = (String, &Key)> {
        self.sections
            .iter()
            .flat_map(|section| section.keys.iter().map(|key| (join(&section.path, key.name), key)))
    }

    /// The key at exactly this path.
    pub(super) fn key(&self, path: &KeyPath) -> Option<&Key> {
        let (last, table) = path.0.split_last()?;
        let table = KeyPath(table.to_vec());
        let fits = |section: &&Section| match section.path.as_str() {
            "" => table.0.is_empty(),
            pattern => table.is(pattern),
        };
        let sections = self.sections.iter().filter(fits);
        sections.flat_map(|section| &section.keys).find(|key| key.name == last)
    }

    /// Whether keys live below this path, so that it has to be a table.
    pub(super) fn is_table(&self, path: &KeyPath) -> bool {
        self.sections.iter().any(|section| path.starts(&section.path))
    }

    /// Whether `path` can only be a table for its name being any, among keys that it may be meant for.
    pub(super) fn is_beside_keys(&self, path: &KeyPath) -> bool {
        let Some((_, table)) = path.0.split_last() else { return false };
        let table = KeyPath(table.to_vec());
        let around = self.sections.iter().find(|section| table.is(&section.path));
        around.is_some_and(|section| !section.keys.is_empty())
            && !self.sections.iter().any(|section| {
                path.starts(&section.path)
                    && section.path.split('.').nth(path.0.len() - 1) != Some("*")
            })
    }

    /// The names directly below a table, for a hint.
    pub(super) fn below(&self, path: &KeyPath) -> String {
        let depth = path.0.len();
        let mut names: Vec<String> = Vec::new();
        for (key, _) in self.keys() {
            if !path.starts(&key) {
                continue;
            }
            let name = key.split('.').nth(depth).map(|name| name.replace('*', "NAME"));
            names.extend(name.filter(|name| !names.contains(name)));
        }
        names.join(", ")
    }

    /// The known key or table nearest to a misspelt one, in the spelling to write.
    pub(super) fn nearest(&self, path: &KeyPath) -> Option<String> {
        let written = path.0.join(".");
        let last = path.0.last().map_or("", String::as_str);
        let depth = path.0.len();
        let mut best: Option<(usize, String)> = None;
        let mut offer = |distance: usize, candidate: String| {
            if best.as_ref().is_none_or(|(least, _)| distance < *least) {
                best = Some((distance, candidate));
            }
        };
        let tables = self.sections.iter().map(|section| section.path.clone());
        let tables = tables.filter(|path| !path.is_empty());
        for pattern in self.keys().map(|(path, _)| path).chain(tables) {
            let candidate = path.named(&pattern);
            let distance = strsim::osa_distance(&written, &candidate);
            // A third of the letters may differ; more is a guess that sends people the wrong way.
            let allowed = (candidate.rsplit('.').next().unwrap_or("").len() / 3).max(1);
            if distance == 0 {
                // A table of any name is no other name for it.
            } else if distance <= allowed {
                offer(distance, candidate);
            } else if pattern.rsplit('.').next() == Some(last) && depth <= 3 {
                // Spelt well, but in the wrong table.
                offer(100 + distance, candidate);
            }
        }
        best.map(|(_, candidate)| candidate)
    }
}

fn join(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}
