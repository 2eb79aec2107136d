//! `cargo xtask e2e`: real clients against real servers through a release broker.
//!
//! One broker serves everything; each client tells its stories to each server. At the end the broker
//! is stopped while sessions are open, and nothing it has started may be left.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context;
use xshell::{Cmd, Shell, cmd};

use crate::{
    broker::{self, Broker},
    cargo::{self, root},
    flags, pinned,
    process::{self, Finished, Stopwatch},
    rpc,
    tally::Tally,
};

mod outlive;
mod provider;
mod sign_in;

const CLIENTS: [&str; 3] = ["typescript", "python", "rmcp"];
const SERVERS: [&str; 4] = ["fixture", "everything", "filesystem", "git"];

/// One client with one server; every story has a limit of its own far below this.
const LIMIT: Duration = Duration::from_mins(5);

/// A server's last child may need a moment after the broker itself has gone.
const LEFT_OVER_LIMIT: Duration = Duration::from_secs(5);

/// What one client said about one server.
#[derive(Debug, Default)]
struct Cell {
    passed: u64,
    failed: u64,
    skipped: u64,
    problems: Vec<String>,
}

/// Where everything is.
#[derive(Debug)]
struct Harness {
    dir: PathBuf,
    python: PathBuf,
    has_rmcp: bool,
}

pub(crate) fn run(sh: &Shell, flags: flags::E2e) -> anyhow::Result<Tally> {
    let rotate_for = flags.rotate_for.map(Duration::from_secs);
    if flags.sign_in || flags.outlive {
        let harness = Harness::build(sh)?;
        let (client, only) = (flags.client.as_deref(), flags.only.as_deref());
        let mut total = Tally::default();
        if flags.sign_in {
            total += sign_in::run(sh, &harness, client, only)?;
        }
        if flags.outlive {
            let rotate_for = rotate_for.unwrap_or(outlive::ROTATE_FOR);
            total += outlive::run(sh, &harness, client, only, rotate_for)?;
        }
        println!();
        println!("e2e: {total}");
        return Ok(total);
    }
    let clients = chosen("client", &CLIENTS, flags.client.as_deref())?;
    let servers = chosen("server", &SERVERS, flags.server.as_deref())?;
    let harness = Harness::build(sh)?;
    let config = harness.prepare(sh)?;
    let binary = broker::binary();
    let cmd = cmd!(sh, "{binary} token add e2e --config {config}");
    process::announce(&[], &cmd);
    let token = cmd.quiet().read().context("no token")?;
    let log = harness.dir.join("broker.log");
    let broker = Broker::start(cmd!(sh, "{binary} serve --config {config}"), &log)?;

    let mut cells = Vec::new();
    for server in &servers {
        for client in &clients {
            let url = format!("{}/{server}/mcp", broker.url());
            let cell = harness
                .tell(sh, client, server, &url, &token, flags.only.as_deref())
                .unwrap_or_else(Cell::broken);
            cells.push((*client, *server, cell));
        }
    }

    let mut total = matrix(&clients, &servers, &cells);
    let ending = harness.end(sh, broker, &servers, &token);
    match &ending {
        Ok(()) => println!("ok - the broker stops and leaves nothing behind"),
        Err(error) => println!("FAILED - the broker stops and leaves nothing behind: {error:#}"),
    }
    total += Tally::one(ending.is_ok());
    // Who asks for one server or one client does not mean the pages of signing in.
    if flags.server.is_none() && flags.client.is_none() {
        let only = flags.only.as_deref();
        total += sign_in::run(sh, &harness, None, only)?;
        let rotate_for = rotate_for.unwrap_or(outlive::ROTATE_FOR_AMONG_OTHERS);
        total += outlive::run(sh, &harness, None, only, rotate_for)?;
    }
    println!();
    println!("e2e: {total}");
    Ok(total)
}

impl Harness {
    /// Builds and installs what is needed and not there yet.
    fn build(sh: &Shell) -> anyhow::Result<Self> {
        cargo::build_broker(sh)?;
        let has_rmcp = cargo::has_example(sh, "client")?;
        let examples: &[&str] = if has_rmcp { &["everything", "client"] } else { &["everything"] };
        cargo::build_examples(sh, examples)?;
        let dir = root().join("target/e2e");
        pinned::npm(sh, &root().join("xtask/e2e/ts"), &dir.join("ts"))?;
        let requirements = root().join("xtask/e2e/py/requirements.txt");
        let python = pinned::pip(sh, &requirements, &dir.join("py"))?;
        // A copy, so that its processes can be told from those of other tests by their path.
        sh.copy_file(root().join("target/debug/examples/everything"), dir.join("fixture"))?;
        Ok(Self { dir, python, has_rmcp })
    }

