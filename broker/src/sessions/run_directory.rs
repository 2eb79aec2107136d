//! Where the children of one run of the broker have their directories.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::directory;
use crate::{
    server::Settings,
    store::{FileLock, LockError, NotLocked},
};

/// The file that is locked as long as the run lasts.
const LOCK: &str = "lock";

/// The directory of this run: `children/PID` in the data directory. It is removed with this, with
/// whatever is in it by then.
///
/// The lock of the data directory could be enough. But its file looks like one that a broker left
/// behind, and an operator who removes it must not cost running children their directories.
#[derive(Debug)]
pub(crate) struct RunDirectory {
    path: PathBuf,
    _lock: FileLock,
}

impl RunDirectory {
    /// Makes it, and removes those of runs that have ended. Call it before any child starts.
    ///
    /// # Errors
    /// [`LockError::Held`] when another run lasts.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, LockError> {
        let path = Settings::directories_in(data_dir);
        let runs = path.parent().map(fs::read_dir).into_iter().flatten();
        for entry in runs.flatten().flatten() {
            match FileLock::of_existing(&entry.path().join(LOCK)) {
                Err(NotLocked::Held(holder)) => {
                    return Err(LockError::Held { path: data_dir.to_owned(), holder });
                }
                // It is there and free, or there is none: an earlier version made none.
                Ok(_) | Err(NotLocked::Io(_)) => directory::remove(&entry.path()),
            }
        }
        let failed = |source| LockError::Io { path: path.clone(), source };
        directory::make_private_now(&path).map_err(failed)?;
        match FileLock::take(&path.join(LOCK)) {
            Ok(lock) => Ok(Self { path, _lock: lock }),
            Err(NotLocked::Held(holder)) => {
                Err(LockError::Held { path: data_dir.to_owned(), holder })
            }
            Err(NotLocked::Io(source)) => Err(failed(source)),
        }
    }
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        directory::remove(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_runs_that_have_ended_are_removed_and_those_of_others_are_not() {
        let data = tempfile::tempdir().expect("a directory");
        let at = |name: &str| data.path().join("children").join(name);
        for name in ["0123456789abcdef01234567", "17", "18/home"] {
            fs::create_dir_all(at(name)).expect("a directory");
        }
        fs::write(at("17/lock"), "").expect("a file");
        let outside = data.path().join("outside");
        fs::create_dir(&outside).expect("a directory");
        fs::write(outside.join("lock"), "").expect("a file");
        std::os::unix::fs::symlink(&outside, at("link")).expect("a link");
        let run = RunDirectory::open(data.path()).expect("they have all ended");
        let names = || fs::read_dir(data.path().join("children")).expect("it is there").count();
        assert_eq!(names(), 1);
        assert!(outside.join("lock").exists(), "a link is not followed");
        let second = RunDirectory::open(data.path());
        assert!(matches!(&second, Err(LockError::Held { .. })), "{second:?}");
        assert_eq!(names(), 1);
        drop(run);
        assert_eq!(names(), 0);
    }
}
