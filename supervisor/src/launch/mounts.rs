//! The child's file system: the host's, to be read, and a few places that differ.
//!
//! The host's tree stays where it is, or a copy of it takes its place (`strange_root.rs`). Copies of the
//! mounts that the child may use are taken first, then everything becomes read-only, then empty file systems
//! cover what is not to be seen, and the copies are attached above those. What is covered cannot be uncovered
//! again: the child has neither the capability nor, by its filter, the system calls.

use std::{
    ffi::{CStr, CString},
    fs, io,
    os::fd::OwnedFd,
    os::unix::ffi::OsStrExt as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    io::Errno,
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change,
        move_mount, open_tree,
    },
    process::umask,
};

use super::{
    mount_attributes::{Attributes, NO_DEVICES, NO_SETUID, READ_ONLY, mount_setattr},
    plan::{Access, Place},
    report::{Failure, Step},
    strange_root::StrangeRoot,
};

/// Devices that programs rely on, and that give nothing away.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Where `/dev/stdin` and its like lead.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// A mount that was copied while it could be seen.
struct Copy {
    path: PathBuf,
    tree: OwnedFd,
    is_directory: bool,
    attributes: u64,
}

/// Gives the child its own `/proc`, and with a `view` its own file system: that of the host, or `strange`
/// in its place. No more than `scratch` bytes are in each place that is the child's alone.
pub(super) fn prepare(
    view: Option<&[Place]>,
    strange: Option<StrangeRoot>,
    scratch: u64,
) -> Result<(), Failure> {
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .step("keep mounts to itself")?;
    let own = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    // Directories on the way to what is shown: a child of another user passes through them too.
    let former = umask(Mode::WGRP | Mode::WOTH);
    let prepared = prepare_view(view, strange, &Scratch(scratch), own);
    umask(former);
    prepared
}

