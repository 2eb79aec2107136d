//! A child's private directory: its working directory and home, gone when it is gone.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use tokio::task::spawn_blocking;
use tracing::warn;

/// A directory that only its owner may enter, under a random name.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    removed: bool,
}

/// The directory could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make {path:?}")]
pub(crate) struct DirectoryError {
    path: PathBuf,
    source: io::Error,
}

impl Directory {
    /// Makes a directory below `parent`, which is made too if it is missing.
    pub(crate) async fn create(parent: &Path) -> Result<Self, DirectoryError> {
        let mut name = [0_u8; 12];
        if let Err(error) = getrandom::fill(&mut name) {
            return Err(DirectoryError {
                path: parent.to_owned(),
                source: io::Error::other(error),
            });
        }
        let path = parent.join(hex::encode(name));
        make_private(&path).await?;
        Ok(Self { path, removed: false })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it with all its contents.
    pub(crate) async fn remove(mut self) {
        self.removed = true;
        let path = std::mem::take(&mut self.path);
        let _ = spawn_blocking(move || remove(&path)).await;
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if !self.removed {
            remove(&self.path);
        }
    }
}

/// Makes a directory that only its owner may enter, and those above it, where they are missing.
pub(super) async fn make_private(path: &Path) -> Result<(), DirectoryError> {
    let made = path.to_owned();
    let made =
        spawn_blocking(move || DirBuilder::new().mode(0o700).recursive(true).create(&made)).await;
    made.unwrap_or_else(|panic| Err(io::Error::other(panic)))
        .map_err(|source| DirectoryError { path: path.to_owned(), source })
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        warn!(?path, %error, "cannot remove a child's directory");
    }
}

/// Removes what an earlier run left behind when it was killed. Call it before any child starts.
pub(crate) fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        remove(&entry.path());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_childs_directory_is_private_and_leaves_nothing_behind() {
        let parent = tempfile::tempdir().expect("a directory");
        let parent = parent.path().join("children");
        let directory = Directory::create(&parent).await.expect("it is made");
        let path = directory.path().to_owned();
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::write(path.join("note"), "x").expect("it can be written");
        directory.remove().await;
        assert!(!path.exists());
        let left = Directory::create(&parent).await.expect("it is made");
        let path = left.path().to_owned();
        std::mem::forget(left);
        sweep(&parent);
        assert!(!path.exists(), "an earlier run's directory is swept");
    }
}
