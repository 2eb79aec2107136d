//! The owner of a process group: holds the unreaped leader from the fork on.

use std::mem;

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid},
};
use tokio::sync::watch;

use crate::{
    exit::Exit,
    launch::{self, start::LauncherKind},
    reaper::{Unreaped, reap_in_background},
};

/// Owns a child that leads its own process group. Only this type signals and reaps it, and it never
/// signals after reaping: until then the kernel keeps the number from being given to another.
///
/// Dropping it sends SIGKILL to the group and leaves the reaping to a thread made for that.
#[derive(Debug)]
pub(crate) struct Leader {
    pid: Pid,
    state: State,
    exit: watch::Sender<Option<Exit>>,
}

#[derive(Debug)]
enum State {
    Unreaped(Unreaped),
    Reaped,
}

impl Leader {
    pub(crate) fn new(child: Unreaped) -> Self {
        Self { pid: child.pid, state: State::Unreaped(child), exit: watch::Sender::new(None) }
    }

    /// The process id as log fields and callers want it.
    pub(crate) fn number(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Whether it is not the program itself but a keeper, and which.
    pub(crate) fn keeper(&self) -> Option<LauncherKind> {
        match &self.state {
            State::Unreaped(child) => child.keeper,
            State::Reaped => None,
        }
    }

    /// Where the exit will be found once [`publish`](Self::publish) was called, by the driver or
    /// by the thread that reaps in the background.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.subscribe()
    }

    /// Signals every process of the group. Does nothing after [`reap`](Self::reap).
    pub(crate) fn signal_group(&self, signal: Signal) {
        if matches!(self.state, State::Reaped) {
            return;
        }
        if let (State::Unreaped(child), Signal::KILL) = (&self.state, signal) {
            child.kill_cgroup();
            if child.keeper == Some(LauncherKind::Adopts) {
                if !self.has_exited() {
                    launch::start::end(self.pid);
                }
                return;
            }
        }
        // Failing is no news: the group may be all zombies (some systems then say EPERM).
        let signalled = kill_process_group(self.pid, signal);
        // A leader may have moved to another group; it still must not get away, nor get it twice.
        if signalled.is_err() || signal == Signal::KILL {
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Signals the leader alone. Does nothing after [`reap`](Self::reap).
    pub(crate) fn signal(&self, signal: Signal) {
        if matches!(self.state, State::Unreaped(_)) {
            // A zombie takes no signal, and that is no news.
            let _ = kill_process(self.pid, signal);
        }
    }

    /// Whether the leader has exited. Leaves it unreaped.
    pub(crate) fn has_exited(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            match waitid(WaitId::Pid(self.pid), options) {
                Ok(status) => return status.is_some(),
                Err(Errno::INTR) => {}
                // No such child: other code in this process reaped it.
                Err(_) => return true,
            }
        }
    }

    /// Reaps the leader, which must have [exited](Self::has_exited): otherwise this blocks.
    pub(crate) fn reap(&mut self) -> Exit {
        match mem::replace(&mut self.state, State::Reaped) {
            State::Unreaped(child) => child.reap(),
            State::Reaped => Exit::Unknown,
        }
    }

    /// Tells every waiter, present and future.
    pub(crate) fn publish(&self, exit: Exit) {
        self.exit.send_replace(Some(exit));
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.signal_group(Signal::KILL);
        if let State::Unreaped(child) = mem::replace(&mut self.state, State::Reaped) {
            reap_in_background(child, self.exit.clone());
        }
    }
}