    /// Makes the directories the servers look at and the broker's configuration; returns the latter.
    fn prepare(&self, sh: &Shell) -> anyhow::Result<PathBuf> {
        let run = self.dir.join("run");
        sh.remove_path(&run)?;
        sh.create_dir(self.path_of("filesystem"))?;
        let repository = sh.create_dir(self.path_of("git"))?;
        sh.write_file(repository.join("story.txt"), "Once upon a time.\n")?;
        let git = |args: &[&str]| {
            let _in_repository = sh.push_dir(&repository);
            cmd!(sh, "git {args...}").quiet().ignore_stdout().run()
        };
        git(&["init", "--quiet", "--initial-branch=main"])?;
        git(&["add", "story.txt"])?;
        let author = ["-c", "user.name=Story Teller", "-c", "user.email=stories@example.org"];
        let commit = ["-c", "commit.gpgsign=false", "commit", "--quiet", "-m", "Begin the story"];
        git(&[&author[..], &commit].concat())?;

        let config = run.join("mcp-broker.toml");
        sh.write_file(&config, self.config())?;
        Ok(config)
    }

    fn config(&self) -> String {
        let modules = self.dir.join("ts/node_modules/.bin");
        let server = |name: &str, command: &[&Path]| {
            // JSON strings of these paths are TOML strings too.
            let words: Vec<_> =
                command.iter().map(|word| format!("{:?}", word.display().to_string())).collect();
            format!(
                "\n[server.{name}]\ncommand = {}\nargs = [{}]\n",
                words[0],
                words[1..].join(", ")
            )
        };
        let node = Path::new("node");
        let mut text = "listen = \"127.0.0.1:0\"\n".to_owned();
        text += &format!("data_dir = {:?}\n", self.dir.join("run/data").display().to_string());
        text += "\n[auth]\nverifiers = [\"static\"]\n";
        text += &server("fixture", &[&self.dir.join("fixture")]);
        text += "default = true\n";
        text += &server(
            "everything",
            &[node, &modules.join("mcp-server-everything"), Path::new("stdio")],
        );
        text += &server(
            "filesystem",
            &[node, &modules.join("mcp-server-filesystem"), &self.path_of("filesystem")],
        );
        text += &server(
            "git",
            &[&self.python.join("mcp-server-git"), Path::new("--repository"), &self.path_of("git")],
        );
        text
    }

    /// The directory a server was started with.
    fn path_of(&self, server: &str) -> PathBuf {
        self.dir.join("run").join(server)
    }

    /// Runs one client against one server.
    fn tell(
        &self,
        sh: &Shell,
        client: &str,
        server: &str,
        url: &str,
        token: &str,
        only: Option<&str>,
    ) -> anyhow::Result<Cell> {
        println!();
        println!("=== {client} with {server}");
        let cmd = match client {
            "typescript" => cmd!(sh, "node").arg(self.dir.join("ts/client.mjs")),
            "python" => {
                let (python, script) = (self.python.join("python"), "xtask/e2e/py/client.py");
                cmd!(sh, "{python} -B {script}")
            }
            _ if !self.has_rmcp => {
                anyhow::bail!("`broker` has no example `client`");
            }
            _ => cmd!(sh, "target/debug/examples/client"),
        };
        let mut cmd = cmd.args(["--url", url, "--token", token, "--server", server]);
        if matches!(server, "filesystem" | "git") {
            cmd = cmd.arg("--path").arg(self.path_of(server));
        }
        if let Some(only) = only {
            cmd = cmd.args(["--only", only]);
        }
        follow(cmd, only)
    }

