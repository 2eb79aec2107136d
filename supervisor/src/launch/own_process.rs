//! What a process of the launcher does to itself.

use std::{io, os::fd::OwnedFd};

use rustix::{
    fs::{Mode, OFlags, open},
    io::Errno,
    process::Pid,
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

/// Ends this process without what the program may have registered for its end.
pub(super) fn exit(code: i32) -> ! {
    #[expect(unsafe_code, reason = "no safe form exists")]
    // SAFETY: it only ends this process.
    unsafe {
        libc::_exit(code)
    }
}

/// Copies this process.
pub(super) fn fork() -> Result<Option<Pid>, Errno> {
    #[expect(unsafe_code, reason = "there is no safe form of fork")]
    // SAFETY: the launcher has one thread, so the copy may do whatever this process may.
    match unsafe { libc::fork() } {
        -1 => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::AGAIN)),
        0 => Ok(None),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Where nothing comes from and nothing goes to.
pub(super) fn null() -> Option<OwnedFd> {
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Lets go of the pipes, which are the child's.
pub(super) fn silence(null: Option<OwnedFd>) {
    let Some(null) = null else { return };
    let _ = (dup2_stdin(&null), dup2_stdout(&null), dup2_stderr(&null));
}
