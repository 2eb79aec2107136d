//! The launcher as the spawner has it.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{
        Pid, PidfdFlags, Signal, WaitStatus, getpid, kill_process, pidfd_open, pidfd_send_signal,
    },
};
use tracing::warn;

use super::{
    END,
    entry::NAME,
    order,
    plan::Plan,
    report::{self, Failure},
};
use crate::exec::{self, Cgroups, Image, NotStarted, Settings, above_streams};

/// What is executed as the launcher: this program.
const PROGRAM: &str = "/proc/self/exe";

/// How long a keeper may take to end everything.
const PATIENCE: Timespec = Timespec { tv_sec: 3, tv_nsec: 0 };

/// How long a launcher may take to copy itself. One that was stopped is replaced. Meanwhile nothing else
/// starts.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a keeper does besides waiting for the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LauncherKind {
    /// It has an init, which the kernel ends with it, and everything else with that.
    Separates,
    /// It ends every descendant when it is told to ([`END`]), and must not be ended before.
    Adopts,
}

impl LauncherKind {
    /// What is between the spawner and the child; `None` when the launcher becomes the child.
    pub(crate) fn of(plan: &Plan) -> Option<Self> {
        match plan {
            Plan { adopts: true, .. } => Some(Self::Adopts),
            Plan { in_place: true, .. } => None,
            Plan { .. } => Some(Self::Separates),
        }
    }
}

/// A copy of the launcher that is at work.
#[derive(Debug)]
pub(crate) struct Launched {
    /// A child of this process, which leads a group of its own.
    pub(crate) pid: Pid,
    /// Where its word will come.
    pub(crate) report: UnixStream,
}

/// Starts children by the launcher, which starts when it is first needed. It dies with the thread that
/// needed it.
#[derive(Debug, Default)]
pub(crate) struct Launcher {
    running: Option<Running>,
}

impl Launcher {
    /// Starts what `plan` says, to become `image` in the end. Failing steps are in the report.
    pub(crate) fn launch(
        &mut self,
        plan: &Plan,
        image: &Image,
        streams: [BorrowedFd<'_>; 3],
        cgroups: &Cgroups<'_>,
    ) -> io::Result<Launched> {
        if let Some(running) = &self.running {
            match running.launch(plan, image, streams, cgroups) {
                Ok(launched) => return Ok(launched?),
                Err(error) => warn!(%error, "the process that starts children is replaced"),
            }
        }
        // The first one, or another in the place of one that was ended.
        self.running = None;
        let running = self.running.insert(Running::start()?);
        Ok(running.launch(plan, image, streams, cgroups)??)
    }
}

/// The process.
#[derive(Debug)]
struct Running {
    process: Pid,
    /// It ends when this is closed.
    control: OwnedFd,
    /// How long it may take to copy itself.
    timeout: Duration,
}

impl Running {
    fn start() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let (control, own) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let own = above_streams(own)?;
        let descriptor = OsString::from(own.as_raw_fd().to_string());
        // Its environment says nothing; that of a child comes with the child.
        let image = Image::new(Path::new(PROGRAM), [OsStr::new(NAME), &descriptor], &[])?;
        let null = null()?;
        let settings = Settings {
            streams: [null.as_fd(); 3],
            cwd: None,
            parent: Some(getpid()),
            // Some children may gain them.
            new_privs: true,
            inherited: Some(own.as_raw_fd()),
            cgroups: Cgroups::default(),
            limits: Default::default(),
        };
        let started = exec::start(&image, &settings);
        let process = started.map_err(|NotStarted { stage: _, error }| error)?;
        Ok(Self { process, control, timeout: TIMEOUT })
    }

