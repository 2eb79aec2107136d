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
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, getpid,
        kill_process, kill_process_group, pidfd_open, pidfd_send_signal, waitid, waitpgid,
    },
};
use tokio::time::Instant;
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

/// How long a launcher may take to copy itself: machines stall. Meanwhile nothing else starts.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is looked whether a launcher was stopped, and will not answer at all.
const LOOK: Duration = Duration::from_millis(100);

/// How long a copy that has left the launcher's group may take to say which process it is. That is all it
/// has left to do.
const LAST_WORD: Duration = Duration::from_secs(3);

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
        report.set_read_timeout(Some(self.timeout.min(LOOK)))?;
        report.set_write_timeout(Some(self.timeout.min(LOOK)))?;
        order::hand_over(&self.control, streams, socket.as_fd(), cgroups)?;
        drop(socket);
        let begun = Instant::now();
        let goes_on = || begun.elapsed() < self.timeout && !self.is_stopped();
        let sent = order::send_order(&report, plan, image, goes_on);
        // It says why it has not read everything.
        let word = loop {
            match report::begin(&report) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && goes_on() => {}
                word => break word,
            }
        };
        match (word, sent) {
            (Ok(Ok(pid)), Ok(())) => {
                // What comes now takes longer than a look.
                let _ = report.set_read_timeout(Some(self.timeout));
                Ok(Ok(Launched { pid, report }))
            }
            (Ok(Ok(pid)), Err(error)) => {
                end_copy(pid);
                Err(self.timed_out(error))
            }
            (Ok(Err(errno)), _) => Ok(Err(errno)),
            (Err(error), _) => {
                let error = self.timed_out(error);
                self.give_up(&report);
                Err(error)
            }
        }
    }

    /// Whether it, or a copy of it that has said nothing yet, was stopped by a signal.
    fn is_stopped(&self) -> bool {
        let look = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pgid(Some(self.process)), look).is_ok_and(|found| found.is_some())
    }

    /// Ends it, and the copy that it may have made: that is a child of this process too, and nothing else
    /// would wait for it.
    fn give_up(&self, report: &UnixStream) {
        self.kill_group();
        // A copy that has left the group says which process it is. Of any other the socket closes.
        let _ = report.set_read_timeout(Some(LAST_WORD));
        if let Ok(Ok(pid)) = report::begin(report) {
            end_copy(pid);
        }
    }

    /// It leads a group, in which copies are until they lead one of their own.
    fn kill_group(&self) {
        // Until it was waited for, the number is its own.
        let _ = kill_process_group(self.process, Signal::KILL);
    }

    /// A timeout by its own name: the system has the same one for what it is short of.
    fn timed_out(&self, error: io::Error) -> io::Error {
        if error.kind() != io::ErrorKind::WouldBlock {
            return error;
        }
        let text = match self.is_stopped() {
            true => "the process that starts children was stopped by a signal".to_owned(),
            false => {
                format!("the process that starts children did not answer in {:?}", self.timeout)
            }
        };
        io::Error::new(io::ErrorKind::TimedOut, text)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_group();
        // Copies that were ended with it are children of this process as well.
        while let Ok(_) | Err(Errno::INTR) = waitpgid(self.process, WaitOptions::empty()) {}
    }
}

