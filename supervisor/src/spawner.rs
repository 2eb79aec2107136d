//! The thread that forks.
//!
//! `PR_SET_PDEATHSIG` is bound to the thread that called `fork`: the child gets its signal when that
//! thread exits, be the process ever so alive. Runtime workers and blocking threads come and go, so
//! one thread of our own does all the forking and never exits.

use std::{
    io,
    os::{
        fd::{OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    panic::{self, AssertUnwindSafe},
    process::{self, Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
};

use rustix::{
    fs::Mode,
    process::{Pid, getpid, umask},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    cgroup::{ChildCgroup, ENTRANCES},
    error::SpawnError,
    launch::{
        confine,
        plan::Resource,
        start::{Launch, LauncherKind, new_command},
    },
    leader::Leader,
    program,
    reaper::Unreaped,
    rlimits::{self, RLIMITS},
    spec::Spec,
    surroundings, watch,
};

/// Jobs that may wait for the thread. A full queue makes the next caller wait, before any fork.
const QUEUE: usize = 64;

/// A fresh child and its ends of the pipes. The leader is first: dropped early, it kills before the
/// pipes close.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) leader: Leader,
    pub(crate) stdin: process::ChildStdin,
    pub(crate) stdout: process::ChildStdout,
    pub(crate) stderr: process::ChildStderr,
    pub(crate) pidfd: Option<OwnedFd>,
    /// What the launcher says of its work; `None` when there was none.
    pub(crate) report: Option<OwnedFd>,
}

struct Job {
    spec: Spec,
    reply: oneshot::Sender<Result<Fresh, SpawnError>>,
}

/// Starts what `spec` says.
///
/// # Cancel safety
/// Dropping the future either keeps the fork from happening or kills and reaps what it made.
pub(crate) async fn spawn(spec: Spec) -> Result<Fresh, SpawnError> {
    let gone = || SpawnError::Other(io::Error::other("the spawner thread gave no answer"));
    let (reply, answer) = oneshot::channel();
    queue()?.send(Job { spec, reply }).await.map_err(|_| gone())?;
    answer.await.map_err(|_| gone())?
}

/// The way to the thread, which starts at the first call. A failure to start it is not remembered.
fn queue() -> Result<mpsc::Sender<Job>, SpawnError> {
    static QUEUE_TO_THREAD: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);
    let mut slot = QUEUE_TO_THREAD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(queue) = &*slot {
        return Ok(queue.clone());
    }
    let (queue, mut jobs) = mpsc::channel::<Job>(QUEUE);
    thread::Builder::new()
        .name("spawner".into())
        .spawn(move || {
            // The static above holds a sender for ever, so this loop has no end.
            while let Some(Job { spec, reply }) = jobs.blocking_recv() {
                if reply.is_closed() {
                    continue;
                }
                // A panic must not end this thread: every child would die with it.
                if let Ok(made) = panic::catch_unwind(AssertUnwindSafe(|| fork(spec))) {
                    // Without a receiver the answer comes back, and dropping its leader kills the child.
                    drop(reply.send(made));
                }
            }
        })
        .map_err(SpawnError::from_system)?;
    *slot = Some(queue.clone());
    Ok(queue)
}

fn fork(spec: Spec) -> Result<Fresh, SpawnError> {
    spec.check()?;
    if let Some(cwd) = &spec.cwd {
        program::enter(cwd)?;
    }
    let path = program::find(&spec)?;
    let containment = spec.containment.as_ref();
    let launch =
        containment.map(|with| surroundings::launch(with, &spec, &path)).transpose()?.flatten();
    let keeper = launch.as_ref().and_then(Launch::keeper);
    let cgroup = containment.map(|with| with.cgroup(keeper.is_some(), &spec.limits));
    let cgroup = cgroup.transpose()?.flatten();

    let mut command = match &launch {
        Some(launch) => launch.command(&path),
        None => new_command(&path),
    };
    if launch.is_none() {
        command.arg0(&spec.program);
        if let Some(cwd) = &spec.cwd {
            command.current_dir(cwd);
        }
    } else {
        command.arg(&spec.program);
    }
    command
        .args(&spec.args)
        .env_clear()
        .envs(spec.env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let inherited = launch.as_ref().map(Launch::inherited).unwrap_or_default();
    let joined = cgroup.as_ref().map(ChildCgroup::entrances).unwrap_or_default();
    // The launcher sets them in the child itself.
    let limits = match launch {
        Some(_) => Default::default(),
        None => {
            let memory = containment.is_none_or(|with| with.limits_each_process(&spec.limits));
            rlimits::of(&spec.limits, memory)
        }
    };
    let parent = Some(getpid());
    prepare(&mut command, Settle { parent, new_privs: spec.new_privs, inherited, joined, limits });

    let mut child =
        command.spawn().map_err(|error| SpawnError::from_exec(spec.program.clone(), error))?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let group = Pid::from_child(&child);
    if launch.is_none() {
        // From here and after the exec: a program that may not be traced cannot do it before.
        confine::prefer_for_out_of_memory(child.id());
    }
    // A keeper that adopts ends more than its group, once it is not ended itself.
    let registration = match keeper {
        Some(LauncherKind::Adopts) => None,
        Some(LauncherKind::Separates) | None => containment.and_then(|with| with.register(group)),
    };
    let leader = Leader::new(Unreaped { child, registration, cgroup, keeper });
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        unreachable!("all three streams were asked for as pipes");
    };
    let pidfd = watch::pidfd(leader.pid());
    let report = launch.map(Launch::into_report);
    Ok(Fresh { leader, stdin, stdout, stderr, pidfd, report })
}

/// What [`settle`] works with: numbers alone.
#[derive(Debug, Default, Clone, Copy)]
struct Settle {
    parent: Option<Pid>,
    new_privs: bool,
    /// Descriptors for the launcher.
    inherited: [Option<RawFd>; 2],
    /// Where a process writes 0 to join a cgroup.
    joined: [Option<RawFd>; ENTRANCES],
    limits: [Option<(Resource, u64)>; RLIMITS],
}

/// Has [`settle`] run in the child between fork and exec.
fn prepare(command: &mut Command, settling: Settle) {
    #[expect(unsafe_code, reason = "what must happen in the child itself has no safe form")]
    // SAFETY: between fork and exec only async-signal-safe calls are allowed, because another
    // thread may have held any lock at the fork. `settle` makes plain system calls on constants and
    // on the captured numbers: no allocation, no lock, no panic.
    unsafe {
        command.pre_exec(move || settle(settling));
    }
}

/// Runs in the child. The standard library has already set up the streams, the working directory,
/// the group, the signal mask and SIGPIPE.
fn settle(settling: Settle) -> io::Result<()> {
    let Settle { parent, new_privs, inherited, joined, limits } = settling;
    umask(Mode::RWXG | Mode::RWXO);
    // Ignored signals stay ignored across exec, and a broker started by `nohup` or by a script with
    // `&` ignores some: its children would be deaf to them.
    for signal in 1..32 {
        #[expect(unsafe_code, reason = "no safe form exists")]
        // SAFETY: `signal` is async-signal-safe, and the default action involves no code of ours.
        // It fails for SIGKILL and SIGSTOP, which cannot be ignored anyway.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    #[cfg(target_os = "linux")]
    {
        use rustix::{
            process::{Signal, getppid, set_parent_process_death_signal},
            thread::set_no_new_privs,
        };

        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before that call, and then no signal will come.
        if getppid() != parent {
            return Err(rustix::io::Errno::SRCH.into());
        }
        if !new_privs {
            // Inherited by everything that the child starts, and never taken back.
            set_no_new_privs(true)?;
        }
        #[expect(unsafe_code, reason = "no safe form exists")]
        // SAFETY: one system call on constants. It marks rather than closes, since the standard
        // library still needs its own descriptor to report a failed exec. An old kernel (before
        // 5.11) refuses; then the descriptors others opened without close-on-exec leak, as ever.
        unsafe {
            libc::syscall(
                libc::SYS_close_range,
                3 as libc::c_uint,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            );
        }
        for descriptor in inherited.into_iter().flatten() {
            #[expect(unsafe_code, reason = "no safe form exists for a number")]
            // SAFETY: one system call on numbers; the descriptor is open in the parent.
            unsafe {
                libc::fcntl(descriptor, libc::F_SETFD, 0);
            }
        }
        for entrance in joined.into_iter().flatten() {
            #[expect(unsafe_code, reason = "no safe form exists for a number")]
            // SAFETY: as above; the byte is a constant.
            let written = unsafe { libc::write(entrance, c"0".as_ptr().cast(), 1) };
            if written != 1 {
                return Err(io::Error::last_os_error());
            }
        }
    }
    rlimits::no_core_dumps()?;
    for (resource, value) in limits.into_iter().flatten() {
        rlimits::set(resource, value)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (parent, new_privs, inherited, joined);
    Ok(())
}
