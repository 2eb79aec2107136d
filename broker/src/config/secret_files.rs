//! Files that hold secrets and that other users of the machine can read.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::{Problem, Source};
use super::path::KeyPath;
use super::reader::Reader;
use super::root::Config;
use super::template::{Piece, Template};
use crate::shell_word::quoted;

/// What the store keeps in `data_dir`, as far as it is secret.
const OF_THE_STORE: [&str; 4] = ["broker.db", "broker.db-wal", "keyring", "server.key"];

/// Parts of names of variables that hold secrets, as a rule.
const SECRET_NAMES: [&str; 6] = ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "API_KEY"];

/// Warns of each such file once. `file` is the configuration's own.
pub(super) fn add(config: &Config, file: Option<&Path>, reader: &mut Reader<'_>) {
    // By file: the first key that is the reason.
    let mut held = BTreeMap::<PathBuf, KeyPath>::new();
    if let Some(file) = file
        && let Some(key) = inline(config, reader)
    {
        held.insert(file.to_owned(), key);
    }
    for (key, path) in named(config) {
        held.entry(path).or_insert(key);
    }
    for name in OF_THE_STORE {
        held.entry(config.data_dir.join(name)).or_insert_with(|| KeyPath::new("data_dir"));
    }
    for (path, key) in held {
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let Some(problem) = problem(&path, &metadata) else { continue };
        reader.warn(&key, problem);
    }
}

/// The first secret that stands in the configuration file itself.
fn inline(config: &Config, reader: &Reader<'_>) -> Option<KeyPath> {
    let is_in_file = |path: &KeyPath| matches!(reader.source(path), Source::File { .. });
    let entries = config.entries().into_iter();
    let mut declared = entries
        .filter(|entry| entry.key.secret && entry.key.of_file().is_some() && entry.value.is_some())
        .map(|entry| entry.path);
    let variables = config.server.iter().flat_map(|(name, server)| {
        let secret = server.env.iter().filter(|(variable, value)| is_secret(variable, value));
        let path = KeyPath::server(name.as_str(), "env");
        secret.map(move |(variable, _)| path.child(variable))
    });
    declared.find(is_in_file).or_else(|| variables.into_iter().find(is_in_file))
}

/// Whether an entry of an environment is a secret of the operator's, by its name.
fn is_secret(variable: &str, value: &Template) -> bool {
    let variable = variable.to_ascii_uppercase();
    let is_literal = |piece: &Piece| matches!(piece, Piece::Literal(text) if !text.is_empty());
    // What is filled in for a user does not stand in the file.
    SECRET_NAMES.iter().any(|part| variable.contains(part))
        && !variable.ends_with("_FILE")
        && !value.pieces().is_empty()
        && value.pieces().iter().all(is_literal)
}

/// The files of secrets that keys name.
fn named(config: &Config) -> Vec<(KeyPath, PathBuf)> {
    let mut named: Vec<_> =
        config.tls.iter().map(|tls| (KeyPath::new("tls.key"), tls.key.clone())).collect();
    let entries = config.entries();
    for entry in &entries {
        let Some(of_file) = entry.key.of_file() else { continue };
        let path = entry.path.sibling(of_file.name);
        let file = entries.iter().find(|own| own.path == path).and_then(|own| own.value.as_ref());
        let file = file.and_then(|value| value.parse::<toml_edit::Value>().ok());
        named.extend(file.and_then(|value| Some((path, PathBuf::from(value.as_str()?)))));
    }
    named
}

/// What is wrong with the mode of a file, and the command that heals it.
fn problem(path: &Path, metadata: &Metadata) -> Option<Problem> {
    let (mode, owner) = (metadata.mode(), metadata.uid());
    let user = rustix::process::geteuid();
    let is_ours = owner == user.as_raw() || user.is_root();
    let readers = match (mode & 0o004 != 0, mode & 0o040 != 0) {
        (true, _) => "every user of this machine",
        (false, true) if is_ours => "every member of its group",
        // The broker itself reads it as a member of its group.
        _ => return None,
    };
    let shown = path.display().to_string();
    let word = quoted(&shown);
    let heals = if is_ours {
        format!("chmod 600 {word}")
    } else if mode & 0o040 != 0 && is_of_our_groups(metadata.gid()) {
        format!("chmod o= {word}")
    } else {
        format!("chown {} {word} && chmod 600 {word}", user.as_raw())
    };
    Some(
        Problem::new(format!("{shown} holds a secret, and {readers} can read it"))
            .hint(format!("run: {heals}")),
    )
}

