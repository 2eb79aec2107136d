//! The first process of a child's PID namespace: it prepares the file system, starts the child, reaps
//! what nobody waits for, passes signals on, and takes every process with it when it ends.

use std::os::fd::OwnedFd;

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::{Errno, write},
    process::{
        DumpableBehavior, Pid, Signal, WaitStatus, chdir, set_dumpable_behavior,
        set_parent_process_death_signal, setpgid,
    },
};

use super::{
    confine, mounts, network,
    own_process::{exit, fork, null, silence},
    plan::{Plan, Reach},
    report::{EXEC, Failure, Report, Step},
    signals,
    strange_root::StrangeRoot,
};
use crate::exec::Image;

pub(super) fn run(
    plan: &Plan,
    report: &Report,
    exit_pipe: OwnedFd,
    image: Image,
    strange: Option<StrangeRoot>,
) -> i32 {
    let started = start(plan, report, &exit_pipe, &image, strange);
    // There are secrets in it.
    drop(image);
    match started {
        Ok(child) => {
            let _ = (setpgid(Some(child), Some(child)), rustix::thread::set_name(c"mcp-init"));
            close_but(&exit_pipe);
            silence(null());
            // The child runs as the same user.
            let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
            let ended = keep(child);
            let _ = write(&exit_pipe, &ended.to_ne_bytes());
            0
        }
        Err(failure) => {
            report.send(&failure);
            127
        }
    }
}

fn start(
    plan: &Plan,
    report: &Report,
    exit_pipe: &OwnedFd,
    image: &Image,
    strange: Option<StrangeRoot>,
) -> Result<Pid, Failure> {
    set_parent_process_death_signal(Some(Signal::KILL)).step("die with the parent")?;
    // In a namespace of its own a process cannot see its parent; a pipe without a reader tells.
    let mut ends = [PollFd::new(exit_pipe, PollFlags::empty())];
    let waited = poll(&mut ends, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    if waited.is_ok_and(|ready| ready > 0) {
        return Err(Failure::new("die with the parent", Errno::SRCH));
    }
    if plan.network.is_own() {
        network::raise_loopback().step("start the loopback interface")?;
    }
    if let Reach::Listener(port) = plan.network {
        let listener = network::listen(port).step("listen for the child")?;
        report.hand_over(&listener).step("hand the listener over")?;
    }
    let view = plan.view.as_deref().filter(|_| !plan.by_landlock);
    mounts::prepare(view, strange, plan.scratch)?;
    match fork().step("start the child")? {
        Some(child) => Ok(child),
        None => {
            let failure = execute(plan, image);
            report.send(&failure);
            exit(127)
        }
    }
}

/// Becomes the child; returns why not.
pub(super) fn execute(plan: &Plan, image: &Image) -> Failure {
    let _ = setpgid(None, None);
    let prepared =
        chdir(&plan.cwd).step("enter the working directory").and_then(|()| confine::confine(plan));
    if let Err(failure) = prepared {
        return failure;
    }
    signals::reset();
    Failure::new(EXEC, image.exec())
}

/// The report's end of the pipe must not stay open here.
fn close_but(kept: &OwnedFd) {
    use std::os::fd::AsRawFd as _;

    let kept = kept.as_raw_fd();
    for (first, last) in [(3, kept - 1), (kept + 1, i32::MAX)] {
        if first <= last {
            #[expect(unsafe_code, reason = "the descriptors belong to values of this process")]
            // SAFETY: one system call on numbers; the values are never used again, nor dropped.
            unsafe {
                libc::syscall(libc::SYS_close_range, first, last, 0);
            }
        }
    }
}

/// Runs until the child has ended, and says how: its code, or its signal below zero.
fn keep(child: Pid) -> i32 {
    loop {
        let number = signals::next();
        if let Some(status) = signals::reap(child) {
            return ended(status);
        }
        signals::pass_on(number, child);
    }
}

pub(super) fn ended(status: WaitStatus) -> i32 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => -signal,
        (None, None) => 0,
    }
}
