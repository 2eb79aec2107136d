//! What a child sees: the settings of its server, and the paths that only its start knows.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use supervisor::{Isolation, Network, Sandbox, Spec};

use crate::config::{IsolationLevel, NetworkAccess, ServerConfig};

/// Directories of the system: what is named in there is read, and stays read-only.
const SYSTEM: [&str; 10] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/boot", "/dev", "/proc", "/sys"];

/// Variables that list where programs and libraries are: nothing to write to.
const SEARCHED: [&str; 5] = ["PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "NODE_PATH", "MANPATH"];

/// Files that mark the directory that a program of several files is in.
const PROJECTS: [&str; 5] =
    ["package.json", "node_modules", "pyproject.toml", "pyvenv.cfg", "go.mod"];

/// Adds to `spec` what its server says. `private` is what belongs to the broker and to people; `own`
/// are the child's private directory and its cache.
pub(super) fn isolate(spec: &mut Spec, server: &ServerConfig, private: &[PathBuf], own: &[&Path]) {
    let network = match &server.isolation.network {
        NetworkAccess::Any => Network::Any,
        NetworkAccess::None => Network::None,
        NetworkAccess::Ports(ports) => Network::Ports(ports.clone()),
    };
    let sandbox = (server.isolation.level == IsolationLevel::Sandbox).then(|| {
        let named = named(spec).filter(|path| !is_system(path));
        let named: Vec<PathBuf> = named.filter_map(existing).collect();
        let mut read: Vec<PathBuf> = server.isolation.read.iter().map(PathBuf::from).collect();
        read.extend(searched(&spec.env));
        read.extend(named.iter().filter(|path| path.is_file()).filter_map(|path| project(path)));
        let mut write: Vec<PathBuf> = own.iter().map(|path| (*path).to_owned()).collect();
        write.extend(named);
        write.extend(server.isolation.write.iter().map(PathBuf::from));
        Sandbox { hidden: private.to_vec(), read, write, user: None }
    });
    spec.isolation = Isolation { sandbox, network };
}

/// The absolute paths in the arguments and the environment: a whole value, or what stands behind the
/// equals sign of an option.
fn named(spec: &Spec) -> impl Iterator<Item = PathBuf> {
    let values = spec.env.iter().filter(|(name, _)| !SEARCHED.iter().any(|known| name == known));
    let words = spec.args.iter().chain(values.map(|(_, value)| value));
    words.filter_map(|word| {
        let word = word.to_str()?;
        let path = match word.split_once('=') {
            Some((_, value)) if !word.starts_with('/') => value,
            _ => word.strip_prefix("file://").unwrap_or(word),
        };
        (path.starts_with('/') && path.len() > 1).then(|| PathBuf::from(path))
    })
}

fn searched(env: &[(OsString, OsString)]) -> Vec<PathBuf> {
    let lists = env.iter().filter(|(name, _)| SEARCHED.iter().any(|known| name == known));
    let folders = lists.flat_map(|(_, value)| std::env::split_paths(value));
    folders.filter(|folder| folder.is_absolute() && folder.parent().is_some()).collect()
}

fn is_system(path: &Path) -> bool {
    path.parent().is_none() || SYSTEM.iter().any(|system| path.starts_with(system))
}

/// The path, or the directory in which the program will make it. A directory directly below the root
/// belongs to others too.
fn existing(path: PathBuf) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    let folder = path.parent()?;
    (folder.is_dir() && folder.components().count() > 2 && !is_system(folder))
        .then(|| folder.to_owned())
}

/// The directory of the program that `file` belongs to: the nearest one that looks like a project, else
/// the one it is in.
fn project(file: &Path) -> Option<PathBuf> {
    let deep = |folder: &&Path| folder.components().count() > 2;
    let is_home =
        |folder: &Path| folder.parent() == Some(Path::new("/home")) || folder == Path::new("/root");
    let marked = |folder: &&Path| PROJECTS.iter().any(|name| folder.join(name).exists());
    let folders = || file.ancestors().skip(1).take_while(deep).filter(|folder| !is_home(folder));
    let found = folders().find(marked).or_else(|| folders().next())?;
    let is_program = file.extension().and_then(OsStr::to_str);
    is_program
        .is_some_and(|kind| ["py", "js", "mjs", "cjs", "ts", "jar", "rb"].contains(&kind))
        .then(|| found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(args: &[&str], env: &[(&str, &str)]) -> Spec {
        Spec {
            program: "notes".into(),
            args: args.iter().map(OsString::from).collect(),
            env: env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            cwd: None,
            containment: None,
            isolation: Isolation::default(),
            new_privs: false,
            limits: supervisor::Limits::default(),
        }
    }

    #[test]
    fn absolute_paths_in_arguments_and_environment_are_found_and_search_paths_are_not() {
        let spec = spec(
            &["--repository", "/srv/repo", "--db=/srv/db/notes.db", "relative/x", "/", "-v"],
            &[
                ("DATA", "/srv/data"),
                ("PATH", "/opt/bin"),
                ("URL", "https://x/y"),
                ("F", "file:///srv/f"),
            ],
        );
        let found: Vec<PathBuf> = named(&spec).collect();
        let expected = ["/srv/repo", "/srv/db/notes.db", "/srv/data", "/srv/f"].map(PathBuf::from);
        assert_eq!(found, expected);
        assert_eq!(searched(&spec.env), [PathBuf::from("/opt/bin")]);
    }

    #[test]
    fn a_directory_of_the_system_stays_read_only_whoever_names_it() {
        for path in ["/", "/etc", "/usr/share/x", "/proc/self"] {
            assert!(is_system(Path::new(path)), "{path}");
        }
        assert!(!is_system(Path::new("/srv/repo")));
    }

    #[test]
    fn a_file_that_is_not_there_yet_can_be_made_in_its_directory() {
        let folder = tempfile::tempdir().expect("a directory");
        let there = folder.path().join("there");
        std::fs::write(&there, "").expect("written");
        assert_eq!(existing(there.clone()), Some(there));
        assert_eq!(existing(folder.path().join("new")), Some(folder.path().to_owned()));
        assert_eq!(existing("/no/such/folder/x".into()), None);
    }
}
