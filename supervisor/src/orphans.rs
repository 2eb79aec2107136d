//! A process beside this one that ends the process groups which this one leaves behind.
//!
//! `PR_SET_PDEATHSIG` ends a child when this process dies, not the child's own children: nothing of
//! ours runs after SIGKILL. So a second, tiny process is told of every group that starts and ends.
//! When its pipe ends, because this process has died, it sends SIGKILL to the groups that are left.
//!
//! The process is forked and never calls `exec`, so it works inside any program, whatever that
//! program does with its arguments.
//!
//! ```text
//!  this process ──fork──▶ intermediate ──setsid, fork──▶ orphan-cleanup process
//!       │                      └─ _exit                        ▲
//!       └──────── +group, −group, end of file ── pipe ─────────┘
//! ```

mod kill_folder;
mod memory;
mod process;

pub(crate) use kill_folder::KillFolder;

use std::{
    fmt,
    fs::File,
    io::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::{
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::{Pid, WaitOptions, waitpid},
};
use tracing::warn;

/// Ends the process groups that this process leaves behind when it is killed.
///
/// A group is covered from its start until its leader is reaped. Groups are reached, not sessions: a
/// process that left its group survives. A cgroup that has all children in it is reached as a whole.
///
/// Dropping the last clone has the same effect as the death of this process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct OrphanCleanup {
    /// `None` once the process at the other end has exited.
    pipe: Arc<Mutex<Option<File>>>,
}

impl OrphanCleanup {
    /// Forks the orphan-cleanup process. What is in `cgroup` it ends and
    /// removes as well. It is no child of this process: the one forked here forks
    /// it and exits. It keeps no descriptor of this process but the pipe and that folder, gives back the memory
    /// that it inherited, runs in a session of its own from `/`, and blocks all signals, so that a
    /// service manager which signals all processes of a service ends this one first.
    ///
    /// Blocks for two forks. Memory of this process is copied page by page until the new process
    /// has given it back, so call this early rather than late.
    ///
    /// # Errors
    /// When the system is out of descriptors or processes.
    pub(crate) fn start(cgroup: Option<&KillFolder>) -> io::Result<Self> {
        // The reading end must survive no `exec` of a child, and neither end is inherited by one.
        let (reading, writing) = pipe_with(PipeFlags::CLOEXEC)?;
        let intermediate = process::fork(&reading, cgroup)?;
        drop(reading);
        match wait(intermediate) {
            Ok(true) => {}
            Ok(false) => return Err(io::Error::other("the second fork failed")),
            // Other code in this process reaped it. If the fork failed, the first write tells.
            Err(Errno::CHILD) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(Self { pipe: Arc::new(Mutex::new(Some(writing.into()))) })
    }

    /// Covers `group` until the registration is dropped.
    pub(crate) fn register(&self, group: Pid) -> Registration {
        self.tell(group.as_raw_nonzero().get());
        Registration { cleanup: self.clone(), group }
    }

    /// Sends one record: the group, negative when it has ended.
    fn tell(&self, record: i32) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(open) = pipe.as_mut() else { return };
        // Four bytes into a pipe are written whole, and its other end always reads.
        let Err(error) = open.write_all(&record.to_ne_bytes()) else { return };
        *pipe = None;
        drop(pipe);
        warn!(
            %error,
            "orphan-cleanup process exited; child process groups may survive a SIGKILL of this \
             process"
        );
    }
}

impl fmt::Debug for OrphanCleanup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrphanCleanup").finish_non_exhaustive()
    }
}

/// One covered group. Drop it before the leader is reaped: after that the system may give the
/// number to a group of other processes.
#[derive(Debug)]
pub(crate) struct Registration {
    cleanup: OrphanCleanup,
    group: Pid,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.cleanup.tell(-self.group.as_raw_nonzero().get());
    }
}

/// Whether the intermediate process succeeded.
fn wait(intermediate: Pid) -> Result<bool, Errno> {
    loop {
        match waitpid(Some(intermediate), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(status.exit_status() == Some(0)),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn over_a_pipe() -> (OrphanCleanup, File) {
        let (reading, writing) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        (OrphanCleanup { pipe: Arc::new(Mutex::new(Some(writing.into()))) }, reading.into())
    }

    #[test]
    fn a_group_is_covered_from_its_registration_to_the_drop_of_that() {
        let (cleanup, mut reading) = over_a_pipe();
        let registration = cleanup.register(Pid::from_raw(17).unwrap());
        let other = cleanup.register(Pid::from_raw(18).unwrap());
        drop(registration);
        drop(cleanup);
        // As the death of this process would, with a group still covered.
        drop(other.cleanup.pipe.lock().unwrap().take());
        let mut records = Vec::new();
        reading.read_to_end(&mut records).unwrap();
        let records: Vec<_> =
            records.as_chunks().0.iter().map(|record| i32::from_ne_bytes(*record)).collect();
        assert_eq!(records, [17, 18, -17]);
    }

    #[test]
    fn a_cleanup_process_that_exited_is_no_reason_to_fail() {
        let (cleanup, reading) = over_a_pipe();
        drop(reading);
        drop(cleanup.register(Pid::from_raw(17).unwrap()));
        assert!(cleanup.pipe.lock().unwrap().is_none(), "it was noticed");
    }
}
