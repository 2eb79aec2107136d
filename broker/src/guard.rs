//! A process beside the broker that ends what a killed broker leaves behind.
//!
//! A child dies with the broker by the kernel's hand, its own children do not: nothing runs in a
//! process that got SIGKILL. So a second, tiny process is told every process group that starts and
//! ends. When its pipe ends with groups still in the book, it kills them.
//!
//! It reaches groups, not sessions: a process that left its group needs a cgroup to be caught.

use std::{
    collections::HashSet,
    io::{self, BufRead, Write},
    os::unix::process::CommandExt,
    process::{ChildStdin, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tracing::warn;

/// The hidden subcommand that is the guard.
pub(crate) const COMMAND: &str = "guard";
/// Said to it once, so that it leaves a guard that is nobody's child.
pub(crate) const LAUNCH: &str = "--launch";

/// The broker's end of the guard's pipe. Dropping it, or dying, is the signal.
#[derive(Debug)]
pub(crate) struct Guard {
    pipe: Mutex<Option<ChildStdin>>,
}

impl Guard {
    /// Starts the guard. It is not a child of the broker for long: the process started here starts
    /// the guard and ends, so that the broker's children are servers and nothing else.
    pub(crate) fn start() -> io::Result<Self> {
        let mut launcher = own_command()?.arg(LAUNCH).stdin(Stdio::piped()).spawn()?;
        let pipe = launcher.stdin.take();
        if !launcher.wait()?.success() {
            return Err(io::Error::other("the guard did not start"));
        }
        Ok(Self { pipe: Mutex::new(pipe) })
    }

    /// The process group `group` has started.
    pub(crate) fn watch(&self, group: u32) {
        self.tell('+', group);
    }

    /// The process group `group` has ended.
    pub(crate) fn forget(&self, group: u32) {
        self.tell('-', group);
    }

    fn tell(&self, what: char, group: u32) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        // A dozen bytes into a pipe that is always being read.
        let told = pipe.as_mut().map(|pipe| pipe.write_all(format!("{what}{group}\n").as_bytes()));
        if let Some(Err(error)) = told {
            warn!(%error, "the guard is gone; a killed broker may leave grandchildren behind");
            *pipe = None;
        }
    }
}

/// The broker's own program as a guard, with nothing of the broker's but the pipe.
fn own_command() -> io::Result<Command> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a guard must outlive the broker; children do not"
    )]
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(COMMAND).env_clear().stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    Ok(command)
}

/// Starts the real guard on this process's own standard input, and leaves it.
pub(crate) fn launch() -> io::Result<()> {
    own_command()?.stdin(Stdio::inherit()).spawn().map(drop)
}

/// The guard: keeps book until `input` ends, then kills what is left in it.
pub(crate) fn keep(input: impl BufRead) {
    for group in left_over(input) {
        if let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) {
            // Already gone is as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The groups that started and did not end.
fn left_over(input: impl BufRead) -> HashSet<u32> {
    let mut groups = HashSet::new();
    for line in input.lines().map_while(Result::ok) {
        let number = |text: &str| text.parse::<u32>().ok().filter(|group| *group > 1);
        if let Some(group) = line.strip_prefix('+').and_then(number) {
            groups.insert(group);
        } else if let Some(group) = line.strip_prefix('-').and_then(number) {
            groups.remove(&group);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_started_and_did_not_end_is_left_over() {
        let left = left_over(&b"+17\n+18\n-17\n+19\n"[..]);
        assert_eq!(left, HashSet::from([18, 19]));
    }

    #[test]
    fn a_broken_book_names_nobody_else() {
        let left = left_over(&b"+0\n+1\n+-5\nnonsense\n+\n-7\n+20"[..]);
        assert_eq!(left, HashSet::from([20]));
    }
}
