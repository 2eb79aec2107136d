//! Copies of a process that are children of its parent, as it is itself.

use std::{io, os::fd::BorrowedFd};

use rustix::io::Errno;

use super::copy::{Arguments, is_short_of_something};

/// Which of the two a process is after it was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copied {
    Original,
    Copy {
        /// Whether it is in the cgroup that it was to start in.
        has_entered: bool,
    },
}

/// Copies this process, which has one thread. The copy starts in `cgroup` where the kernel does that.
pub(crate) fn copy_beside(cgroup: Option<BorrowedFd<'_>>) -> Result<Copied, Errno> {
    if let Some(cgroup) = cgroup {
        let mut arguments = Arguments { flags: libc::CLONE_PARENT as u64, ..Arguments::default() };
        arguments.enter(cgroup);
        #[expect(unsafe_code, reason = "there is no safe form of it")]
        // SAFETY: this process has one thread, so the copy may do whatever this process may. The call reads
        // the arguments and keeps no pointer.
        let returned = unsafe {
            libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<Arguments>())
        };
        match which(returned, true) {
            Err(errno) if !is_short_of_something(errno) => {}
            done => return done,
        }
    }
    #[expect(unsafe_code, reason = "there is no safe form of it")]
    // SAFETY: as above; without flags that want them, the pointers are not used.
    let returned = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_PARENT, 0, 0, 0, 0) };
    which(returned, false)
}

fn which(returned: libc::c_long, has_entered: bool) -> Result<Copied, Errno> {
    match returned {
        -1 => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::AGAIN)),
        0 => Ok(Copied::Copy { has_entered }),
        _ => Ok(Copied::Original),
    }
}
