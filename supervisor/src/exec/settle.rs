//! What a copy of this process does before it becomes another program.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, BorrowedFd, RawFd},
};

use rustix::{
    fs::Mode,
    io::{Errno, write},
    process::{Pid, chdir, setsid, umask},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use super::image::Image;
use crate::{
    launch::plan::Resource,
    rlimits::{self, RLIMITS},
};

/// The hierarchies of version 1 that a child joins at most.
pub(crate) const TASKS: usize = 3;

/// What a process finds when it starts, beside its [`Image`].
#[derive(Debug)]
pub(crate) struct Settings<'a> {
    /// Its standard input, output and error.
    pub(crate) streams: [BorrowedFd<'a>; 3],
    /// Where it works; `None`: where this process does.
    pub(crate) cwd: Option<CString>,
    /// This process.
    pub(crate) parent: Option<Pid>,
    pub(crate) new_privs: bool,
    /// A descriptor that stays open.
    pub(crate) inherited: Option<RawFd>,
    pub(crate) cgroups: Cgroups<'a>,
    pub(crate) limits: [Option<(Resource, u64)>; RLIMITS],
}

/// The cgroups that a process is in from its start.
#[derive(Debug, Default)]
pub(crate) struct Cgroups<'a> {
    /// The folder of version 2.
    pub(crate) unified: Option<BorrowedFd<'a>>,
    /// Files of version 1 in which a thread writes 0 to join.
    pub(crate) tasks: [Option<BorrowedFd<'a>>; TASKS],
}

/// Where starting a process failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is no process.
    Clone,
    /// Something in [`Settings`] that is not below.
    Settle,
    /// Entering the working directory.
    Cwd,
    /// Executing the program.
    Exec,
}

/// What did not work in the copy, or in making it.
#[derive(Debug)]
pub(crate) struct NotStarted {
    pub(crate) stage: Stage,
    pub(crate) error: io::Error,
}

const STAGES: [Stage; 4] = [Stage::Clone, Stage::Settle, Stage::Cwd, Stage::Exec];

/// What the copy works with.
pub(super) struct Work<'a> {
    pub(super) image: &'a Image,
    pub(super) settings: &'a Settings<'a>,
    pub(super) failures: BorrowedFd<'a>,
    /// Whether it has yet to join the cgroup of version 2.
    pub(super) joins: bool,
}

impl Work<'_> {
    /// Becomes the program, or says why not and ends. Async-signal-safe, and calls nothing that would leave
    /// a trace in memory, which may be the parent's.
    pub(super) fn run(&self) -> ! {
        let (stage, errno) = match self.settle() {
            Ok(()) => (Stage::Exec, self.image.exec()),
            Err(failed) => failed,
        };
        let mut said = [0; 5];
        said[0] = stage as u8;
        said[1..].copy_from_slice(&errno.raw_os_error().to_ne_bytes());
        // Five bytes into an empty pipe are written whole; without a reader there is nobody to tell.
        let _ = write(self.failures, &said);
        #[expect(unsafe_code, reason = "no safe form exists")]
        // SAFETY: it only ends this process.
        unsafe {
            libc::_exit(127)
        }
    }

    fn settle(&self) -> Result<(), (Stage, Errno)> {
        let settings = self.settings;
        let settled = |errno| (Stage::Settle, errno);
        self.settle_process().map_err(settled)?;
        if let Some(cwd) = &settings.cwd {
            chdir(cwd.as_c_str()).map_err(|errno| (Stage::Cwd, errno))?;
        }
        // The last, since from here on a signal ends this process.
        unblock_signals();
        Ok(())
    }

    fn settle_process(&self) -> Result<(), Errno> {
        let settings = self.settings;
        let [input, output, error] = settings.streams;
        dup2_stdin(input)?;
        dup2_stdout(output)?;
        dup2_stderr(error)?;
        // With a session it leads its group, too, and has no terminal to type into.
        setsid()?;
        umask(Mode::RWXG | Mode::RWXO);
        // Ignored signals stay ignored across exec, and a broker started by `nohup` or by a script with
        // `&` ignores some: its children would be deaf to them.
        default_signals();
        #[cfg(target_os = "linux")]
        self.settle_on_linux()?;
        rlimits::no_core_dumps()?;
        for (resource, value) in settings.limits.into_iter().flatten() {
            rlimits::set(resource, value)?;
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn settle_on_linux(&self) -> Result<(), Errno> {
        use rustix::{
            process::{Signal, getppid, set_parent_process_death_signal},
            thread::set_no_new_privs,
        };

        let settings = self.settings;
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before that call, and then no signal will come.
        if getppid() != settings.parent {
            return Err(Errno::SRCH);
        }
        if !settings.new_privs {
            // Inherited by everything that the child starts, and never taken back.
            set_no_new_privs(true)?;
        }
        #[expect(unsafe_code, reason = "no safe form exists")]
        // SAFETY: one system call on constants. It marks rather than closes, since a failed exec has yet
        // to be told. An old kernel (before 5.11) refuses; then the descriptors others opened without
        // close-on-exec leak, as ever.
        unsafe {
            libc::syscall(
                libc::SYS_close_range,
                3 as libc::c_uint,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            );
        }
        if let Some(descriptor) = settings.inherited {
            #[expect(unsafe_code, reason = "no safe form exists for a number")]
            // SAFETY: one system call on numbers; the descriptor is open in the parent.
            unsafe {
                libc::fcntl(descriptor, libc::F_SETFD, 0);
            }
        }
        if let Some(folder) = settings.cgroups.unified.filter(|_| self.joins) {
            join(folder)?;
        }
        settings.cgroups.tasks.iter().flatten().try_for_each(join_by)
    }
}

/// Joins a cgroup of version 2, for which the kernel waits until no process of the machine is between clone
/// and exec: some 10 milliseconds, at times more.
#[cfg(target_os = "linux")]
pub(crate) fn join(folder: impl AsFd) -> Result<(), Errno> {
    use rustix::fs::{OFlags, openat};

    const PROCS: &CStr = c"cgroup.procs";
    let procs = openat(folder, PROCS, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    write(procs.as_fd(), b"0").map(drop)
}

/// Joins a cgroup of version 1 with this one thread, by its file for that.
pub(crate) fn join_by(tasks: impl AsFd) -> Result<(), Errno> {
    write(tasks, b"0").map(drop)
}

fn default_signals() {
    // Those of the C library's own it refuses to change, and nothing ignores them.
    for signal in 1..=64 {
        #[expect(unsafe_code, reason = "no safe form exists")]
        // SAFETY: `signal` is async-signal-safe, and the default action involves no code of ours.
        // It fails for SIGKILL and SIGSTOP, which cannot be ignored anyway.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

fn unblock_signals() {
    #[expect(unsafe_code, reason = "no safe form exists")]
    // SAFETY: the set is plain data that `sigemptyset` fills in.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// What a copy said before it ended; `None` when it became the program.
pub(super) fn read(said: &[u8]) -> Option<NotStarted> {
    let (stage, errno) = said.split_first()?;
    let stage = STAGES.get(usize::from(*stage)).copied().unwrap_or(Stage::Settle);
    let errno = errno.try_into().map_or(Errno::IO.raw_os_error(), i32::from_ne_bytes);
    Some(NotStarted { stage, error: io::Error::from_raw_os_error(errno) })
}
