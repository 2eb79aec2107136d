//! Learning that a child has exited, without reaping it. `tokio`'s own `wait` reaps in the same
//! breath, and after that the group's number is no longer ours to signal.

use std::{io, os::fd::OwnedFd};

use rustix::process::Pid;
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
};

use crate::leader::Leader;

/// A descriptor that becomes readable when the process exits; `None` where the system has none to
/// give (not Linux, an old kernel, no descriptors left).
pub(crate) fn pidfd(pid: Pid) -> Option<OwnedFd> {
    #[cfg(target_os = "linux")]
    return rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok();
    #[cfg(not(target_os = "linux"))]
    {
        let _ = pid;
        None
    }
}

/// What to wait on before looking again.
#[derive(Debug)]
pub(crate) enum Watch {
    /// Wakes for this child alone.
    Pidfd(AsyncFd<OwnedFd>),
    /// Wakes for any child of the process.
    AnyChild(Signal),
}

impl Watch {
    /// Must be called in a runtime with its IO enabled.
    pub(crate) fn new(pidfd: Option<OwnedFd>) -> io::Result<Self> {
        match pidfd {
            Some(fd) => {
                #[expect(unsafe_code, reason = "tokio has no safe form of this any more")]
                // SAFETY: an `OwnedFd` keeps its descriptor open for as long as the `AsyncFd` owns
                // it, and always names the same one.
                let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
                Ok(Self::Pidfd(fd?))
            }
            None => Ok(Self::AnyChild(signal(SignalKind::child())?)),
        }
    }

    /// Waits until the leader has exited, and leaves it unreaped.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn exited(&mut self, leader: &Leader) {
        while !leader.has_exited() {
            match self {
                Self::Pidfd(fd) => match fd.readable().await {
                    // Looked at before clearing, so that an exit in between is not slept through.
                    Ok(mut ready) if !leader.has_exited() => ready.clear_ready(),
                    Ok(_) => {}
                    // The runtime is going away and this task with it.
                    Err(_) => std::future::pending().await,
                },
                Self::AnyChild(signals) => {
                    if signals.recv().await.is_none() {
                        std::future::pending().await
                    }
                }
            }
        }
    }
}
