//! Starting and stopping what is measured.

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::wire::Endpoint;

/// How long a server may take to start or to stop.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The file that keeps what a broker complains of.
const LOG: &str = "broker.log";

/// `name` in the directory above this program's, where cargo puts binaries beside examples.
pub(crate) fn beside_this_program(name: &str) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let directory = program.parent().and_then(Path::parent).context("no directory above")?;
    Ok(directory.join(name))
}

/// What brokers differ in.
#[derive(Debug)]
pub(crate) struct Setup {
    /// Who gets a token; asked is as the first one, unless it is said.
    pub(crate) people: Vec<String>,
    /// Which other end its children are.
    pub(crate) role: &'static str,
    /// Tables of the configuration besides `auth` and that of its server.
    pub(crate) tables: String,
    /// Lines of its server's table.
    pub(crate) server: String,
    /// Keeps what it complains of for [`Server::complaints`], instead of showing it.
    pub(crate) keeps_log: bool,
    /// A program that runs it, with its arguments; none runs it as it is.
    pub(crate) under: Vec<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            people: vec!["load".to_owned()],
            role: "child",
            tables: "[session]\nmax = 0\nmax_per_owner = 0\nstart_interval = \"0s\"".to_owned(),
            server: String::new(),
            keeps_log: false,
            under: Vec::new(),
        }
    }
}

/// A server process that listens.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) pid: u32,
    pub(crate) endpoint: Endpoint,
    /// The endpoint as each of [`Setup::people`] asks there.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Carried by its children's command lines.
    pub(crate) mark: String,
    // Held open, so that a later line on it is no error for the server.
    _stdout: BufReader<ChildStdout>,
    directory: Option<TempDir>,
}

impl Server {
    /// One of the floors: this program in another role.
    pub(crate) async fn floor(role: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(role);
        // Tokens and ids of the broker's size, so that the requests are as long.
        let mark = format!("{role} of {}", std::process::id());
        Self::listening(command, &["0".repeat(48)], mark, None).await
    }

    /// The broker with a token, one server and a directory of its own.
    pub(crate) async fn broker(program: &Path) -> anyhow::Result<Self> {
        Self::broker_with(program, &Setup::default()).await
    }

    /// As [`broker`](Self::broker), set up differently.
    pub(crate) async fn broker_with(program: &Path, setup: &Setup) -> anyhow::Result<Self> {
        ensure!(
            program.is_file(),
            "there is no {}; build it with `cargo build --release -p broker --bin mcp-broker`",
            program.display()
        );
        let directory = tempfile::tempdir()?;
        let mark = directory.path().display().to_string();
        let config = directory.path().join("mcp-broker.toml");
        fs::write(&config, configuration(directory.path(), &mark, setup)?)?;
        let mut tokens = Vec::new();
        for name in &setup.people {
            tokens.push(token(program, &config, name).await?);
        }
        let mut command = match setup.under.split_first() {
            None => Command::new(program),
            Some((tool, arguments)) => {
                let mut command = Command::new(tool);
                command.args(arguments).arg(program);
                command
            }
        };
        command.arg("serve").arg("--config").arg(&config);
        if setup.keeps_log {
            command.stderr(File::create(directory.path().join(LOG))?);
        }
        Self::listening(command, &tokens, mark, Some(directory)).await
    }

    async fn listening(
        mut command: Command,
        tokens: &[String],
        mark: String,
        directory: Option<TempDir>,
    ) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{command:?} did not start"))?;
        let pid = child.id().context("it ended at once")?;
        let mut stdout = BufReader::new(child.stdout.take().expect("it was asked for"));
        let address = timeout(TIMEOUT, listening_address(&mut stdout))
            .await
            .with_context(|| format!("{command:?} did not listen in time"))??;
        let endpoints: Vec<_> = tokens
            .iter()
            .map(|token| Endpoint::new(address, token))
            .collect::<anyhow::Result<_>>()?;
        let endpoint = endpoints.first().context("nobody may ask there")?.clone();
        Ok(Self { child, pid, endpoint, endpoints, mark, _stdout: stdout, directory })
    }

    /// The last lines of what it complained of, if that was kept.
    pub(crate) fn complaints(&self, lines: usize) -> String {
        let log = self.directory.as_ref().map(|directory| directory.path().join(LOG));
        let log = log.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let log: Vec<_> = log.lines().collect();
        log[log.len().saturating_sub(lines)..].join("\n")
    }

    /// Sends it SIGKILL and waits for its end. Answers with its directory, which goes with the answer.
    pub(crate) async fn kill(mut self) -> anyhow::Result<Option<TempDir>> {
        self.child.kill().await?;
        Ok(self.directory.take())
    }

    /// Asks the server to stop and waits for it.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no process id")?, Signal::TERM)?;
        let status = timeout(TIMEOUT, self.child.wait()).await.context("it did not stop")??;
        // A floor has no idea of a clean stop; the broker has.
        ensure!(self.directory.is_none() || status.success(), "the broker ended with {status}");
        Ok(())
    }
}

async fn listening_address(stdout: &mut BufReader<ChildStdout>) -> anyhow::Result<SocketAddr> {
    let mut line = String::new();
    while stdout.read_line(&mut line).await? > 0 {
        if let Some((_, address)) = line.trim_end().split_once("listening on http://") {
            return address.parse().with_context(|| format!("no address in {line:?}"));
        }
        line.clear();
    }
    bail!("it ended before it listened")
}

fn configuration(directory: &Path, mark: &str, setup: &Setup) -> anyhow::Result<String> {
    // JSON's strings are TOML's basic strings.
    let quoted = |path: &Path| serde_json::to_string(&path.display().to_string());
    let mut text = String::new();
    writeln!(text, "listen = \"127.0.0.1:0\"")?;
    writeln!(text, "data_dir = {}", quoted(directory)?)?;
    writeln!(text, "log.level = \"warn\"")?;
    writeln!(text, "{}", setup.tables)?;
    writeln!(text, "[auth]\nverifiers = [\"static\"]")?;
    writeln!(text, "[server.load]\ncommand = {}", quoted(&std::env::current_exe()?)?)?;
    // What is measured is sessions with a child each.
    writeln!(text, "reuse = false")?;
    writeln!(text, "args = [{:?}, {}]", setup.role, serde_json::to_string(mark)?)?;
    writeln!(text, "{}", setup.server)?;
    Ok(text)
}

/// A token as an operator makes one.
async fn token(program: &Path, config: &Path, name: &str) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    command.args(["token", "add", name, "--config"]).arg(config).stderr(Stdio::inherit());
    let output =
        command.output().await.with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    let token = String::from_utf8(output.stdout)?.trim().to_owned();
    ensure!(!token.is_empty() && !token.contains(char::is_whitespace), "no token was printed");
    Ok(token)
}
