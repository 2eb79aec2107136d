//! One broker at a time on a data directory.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::{
    fs::{FlockOperation, fcntl_lock},
    io::Errno,
    process::{Flock, FlockType, fcntl_getlk},
};

use super::files::make_directory;

/// The name of the locked file in the data directory.
const FILE: &str = "broker.lock";

/// The files that this process has locked, by device and inode: the system's locks are those of a
/// process, and keep nothing apart within it.
static OWN: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

/// Held by the broker that serves from a data directory, and by no other program: `check` and the
/// administration work beside it.
///
#[derive(Debug)]
pub struct DataLock(#[expect(dead_code, reason = "it is held")] FileLock);

/// A lock of the process on a file (`F_SETLK`, fcntl(2)): no child and no helper inherits it, and it is
/// gone with the process however that ended. So a restart never meets the lock of a broker that was
/// killed.
#[derive(Debug)]
pub(crate) struct FileLock {
    id: (u64, u64),
    _file: File,
}

/// Why a file is not locked.
#[derive(Debug)]
pub(crate) enum NotLocked {
    /// Another process holds the lock, or this one does: in words for an operator.
    Held(String),
    /// The file cannot be opened or locked.
    Io(io::Error),
}

/// Why the data directory cannot be used for serving.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another broker serves from it.
    #[error("another broker serves from {}: {holder}; stop that one, or set another data_dir", .path.display())]
    Held {
        /// The data directory.
        path: PathBuf,
        /// Which process that is.
        holder: String,
    },
    /// It is not there and cannot be made.
    #[error("cannot make the directory {}; set a data_dir that the broker may write to", .path.display())]
    Directory {
        /// The data directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The lock's file cannot be made or locked.
    #[error("cannot lock {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl DataLock {
    /// Locks `data_dir`, which is made if it is missing. Does not wait.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(data_dir: &Path) -> Result<Self, LockError> {
        let path = data_dir.join(FILE);
        let failed = |source| LockError::Io { path: path.clone(), source };
        let unmade = |source| LockError::Directory { path: data_dir.to_owned(), source };
        make_directory(data_dir).map_err(unmade)?;
        match FileLock::take(&path) {
            Ok(lock) => Ok(Self(lock)),
            Err(NotLocked::Held(holder)) => {
                Err(LockError::Held { path: data_dir.to_owned(), holder })
            }
            Err(NotLocked::Io(source)) => Err(failed(source)),
        }
    }
}

impl FileLock {
    /// Locks the file at `path`, which is made if it is missing. Does not wait.
    ///
    /// # Errors
    /// [`NotLocked`].
    pub(crate) fn take(path: &Path) -> Result<Self, NotLocked> {
        Self::open(path, File::options().create(true).truncate(false).mode(0o600))
    }

    /// As [`take`](Self::take), for a file that has to be there.
    ///
    /// # Errors
    /// [`NotLocked`].
    pub(crate) fn of_existing(path: &Path) -> Result<Self, NotLocked> {
        Self::open(path, &File::options())
    }

    fn open(path: &Path, options: &OpenOptions) -> Result<Self, NotLocked> {
        // Held over the rest: closing any descriptor of the file gives the process's lock back, so no
        // second one may be opened beside it.
        let mut own = own();
        if let Ok(there) = fs::metadata(path)
            && own.contains(&(there.dev(), there.ino()))
        {
            return Err(NotLocked::Held("this process".to_owned()));
        }
        let mut options = options.clone();
        let file = options.read(true).write(true).open(path).map_err(NotLocked::Io)?;
        let there = file.metadata().map_err(NotLocked::Io)?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => return Err(NotLocked::Held(holder(&file))),
            Err(error) => return Err(NotLocked::Io(error.into())),
        }
        let id = (there.dev(), there.ino());
        own.insert(id);
        Ok(Self { id, _file: file })
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        own().remove(&self.id);
    }
}

fn own() -> MutexGuard<'static, BTreeSet<(u64, u64)>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process that holds the lock, as far as the system tells: not that of another container.
fn holder(file: &File) -> String {
    let other = fcntl_getlk(file, &Flock::from(FlockType::WriteLock)).ok().flatten();
    match other.and_then(|lock| lock.pid) {
        Some(pid) => format!("process {}", pid.as_raw_nonzero()),
        None => "a process that this one cannot see".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_is_locked_once_and_free_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let first = DataLock::take(&data).expect("it is free");
        for _ in 0..2 {
            let second = DataLock::take(&data);
            assert!(matches!(&second, Err(LockError::Held { .. })), "{second:?}");
        }
        DataLock::take(directory.path()).expect("another directory is another lock");
        drop(first);
        DataLock::take(&data).expect("it is free again");
    }
}
