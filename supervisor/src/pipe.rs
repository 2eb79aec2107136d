//! What is left in a pipe after its child has ended.
//!
//! A descendant that left the process group may hold the other end for ever, so end of file cannot
//! be waited for. What the child itself wrote is in the pipe by the time it has been reaped: count
//! that, read it, and stop.

use std::os::fd::AsFd;

use rustix::io::{Errno, ioctl_fionread, read};

/// The bytes still owed to the reader.
#[derive(Debug)]
pub(crate) struct Leftover(u64);

impl Leftover {
    /// Counts what is in the pipe now.
    pub(crate) fn of(pipe: impl AsFd) -> Self {
        Self(ioctl_fionread(pipe).unwrap_or(0))
    }

    /// Reads some of it into `space` without waiting; zero when there is no more.
    pub(crate) fn read(&mut self, pipe: impl AsFd, space: &mut [u8]) -> usize {
        let wanted = usize::try_from(self.0).unwrap_or(usize::MAX).min(space.len());
        let got = loop {
            match read(&pipe, &mut space[..wanted]) {
                Err(Errno::INTR) => {}
                result => break result.unwrap_or(0),
            }
        };
        self.0 = if got == 0 { 0 } else { self.0.saturating_sub(got as u64) };
        got
    }
}
