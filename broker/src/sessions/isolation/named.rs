//! The absolute paths that stand in the arguments and the environment of a child: what it works with.

use std::{
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

use supervisor::Spec;

use super::paths::{SEARCHED, is_shared, is_system};
use crate::config::{Piece, ServerConfig, Template};

/// All that exist, or that the program can make, and that are no part of the system.
pub(super) fn in_settings(spec: &Spec, server: &ServerConfig) -> Vec<PathBuf> {
    all(spec, server).into_iter().filter(|path| !is_system(path)).filter_map(existing).collect()
}

/// Those in `/etc`, which are read and not written, also where root alone may: a configuration with a
/// secret in it.
pub(super) fn in_etc(spec: &Spec, server: &ServerConfig) -> Vec<PathBuf> {
    let is_plain = |path: &PathBuf| !path.components().any(|part| part == Component::ParentDir);
    let is_below = |path: &PathBuf| {
        path.starts_with("/etc") && path.components().count() > 2 && is_plain(path)
    };
    all(spec, server).into_iter().filter(is_below).filter(|path| path.exists()).collect()
}

fn all(spec: &Spec, server: &ServerConfig) -> Vec<PathBuf> {
    let args = spec.args.iter().filter_map(|arg| arg.to_str()).flat_map(in_text);
    let values = spec.env.iter().filter(|(name, _)| !SEARCHED.iter().any(|known| name == known));
    // TMPDIR names the place that the child has of its own.
    let values = values.filter(|(_, value)| !is_scratch(value));
    let values = values.filter_map(|(name, value)| {
        let template = name.to_str().and_then(|name| server.env.get(name));
        Some((template, value.to_str()?))
    });
    let values = values.flat_map(|(template, value)| in_value(template, value));
    args.chain(values).collect()
}

/// Those in the value that was made of `template`, or copied from the broker's environment. A path that
/// is an operator's begins in what the operator wrote: users choose some of what is filled in.
fn in_value(template: Option<&Template>, value: &str) -> Vec<PathBuf> {
    let pieces = template.map(Template::pieces).unwrap_or_default();
    let is_literal = |piece: &Piece| matches!(piece, Piece::Literal(_));
    if pieces.iter().all(is_literal) {
        return in_text(value);
    }
    let begins = pieces.first().is_some_and(|piece| match piece {
        Piece::Literal(text) => text.starts_with('/') || text.starts_with("file:///"),
        _ => false,
    });
    let path = value.strip_prefix("file://").unwrap_or(value);
    begins.then(|| PathBuf::from(path)).into_iter().collect()
}

/// A whole value, or what stands behind the equals sign of an option: what is only mentioned, in a script
/// or a sentence, is nothing to write to.
fn in_text(text: &str) -> Vec<PathBuf> {
    let path = match text.split_once('=') {
        Some((_, value)) if !text.starts_with('/') => value,
        _ => text.strip_prefix("file://").unwrap_or(text),
    };
    path.starts_with('/').then(|| PathBuf::from(path)).into_iter().collect()
}

fn is_scratch(value: &OsStr) -> bool {
    ["/tmp", "/var/tmp", "/run", "/var/run", "/dev/shm"]
        .iter()
        .any(|path| Path::new(value) == Path::new(path))
}

/// The path, or the directory in which the program will make it.
fn existing(path: PathBuf) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    let folder = path.parent()?;
    (folder.is_dir() && !is_shared(folder)).then(|| folder.to_owned())
}

/// Kinds of files that are databases. By name: what is in a file, a server may have written itself.
const DATABASES: [&str; 7] = ["db", "db3", "sqlite", "sqlite3", "s3db", "sl3", "duckdb"];