    /// An error of the outer kind means that it is gone, or as good as that; one of the inner kind that it
    /// could not copy itself.
    fn launch(
        &self,
        plan: &Plan,
        image: &Image,
        streams: [BorrowedFd<'_>; 3],
        cgroups: &Cgroups<'_>,
    ) -> io::Result<Result<Launched, Errno>> {
        let (report, socket) = UnixStream::pair()?;
        report.set_read_timeout(Some(self.timeout))?;
        report.set_write_timeout(Some(self.timeout))?;
        order::hand_over(&self.control, streams, socket.as_fd(), cgroups)?;
        drop(socket);
        let sent = order::send_order(&report, plan, image).map_err(|error| self.timed_out(error));
        // It says why it has not read everything.
        let begun = report::begin(&report).map_err(|error| self.timed_out(error))?;
        Ok(match (begun, sent) {
            (Ok(pid), Ok(())) => Ok(Launched { pid, report }),
            (Ok(pid), Err(error)) => {
                let _ = kill_process(pid, Signal::KILL);
                exec::wait(pid);
                return Err(error);
            }
            (Err(errno), _) => Err(errno),
        })
    }

    /// A timeout by its own name: the system has the same one for what it is short of.
    fn timed_out(&self, error: io::Error) -> io::Error {
        if error.kind() != io::ErrorKind::WouldBlock {
            return error;
        }
        let text = format!("the process that starts children did not answer in {:?}", self.timeout);
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Until it was waited for, the number is its own.
        let _ = kill_process(self.process, Signal::KILL);
        exec::wait(self.process);
    }
}

fn null() -> io::Result<OwnedFd> {
    let null = fs::File::options().read(true).write(true).open("/dev/null")?;
    Ok(above_streams(null.into())?)
}

/// Tries a plan without a program; returns what could not be had.
pub(crate) fn attempt(plan: &Plan) -> Result<(), Failure> {
    let refused = |error: io::Error| Failure {
        step: "start the launcher".to_owned(),
        errno: error.raw_os_error().unwrap_or(libc::EINVAL),
    };
    let null = null().map_err(refused)?;
    let nothing = Image::new(Path::new(""), [], &[]).map_err(refused)?;
    let mut launcher = Launcher::default();
    let launched =
        launcher.launch(plan, &nothing, [null.as_fd(); 3], &Cgroups::default()).map_err(refused)?;
    let mut text = Vec::new();
    let read = io::Read::read_to_end(&mut &launched.report, &mut text);
    let ended = exec::wait(launched.pid);
    read.map_err(refused)?;
    match Failure::read(&text) {
        // There was no program to execute: everything before has worked.
        Some(failure) if failure.step == report::EXEC => Ok(()),
        Some(failure) => Err(failure),
        None if ended.and_then(WaitStatus::terminating_signal) == Some(libc::SIGSYS) => {
            // Of those that answer with an end, as the unit of a service may have one.
            Err(Failure::new(
                "start the launcher, which a filter of system calls ended",
                Errno::PERM,
            ))
        }
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

#[cfg(test)]
mod tests {
    use rustix::process::{WaitOptions, waitpid};

    use super::*;
    use crate::error::SpawnError;

    /// A launcher that was stopped, and is given up as soon as it has to be waited for.
    fn stopped() -> Running {
        let mut running = Running::start().expect("a launcher");
        kill_process(running.process, Signal::STOP).expect("it is there");
        let seen = waitpid(Some(running.process), WaitOptions::UNTRACED).expect("it is a child");
        assert!(seen.is_some_and(|(_, status)| status.stopped()), "{seen:?}");
        running.timeout = Duration::from_millis(1);
        running
    }

    /// What it does when it is to start `/bin/true` in no surroundings.
    fn start(launch: impl FnOnce(&Plan, &Image, [BorrowedFd<'_>; 3])) {
        let plan = Plan { cwd: "/".into(), in_place: true, ..Plan::default() };
        let image = Image::new(Path::new("/bin/true"), [OsStr::new("true")], &[]).expect("short");
        let null = null().expect("a device");
        launch(&plan, &image, [null.as_fd(); 3]);
    }

    #[test]
    fn a_launcher_that_was_stopped_is_replaced_by_one_that_starts_the_child() {
        start(|plan, image, streams| {
            let former = stopped();
            let number = former.process;
            let mut launcher = Launcher { running: Some(former) };
            let launched = launcher.launch(plan, image, streams, &Cgroups::default());
            let launched = launched.expect("another launcher");
            assert_eq!(exec::wait(launched.pid).and_then(WaitStatus::exit_status), Some(0));
            assert!(launcher.running.is_some_and(|running| running.process != number));
            assert!(exec::wait(number).is_none(), "the one that was stopped is gone");
        });
    }

    #[test]
    fn a_launcher_that_does_not_answer_is_not_taken_for_a_lack_of_processes() {
        start(|plan, image, streams| {
            let launched = stopped().launch(plan, image, streams, &Cgroups::default());
            let error = launched.expect_err("no answer");
            assert!(error.to_string().ends_with("did not answer in 1ms"), "{error}");
            assert!(matches!(SpawnError::from_system(error), SpawnError::Other(_)));
            // The same where it has to read before it can be sent the rest.
            let long = "x".repeat(1 << 20);
            let words = ["true", &long].map(OsStr::new);
            let long = Image::new(Path::new("/bin/true"), words, &[]).expect("it fits");
            let launched = stopped().launch(plan, &long, streams, &Cgroups::default());
            assert_eq!(launched.expect_err("no answer").kind(), io::ErrorKind::TimedOut);
        });
    }
}
