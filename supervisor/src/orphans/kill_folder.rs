//! A cgroup with all children in it, as the orphan-cleanup process knows it: without memory of its own.

use std::{
    ffi::CStr,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, RawDir, openat, unlinkat},
    io::{Errno, write},
};

/// The longest path of a cgroup that is removed. A longer one is ended all the same.
const LONGEST: usize = 512;

/// How often it is tried to remove what the kernel is still ending, every 20 milliseconds.
const TRIES: u32 = 100;

/// A folder of the cgroup file system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KillFolder {
    pub(super) folder: RawFd,
    path: [u8; LONGEST],
}

impl KillFolder {
    pub(crate) fn new(folder: &OwnedFd, path: &Path) -> Self {
        let mut own = [0; LONGEST];
        let bytes = path.as_os_str().as_bytes();
        // The last byte stays zero.
        if bytes.len() < LONGEST {
            own[..bytes.len()].copy_from_slice(bytes);
        }
        Self { folder: folder.as_raw_fd(), path: own }
    }

    fn folder(&self) -> BorrowedFd<'_> {
        #[expect(unsafe_code, reason = "the descriptor crossed a fork as a number")]
        // SAFETY: the descriptor was open at the fork, was left open since, and is never closed here.
        unsafe {
            BorrowedFd::borrow_raw(self.folder)
        }
    }

    /// Ends every process in there.
    pub(super) fn kill(&self) {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        if let Ok(file) = openat(self.folder(), c"cgroup.kill", flags, Mode::empty()) {
            let _ = write(&file, b"1");
        }
    }

    /// Removes the folders of the children, and then this one.
    pub(super) fn remove(&self) {
        let Ok(path) = CStr::from_bytes_until_nul(&self.path) else { return };
        for _ in 0..TRIES {
            self.remove_children();
            let removed = unlinkat(CWD, path, AtFlags::REMOVEDIR);
            // The program itself removes it too when it ends as it should.
            if path.is_empty() || matches!(removed, Ok(()) | Err(Errno::NOENT)) {
                return;
            }
            let pause = rustix::thread::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let _ = rustix::thread::nanosleep(&pause);
        }
    }

    fn remove_children(&self) {
        // A second one, which begins at the first entry.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(folder) = openat(self.folder(), c".", flags, Mode::empty()) else { return };
        let mut space = [MaybeUninit::uninit(); 4096];
        let mut entries = RawDir::new(&folder, &mut space);
        while let Some(Ok(entry)) = entries.next() {
            // Files cannot be removed there, and these two are not empty.
            let _ = unlinkat(&folder, entry.file_name(), AtFlags::REMOVEDIR);
        }
    }
}
