//! The program itself, started as an operator starts it.
#![expect(clippy::disallowed_methods, reason = "the program under test is nobody's child")]

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::{
    harness::{HOSTILE, OBLIGING, Witness, configuration},
    lack::Lack,
    wire::{Client, TIMEOUT},
};

/// The user that owns nothing.
const NOBODY: u32 = 65534;

/// Has the kernel give what follows no namespaces.
const WITHOUT_NAMESPACES: &str = "for kind in user pid mnt ipc net; do \
    echo 0 > /proc/sys/user/max_${kind}_namespaces || exit 1; done; exec \"$0\" \"$@\"";

const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-broker");

/// A directory with a configuration for the obliging server.
pub(crate) struct Place {
    pub(crate) directory: TempDir,
    pub(crate) witness: Witness,
    /// Whom the broker runs as, with programs of its own; `None`: as this process.
    user: Option<u32>,
    /// Whether the kernel gives the broker, and all that it starts, no namespaces.
    pub(crate) has_no_namespaces: bool,
    lack: Lack,
}

/// A broker that runs in a process of its own. Dropping it kills it.
pub(crate) struct Program {
    process: Child,
    output: BufReader<ChildStdout>,
    pub(crate) client: Client,
    log: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let witness = Witness::in_directory(directory.path());
        let place =
            Self { directory, witness, user: None, has_no_namespaces: false, lack: Lack::Nothing };
        place.configure("");
        place
    }

    /// One on a machine that lacks something.
    pub(crate) fn lacking(lack: Lack) -> Self {
        Self { lack, ..Self::new() }
    }

    /// Of a user who is not root; an ordinary user's place where this process has no choice.
    pub(crate) fn of_an_ordinary_user() -> Self {
        let mut place = Self::new();
        if !rustix::process::geteuid().is_root() {
            return place;
        }
        // The build's own may be where that user does not come.
        let programs = place.path().join("programs");
        fs::create_dir(&programs).expect("a directory");
        for program in [PROGRAM, OBLIGING, HOSTILE].map(Path::new) {
            let copy = programs.join(program.file_name().expect("a name"));
            if fs::hard_link(program, &copy).is_err() {
                fs::copy(program, &copy).expect("a copy");
            }
        }
        place.user = Some(NOBODY);
        for path in [place.path(), Path::new(place.witness.path())] {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("root may");
        }
        place
    }

    /// Where there are no namespaces; `None` where this process cannot bring that about.
    pub(crate) async fn without_namespaces() -> Option<Self> {
        let place = Self { has_no_namespaces: true, ..Self::new() };
        let (code, ..) = place.run(&["--version"]).await;
        (code == 0).then_some(place)
    }

    /// Where the broker of this place finds a program of the build.
    pub(crate) fn program(&self, built: &str) -> String {
        let name = Path::new(built).file_name().filter(|_| self.user.is_some());
        let own = name.map(|name| self.path().join("programs").join(name).display().to_string());
        own.unwrap_or_else(|| built.to_owned())
    }

    /// Writes the configuration anew, with these lines behind it.
    pub(crate) fn configure(&self, more: &str) {
        let text = configuration(self.path(), &self.witness) + more;
        fs::write(self.path().join("mcp-broker.toml"), text).expect("a file");
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let (wrapper, program) = (self.lack.wrapper(), self.program(PROGRAM));
        let mut command = match wrapper.split_first() {
            None => Command::new(program),
            Some((wrapper, its_own)) => {
                let mut command = Command::new(wrapper);
                command.args(its_own).arg(program);
                command
            }
        };
        if self.has_no_namespaces {
            command = Command::new("unshare");
            command.args(["-Ur", "/bin/sh", "-c", WITHOUT_NAMESPACES, PROGRAM]);
        }
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.args(args).current_dir(self.path()).kill_on_drop(true);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.path());
        command
    }

    /// Runs a call that ends by itself; its exit code and output.
    pub(crate) async fn run(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.command(args).stdin(Stdio::null()).output();
        let output: Output = timeout(TIMEOUT, output).await.expect("in time").expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
    }

    /// Runs a line in a shell of this place.
    pub(crate) async fn shell(&self, line: &str) -> (i32, String, String) {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(line).current_dir(self.path()).kill_on_drop(true);
        shell.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.path());
        let output = shell.stdin(Stdio::null()).output();
        let output: Output = timeout(TIMEOUT, output).await.expect("in time").expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
    }

    /// As [`run`](Self::run), with this on its standard input.
    pub(crate) async fn run_with(&self, args: &[&str], input: &str) -> (i32, String, String) {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("it starts");
        let mut stdin = process.stdin.take().expect("its input");
        // One that reads no input may have ended already.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = timeout(TIMEOUT, process.wait_with_output());
        let output: Output = output.await.expect("in time").expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
    }

    /// Starts the broker with the configuration of this place.
    pub(crate) async fn serve(&self, args: &[&str]) -> Program {
        self.serve_in(args, &[]).await
    }

    /// As [`serve`](Self::serve), with more in its environment.
    pub(crate) async fn serve_in(&self, args: &[&str], env: &[(&str, &str)]) -> Program {
        let log = self.path().join("log");
        let mut command = self.command(args);
        command.envs(env.iter().copied()).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(fs::File::create(&log).expect("a file"));
        let mut process = command.spawn().expect("it starts");
        let mut output = BufReader::new(process.stdout.take().expect("its output"));
        let mut line = String::new();
        let read = timeout(TIMEOUT, output.read_line(&mut line)).await.expect("in time");
        let address = line.trim().strip_prefix("listening on ").map(|base| {
            base.trim_start_matches("http://").trim_start_matches("https://").to_owned()
        });
        let Some(address) = address.filter(|_| read.is_ok()) else {
            panic!("it said {line:?}: {}", fs::read_to_string(&log).unwrap_or_default());
        };
        // A Unix socket has no address; whoever wants one asks there.
        let address = address.parse().unwrap_or(([127, 0, 0, 1], 9).into());
        Program { process, output, client: Client::new(address), log }
    }
}

