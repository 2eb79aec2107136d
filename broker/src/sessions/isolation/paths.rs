//! The paths that a child in a sandbox needs, and those that it must not see.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use supervisor::Spec;

/// Directories of the system: what is named in there is read, and stays read-only.
const SYSTEM: [&str; 10] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/boot", "/dev", "/proc", "/sys"];

/// Variables that list where programs and libraries are: nothing to write to.
const SEARCHED: [&str; 5] = ["PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "NODE_PATH", "MANPATH"];

/// Files that mark the directory that a program of several files is in.
const PROJECTS: [&str; 5] =
    ["package.json", "node_modules", "pyproject.toml", "pyvenv.cfg", "go.mod"];

/// So much of a directory with a secret in it is shown. Each entry is a mount.
const MOST_BESIDE: usize = 200;

/// The absolute paths in the arguments and the environment: a whole value, or what stands behind the
/// equals sign of an option.
pub(super) fn named(spec: &Spec) -> impl Iterator<Item = PathBuf> {
    let values = spec.env.iter().filter(|(name, _)| !SEARCHED.iter().any(|known| name == known));
    // TMPDIR names the place that the child has of its own.
    let values = values.map(|(_, value)| value).filter(|value| !is_scratch(value));
    let words = spec.args.iter().chain(values);
    words.filter_map(|word| {
        let word = word.to_str()?;
        let path = match word.split_once('=') {
            Some((_, value)) if !word.starts_with('/') => value,
            _ => word.strip_prefix("file://").unwrap_or(word),
        };
        (path.starts_with('/') && path.len() > 1).then(|| PathBuf::from(path))
    })
}

fn is_scratch(value: &OsStr) -> bool {
    ["/tmp", "/var/tmp", "/run", "/var/run", "/dev/shm"]
        .iter()
        .any(|path| Path::new(value) == Path::new(path))
}

pub(super) fn searched(env: &[(OsString, OsString)]) -> Vec<PathBuf> {
    let lists = env.iter().filter(|(name, _)| SEARCHED.iter().any(|known| name == known));
    let folders = lists.flat_map(|(_, value)| std::env::split_paths(value));
    folders.filter(|folder| folder.is_absolute() && folder.parent().is_some()).collect()
}

pub(super) fn is_system(path: &Path) -> bool {
    path.parent().is_none() || SYSTEM.iter().any(|system| path.starts_with(system))
}

/// The path, or the directory in which the program will make it. A directory directly below the root
/// belongs to others too.
pub(super) fn existing(path: PathBuf) -> Option<PathBuf> {
    if path.exists() {
        return Some(path);
    }
    let folder = path.parent()?;
    (folder.is_dir() && folder.components().count() > 2 && !is_system(folder))
        .then(|| folder.to_owned())
}

/// The directory of the program that `file` belongs to: the nearest one that looks like a project, else
/// the one it is in.
pub(super) fn project(file: &Path) -> Option<PathBuf> {
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

/// What of `private` is hidden, and what is shown of the directories that go with it. A file that is
/// hidden by itself would be there again once it is replaced, so its directory is, and what else is in
/// there is shown; not if it is one that the child may write to, or that the system needs.
pub(super) fn cover(private: &[PathBuf], write: &[PathBuf]) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let resolved = |paths: &[PathBuf]| -> Vec<PathBuf> {
        paths.iter().filter_map(|path| path.canonicalize().ok()).collect()
    };
    let (private, write) = (resolved(private), resolved(write));
    let (mut hidden, mut shown) = (private.clone(), Vec::new());
    for folder in private.iter().filter(|path| !path.is_dir()).filter_map(|path| path.parent()) {
        let is_top = folder.components().count() <= 2 || is_system_top(folder);
        if is_top
            || write.iter().any(|path| path == folder)
            || hidden.iter().any(|path| path == folder)
        {
            continue;
        }
        hidden.push(folder.to_owned());
        let beside = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let beside = beside.map(|entry| entry.path()).filter(|path| !private.contains(path));
        shown.extend(beside.take(MOST_BESIDE));
    }
    (hidden, shown)
}

/// Directories that programs rely on as a whole.
fn is_system_top(folder: &Path) -> bool {
    SYSTEM.iter().any(|system| folder == Path::new(system))
}

#[cfg(test)]
mod tests {
    use supervisor::Isolation;

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
                ("TMPDIR", "/tmp"),
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

    #[test]
    fn a_secret_goes_with_its_directory_and_what_is_beside_it_stays() {
        let place = tempfile::tempdir().expect("a directory");
        let place = place.path().canonicalize().expect("it is there");
        let (folder, secret, other) =
            (place.join("etc"), place.join("etc/secret"), place.join("etc/other"));
        std::fs::create_dir(&folder).expect("made");
        for file in [&secret, &other] {
            std::fs::write(file, "").expect("written");
        }
        let private = [secret.clone(), place.join("missing")];
        let (hidden, shown) = cover(&private, &[]);
        assert_eq!((hidden, shown), (vec![secret.clone(), folder.clone()], vec![other]));
        let (hidden, shown) = cover(&private, &[folder]);
        assert_eq!((hidden, shown), (vec![secret], vec![]), "the child works in there");
    }
}
