//! Control groups: of this program a folder of its own in each hierarchy, and in it one for each child.
//!
//! Version 2 ends all descendants of a child together; either version limits what they use. The folders
//! for limits are made when the first child asks for one, since in version 2 this process then has to
//! leave its own folder: the kernel limits no folder that has processes and folders in it.

mod child;
mod controller;
mod hierarchy;
mod removal;

use std::{
    fs::{self, File},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use removal::{end_and_remove, sweep};

pub(crate) use child::ChildCgroup;
pub(crate) use controller::{Controller, Version};

use crate::{cgroup::hierarchy::Hierarchy, limits::Limits, orphans::KillFolder};

/// How the name of the folder begins that this process moves to.
const SELF: &str = "supervisor-self.";

/// Where all children of this program are.
#[derive(Debug)]
pub(crate) struct Cgroup {
    name: String,
    /// Of another name, so that an earlier run's is told from this one's.
    own_name: String,
    hierarchies: Vec<Hierarchy>,
    /// The folder of version 2, if the kernel ends what is in it together.
    unified: Option<(PathBuf, OwnedFd)>,
    /// The folders in which children are limited, and by what.
    limiting: OnceLock<Vec<Limiting>>,
    next: AtomicU64,
}

/// A folder of this program in which children are limited.
#[derive(Debug)]
struct Limiting {
    version: Version,
    controllers: Vec<Controller>,
    folder: PathBuf,
}

impl Cgroup {
    /// Makes a folder in the cgroup of version 2 that this process is in. Its name begins with `name`;
    /// what is in others of such a name, of either version, is of an earlier run, and is ended first.
    pub(crate) fn create(name: &str) -> Self {
        Self::create_in(name, hierarchy::all().unwrap_or_default())
    }

    fn create_in(name: &str, mut hierarchies: Vec<Hierarchy>) -> Self {
        // The one that ends with an earlier run may still be removing its own.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        for hierarchy in &mut hierarchies {
            let own = hierarchy.folder.file_name().unwrap_or_default();
            if own.to_string_lossy().starts_with(SELF) {
                hierarchy.folder.pop();
            }
            sweep(&hierarchy.folder, &format!("{name}."));
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let own_name = format!("{name}.{}-{number}", std::process::id());
        let unified = hierarchies.iter().find(|hierarchy| hierarchy.version == Version::V2);
        let unified = unified.and_then(|hierarchy| unified_in(&hierarchy.folder.join(&own_name)));
        Self {
            name: name.to_owned(),
            own_name,
            hierarchies,
            unified,
            limiting: OnceLock::new(),
            next: AtomicU64::new(0),
        }
    }

    /// Whether every process of a child can be ended at once.
    pub(crate) fn can_kill(&self) -> bool {
        self.unified.is_some()
    }

    /// For the process that ends every child when this one was killed.
    pub(crate) fn kill_folder(&self) -> Option<KillFolder> {
        self.unified.as_ref().map(|(path, folder)| KillFolder::new(folder, path))
    }

    /// By which version a controller limits children here.
    pub(crate) fn version(&self, controller: Controller) -> Option<Version> {
        let mut limiting = self.limiting().iter();
        limiting.find(|place| place.controllers.contains(&controller)).map(|place| place.version)
    }

    /// Folders for one more child; `None` when it takes none. With `held` all its processes are to end
    /// with it. Limits that cannot be had are left out.
    pub(crate) fn child(
        self: &Arc<Self>,
        held: bool,
        limits: &Limits,
    ) -> io::Result<Option<ChildCgroup>> {
        let has_limit = Controller::ALL.iter().any(|controller| controller.value(limits).is_some());
        let limiting = if has_limit { self.limiting() } else { &[] };
        let name = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let mut child = ChildCgroup::new(Arc::<Self>::clone(self));
        let mut is_held = !held;
        let mut is_in_any = false;
        for Limiting { version, controllers, folder } in limiting {
            let set = |controller: &Controller| Some((*controller, controller.value(limits)?));
            let wanted: Vec<_> = controllers.iter().filter_map(set).collect();
            if wanted.is_empty() {
                continue;
            }
            child.add(*version, folder.join(&name), |folder| {
                wanted
                    .iter()
                    .try_for_each(|(controller, value)| controller.limit(*version, folder, *value))
            })?;
            is_held |= *version == Version::V2;
            is_in_any = true;
        }
        if let (false, Some((folder, _))) = (is_held, &self.unified) {
            child.add(Version::V2, folder.join(&name), |_| Ok(()))?;
            is_in_any = true;
        }
        Ok(is_in_any.then_some(child))
    }

    fn limiting(&self) -> &[Limiting] {
        self.limiting.get_or_init(|| {
            let mut found: Vec<Limiting> = Vec::new();
            // Version 2 first: what is there is nowhere else.
            let by_version = |wanted| move |hierarchy: &&Hierarchy| hierarchy.version == wanted;
            for hierarchy in self.hierarchies.iter().filter(by_version(Version::V2)) {
                found.extend(self.limiting_second(&hierarchy.folder));
            }
            for hierarchy in self.hierarchies.iter().filter(by_version(Version::V1)) {
                let folder = hierarchy.folder.join(&self.own_name);
                if fs::create_dir(&folder).is_ok() {
                    let controllers = hierarchy.controllers.clone();
                    found.push(Limiting { version: Version::V1, controllers, folder });
                }
            }
            found
        })
    }

    /// Has the controllers of version 2 limit what is in the folder of this program.
    fn limiting_second(&self, parent: &Path) -> Option<Limiting> {
        let (folder, _) = self.unified.as_ref()?;
        let listed = |folder: &Path, file: &str| -> Vec<Controller> {
            let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
            text.split_whitespace().filter_map(Controller::named).collect()
        };
        let offered = listed(parent, "cgroup.controllers");
        let enable = |folder: &Path| {
            let file = folder.join("cgroup.subtree_control");
            let enabled = listed(folder, "cgroup.subtree_control");
            let missing = offered.iter().filter(|wanted| !enabled.contains(wanted));
            let words: Vec<_> = missing.map(|wanted| format!("+{}", wanted.name())).collect();
            if words.is_empty() { Ok(()) } else { fs::write(&file, words.join(" ")) }
        };
        if offered.is_empty() {
            return None;
        }
        if enable(parent).is_err() {
            self.leave(parent).ok()?;
            enable(parent).ok()?;
        }
        enable(folder).ok()?;
        Some(Limiting { version: Version::V2, controllers: offered, folder: folder.clone() })
    }

    /// Moves this process one folder down.
    fn leave(&self, parent: &Path) -> io::Result<()> {
        let own = parent.join(format!("{SELF}{}", self.name));
        match fs::create_dir(&own) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        fs::write(own.join("cgroup.procs"), std::process::id().to_string())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for limiting in self.limiting.take().unwrap_or_default() {
            end_and_remove(&limiting.folder);
        }
        if let Some((folder, _)) = &self.unified {
            end_and_remove(folder);
        }
    }
}

/// Makes a folder of version 2 whose processes the kernel ends together.
fn unified_in(path: &Path) -> Option<(PathBuf, OwnedFd)> {
    fs::create_dir(path).ok()?;
    // Where the kernel has no such file, none can be made.
    let opened = File::create(path.join("cgroup.kill")).and_then(|_kernel_has_it| File::open(path));
    match opened {
        Ok(folder) => Some((path.to_owned(), folder.into())),
        Err(_) => {
            let _ = fs::remove_dir(path);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hierarchy(version: Version, controllers: &[Controller], folder: &Path) -> Hierarchy {
        Hierarchy { version, controllers: controllers.to_vec(), folder: folder.to_owned() }
    }

    fn limits() -> Limits {
        Limits { memory: Some(1 << 20), processes: Some(8), ..Limits::default() }
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Plain files, whose folders cannot be removed as those of the kernel can.
    fn forget(child: Option<ChildCgroup>, all: Arc<Cgroup>) {
        std::mem::forget((child, all));
    }

    #[test]
    fn version_2_limits_a_child_once_controllers_are_delegated_shown_on_a_fake_tree() {
        let tree = tempfile::tempdir().unwrap();
        fs::write(tree.path().join("cgroup.controllers"), "cpu io memory pids\n").unwrap();
        let cgroup =
            Arc::new(Cgroup::create_in("x", vec![hierarchy(Version::V2, &[], tree.path())]));
        assert!(cgroup.can_kill());
        assert_eq!(cgroup.version(Controller::Memory), Some(Version::V2));
        assert_eq!(read(&tree.path().join("cgroup.subtree_control")), "+cpu +memory +pids");
        let child = cgroup.child(false, &limits()).unwrap();
        let folder = tree.path().join(&cgroup.own_name).join("0");
        assert_eq!(read(&folder.join("memory.max")), "1048576");
        assert_eq!(read(&folder.join("pids.max")), "8");
        assert!(!folder.join("cpu.max").exists(), "no limit was asked for");
        let cgroups = child.as_ref().unwrap().cgroups();
        assert!(cgroups.unified.is_some(), "it starts in there");
        forget(child, cgroup);
    }

    #[test]
    fn what_has_no_controller_is_left_unlimited_shown_on_a_fake_tree() {
        let (second, first) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cgroup = Arc::new(Cgroup::create_in(
            "x",
            vec![
                hierarchy(Version::V1, &[Controller::Pids], first.path()),
                hierarchy(Version::V2, &[], second.path()),
            ],
        ));
        assert_eq!(cgroup.version(Controller::Memory), None);
        assert_eq!(cgroup.version(Controller::Pids), Some(Version::V1));
        let child = cgroup.child(true, &limits()).unwrap();
        let own = |tree: &Path| tree.join(&cgroup.own_name).join("0");
        assert_eq!(read(&own(first.path()).join("pids.max")), "8");
        assert!(own(second.path()).exists(), "it is held there");
        let cgroups = child.as_ref().unwrap().cgroups();
        assert_eq!(
            (cgroups.unified.iter().count(), cgroups.tasks.iter().flatten().count()),
            (1, 1)
        );
        forget(child, cgroup);
    }

    #[test]
    fn a_child_without_limits_and_without_a_hold_takes_no_folder() {
        let tree = tempfile::tempdir().unwrap();
        let cgroup = Arc::new(Cgroup::create_in(
            "x",
            vec![hierarchy(Version::V1, &Controller::ALL, tree.path())],
        ));
        assert!(cgroup.child(false, &Limits::default()).unwrap().is_none());
        assert_eq!(fs::read_dir(tree.path()).unwrap().count(), 0);
    }
}
