//! One child's folders.

use std::{
    fmt,
    fs::{self, File},
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use super::{
    controller::{Version, out_of_memory_kills},
    removal::{kill, remove_patiently},
};
use crate::{exec::Cgroups, exit::Exit};

/// The folders that one child and its descendants are in: one of version 2, or some of version 1, or both.
#[derive(Debug)]
pub(crate) struct ChildCgroup {
    folders: Vec<(PathBuf, Entrance)>,
    /// Its end would be the child's.
    _all: Arc<dyn fmt::Debug + Send + Sync>,
}

impl ChildCgroup {
    /// `all` has the folders that those of the child are in.
    pub(super) fn new(all: Arc<dyn fmt::Debug + Send + Sync>) -> Self {
        Self { folders: Vec::new(), _all: all }
    }

    /// Makes one of the folders; dropping the whole removes it.
    pub(super) fn add(
        &mut self,
        version: Version,
        folder: PathBuf,
        set: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<()> {
        fs::create_dir(&folder)?;
        let opened = set(&folder).and_then(|()| Entrance::open(version, &folder));
        match opened {
            Ok(entrance) => {
                self.folders.push((folder, entrance));
                Ok(())
            }
            Err(error) => {
                let _ = fs::remove_dir(&folder);
                Err(error)
            }
        }
    }

    /// For the start of the child.
    pub(crate) fn cgroups(&self) -> Cgroups<'_> {
        let mut cgroups = Cgroups::default();
        let mut tasks = cgroups.tasks.iter_mut();
        for (_, entrance) in &self.folders {
            match entrance {
                Entrance::Folder(folder) => cgroups.unified = Some(folder.as_fd()),
                Entrance::Tasks(file) => {
                    if let Some(place) = tasks.next() {
                        *place = Some(file.as_fd());
                    }
                }
            }
        }
        cgroups
    }

    /// Ends every process in there, where there is version 2.
    pub(crate) fn kill(&self) {
        for (folder, _) in &self.folders {
            let _ = kill(folder);
        }
    }

    /// After the child was reaped: how it ended, as far as the kernel's counts say more.
    pub(crate) fn finish(self, exit: Exit) -> Exit {
        // A child that went on without the process that was ended has not ended because of it.
        let was_killed = self.folders.iter().any(|(folder, _)| out_of_memory_kills(folder) > 0);
        if was_killed && !exit.is_success() { Exit::OutOfMemory } else { exit }
    }
}

/// How a process comes into a folder.
///
/// For a whole process that joins, the kernel waits until no process of the machine is between fork and
/// exec, some 10 milliseconds. It does not wait for one that starts in there, which version 2 knows,
/// nor for a single thread that joins, which version 1 allows.
#[derive(Debug)]
enum Entrance {
    /// Of version 2.
    Folder(File),
    /// Of version 1.
    Tasks(File),
}

impl Entrance {
    fn open(version: Version, folder: &Path) -> io::Result<Self> {
        match version {
            Version::V1 => File::create(folder.join("tasks")).map(Self::Tasks),
            Version::V2 => File::open(folder).map(Self::Folder),
        }
    }
}

impl Drop for ChildCgroup {
    fn drop(&mut self) {
        self.kill();
        let left: Vec<PathBuf> = self
            .folders
            .drain(..)
            .map(|(folder, _)| folder)
            .filter(|folder| fs::remove_dir(folder).is_err())
            .collect();
        if left.is_empty() {
            return;
        }
        let patient = move || {
            for folder in left {
                remove_patiently(&folder);
            }
        };
        // Without a thread the next start removes it.
        let _ = thread::Builder::new().name("cgroups".into()).spawn(patient);
    }
}