fn prepare_view(
    view: Option<&[Place]>,
    strange: Option<StrangeRoot>,
    scratch: &Scratch,
    own: MountFlags,
) -> Result<(), Failure> {
    let Some(view) = view else {
        // As far as it can be had: the host's own shows other numbers than the child's calls give.
        let _ = mount("proc", "/proc", "proc", own, c"");
        return Ok(());
    };
    let copied = |place: &Place| matches!(place.access, Access::Read | Access::Write);
    let mut copies = view
        .iter()
        .map(|place| copied(place).then(|| copy(place)).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let linked = view.iter().filter(|place| place.access == Access::Link);
    let mut links = linked.map(|place| fs::read_link(&place.path)).collect::<Vec<_>>().into_iter();
    // As it is on the host: what is above may be covered by then.
    let are_directories: Vec<bool> = view.iter().map(|place| place.path.is_dir()).collect();
    // Each of these is attached further down, so that the kernel has none to take apart again.
    let devices: Vec<_> = DEVICES
        .iter()
        .filter_map(|name| {
            let path = Path::new("/dev").join(name);
            Some((clone_tree(&path).ok()?, path))
        })
        .collect();
    let hidden = view.iter().filter(|place| place.access == Access::Hidden && !place.path.is_dir());
    let nulls =
        hidden.map(|_| clone_tree(Path::new("/dev/null"))).collect::<Result<Vec<_>, _>>()?;
    let mut nulls = nulls.into_iter();
    match strange {
        Some(strange) => strange.enter()?,
        None => set_attributes(Path::new("/"), true, READ_ONLY | NO_SETUID)?,
    }
    for (place, copied) in view.iter().zip(&mut copies) {
        if place.access == Access::Show {
            *copied = match copy(place) {
                Ok(copy) => Some(copy),
                // As any other user finds it: not at all.
                Err(failure) if failure.errno == libc::EACCES => None,
                Err(failure) => return Err(failure),
            };
        }
    }

    let mut covers = Vec::new();
    for ((place, is_directory), copied) in view.iter().zip(are_directories).zip(copies) {
        match place.access {
            Access::Hidden | Access::Scratch if is_directory => {
                fs::create_dir_all(&place.path).step("make a directory")?;
                match place.access {
                    Access::Scratch => cover(&place.path, &scratch.options())?,
                    _ => cover(&place.path, c"mode=0755,size=1m")?,
                }
                if place.access == Access::Hidden {
                    covers.push(place.path.clone());
                }
            }
            Access::Hidden if place.path.exists() => {
                if let Some(null) = nulls.next() {
                    attach(&null, &place.path)?;
                }
            }
            Access::Hidden | Access::Scratch => {}
            // Without it the child may still do; what it leads to is there.
            Access::Link => {
                if let Some(Ok(target)) = links.next() {
                    let _ = place.path.parent().map(fs::create_dir_all);
                    let _ = symlink(target, &place.path);
                }
            }
            Access::Show | Access::Read | Access::Write => {
                if let Some(copy) = copied {
                    put(&copy)?;
                }
            }
        }
    }
    make_devices(&devices, scratch)?;
    for path in covers {
        set_attributes(&path, false, READ_ONLY)?;
    }
    mount("proc", "/proc", "proc", own | MountFlags::RDONLY, c"").step("mount /proc")
}

/// How much fits into a place that is the child's alone. What is in there is memory.
struct Scratch(u64);

impl Scratch {
    /// As mount(8) takes them. A file takes memory too, however short it is.
    fn options(&self) -> CString {
        let size = self.0.max(1 << 20);
        let files = (size / 4096).max(1024);
        CString::new(format!("mode=1777,size={size},nr_inodes={files}")).unwrap_or_default()
    }
}

fn make_devices(devices: &[(OwnedFd, PathBuf)], scratch: &Scratch) -> Result<(), Failure> {
    cover(Path::new("/dev"), c"mode=0755,size=1m")?;
    for (tree, path) in devices {
        make_file(path).step("make a device")?;
        attach(tree, path)?;
    }
    for (target, link) in LINKS {
        symlink(target, link).step("make a device")?;
    }
    fs::create_dir("/dev/shm").step("make /dev/shm")?;
    cover(Path::new("/dev/shm"), &scratch.options())?;
    // Without it there are no terminals, which a server does not need.
    if fs::create_dir("/dev/pts").is_ok()
        && mount(
            "devpts",
            "/dev/pts",
            "devpts",
            MountFlags::NOSUID | MountFlags::NOEXEC,
            c"newinstance,ptmxmode=0666,mode=0620",
        )
        .is_ok()
    {
        let _ = symlink("pts/ptmx", "/dev/ptmx");
    }
    set_attributes(Path::new("/dev"), false, READ_ONLY)
}

fn copy(place: &Place) -> Result<Copy, Failure> {
    let attributes = match place.access {
        Access::Write => NO_SETUID | NO_DEVICES,
        _ => READ_ONLY | NO_SETUID | NO_DEVICES,
    };
    let is_directory = place.path.is_dir();
    let tree = clone_tree(&place.path)?;
    Ok(Copy { path: place.path.clone(), tree, is_directory, attributes })
}

fn put(copy: &Copy) -> Result<(), Failure> {
    let name = || format!("show {}", copy.path.display());
    if copy.is_directory {
        fs::create_dir_all(&copy.path).step(&name())?;
    } else if !copy.path.exists() {
        if let Some(parent) = copy.path.parent() {
            fs::create_dir_all(parent).step(&name())?;
        }
        make_file(&copy.path).step(&name())?;
    }
    attach(&copy.tree, &copy.path)?;
    set_attributes(&copy.path, true, copy.attributes)
}

/// An empty file to attach a mount at, which is never open: what looks at this process's descriptors
/// can hold an open one for a moment longer, and a mount with a file that is open for writing does not
/// become read-only (`EBUSY`).
fn make_file(path: &Path) -> io::Result<()> {
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    Ok(mknodat(CWD, path, FileType::RegularFile, mode, 0)?)
}

fn clone_tree(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).step(&format!("copy the mount of {}", path.display()))
}

fn attach(tree: &OwnedFd, path: &Path) -> Result<(), Failure> {
    move_mount(tree, c"", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .step(&format!("show {}", path.display()))
}

fn cover(path: &Path, options: &CStr) -> Result<(), Failure> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", path, "tmpfs", flags, options).step(&format!("hide {}", path.display()))
}

/// The pauses before each attempt to make a mount read-only.
const SETTLING: [Duration; 7] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
];

fn set_attributes(path: &Path, recursive: bool, set: u64) -> Result<(), Failure> {
    let name = format!("protect {}", path.display());
    let c_path = CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from).step(&name)?;
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // A mount that something writes to at this moment does not become read-only.
    for wait in SETTLING {
        thread::sleep(wait);
        match mount_setattr(CWD, &c_path, flags, &Attributes::set(set)) {
            Ok(()) => return Ok(()),
            Err(Errno::BUSY) => {}
            Err(errno) => return Err(Failure::new(name, errno)),
        }
    }
    Err(Failure::new(name, Errno::BUSY))
}
