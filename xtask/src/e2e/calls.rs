//! Each client with each server, through one broker; those that are called modern speak revision
//! 2026-07-28, which of the servers the fixture alone does, and as `fixture-modern` nothing else. At the end
//! the broker is stopped while sessions
//! are open, and nothing it has started may be left.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context;
use xshell::{Shell, cmd};

use super::{
    cell::{Cell, follow, matrix},
    harness::Harness,
    repository,
};
use crate::{
    broker::{self, Broker},
    process::{self, Stopwatch},
    rpc,
    tally::Tally,
};

pub(super) const CLIENTS: [&str; 9] = [
    "typescript",
    "python",
    "rmcp",
    "go",
    "typescript-modern",
    "python-modern",
    "rmcp-modern",
    "mcp-remote",
    "mcp-remote-modern",
];
pub(super) const SERVERS: [&str; 7] =
    ["fixture", "everything", "fixture-modern", "filesystem", "git", "go-sdk", "mcp-go"];

/// Those of both that are left out where Go is missing.
const IN_GO: [&str; 3] = ["go", "go-sdk", "mcp-go"];

/// Whether a client is told with a server. What each is told with are the first of [`SERVERS`].
fn is_told(client: &str, server: &str) -> bool {
    match client {
        "typescript" | "python" | "rmcp" | "go" => true,
        // What stands between a client and the broker.
        "mcp-remote" | "mcp-remote-modern" => {
            matches!(server, "fixture" | "everything" | "fixture-modern")
        }
        // Clients of revision 2026-07-28.
        _ => matches!(server, "fixture" | "everything" | "fixture-modern" | "filesystem"),
    }
}

/// A server's last child may need a moment after the broker itself has gone.
const LEFT_OVER_LIMIT: Duration = Duration::from_secs(30);

/// Tells all stories of these clients with these servers, or those whose name contains `only`.
pub(super) fn run(
    sh: &Shell,
    harness: &Harness,
    clients: &[&str],
    servers: &[&str],
    only: Option<&str>,
) -> anyhow::Result<Tally> {
    let is_there = |name: &&&str| harness.go.is_some() || !IN_GO.contains(*name);
    let clients: Vec<_> = clients.iter().filter(is_there).copied().collect();
    let servers: Vec<_> = servers.iter().filter(is_there).copied().collect();
    let (clients, servers) = (&*clients, &*servers);
    let stage = Stage { harness, run: harness.dir.join("run") };
    let config = stage.prepare(sh)?;
    let binary = broker::binary();
    let cmd = cmd!(sh, "{binary} token add e2e --config {config}");
    process::announce(&[], &cmd);
    let token = cmd.quiet().read().context("no token")?;
    let log = harness.dir.join("broker.log");
    let broker = Broker::start(cmd!(sh, "{binary} serve --config {config}"), &log)?;

    let mut cells = Vec::new();
    for server in servers {
        for client in clients.iter().filter(|client| is_told(client, server)) {
            let url = format!("{}/{server}/mcp", broker.url());
            let cell =
                stage.tell(sh, client, server, &url, &token, only).unwrap_or_else(Cell::broken);
            cells.push((*client, *server, cell));
        }
    }

    let mut total = matrix(clients, servers, &cells);
    let ending = stage.end(sh, broker, servers, &token);
    match &ending {
        Ok(()) => println!("ok - the broker stops and leaves nothing behind"),
        Err(error) => println!("FAILED - the broker stops and leaves nothing behind: {error:#}"),
    }
    total += Tally::one(ending.is_ok());
    Ok(total)
}

/// The directory that every command of a server names, and nothing else that runs meanwhile.
struct Stage<'a> {
    harness: &'a Harness,
    run: PathBuf,
}

impl Stage<'_> {
    /// Makes the directories the servers look at and the broker's configuration; returns the latter.
    fn prepare(&self, sh: &Shell) -> anyhow::Result<PathBuf> {
        let run = &self.run;
        sh.remove_path(run)?;
        sh.create_dir(run)?;
        // By these names, so that the processes can be told from those of other parts.
        let go = self.harness.go.as_ref().map(|_| "go");
        for tools in ["ts", "py"].into_iter().chain(go) {
            symlink(self.harness.dir.join(tools), run.join(tools))?;
        }
        sh.copy_file(self.harness.dir.join("fixture"), run)?;
        sh.create_dir(self.path_of("filesystem"))?;
        repository::make(sh, &self.path_of("git"))?;
        let config = run.join("mcp-broker.toml");
        sh.write_file(&config, self.config())?;
        Ok(config)
    }

    fn config(&self) -> String {
        let modules = self.run.join("ts/node_modules/.bin");
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
        text += &format!("data_dir = {:?}\n", self.run.join("data").display().to_string());
        text += "\n[auth]\nverifiers = [\"static\"]\n";
        text += &server("fixture", &[&self.run.join("fixture")]);
        text += "default = true\n";
        // It says which process it is, and in a sandbox every child has the same number.
        text += "isolation.level = \"none\"\n";
        text += &server("fixture-modern", &[&self.run.join("fixture"), Path::new("modern")]);
        text += "isolation.level = \"none\"\n";
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
            &[
                &self.run.join("py/bin/mcp-server-git"),
                Path::new("--repository"),
                &self.path_of("git"),
            ],
        );
        for name in ["go-sdk", "mcp-go"].iter().filter(|_| self.harness.go.is_some()) {
            text += &server(name, &[&self.run.join("go").join(name).join("everything")]);
        }
        text
    }

    /// The directory a server was started with.
    fn path_of(&self, server: &str) -> PathBuf {
        self.run.join(server)
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
            "typescript" => cmd!(sh, "node").arg(self.harness.dir.join("ts/client.mjs")),
            "typescript-modern" => cmd!(sh, "node").arg(self.harness.dir.join("ts/modern.mjs")),
            "python" | "python-modern" => {
                let python = self.harness.python.join("python");
                let script = if client == "python" { "client.py" } else { "modern.py" };
                cmd!(sh, "{python} -B xtask/e2e/py/{script}")
            }
            "go" => {
                let program = self.harness.dir.join("go/client/client");
                cmd!(sh, "{program}")
            }
            "mcp-remote" | "mcp-remote-modern" => {
                let era = if client == "mcp-remote" { "legacy" } else { "modern" };
                let script = self.harness.dir.join("ts/remote-calls.mjs");
                cmd!(sh, "node {script} --era {era}")
            }
            "rmcp-modern" => cmd!(sh, "target/debug/examples/client --modern"),
            _ => cmd!(sh, "target/debug/examples/client"),
        };
        let kind = if server == "fixture-modern" { "fixture" } else { server };
        let mut cmd = cmd.args(["--url", url, "--token", token, "--server", kind]);
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
        // The broker names its configuration and no server.
        let dir = self.run.display().to_string();
        let config = self.run.join("mcp-broker.toml").display().to_string();
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
