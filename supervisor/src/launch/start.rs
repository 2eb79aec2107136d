//! Executing this program as the launcher.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd},
    path::Path,
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    pipe::{PipeFlags, pipe_with},
    process::{Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open, pidfd_send_signal},
};

use super::{END, entry::NAME, plan::Plan, report::Failure};
use crate::exec::{self, Cgroups, Image, NotStarted, Settings, above_streams};

/// What is executed as the launcher: this program.
const PROGRAM: &str = "/proc/self/exe";

/// How long a keeper may take to end everything.
const PATIENCE: Timespec = Timespec { tv_sec: 3, tv_nsec: 0 };

/// A launch that is prepared.
#[derive(Debug)]
pub(crate) struct Launch {
    plan: OwnedFd,
    /// The launcher's end, closed here once it has its own.
    says: OwnedFd,
    report: OwnedFd,
    keeper: Option<LauncherKind>,
}

/// What a keeper does besides waiting for the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LauncherKind {
    /// It has an init, which the kernel ends with it, and everything else with that.
    Separates,
    /// It ends every descendant when it is told to ([`END`]), and must not be ended before.
    Adopts,
}

impl Launch {
    pub(crate) fn new(plan: &Plan) -> io::Result<Self> {
        let (plan_end, writing) = pipe_with(PipeFlags::CLOEXEC)?;
        plan.write(writing)?;
        // A socket, since a descriptor may come by it.
        let flags = SocketFlags::CLOEXEC;
        let (report, says) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let keeper = match plan {
            Plan { adopts: true, .. } => Some(LauncherKind::Adopts),
            Plan { in_place: true, .. } => None,
            Plan { .. } => Some(LauncherKind::Separates),
        };
        Ok(Self { plan: plan_end, says, report, keeper })
    }

    /// What is between the spawner and the child; `None` when the launcher becomes the child.
    pub(crate) fn keeper(&self) -> Option<LauncherKind> {
        self.keeper
    }

    /// The launcher, told of the program that it is to execute in the end.
    pub(crate) fn image(
        &self,
        program: &Path,
        name: &OsStr,
        arguments: &[OsString],
        environment: &[(OsString, OsString)],
    ) -> io::Result<Image> {
        let mut child = vec![program.as_os_str(), name];
        child.extend(arguments.iter().map(OsString::as_os_str));
        self.image_with(&child, environment)
    }

    fn image_with(
        &self,
        child: &[&OsStr],
        environment: &[(OsString, OsString)],
    ) -> io::Result<Image> {
        let descriptors = OsString::from(self.descriptors());
        let own = [OsStr::new(NAME), &descriptors];
        Image::new(Path::new(PROGRAM), own.iter().chain(child).copied(), environment)
    }

    fn descriptors(&self) -> String {
        format!("{},{}", self.plan.as_raw_fd(), self.says.as_raw_fd())
    }

    /// What the launcher must find open.
    pub(crate) fn inherited(&self) -> [Option<RawFd>; 2] {
        [Some(self.plan.as_raw_fd()), Some(self.says.as_raw_fd())]
    }

    /// After the launcher was executed: where its word will come.
    pub(crate) fn into_report(self) -> OwnedFd {
        self.report
    }
}

/// Tries a plan without a program; returns what could not be had.
pub(crate) fn attempt(plan: &Plan) -> Result<(), Failure> {
    let refused = |error: io::Error| Failure {
        step: "start the launcher".to_owned(),
        errno: error.raw_os_error().unwrap_or(libc::EINVAL),
    };
    let launch = Launch::new(plan).map_err(refused)?;
    let image = launch.image_with(&[], &[]).map_err(refused)?;
    let null = fs::File::options().read(true).write(true).open("/dev/null").map_err(refused)?;
    let null = above_streams(null.into()).map_err(|errno| refused(errno.into()))?;
    let settings = Settings {
        streams: [null.as_fd(); 3],
        cwd: None,
        parent: Some(getpid()),
        new_privs: plan.new_privs,
        inherited: launch.inherited(),
        cgroups: Cgroups::default(),
        limits: Default::default(),
    };
    let launcher =
        exec::start(&image, &settings).map_err(|NotStarted { stage: _, error }| refused(error))?;
    let report = launch.into_report();
    let mut text = Vec::new();
    let read = io::Read::read_to_end(&mut fs::File::from(report), &mut text);
    let _ = exec::wait(launcher);
    read.map_err(refused)?;
    match Failure::read(&text) {
        // There was no program to execute: everything before has worked.
        Some(failure) if failure.step == super::report::EXEC => Ok(()),
        Some(failure) => Err(failure),
        None => Err(Failure { step: "start the launcher".to_owned(), errno: libc::ENOSYS }),
    }
}

/// The child that a keeper keeps: its one child, or the child of that. The keeper's own number where the
/// kernel does not list children.
pub(crate) fn child_of(number: u32, keeper: LauncherKind) -> u32 {
    let only_child = |pid: u32| -> Option<u32> {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    };
    let first = only_child(number);
    let child = match keeper {
        LauncherKind::Separates => first.and_then(only_child),
        LauncherKind::Adopts => first,
    };
    child.unwrap_or(number)
}

/// Has a keeper that adopts end everything, and ends the keeper itself if it does not: a descendant of
/// the same user may have stopped it.
pub(crate) fn end(keeper: Pid) {
    let flags = PidfdFlags::empty();
    let Ok(watched) = pidfd_open(keeper, flags) else {
        // An old kernel; the number is the keeper's until it is reaped.
        let _ = kill_process(keeper, END);
        return;
    };
    for signal in [END, Signal::CONT] {
        let _ = pidfd_send_signal(&watched, signal);
    }
    let watch = move || {
        let mut ended = [PollFd::new(&watched, PollFlags::IN)];
        if !poll(&mut ended, Some(&PATIENCE)).is_ok_and(|ready| ready > 0) {
            let _ = pidfd_send_signal(&watched, Signal::KILL);
        }
    };
    // Without a thread it is trusted.
    let _ = thread::Builder::new().name("keepers".into()).spawn(watch);
}
