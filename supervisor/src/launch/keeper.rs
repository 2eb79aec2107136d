//! The process that the spawner knows: it makes the namespaces and starts their first process, or adopts
//! what the child abandons, and ends as the child does.

use std::{
    fs,
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::{
    io::{Errno, read},
    pipe::{PipeFlags, pipe_with},
    process::{
        DumpableBehavior, Pid, Resource, Rlimit, Signal, getegid, geteuid, getpid, getppid,
        kill_process, set_dumpable_behavior, set_parent_process_death_signal, setrlimit, setsid,
    },
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
    thread::UnshareFlags,
};

use super::{
    adopter, confine, init,
    order::{Handed, Order},
    own_process::{exit, fork, null, silence},
    plan::Plan,
    report::{Failure, Report, Step},
    signals,
    strange_root::StrangeRoot,
};
use crate::exec::{join, join_by};

/// What a shell says of a program that could not be started.
const NOT_STARTED: i32 = 127;

/// What this process waits for.
enum Awaited {
    /// The first process of the namespaces, and where it writes how the child ended.
    Init(Pid, OwnedFd),
    /// The child, and what it waits for.
    Child(Pid, OwnedFd),
}

/// Starts the child, waits for its end, and returns what to exit with. This process is a copy of the
/// launcher, and a child of the launcher's `parent`. By `mapping` the files of this user are a stranger's.
pub(super) fn run(
    handed: Handed,
    has_entered: bool,
    parent: Option<Pid>,
    mapping: Option<OwnedFd>,
) -> i32 {
    // The launcher is not, and then nothing of this process could be written to.
    let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
    let Handed { streams, socket, unified, tasks } = handed;
    let report = Report(socket);
    // As each child outside of a sandbox has.
    let leads = setsid().step("lead a session of its own");
    let tied = set_parent_process_death_signal(Some(Signal::KILL)).step("die with the parent");
    // The parent may have died before that call, and then no signal will come; nor is anybody there who
    // would wait for this process if it is not announced.
    if getppid() != parent || report.announce(getpid()).is_err() {
        return NOT_STARTED;
    }
    let settled = leads.and(tied).and_then(|()| {
        take(&streams).step("take the streams")?;
        if let Some(folder) = unified.filter(|_| !has_entered) {
            join(&folder).step("join the cgroup")?;
        }
        tasks.iter().try_for_each(join_by).step("join the cgroup")
    });
    drop((streams, tasks));
    // Before there is an init, which makes another /dev in the same mount namespace: opened meanwhile, it
    // may be the plain file that the device is about to be attached at, and that /dev would never become
    // read-only (`EBUSY`), or it is not there yet, and the pipes would stay open.
    let null = null();
    match settled.and_then(|()| start(&report, mapping)) {
        Ok(kept) => {
            drop(report);
            silence(null);
            let _ = rustix::thread::set_name(c"mcp-keeper");
            repeat(match kept {
                Awaited::Init(init, exit_pipe) => keep(init, &exit_pipe),
                Awaited::Child(child, hold) => {
                    drop(hold);
                    adopter::keep(child)
                }
            })
        }
        Err(failure) => {
            report.send(&failure);
            NOT_STARTED
        }
    }
}

fn take([input, output, error]: &[OwnedFd; 3]) -> Result<(), Errno> {
    dup2_stdin(input)?;
    dup2_stdout(output)?;
    dup2_stderr(error)
}

fn start(report: &Report, mapping: Option<OwnedFd>) -> Result<Awaited, Failure> {
    // Gone with this call, here and in each process that comes of it: there are secrets in the image.
    let Order { plan, image } = Order::receive(&report.0).step("read the plan")?;
    if plan.adopts {
        let started = adopter::start(&plan, report, &image);
        return started.map(|(child, hold)| Awaited::Child(child, hold));
    }
    if plan.in_place {
        return Err(init::execute(&plan, &image));
    }
    // A sandbox has a /proc that nothing writes to.
    confine::prefer_for_out_of_memory("self");
    // A user namespace takes the capability for it away.
    let strange = plan.strange.then(|| match &mapping {
        Some(mapping) => StrangeRoot::copy(mapping.as_fd()),
        None => Err(Failure::new("map root's files to a stranger", Errno::PERM)),
    });
    let strange = strange.transpose()?;
    drop(mapping);
    separate(&plan)?;
    let (reading, writing) = pipe_with(PipeFlags::CLOEXEC).step("open a pipe")?;
    match fork().step("start the first process of the namespaces")? {
        Some(init) => Ok(Awaited::Init(init, reading)),
        None => {
            drop(reading);
            exit(init::run(&plan, report, writing, image, strange))
        }
    }
}

/// Leaves the namespaces of the spawner.
fn separate(plan: &Plan) -> Result<(), Failure> {
    let parent = getppid();
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let mut flags = UnshareFlags::NEWPID | UnshareFlags::NEWNS;
    if plan.user_namespace {
        flags |= UnshareFlags::NEWUSER;
    }
    if plan.view.is_some() && !plan.by_landlock {
        flags |= UnshareFlags::NEWIPC;
    }
    if plan.network.is_own() {
        flags |= UnshareFlags::NEWNET;
    }
    #[expect(unsafe_code, reason = "file descriptors may become other files by it")]
    // SAFETY: the table of descriptors is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(flags) }.step("make namespaces")?;
    if plan.user_namespace {
        // The kernel wants this one first, of those without privileges.
        let _ = fs::write("/proc/self/setgroups", "deny");
        fs::write("/proc/self/uid_map", format!("{user} {user} 1\n")).step("map the user")?;
        fs::write("/proc/self/gid_map", format!("{group} {group} 1\n")).step("map the group")?;
    }
    // Other credentials may have cleared it.
    set_parent_process_death_signal(Some(Signal::KILL)).step("die with the parent")?;
    if getppid() != parent {
        return Err(Failure::new("die with the parent", Errno::SRCH));
    }
    Ok(())
}

/// Waits for the first process of the namespaces, and with it for every other one in there. How the child
/// ended: its code, or its signal below zero.
fn keep(init: Pid, exit_pipe: &OwnedFd) -> i32 {
    loop {
        let number = signals::next();
        if let Some(status) = signals::reap(init) {
            let mut said = [0; 4];
            return match read(exit_pipe, &mut said) {
                Ok(4) => i32::from_ne_bytes(said),
                // It was killed, and everything with it.
                _ => -status.terminating_signal().unwrap_or(libc::SIGKILL),
            };
        }
        // A termination goes to the group, which the init is in; these come to this process alone.
        if let Some(signal) = signals::passed_on(number)
            && [Signal::HUP, Signal::USR1, Signal::USR2].contains(&signal)
        {
            let _ = kill_process(init, signal);
        }
    }
}

/// Ends as the child did.
fn repeat(ended: i32) -> i32 {
    if ended >= 0 {
        return ended;
    }
    let signal = -ended;
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    signals::reset();
    if let Some(signal) = Signal::from_named_raw(signal) {
        let _ = kill_process(getpid(), signal);
    }
    // A signal that ends no program by default.
    128_i32.saturating_add(signal)
}
