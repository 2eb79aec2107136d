//! The host's file system as a stranger finds it.
//!
//! A sandbox has no capability, but a child of a broker that is root is still the owner of root's files, and
//! an owner reads what nobody else may: private keys, `/etc/shadow`. So the child's root is a copy of the
//! host's tree in which the files of that user and group belong to another one (an idmapped mount, Linux
//! 5.12). What others may read is there as before, and what the child is given by its own path is not a part
//! of the copy, and stays its own.

use std::{
    ffi::{CStr, CString},
    fs,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{CWD, Mode, OFlags, open},
    io::{Errno, read},
    mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount},
    pipe::{PipeFlags, pipe_with},
    process::{Signal, chdir, fchdir, getegid, geteuid, kill_process, pivot_root},
    thread::UnshareFlags,
};

use super::{
    mount_attributes::{Attributes, NO_SETUID, READ_ONLY, mount_setattr},
    own_process::{exit, fork},
    report::{Failure, Step},
};
use crate::exec;

/// Whose the files are instead. No account has this number: it is the largest that the kernel takes.
const STRANGER: u32 = u32::MAX - 1;

/// File systems that have no idmapped mounts, and nothing in them that root alone may read and that is not
/// hidden by its path.
const OF_THE_KERNEL: [&[u8]; 14] = [
    b"proc",
    b"sysfs",
    b"cgroup",
    b"cgroup2",
    b"devpts",
    b"devtmpfs",
    b"mqueue",
    b"hugetlbfs",
    b"securityfs",
    b"configfs",
    b"fusectl",
    b"autofs",
    b"binfmt_misc",
    b"nsfs",
];

/// A copy of the host's tree that is mounted nowhere yet.
#[derive(Debug)]
pub(super) struct StrangeRoot {
    /// All of it, and the root's own files are a stranger's.
    tree: OwnedFd,
    /// What comes in the place of other mounts in it, those that contain others first. The kernel maps the
    /// owners of a mount only as long as it belongs to no tree.
    below: Vec<(CString, OwnedFd)>,
}

impl StrangeRoot {
    /// Copies it; `mapping` says who the files belong to. Takes `CAP_SYS_ADMIN` of the host, so before there
    /// is a user namespace. File systems other than that of the root may lack idmapped mounts; what is on
    /// them stays as it is.
    pub(super) fn copy(mapping: BorrowedFd<'_>) -> Result<Self, Failure> {
        const STEP: &str = "give root's files to a stranger";
        let one = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, c"/", one | OpenTreeFlags::AT_RECURSIVE).step(STEP)?;
        let set = |tree: &OwnedFd, flags, attributes: &Attributes| {
            mount_setattr(tree.as_fd(), c"", libc::AT_EMPTY_PATH | flags, attributes)
        };
        let mapped = Attributes::mapped(mapping);
        set(&tree, 0, &mapped).step(STEP)?;
        let protected = Attributes::set_downstream(READ_ONLY | NO_SETUID);
        set(&tree, libc::AT_RECURSIVE, &protected).step(STEP)?;

        let mut below = Vec::<(CString, OwnedFd)>::new();
        for Mounted { point, is_of_the_kernel } in mounted() {
            let is_in = |(place, _): &(CString, _)| {
                let rest = point.to_bytes().strip_prefix(place.to_bytes());
                rest.is_some_and(|rest| rest.starts_with(b"/"))
            };
            let is_covered = below.iter().any(is_in);
            if is_of_the_kernel && !is_covered || below.iter().any(|(place, _)| *place == point) {
                continue;
            }
            // What was unmounted meanwhile, or lies below another mount, cannot be reached.
            let Ok(copy) = open_tree(CWD, &point, one) else { continue };
            if set(&copy, 0, &mapped).is_ok() || is_covered {
                set(&copy, 0, &protected).step(STEP)?;
                below.push((point, copy));
            }
        }
        Ok(Self { tree, below })
    }

    /// Makes it the root of this mount namespace, and the host's own is no more.
    pub(super) fn enter(self) -> Result<(), Failure> {
        const STEP: &str = "enter the copy of the host's files";
        let attach = |tree: &OwnedFd, place: &CStr| {
            move_mount(tree, c"", CWD, place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        };
        let host = open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).step(STEP)?;
        attach(&self.tree, c"/").step(STEP)?;
        fchdir(&self.tree).step(STEP)?;
        // The host's root comes to lie on the new one, from where it is taken away (pivot_root(2)).
        pivot_root(".", ".").step(STEP)?;
        fchdir(&host).step(STEP)?;
        unmount(".", UnmountFlags::DETACH).step(STEP)?;
        chdir("/").step(STEP)?;
        self.below.iter().try_for_each(|(place, tree)| attach(tree, place)).step(STEP)
    }
}

