//! From a program's name to a file. Done here rather than by `execvp`, so that *missing* and *not
//! executable* can be told apart, and so that the search never falls back to this process's `PATH`.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::unix::ffi::OsStrExt,
    path::{self, Path, PathBuf},
};

use rustix::{
    fs::{Access, access},
    io::Errno,
};

use crate::{error::SpawnError, spec::Spec};

/// Where names are looked up when the child's environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The absolute path of the program that `spec` names.
pub(crate) fn find(spec: &Spec) -> Result<PathBuf, SpawnError> {
    let search = spec.env.iter().rev().find(|(name, _)| name == "PATH");
    find_program(&spec.program, search.map(|(_, value)| &**value))
}

/// The absolute path of the program that [`start`](crate::start) would run for this
/// [`Spec::program`] with this `PATH` in [`Spec::env`], for this process's user.
///
/// # Errors
/// [`SpawnError::Missing`] and [`SpawnError::NotExecutable`], as the start would say. Whether the
/// interpreter of a script is there, only a start tells.
pub fn find_program(program: &OsStr, search: Option<&OsStr>) -> Result<PathBuf, SpawnError> {
    if program.as_bytes().contains(&b'/') {
        let path = path::absolute(program).map_err(SpawnError::Other)?;
        return match judge(&path) {
            Ok(()) => Ok(path),
            Err(refusal) => Err(refusal.naming(program)),
        };
    }
    let search = search.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut worst = Refusal::Missing;
    for folder in env::split_paths(search).filter(|folder| folder.is_absolute()) {
        let path = folder.join(program);
        match judge(&path) {
            Ok(()) => return Ok(path),
            Err(Refusal::Missing) => {}
            Err(refusal) => worst = refusal,
        }
    }
    Err(worst.naming(program))
}

/// Whether a child of this process's user could work in the directory `cwd`.
///
/// # Errors
/// [`SpawnError::Cwd`], as [`start`](crate::start) would say.
pub fn enter(cwd: &Path) -> Result<(), SpawnError> {
    let judged = match cwd.metadata() {
        Ok(found) if !found.is_dir() => Err(Errno::NOTDIR.into()),
        Ok(_) => access(cwd, Access::EXEC_OK).map_err(io::Error::from),
        Err(error) => Err(error),
    };
    judged.map_err(|source| SpawnError::Cwd { path: cwd.to_owned(), source })
}

enum Refusal {
    Missing,
    NotExecutable(io::Error),
}

impl Refusal {
    fn naming(self, program: &OsStr) -> SpawnError {
        let program = OsString::from(program);
        match self {
            Self::Missing => SpawnError::Missing { program },
            Self::NotExecutable(source) => SpawnError::NotExecutable { program, source },
        }
    }
}

fn judge(path: &Path) -> Result<(), Refusal> {
    match path.metadata() {
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Err(Refusal::Missing),
            _ => Err(Refusal::NotExecutable(error)),
        },
        Ok(found) if !found.is_file() => Err(Refusal::NotExecutable(Errno::ACCESS.into())),
        Ok(_) => {
            access(path, Access::EXEC_OK).map_err(|errno| Refusal::NotExecutable(errno.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::limits::Limits;

    fn named(program: impl Into<OsString>, path: Option<OsString>) -> Spec {
        Spec {
            program: program.into(),
            args: Vec::new(),
            env: path.into_iter().map(|value| ("PATH".into(), value)).collect(),
            cwd: None,
            containment: None,
            isolation: crate::Isolation::default(),
            new_privs: false,
            limits: Limits::default(),
        }
    }

    fn put(folder: &Path, name: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, "#!/bin/true\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_bare_name_is_looked_up_in_the_path_of_the_child() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(first.path(), "tool", 0o644);
        let good = put(second.path(), "tool", 0o755);
        let both = env::join_paths([Path::new("."), first.path(), second.path()]).unwrap();
        assert_eq!(find(&named("tool", Some(both))).unwrap(), good, "the unfit one is passed over");

        let only = find(&named("tool", Some(first.path().into())));
        assert!(matches!(only, Err(SpawnError::NotExecutable { .. })), "{only:?}");
        let none = find(&named("no-such-tool", Some(second.path().into())));
        assert!(matches!(none, Err(SpawnError::Missing { .. })), "{none:?}");
        let relative = find(&named("Cargo.toml", Some(".".into())));
        assert!(matches!(relative, Err(SpawnError::Missing { .. })), "{relative:?}");
    }

    #[test]
    fn without_a_path_the_usual_folders_are_searched() {
        assert!(find(&named("sh", None)).unwrap().is_absolute());
    }

    #[test]
    fn a_directory_is_not_a_program() {
        let found = find(&named("/", None));
        assert!(matches!(found, Err(SpawnError::NotExecutable { .. })), "{found:?}");
    }

    #[test]
    fn a_working_directory_that_cannot_be_entered_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        enter(folder.path()).unwrap();
        let file = put(folder.path(), "file", 0o755);
        assert!(matches!(enter(&file), Err(SpawnError::Cwd { .. })));
        assert!(matches!(enter(&folder.path().join("gone")), Err(SpawnError::Cwd { .. })));
    }
}
