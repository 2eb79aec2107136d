//! One child's folders.

use std::{
    fmt,
    fs::{self, File},
    io,
    os::fd::{AsRawFd as _, RawFd},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use super::{
    controller::{Version, out_of_memory_kills},
    removal::{kill, remove_patiently},
};
use crate::exit::Exit;

/// The hierarchies that a child joins at most: one of version 2, or three of version 1 beside it.
pub(crate) const ENTRANCES: usize = 4;

/// The folders that one child and its descendants are in.
#[derive(Debug)]
pub(crate) struct ChildCgroup {
    folders: Vec<(PathBuf, File)>,
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
        let opened = set(&folder).and_then(|()| File::create(folder.join(entrance(version))));
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

    pub(crate) fn entrances(&self) -> [Option<RawFd>; ENTRANCES] {
        let mut entrances = [None; ENTRANCES];
        for (place, (_, file)) in entrances.iter_mut().zip(&self.folders) {
            *place = Some(file.as_raw_fd());
        }
        entrances
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

/// Where a process with one thread, as a child between fork and exec, writes 0 to join.
///
/// For a whole process the kernel waits until no process of the machine is between fork and exec, some
/// 15 milliseconds. For one thread it does not, and version 1 lets single threads in.
const fn entrance(version: Version) -> &'static str {
    match version {
        Version::V1 => "tasks",
        Version::V2 => "cgroup.procs",
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
