//! Control groups: of this program a folder of its own, and in it one for each child.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::fd::{AsRawFd as _, OwnedFd, RawFd},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{exit::Exit, orphans::KillFolder};

/// The hierarchies that a child joins at most: one of version 2, or three of version 1 beside it.
pub(crate) const ENTRANCES: usize = 4;

/// How often a folder is tried to be removed while the kernel still ends what was in it, and how long
/// it is waited in between.
const TRIES: (u32, Duration) = (100, Duration::from_millis(20));

/// Where all children of this program are.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    folder: OwnedFd,
    next: AtomicU64,
}

impl Cgroup {
    /// Makes a folder in the cgroup of version 2 that this process is in. Its name begins with `name`;
    /// what is in others of such a name is of an earlier run, and is ended first.
    pub(crate) fn create(name: &str) -> io::Result<Self> {
        // The one that ends with an earlier run may still be removing its own.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let parent = own_folder()?;
        let prefix = format!("{name}.");
        for entry in fs::read_dir(&parent)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let _ = end_and_remove(&entry.path());
            }
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{prefix}{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        let opened = OpenOptions::new()
            .write(true)
            .open(path.join("cgroup.kill"))
            .and_then(|_kernel_has_it| File::open(&path));
        match opened {
            Ok(folder) => Ok(Self { path, folder: folder.into(), next: AtomicU64::new(0) }),
            Err(error) => {
                let _ = fs::remove_dir(&path);
                Err(error)
            }
        }
    }

    /// For the process that ends every child when this one was killed.
    pub(crate) fn kill_folder(&self) -> KillFolder {
        KillFolder::new(&self.folder, &self.path)
    }

    /// A folder for one more child.
    pub(crate) fn child(self: &Arc<Self>) -> io::Result<ChildCgroup> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.path.join(number.to_string());
        fs::create_dir(&path)?;
        let entrance = OpenOptions::new().write(true).open(path.join("cgroup.procs"));
        match entrance {
            Ok(entrance) => {
                let folders = vec![(path, entrance)];
                Ok(ChildCgroup { folders, _all: Arc::clone(self) })
            }
            Err(error) => {
                let _ = fs::remove_dir(&path);
                Err(error)
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = end_and_remove(&self.path);
    }
}

/// One child's folders.
#[derive(Debug)]
pub(crate) struct ChildCgroup {
    folders: Vec<(PathBuf, File)>,
    /// Its end would be the child's.
    _all: Arc<Cgroup>,
}

impl ChildCgroup {
    pub(crate) fn entrances(&self) -> [Option<RawFd>; ENTRANCES] {
        let mut entrances = [None; ENTRANCES];
        for (place, (_, file)) in entrances.iter_mut().zip(&self.folders) {
            *place = Some(file.as_raw_fd());
        }
        entrances
    }

    /// Ends every process in there.
    pub(crate) fn kill(&self) {
        for (folder, _) in &self.folders {
            // Version 1 has no such file.
            let _ = fs::write(folder.join("cgroup.kill"), "1");
        }
    }

    /// After the child was reaped: how it ended, as far as the kernel's counts say more.
    pub(crate) fn finish(self, exit: Exit) -> Exit {
        drop(self);
        exit
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

fn remove_patiently(folder: &Path) {
    let (tries, pause) = TRIES;
    for _ in 0..tries {
        if fs::remove_dir(folder).is_ok() || !folder.exists() {
            return;
        }
        thread::sleep(pause);
    }
    tracing::warn!(?folder, "cannot remove a cgroup");
}

/// Ends what is in a folder and in those below it, and removes them.
fn end_and_remove(folder: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(folder.join("cgroup.kill"))?.write_all(b"1")?;
    let below = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    for path in below.filter(|path| path.is_dir()) {
        remove_patiently(&path);
    }
    remove_patiently(folder);
    Ok(())
}

/// The folder of the cgroup of version 2 that this process is in.
fn own_folder() -> io::Result<PathBuf> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no cgroup of version 2");
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::")).ok_or_else(missing)?.to_owned();
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mount = mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (after.starts_with("cgroup2 ")).then(|| (root.to_owned(), PathBuf::from(point)))
    });
    let (root, point) = mount.ok_or_else(missing)?;
    let below = own.strip_prefix(root.trim_end_matches('/')).unwrap_or(&own);
    Ok(point.join(below.trim_start_matches('/')))
}