/// The directory of a database that programs write: they keep journals beside it. Beside other files,
/// such as a configuration, lies what no setting names.
pub(super) fn beside(file: &Path) -> Option<PathBuf> {
    let folder = file.parent().filter(|folder| !is_shared(folder))?;
    let kind = file.extension().and_then(OsStr::to_str)?;
    let is_database = DATABASES.iter().any(|known| kind.eq_ignore_ascii_case(known));
    let may_write = || rustix::fs::access(file, rustix::fs::Access::WRITE_OK).is_ok();
    (is_database && file.is_file() && may_write()).then(|| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, ffi::OsString};

    use supervisor::{Environment, Isolation, Limits};

    use super::*;
    use crate::config::{Config, Sources};

    #[test]
    fn a_configuration_in_etc_is_given_to_the_server_whose_arguments_name_it() {
        let environment = BTreeMap::<String, String>::new();
        let mut sources = Sources::new(&environment);
        sources.set = vec!["server.notes.command=notes".to_owned()];
        let loaded = Config::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        let server = loaded.config.server.values().next().expect("one server");
        let args =
            ["--file=/etc/passwd", "/etc", "/etc/x/../passwd", "/etc/no-such-file", "/usr/bin"];
        let spec = Spec {
            program: "notes".into(),
            args: args.map(OsString::from).to_vec(),
            env: Environment::default(),
            cwd: None,
            containment: None,
            isolation: Isolation::default(),
            new_privs: false,
            limits: Limits::default(),
        };
        assert_eq!(in_etc(&spec, server), [PathBuf::from("/etc/passwd")]);
        assert_eq!(in_settings(&spec, server), [] as [PathBuf; 0], "nothing to write to");
    }

    #[test]
    fn absolute_paths_that_are_a_whole_value_or_that_of_an_option_are_found() {
        for (text, expected) in [
            ("/srv/repo", &["/srv/repo"][..]),
            ("--db=/srv/db/notes.db", &["/srv/db/notes.db"]),
            ("file:///srv/f", &["/srv/f"]),
            ("of /srv/repo", &[]),
            ("https://host.example/srv/repo", &[]),
            ("relative/x", &[]),
        ] {
            let expected: Vec<_> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(in_text(text), expected, "{text}");
        }
    }

    #[test]
    fn a_user_whose_name_is_a_path_gets_nothing_by_it() {
        let value = |template: &str, value: &str| {
            in_value(Some(&Template::parse(template).expect("a template")), value)
        };
        assert_eq!(value("${user.subject}", "/home/bob"), [] as [PathBuf; 0]);
        assert_eq!(value("me=${user.subject}", "me=/home/bob"), [] as [PathBuf; 0]);
        assert_eq!(value("/srv/${user.key}", "/srv/0f"), [PathBuf::from("/srv/0f")]);
        assert_eq!(value("/srv/b", "/srv/b"), [PathBuf::from("/srv/b")]);
    }

    #[test]
    fn a_file_that_is_not_there_yet_can_be_made_in_its_directory() {
        let folder = tempfile::tempdir().expect("a directory");
        let there = folder.path().join("there");
        std::fs::write(&there, "").expect("written");
        assert_eq!(existing(there.clone()), Some(there.clone()));
        assert_eq!(existing(folder.path().join("new")), Some(folder.path().to_owned()));
        assert_eq!(existing("/no/such/folder/x".into()), None);
        assert_eq!(existing("/var/lib/no-such-file".into()), None, "others have theirs there");
    }

    #[test]
    fn a_server_that_is_given_a_configuration_does_not_write_beside_it_as_beside_a_database() {
        let folder = tempfile::tempdir().expect("a directory");
        let beside = |name: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, "").expect("written");
            beside(&file)
        };
        for name in ["notes.db", "notes.SQLite", "notes.v2.sqlite3"] {
            assert_eq!(beside(name), Some(folder.path().to_owned()), "{name}");
        }
        for name in ["notes.json", "notes.toml", "db", ".db", "notes.db-journal", "notes"] {
            assert_eq!(beside(name), None, "{name}");
        }
        assert_eq!(super::beside(&folder.path().join("missing.db")), None);
        assert_eq!(super::beside(folder.path()), None);
    }
}
