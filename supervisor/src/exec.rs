//! Starting a process: the one way for children and launchers alike.
//!
//! ```text
//!  spawner ──clone──▶ copy ──settle──▶ exec
//!     ▲                 └── what failed ──┘
//!     └──────── pipe ───────────┘
//! ```
//!
//! Everything that the copy needs is made before ([`Image`], [`Settings`]); between the clone and the exec
//! there are system calls alone, because another thread may have held any lock at that moment. The
//! standard library's `Command` does as much, but can neither start a process in its cgroup nor wipe what it
//! copied of the environment.

mod copy;
mod image;
mod settle;
mod sibling;

pub(crate) use image::Image;
pub(crate) use settle::{Cgroups, NotStarted, Settings, Stage, TASKS, join, join_by};
pub(crate) use sibling::{Copied, copy_beside};

use std::{fs::File, io::Read as _, os::fd::OwnedFd};

use rustix::{
    fd::AsFd as _,
    io::{Errno, fcntl_dupfd_cloexec},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, WaitOptions, WaitStatus, waitpid},
};

/// Starts a process, which the caller has to wait for. Returns when it runs `image`.
///
/// The kernel ties the death signal to the thread that calls this.
pub(crate) fn start(image: &Image, settings: &Settings<'_>) -> Result<Pid, NotStarted> {
    let before = |error: Errno| NotStarted { stage: Stage::Clone, error: error.into() };
    let (reading, writing) = pipe_with(PipeFlags::CLOEXEC).map_err(before)?;
    // Where the streams go it would be in their way.
    let writing = above_streams(writing).map_err(before)?;
    let pid = copy::start(image, settings, writing.as_fd()).map_err(before)?;
    drop(writing);
    let mut said = Vec::new();
    let read = File::from(reading).read_to_end(&mut said);
    match (settle::read(&said), read) {
        (None, Ok(_)) => Ok(pid),
        (Some(failed), _) => {
            wait(pid);
            Err(failed)
        }
        // A pipe does not fail; if it does, the process is as good as not there.
        (None, Err(error)) => {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            wait(pid);
            Err(NotStarted { stage: Stage::Clone, error })
        }
    }
}

/// Waits for a process to end, and reaps it. `None` when other code in this process has done so.
pub(crate) fn wait(pid: Pid) -> Option<WaitStatus> {
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(found) => return found.map(|(_, status)| status),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Moves a descriptor out of the way of the standard streams, where one of those was closed.
pub(crate) fn above_streams(descriptor: OwnedFd) -> Result<OwnedFd, Errno> {
    use std::os::fd::AsRawFd as _;

    if descriptor.as_raw_fd() > 2 {
        return Ok(descriptor);
    }
    fcntl_dupfd_cloexec(&descriptor, 3)
}