/// A mount of the host other than its root.
struct Mounted {
    point: CString,
    is_of_the_kernel: bool,
}

/// All of them, as the kernel lists them: those that contain others first, and of several at one place the
/// one that is seen last.
fn mounted() -> Vec<Mounted> {
    let list = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let mut mounts: Vec<Mounted> = list.split(|byte| *byte == b'\n').filter_map(parse).collect();
    mounts.sort_by_key(|mount| mount.point.to_bytes().split(|byte| *byte == b'/').count());
    mounts
}

/// A line of proc_pid_mountinfo(5).
fn parse(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ');
    let point = unescaped(fields.nth(4)?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    let point = CString::new(point).ok().filter(|point| point.to_bytes() != b"/")?;
    Some(Mounted { point, is_of_the_kernel: OF_THE_KERNEL.contains(&kind) })
}

/// Blanks and their like are three octal digits in there (proc_pid_mountinfo(5)).
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let byte = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    plain
}

/// A user namespace in which this process's user and group are the stranger, and all others themselves.
pub(super) fn mapping() -> Result<OwnedFd, Errno> {
    let (ready, is_ready) = pipe_with(PipeFlags::CLOEXEC)?;
    let Some(holder) = fork()? else {
        #[expect(unsafe_code, reason = "file descriptors may become other files by it")]
        // SAFETY: the table of descriptors is not among the flags.
        let made = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) };
        let made = made.and_then(|()| rustix::io::write(&is_ready, b"1"));
        // It is ended, or its parent is.
        if made.is_ok() {
            drop(is_ready);
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            loop {
                rustix::event::pause();
            }
        }
        exit(1)
    };
    drop(is_ready);
    let number = holder.as_raw_nonzero();
    let map = |file: &str, own: u32| -> std::io::Result<()> {
        let after = own + 1;
        let below = if own == 0 { String::new() } else { format!("0 0 {own}\n") };
        let text = format!("{below}{own} {STRANGER} 1\n{after} {after} {}\n", STRANGER - after);
        fs::write(format!("/proc/{number}/{file}"), text)
    };
    let namespace = read(&ready, &mut [0])
        .and_then(|read| if read == 1 { Ok(()) } else { Err(Errno::PERM) })
        .and_then(|()| {
            let made = map("uid_map", geteuid().as_raw())
                .and_then(|()| map("gid_map", getegid().as_raw()))
                .and_then(|()| fs::File::open(format!("/proc/{number}/ns/user")));
            made.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
        });
    let _ = kill_process(holder, Signal::KILL);
    exec::wait(holder);
    namespace.map(OwnedFd::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_a_blank_in_its_name_is_found() {
        assert_eq!(unescaped(br"/srv/a\040b\134c"), b"/srv/a b\\c");
        assert_eq!(unescaped(br"/srv/a\04"), br"/srv/a\04");
        assert_eq!(unescaped(br"\"), br"\");
        let line = br"36 35 98:0 /mnt1 /srv/a\040b rw,noatime master:1 - ext3 /dev/root rw";
        let mount = parse(line).expect("a mount");
        assert_eq!((mount.point.as_c_str(), mount.is_of_the_kernel), (c"/srv/a b", false));
        let own = parse(b"22 1 0:5 / /proc rw - proc proc rw").expect("a mount");
        assert!(own.is_of_the_kernel);
        for broken in [&b""[..], b"22 1 0:5 / / rw - ext4 x rw", b"22 1 0:5 / /proc rw"] {
            assert!(parse(broken).is_none());
        }
    }
}
