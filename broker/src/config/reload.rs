//! What a new configuration changes while the broker runs.

use std::collections::{BTreeMap, BTreeSet};

use super::Config;
use super::path::KeyPath;
use super::setting::Entry;
use super::table::Table;

/// A key whose value differs. The values are not part of it, because they may be secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The dotted key; `server.NAME` for a server that came or went.
    pub key: String,
    /// Whether it takes effect now (for sessions: for new ones). Otherwise it waits for a restart.
    pub applied: bool,
}

/// See [`Config::reloaded`].
pub(super) fn reloaded(old: &Config, new: &Config) -> (Config, Vec<Change>) {
    let mut running = old.clone();
    Table::adopt(&mut running, new);
    let changes = diff(old, new, &running);
    (running, changes)
}

/// What differs, and whether it is in force now, which `running` tells.
fn diff(old: &Config, new: &Config, running: &Config) -> Vec<Change> {
    let (before, after, running) = (by_path(old), by_path(new), by_path(running));
    let in_force = |path: &KeyPath| {
        let value = |of: &BTreeMap<KeyPath, Entry>| of.get(path).map(|entry| entry.value.clone());
        value(&running) == value(&after)
    };
    let mut changes = Vec::new();
    let names: BTreeSet<_> = old.server.keys().chain(new.server.keys()).collect();
    let moved = |name: &str| old.server.contains_key(name) != new.server.contains_key(name);
    for name in names {
        if moved(name.as_str()) {
            // Routes are laid out once, at the start.
            let key = KeyPath::new("server").child(name.as_str()).to_string();
            changes.push(Change { key, applied: false });
        }
    }
    let paths: BTreeSet<&KeyPath> = before.keys().chain(after.keys()).collect();
    for path in paths {
        let (was, is) = (before.get(path), after.get(path));
        let in_moved_server =
            path.0[0] == "server" && path.0.get(1).is_some_and(|name| moved(name));
        if was.map(|entry| &entry.value) == is.map(|entry| &entry.value) || in_moved_server {
            continue;
        }
        // `env = {}` only stands for "no entries"; the entries are what changed.
        let stands_for_none =
            |entry: &&Entry| path.0.len() == 3 && entry.value.as_deref() == Some("{}");
        if was.or(is).is_some_and(|entry| stands_for_none(&entry)) {
            continue;
        }
        changes.push(Change { key: path.to_string(), applied: in_force(path) });
    }
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    changes
}

fn by_path(config: &Config) -> BTreeMap<KeyPath, Entry> {
    config.entries().into_iter().map(|entry| (entry.path.clone(), entry)).collect()
}