/// Ends a copy that has said which process it is.
fn end_copy(pid: Pid) {
    let _ = kill_process(pid, Signal::KILL);
    exec::wait(pid);
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
    use rustix::{
        io::read,
        pipe::pipe,
        process::{set_parent_process_death_signal, setsid},
    };

    use super::{
        super::{own_process, report::Report},
        *,
    };
    use crate::{
        error::SpawnError,
        exec::{Copied, copy_beside},
    };

    /// A launcher that was stopped.
    fn stopped() -> Running {
        let running = Running::start().expect("a launcher");
        kill_process(running.process, Signal::STOP).expect("it is there");
        let seen = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
        let seen = waitid(WaitId::Pid(running.process), seen).expect("it is a child");
        assert!(seen.is_some_and(|status| status.stopped()), "{seen:?}");
        running
    }

    /// A process in the place of a launcher, that does no more than `run` with its socket.
    fn stand_in(run: impl FnOnce(OwnedFd)) -> Running {
        let flags = SocketFlags::CLOEXEC;
        let (control, own) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).expect("sockets");
        let (is_leader, leads) = pipe().expect("a pipe");
        let Some(process) = own_process::fork().expect("a process") else {
            drop((control, is_leader));
            // Where the test fails it is not to stay behind.
            let _ = set_parent_process_death_signal(Some(Signal::KILL));
            if setsid().is_ok() {
                drop(leads);
                run(own);
                rustix::event::pause();
            }
            own_process::exit(1)
        };
        drop(leads);
        read(&is_leader, &mut [0]).expect("it leads a group");
        Running { process, control, timeout: TIMEOUT }
    }

    /// A launcher that was stopped when its copy, which has said nothing, `has_left` its group or not.
    fn stopped_after_a_copy(has_left: bool) -> Running {
        let (is_copied, copied) = pipe().expect("a pipe");
        let (is_gone, held) = pipe().expect("a pipe");
        stand_in(move |own| {
            let Some(handed) = order::receive(&own) else { return };
            if let Ok(Copied::Copy { .. }) = copy_beside(None) {
                let _ = set_parent_process_death_signal(Some(Signal::KILL));
                drop(held);
                if has_left {
                    let _ = setsid();
                }
                drop(copied);
                // Until the launcher has ended.
                let _ = read(&is_gone, &mut [0]);
                let _ = Report(handed.socket).announce(getpid());
                return;
            }
            drop((handed, copied));
            let _ = read(&is_copied, &mut [0]);
            let _ = kill_process(getpid(), Signal::STOP);
        })
    }

    /// The children of this thread, those that have ended and were not waited for included.
    fn children() -> String {
        fs::read_to_string("/proc/thread-self/children").expect("the kernel lists them")
    }

    /// What it does when it is to start `/bin/true` in no surroundings.
    fn start(launch: impl FnOnce(&Plan, &Image, [BorrowedFd<'_>; 3])) {
        let plan = Plan { cwd: "/".into(), in_place: true, ..Plan::default() };
        let image = Image::new(Path::new("/bin/true"), [OsStr::new("true")], &[]).expect("short");
        let null = null().expect("a device");
        launch(&plan, &image, [null.as_fd(); 3]);
    }

    #[test]
    fn a_launcher_that_was_stopped_is_replaced_at_once_by_one_that_starts_the_child() {
        start(|plan, image, streams| {
            let former = stopped();
            let number = former.process;
            let mut launcher = Launcher { running: Some(former) };
            let begun = Instant::now();
            let launched = launcher.launch(plan, image, streams, &Cgroups::default());
            assert!(begun.elapsed() < TIMEOUT, "others wait meanwhile: {:?}", begun.elapsed());
            let launched = launched.expect("another launcher");
            assert_eq!(exec::wait(launched.pid).and_then(WaitStatus::exit_status), Some(0));
            assert!(launcher.running.is_some_and(|running| running.process != number));
            assert!(exec::wait(number).is_none(), "the one that was stopped is gone");
        });
    }

    #[test]
    fn a_launcher_that_does_not_answer_is_not_taken_for_a_lack_of_processes() {
        start(|plan, image, streams| {
            let mut silent = stand_in(|own| {
                rustix::event::pause();
                drop(own);
            });
            silent.timeout = Duration::from_millis(1);
            let launched = silent.launch(plan, image, streams, &Cgroups::default());
            let error = launched.expect_err("no answer");
            assert!(error.to_string().ends_with("did not answer in 1ms"), "{error}");
            assert!(matches!(SpawnError::from_system(error), SpawnError::Other(_)));
            // The same where it has to read before it can be sent the rest.
            let long = "x".repeat(1 << 20);
            let words = ["true", &long].map(OsStr::new);
            let long = Image::new(Path::new("/bin/true"), words, &[]).expect("it fits");
            let error = stopped().launch(plan, &long, streams, &Cgroups::default());
            let error = error.expect_err("no answer");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(error.to_string().ends_with("was stopped by a signal"), "{error}");
        });
    }

    #[test]
    fn a_copy_of_a_launcher_that_was_given_up_leaves_no_zombie() {
        start(|plan, image, streams| {
            for has_left in [false, true] {
                let running = stopped_after_a_copy(has_left);
                let launched = running.launch(plan, image, streams, &Cgroups::default());
                assert_eq!(launched.expect_err("no answer").kind(), io::ErrorKind::TimedOut);
                drop(running);
                assert_eq!(children(), "", "it has left the group: {has_left}");
            }
        });
    }
}
