//! What the launcher tells the spawner: nothing when the child was executed, else what failed.

use std::{io, os::fd::OwnedFd};

use rustix::io::{Errno, FdFlags, fcntl_setfd, write};
use tokio::{io::AsyncReadExt as _, net::unix::pipe::Receiver};

/// A step that failed in the launcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: String,
    pub(crate) errno: i32,
}

/// The step in which the program itself is executed; its errors speak of the program.
pub(crate) const EXEC: &str = "exec";

impl Failure {
    pub(crate) fn new(step: impl Into<String>, errno: Errno) -> Self {
        Self { step: step.into(), errno: errno.raw_os_error() }
    }

    /// Reads what came through the pipe until its end; `None` when all went well.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        let (errno, step) = text.split_once(' ')?;
        Some(Self { step: step.to_owned(), errno: errno.parse().ok()? })
    }

    pub(crate) fn error(&self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }
}

/// Waits for the launcher's word.
///
/// # Cancel safety
/// Dropping the future loses the word, and nothing else.
pub(crate) async fn receive(pipe: OwnedFd) -> io::Result<Option<Failure>> {
    rustix::io::ioctl_fionbio(&pipe, true)?;
    let mut pipe = Receiver::from_owned_fd(pipe)?;
    let mut text = Vec::new();
    pipe.read_to_end(&mut text).await?;
    Ok(Failure::read(&text))
}

/// Names the step that a call belongs to.
pub(super) trait Step<T> {
    fn step(self, name: &str) -> Result<T, Failure>;
}

impl<T> Step<T> for Result<T, Errno> {
    fn step(self, name: &str) -> Result<T, Failure> {
        self.map_err(|errno| Failure::new(name, errno))
    }
}

impl<T> Step<T> for io::Result<T> {
    fn step(self, name: &str) -> Result<T, Failure> {
        self.map_err(|error| {
            Failure::new(name, Errno::from_io_error(&error).unwrap_or(Errno::INVAL))
        })
    }
}

/// The writing end of the pipe.
#[derive(Debug)]
pub(super) struct Report(pub(super) OwnedFd);

impl Report {
    /// Closes by itself when the child is executed, and then says that all went well.
    pub(super) fn new(pipe: OwnedFd) -> Self {
        let _ = fcntl_setfd(&pipe, FdFlags::CLOEXEC);
        Self(pipe)
    }

    pub(super) fn send(&self, failure: &Failure) {
        // One short write to an empty pipe is whole; without a reader there is nobody to tell.
        let _ = write(&self.0, format!("{} {}", failure.errno, failure.step).as_bytes());
    }
}