    /// Stops the broker while each server has a session, and looks for what it left.
    fn end(&self, sh: &Shell, broker: Broker, servers: &[&str], token: &str) -> anyhow::Result<()> {
        for server in servers {
            rpc::open_session(broker.url(), &format!("/{server}/mcp"), token)?;
        }
        // Every command of a server names something in here, and nothing else that runs now does,
        // the broker itself aside.
        let dir = self.dir.display().to_string();
        let config = self.dir.join("run/mcp-broker.toml").display().to_string();
        let children = || {
            broker::processes_with(&dir)
                .into_iter()
                .filter(|line| !line.contains(&config))
                .collect::<Vec<_>>()
        };
        let before = children().len();
        anyhow::ensure!(
            before >= servers.len() || !Path::new("/proc/self/cmdline").exists(),
            "{} sessions are open and only {before} children run",
            servers.len()
        );
        broker.stop(sh)?;
        let watch = Stopwatch::start();
        loop {
            let left = children();
            if left.is_empty() {
                return Ok(());
            }
            anyhow::ensure!(watch.elapsed() < LEFT_OVER_LIMIT, "still there: {}", left.join("; "));
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Cell {
    /// No story could be told.
    fn broken(why: anyhow::Error) -> Self {
        println!("FAILED - {why:#}");
        Self { failed: 1, problems: vec![format!("{why:#}")], ..Self::default() }
    }

    /// Counts one line of a client's output.
    fn count(&mut self, line: &str) {
        if line.starts_with("ok - ") {
            self.passed += 1;
        } else if line.starts_with("skipped - ") {
            self.skipped += 1;
        } else if line.starts_with("FAILED - ") {
            self.failed += 1;
            self.problems.push(line.to_owned());
        }
    }

    /// The whole of it, once the client has ended; it told all its stories or those `only` names.
    fn ended(mut self, finished: &Finished, only: Option<&str>) -> Self {
        if !finished.ok && self.failed == 0 {
            self.failed = 1;
            self.problems.push(format!("the client ended with {}", finished.how));
        }
        if finished.ok && self.passed == 0 && only.is_none() {
            self.failed += 1;
            self.problems.push("the client told no story".to_owned());
        }
        self
    }
}

/// Runs a client that tells its stories, all of them or those `only` names.
fn follow(cmd: Cmd<'_>, only: Option<&str>) -> anyhow::Result<Cell> {
    let mut cell = Cell::default();
    let finished = process::watch(cmd, LIMIT, |line| {
        println!("{line}");
        cell.count(line);
    })?;
    Ok(cell.ended(&finished, only))
}

/// All names, or the one that was asked for.
fn chosen<'a>(what: &str, all: &[&'a str], one: Option<&str>) -> anyhow::Result<Vec<&'a str>> {
    let Some(one) = one else { return Ok(all.to_vec()) };
    let found = all.iter().copied().find(|name| *name == one);
    Ok(vec![found.with_context(|| format!("there is no {what} {one:?}, only {}", all.join(", ")))?])
}

/// Prints the matrix and what failed, and sums it up.
fn matrix(clients: &[&str], servers: &[&str], cells: &[(&str, &str, Cell)]) -> Tally {
    let mut total = Tally::default();
    println!();
    println!("passed/failed/skipped");
    print!("{:<12}", "");
    for server in servers {
        print!(" {server:>12}");
    }
    println!();
    for client in clients {
        print!("{client:<12}");
        for (_, _, cell) in cells.iter().filter(|(of, _, _)| of == client) {
            let counts = format!("{}/{}/{}", cell.passed, cell.failed, cell.skipped);
            print!(" {counts:>12}");
            total += Tally { passed: cell.passed, failed: cell.failed };
        }
        println!();
    }
    for (client, server, cell) in cells {
        for problem in &cell.problems {
            println!("{client} with {server}: {problem}");
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stories_are_counted_by_how_their_line_begins() {
        let mut cell = Cell::default();
        for line in
            ["ok - a", "skipped - b: no", "FAILED - c: why", "noise ok - d", "1 passed, 1 failed"]
        {
            cell.count(line);
        }
        assert_eq!((cell.passed, cell.failed, cell.skipped), (1, 1, 1));
        assert_eq!(cell.problems, ["FAILED - c: why"]);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        assert_eq!(chosen("client", &CLIENTS, Some("rmcp")).unwrap(), ["rmcp"]);
        let error = chosen("client", &CLIENTS, Some("ruby")).unwrap_err().to_string();
        assert!(error.contains("typescript, python, rmcp"), "{error}");
    }
}
