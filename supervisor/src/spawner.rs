//! The thread that forks.
//!
//! `PR_SET_PDEATHSIG` is bound to the thread that called `fork`: the child gets its signal when that
//! thread exits, be the process ever so alive. Runtime workers and blocking threads come and go, so
//! one thread of our own does all the forking and never exits.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, net::UnixStream},
    },
    panic::{self, AssertUnwindSafe},
    process,
    sync::{Mutex, PoisonError},
    thread,
};

use rustix::{
    io::Errno,
    pipe::{PipeFlags, pipe_with},
    process::getpid,
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    cgroup::ChildCgroup,
    error::SpawnError,
    exec::{self, Image, NotStarted, Settings, Stage, above_streams},
    launch::{
        confine,
        start::{Launched, Launcher, LauncherKind},
    },
    leader::Leader,
    program,
    reaper::Unreaped,
    rlimits,
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
    pub(crate) report: Option<UnixStream>,
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
            let mut launcher = Launcher::default();
            // The static above holds a sender for ever, so this loop has no end.
            while let Some(Job { spec, reply }) = jobs.blocking_recv() {
                if reply.is_closed() {
                    continue;
                }
                // A panic must not end this thread: every child would die with it.
                if let Ok(made) =
                    panic::catch_unwind(AssertUnwindSafe(|| start(spec, &mut launcher)))
                {
                    // Without a receiver the answer comes back, and dropping its leader kills the child.
                    drop(reply.send(made));
                }
            }
        })
        .map_err(SpawnError::from_system)?;
    *slot = Some(queue.clone());
    Ok(queue)
}

fn start(spec: Spec, launcher: &mut Launcher) -> Result<Fresh, SpawnError> {
    spec.check()?;
    if let Some(cwd) = &spec.cwd {
        program::enter(cwd)?;
    }
    let path = program::find(&spec)?;
    let containment = spec.containment.as_ref();
    let plan =
        containment.map(|with| surroundings::plan(with, &spec, &path)).transpose()?.flatten();
    let keeper = plan.as_ref().and_then(LauncherKind::of);
    let cgroup = containment.map(|with| with.cgroup(keeper, &spec.limits));
    let cgroup = cgroup.transpose()?.flatten();
    let cgroups = cgroup.as_ref().map(ChildCgroup::cgroups).unwrap_or_default();

    let words = std::iter::once(&*spec.program).chain(spec.args.iter().map(|arg| &**arg));
    let image = Image::new(&path, words, &spec.env).map_err(SpawnError::Other)?;
    let (stdin, stdout, stderr) = (Pipe::new()?, Pipe::new()?, Pipe::new()?);
    let streams = [stdin.reading.as_fd(), stdout.writing.as_fd(), stderr.writing.as_fd()];
    let (pid, report) = match &plan {
        Some(plan) => {
            let launched = launcher.launch(plan, &image, streams, &cgroups);
            let Launched { pid, report } = launched.map_err(SpawnError::from_system)?;
            (pid, Some(report))
        }
        None => {
            let cwd = spec.cwd.as_ref().map(|cwd| CString::new(cwd.as_os_str().as_bytes()));
            let memory = containment.is_none_or(|with| with.limits_each_process(&spec.limits));
            let settings = Settings {
                streams,
                cwd: cwd.transpose().map_err(|error| SpawnError::Other(error.into()))?,
                parent: Some(getpid()),
                new_privs: spec.new_privs,
                inherited: None,
                cgroups,
                limits: rlimits::of(&spec.limits, memory),
            };
            let started = exec::start(&image, &settings);
            (started.map_err(|failed| not_started(&spec, failed))?, None)
        }
    };

    if plan.is_none() {
        // From here and after the exec: a program that may not be traced cannot do it before.
        confine::prefer_for_out_of_memory(pid.as_raw_nonzero().get().unsigned_abs());
    }
    // A keeper that adopts ends more than its group, once it is not ended itself.
    let registration = match keeper {
        Some(LauncherKind::Adopts) => None,
        Some(LauncherKind::Separates) | None => containment.and_then(|with| with.register(pid)),
    };
    let leader = Leader::new(Unreaped { pid, registration, cgroup, keeper });
    let pidfd = watch::pidfd(pid);
    Ok(Fresh {
        leader,
        stdin: stdin.writing.into(),
        stdout: stdout.reading.into(),
        stderr: stderr.reading.into(),
        pidfd,
        report,
    })
}

/// A pipe of which one end becomes a standard stream of the child.
struct Pipe {
    reading: OwnedFd,
    writing: OwnedFd,
}

impl Pipe {
    fn new() -> Result<Self, SpawnError> {
        let system = |errno: Errno| SpawnError::from_system(errno.into());
        let (reading, writing) = pipe_with(PipeFlags::CLOEXEC).map_err(system)?;
        let reading = above_streams(reading).map_err(system)?;
        Ok(Self { reading, writing: above_streams(writing).map_err(system)? })
    }
}

fn not_started(spec: &Spec, failed: NotStarted) -> SpawnError {
    let NotStarted { stage, error } = failed;
    match (stage, &spec.cwd) {
        (Stage::Exec, _) => SpawnError::from_exec(spec.program.clone(), error),
        (Stage::Cwd, Some(path)) => SpawnError::Cwd { path: path.clone(), source: error },
        (Stage::Clone | Stage::Settle | Stage::Cwd, _) => SpawnError::from_system(error),
    }
}