impl Program {
    pub(crate) fn pid(&self) -> u32 {
        self.process.id().expect("it runs")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, signal).expect("it runs");
    }

    /// Waits for its end: the exit code, or `None` after a signal.
    pub(crate) async fn ends(&mut self) -> Option<i32> {
        timeout(TIMEOUT, self.process.wait()).await.expect("in time").expect("it ran").code()
    }

    /// What it has told on standard error so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("a log")
    }

    /// The next line of its standard output.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        timeout(TIMEOUT, read).await.expect("in time").expect("text");
        line
    }

    /// The rest of its standard output, once it has ended.
    pub(crate) async fn output(&mut self) -> String {
        let mut text = String::new();
        let read = self.output.read_to_string(&mut text);
        timeout(TIMEOUT, read).await.expect("in time").expect("text");
        text
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.status("VmRSS:")
    }

    /// The most memory it ever had.
    pub(crate) fn peak_memory(&self) -> usize {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
    }

    /// How many descriptors it has open. It hides them from everybody but root; then this is how many
    /// it has room for, which grows with them.
    pub(crate) fn descriptors(&self) -> usize {
        let pid = self.pid();
        fs::read_dir(format!("/proc/{pid}/fd")).map_or_else(
            |_| {
                let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
                let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
                size.expect("a line").trim().parse().expect("a number")
            },
            Iterator::count,
        )
    }

    /// Its direct children, zombies included.
    pub(crate) fn offspring(&self) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        let of_task = |task: std::io::Result<fs::DirEntry>| {
            let children = task.ok()?.path().join("children");
            Some(fs::read_to_string(children).ok()?.split_whitespace().count())
        };
        tasks.filter_map(of_task).sum()
    }
}
