//! The paths that a child in a sandbox needs, and those that it must not see.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use supervisor::Spec;

/// Directories of the system: what is named in there is read, and stays read-only.
const SYSTEM: [&str; 10] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/boot", "/dev", "/proc", "/sys"];

/// Directories that many programs keep their files in.
const SHARED: [&str; 19] = [
    "/home",
    "/root",
    "/srv",
    "/opt",
    "/var",
    "/var/lib",
    "/var/log",
    "/var/cache",
    "/var/db",
    "/var/spool",
    "/var/tmp",
    "/tmp",
    "/run",
    "/var/run",
    "/mnt",
    "/media",
    "/nix",
    "/nix/store",
    "/snap",
];

/// Variables that list where programs and libraries are: nothing to write to.
pub(super) const SEARCHED: [&str; 5] =
    ["PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "NODE_PATH", "MANPATH"];

/// So much of a directory with a secret in it is shown. Each entry is a mount.
const MOST_BESIDE: usize = 200;

pub(super) fn searched(env: &[(OsString, OsString)]) -> Vec<PathBuf> {
    let lists = env.iter().filter(|(name, _)| SEARCHED.iter().any(|known| name == known));
    let folders = lists.flat_map(|(_, value)| std::env::split_paths(value));
    folders.filter(|folder| folder.is_absolute() && folder.parent().is_some()).collect()
}

pub(super) fn is_system(path: &Path) -> bool {
    path.parent().is_none() || SYSTEM.iter().any(|system| path.starts_with(system))
}

/// Whether the directory is everybody's, so that no file in it says that all of it is meant.
pub(super) fn is_shared(folder: &Path) -> bool {
    is_system(folder) || is_home(folder) || SHARED.iter().any(|shared| folder == Path::new(shared))
}

pub(super) fn is_home(folder: &Path) -> bool {
    folder.parent() == Some(Path::new("/home")) || folder == Path::new("/root")
}

/// The program of `spec`, where it is found as it stands or in the search path.
pub(super) fn program(spec: &Spec) -> Option<PathBuf> {
    let program = Path::new(&spec.program);
    if program.components().count() > 1 {
        return std::path::absolute(program).ok();
    }
    searched(&spec.env).into_iter().map(|folder| folder.join(program)).find(|path| path.is_file())
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
    use super::*;

    #[test]
    fn a_directory_of_the_system_stays_read_only_whoever_names_it() {
        for path in ["/", "/etc", "/usr/share/x", "/proc/self"] {
            assert!(is_system(Path::new(path)), "{path}");
        }
        assert!(!is_system(Path::new("/srv/repo")));
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