fn is_of_our_groups(group: u32) -> bool {
    let groups = rustix::process::getgroups().unwrap_or_default();
    rustix::process::getegid().as_raw() == group || groups.iter().any(|own| own.as_raw() == group)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{Loaded, Sources};

    /// Warnings about modes of a configuration in a directory, each as text.
    fn warned(directory: &Path, text: &str, modes: &[(&str, u32)]) -> Vec<String> {
        let (data, file) = (directory.join("data"), directory.join("mcp-broker.toml"));
        fs::create_dir_all(&data).expect("a directory");
        let text = text.replace('@', directory.to_str().expect("text"));
        fs::write(&file, format!("data_dir = {data:?}\n{text}")).expect("a file");
        for (name, mode) in modes {
            let path = directory.join(name);
            if !path.exists() {
                fs::write(&path, "hush-hush").expect("a file");
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).expect("it is ours");
        }
        let environment = BTreeMap::<String, String>::new();
        let mut sources = Sources::new(&environment);
        sources.config = Some(file);
        let Loaded { warnings, .. } = Config::load(&sources).expect("it is valid");
        let warnings = warnings.iter().map(ToString::to_string);
        warnings.filter(|warning| warning.contains("holds a secret")).collect()
    }

    const OWN: &str = "mcp-broker.toml";
    const INLINE: &str = "metrics.token = \"hush-hush\"\n[server.a]\ncommand = \"a\"\n";

    #[test]
    fn a_configuration_with_a_secret_that_others_can_read_is_told_with_the_command_that_heals_it() {
        let directory = tempfile::tempdir().expect("a directory");
        for (mode, who) in [(0o644, "every user"), (0o604, "every user"), (0o640, "its group")] {
            let [warning] = &warned(directory.path(), INLINE, &[(OWN, mode)])[..] else {
                panic!("not one warning at {mode:o}")
            };
            assert!(warning.contains(" metrics.token: "), "{warning}");
            assert!(warning.contains(who), "{warning}");
            let heals = format!("chmod 600 {}", directory.path().join(OWN).display());
            assert!(warning.contains(&heals), "{warning}");
            assert!(!warning.contains("hush-hush"), "{warning}");
        }
        assert_eq!(warned(directory.path(), INLINE, &[(OWN, 0o600)]), [""; 0]);
    }

    #[test]
    fn a_configuration_without_a_secret_may_be_read_by_everybody() {
        let directory = tempfile::tempdir().expect("a directory");
        let text = "[server.a]\ncommand = \"a\"\n[server.a.env]\nLANG = \"C\"\n\
                    NOTES_TOKEN_FILE = \"/run/secrets/notes\"\nTOKEN = \"${user.key}\"\n";
        assert_eq!(warned(directory.path(), text, &[(OWN, 0o644)]), [""; 0]);
        let text = "[server.a]\ncommand = \"a\"\nenv.NOTES_TOKEN = \"hush-hush\"\n";
        let warnings = warned(directory.path(), text, &[(OWN, 0o644)]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(" server.a.env.NOTES_TOKEN: "), "{warnings:?}");
    }

    #[test]
    fn files_that_keys_name_and_files_of_the_data_directory_are_told_too() {
        let directory = tempfile::tempdir().expect("a directory");
        let text = "metrics.token_file = \"@/of metrics\"\n[server.a]\ncommand = \"a\"\n";
        let modes = |mode| {
            [(OWN, 0o644), ("of metrics", mode), ("data/keyring", mode), ("data/broker.db", mode)]
        };
        let warnings = warned(directory.path(), text, &modes(0o644));
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        let all = warnings.join("\n");
        for part in ["data_dir", "metrics.token_file", "of metrics'", "keyring", "broker.db"] {
            assert!(all.contains(part), "{part} in {all}");
        }
        assert_eq!(warned(directory.path(), text, &modes(0o600)), [""; 0]);
    }
}
