//! Reaping: at once where the child is known to have exited, else on a thread made for it.
//!
//! A child whose driver was dropped got SIGKILL already, so the wait is short. It still must not
//! happen in a `drop` on a runtime's worker, and a runtime that is shutting down has no task left to
//! do it.

use std::{
    sync::{
        Mutex, PoisonError,
        mpsc::{self, Sender},
    },
    thread,
};

use rustix::process::Pid;
use tokio::sync::watch;

use crate::{
    cgroup::ChildCgroup, exec, exit::Exit, launch::start::LauncherKind, orphans::Registration,
};

/// A child that has yet to be reaped. Until then the kernel keeps its number from being given to
/// another process.
#[derive(Debug)]
pub(crate) struct Unreaped {
    pub(crate) pid: Pid,
    /// Covers the child's group.
    pub(crate) registration: Option<Registration>,
    /// Holds the child and every descendant.
    pub(crate) cgroup: Option<ChildCgroup>,
    /// Whether it is not the program itself but a keeper, and which.
    pub(crate) keeper: Option<LauncherKind>,
}

impl Unreaped {
    /// Waits for the child to exit, and reaps it. The rest of its group must have got SIGKILL.
    pub(crate) fn reap(self) -> Exit {
        let Self { pid, registration, cgroup, keeper: _ } = self;
        // While the number is still the child's: afterwards it may name another group.
        drop(registration);
        let exit = exec::wait(pid).map_or(Exit::Unknown, Exit::from);
        cgroup.map_or(exit, |cgroup| cgroup.finish(exit))
    }

    /// Ends what is in the child's cgroup.
    pub(crate) fn kill_cgroup(&self) {
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
    }
}

struct Job {
    child: Unreaped,
    exit: watch::Sender<Option<Exit>>,
}

/// Takes over a child that has got SIGKILL, reaps it, and publishes its exit.
pub(crate) fn reap_in_background(child: Unreaped, exit: watch::Sender<Option<Exit>>) {
    // Unbounded, since a `drop` cannot wait; the number of living children bounds it.
    static JOBS: Mutex<Option<Sender<Job>>> = Mutex::new(None);
    let mut slot = JOBS.lock().unwrap_or_else(PoisonError::into_inner);
    if slot.is_none() {
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = thread::Builder::new().name("reaper".into()).spawn(move || {
            for Job { child, exit } in queue {
                let pid = child.pid.as_raw_nonzero();
                let how = child.reap();
                tracing::warn!(pid, exit = %how, "child ended after its driver was dropped");
                exit.send_replace(Some(how));
            }
        });
        match thread {
            Ok(_detached) => *slot = Some(jobs),
            // The system has no thread left: better a short wait here than a zombie.
            Err(_) => {
                drop(slot);
                exit.send_replace(Some(child.reap()));
                return;
            }
        }
    }
    if let Some(jobs) = &*slot {
        // The thread never exits while the static holds this sender.
        let _ = jobs.send(Job { child, exit });
    }
}
