//! Where there are no namespaces: a process that outlives the spawner, and of which every descendant of
//! the child becomes a child when its own parent ends (`PR_SET_CHILD_SUBREAPER`).
//!
//! The promise is weaker than that of a namespace. A descendant runs as the same user, so it may end this
//! process, and then others are left; and one that goes on starting processes may be faster than their
//! ends.

use std::{fs, os::fd::OwnedFd};

use rustix::{
    io::{Errno, read},
    pipe::{PipeFlags, pipe_with},
    process::{
        DumpableBehavior, Pid, Signal, WaitOptions, getpid, getppid, kill_process,
        set_child_subreaper, set_dumpable_behavior, set_parent_process_death_signal, setpgid, wait,
    },
    thread::{Timespec, nanosleep},
};

use super::{
    END, init,
    own_process::{exit, fork},
    plan::Plan,
    report::{Failure, Report, Step},
    signals,
};
use crate::exec::Image;

/// How often what is left is ended, and how long it is waited in between, in nanoseconds.
const TRIES: (u32, i64) = (1000, 1_000_000);

/// Starts the child, which waits until what comes with its number is dropped: it could stop this process
/// before that has let go of the report, and then nobody would learn of the start.
pub(super) fn start(
    plan: &Plan,
    report: &Report,
    image: &Image,
) -> Result<(Pid, OwnedFd), Failure> {
    let parent = getppid();
    set_child_subreaper(Some(getpid())).step("adopt what the child abandons")?;
    // Until here the end of the spawner was the end of this process.
    set_parent_process_death_signal(Some(END)).step("learn of the parent's end")?;
    if getppid() != parent {
        return Err(Failure::new("learn of the parent's end", Errno::SRCH));
    }
    // The child runs as the same user.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let (go, hold) = pipe_with(PipeFlags::CLOEXEC).step("open a pipe")?;
    match fork().step("start the child")? {
        Some(child) => {
            let _ = setpgid(Some(child), Some(child));
            Ok((child, hold))
        }
        None => {
            drop(hold);
            let tied = set_parent_process_death_signal(Some(Signal::KILL));
            // End of file is all that comes.
            let _ = read(&go, &mut [0; 1]);
            let failure = match tied.step("die with the parent") {
                Ok(()) => init::execute(plan, image),
                Err(failure) => failure,
            };
            report.send(&failure);
            exit(127)
        }
    }
}

/// Runs until the child has ended or is to be, ends what it left behind, and says how it ended: its code,
/// or its signal below zero.
pub(super) fn keep(child: Pid) -> i32 {
    loop {
        let number = signals::next();
        if let Some(status) = signals::reap(child) {
            end_all();
            return init::ended(status);
        }
        if number == END.as_raw() {
            end_all();
            return -libc::SIGKILL;
        }
        signals::pass_on(number, child);
    }
}

/// Ends and reaps every child, and with each those that become children by its end.
fn end_all() {
    let (tries, pause) = TRIES;
    for _ in 0..tries {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                // There is no child left.
                Err(_) => return,
            }
        }
        for pid in children() {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = nanosleep(&Timespec { tv_sec: 0, tv_nsec: pause });
    }
}

/// The children of this process.
fn children() -> Vec<Pid> {
    let own = getpid().as_raw_nonzero();
    let listed = fs::read_to_string(format!("/proc/self/task/{own}/children"));
    let numbers: Vec<i32> = match listed {
        Ok(listed) => listed.split_whitespace().filter_map(|word| word.parse().ok()).collect(),
        // Not every kernel lists them.
        Err(_) => {
            let folders = fs::read_dir("/proc").into_iter().flatten().flatten();
            let names = folders.filter_map(|folder| folder.file_name().into_string().ok());
            let numbers = names.filter_map(|name| name.parse().ok());
            numbers.filter(|number| parent_of(*number) == Some(own.get())).collect()
        }
    };
    numbers.into_iter().filter_map(Pid::from_raw).collect()
}

/// The fourth field of `/proc/PID/stat`, behind a name in parentheses that may hold anything.
fn parent_of(number: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
