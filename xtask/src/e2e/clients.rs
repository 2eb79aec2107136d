//! Clients that are packages of their own, with readers of the protocol of their own, and servers that
//! package runners download: what people put on both sides of a gateway.
//!
//! | Client | What it is |
//! |---|---|
//! | `ai-sdk` | `@ai-sdk/mcp`, a client that shares no code with the TypeScript SDK |
//! | `mcporter` | a command line; each command is a session |
//! | `codex` | Codex's command line, which signs in, and its `app-server`, which calls |
//! | `python-1.12` | the Python SDK of its time, with `httpx-sse` 0.4.1 |
//! | `fastmcp` | FastMCP's client |
//!
//! | Server | How it is started |
//! |---|---|
//! | `fixture` | the fixture server |
//! | `memory` | `npx @modelcontextprotocol/server-memory`, from a cold cache |
//! | `time` | `uvx mcp-server-time`, from a cold cache |

use std::path::{Path, PathBuf};

use anyhow::Context;
use xshell::{Shell, cmd};

use super::{
    cell::{Cell, follow, matrix},
    harness::{self, Harness},
    provider::{self, PEOPLE, password},
};
use crate::{
    broker::{self, Broker},
    cargo::root,
    pinned,
    process::{self, Stopwatch},
    rpc,
    tally::Tally,
};

pub(super) const CLIENTS: [&str; 5] = ["ai-sdk", "mcporter", "codex", "python-1.12", "fastmcp"];
pub(super) const SERVERS: [&str; 3] = ["fixture", "memory", "time"];

/// What the package runners download.
pub(super) const MEMORY: &str = "@modelcontextprotocol/server-memory@2026.8.31";
pub(super) const TIME: &str = "mcp-server-time@2026.10.19";

/// By which package runners find their registry and trust it. Where it is set it is this machine's own
/// setting, which a child does not have by itself.
const REGISTRIES: [&str; 14] = [
    "PATH",
    "npm_config_registry",
    "NPM_CONFIG_REGISTRY",
    "NODE_EXTRA_CA_CERTS",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "PIP_INDEX_URL",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "http_proxy",
    "https_proxy",
    "NO_PROXY",
];

/// Installs the older clients and `uvx`; returns their `bin`.
pub(super) fn packages(sh: &Shell) -> anyhow::Result<PathBuf> {
    pinned::browser(sh)?;
    let requirements = root().join("xtask/e2e/py/older.txt");
    pinned::pip(sh, &requirements, &harness::dir().join("older"))
}

/// Those of [`REGISTRIES`] that are set here.
pub(super) fn registries(sh: &Shell) -> impl Iterator<Item = &'static str> {
    REGISTRIES.into_iter().filter(|name| sh.var_os(name).is_some())
}

/// Tells all stories of these clients with these servers, or those whose name contains `only`.
pub(super) fn run(
    sh: &Shell,
    harness: &Harness,
    clients: &[&str],
    servers: &[&str],
    only: Option<&str>,
) -> anyhow::Result<Tally> {
    let older = packages(sh)?;
    let dir = harness.dir.join("clients");
    // With the caches: they are to be cold.
    sh.remove_path(&dir)?;
    sh.create_dir(&dir)?;
    let config = dir.join("mcp-broker.toml");
    let address = provider::address_of_the_broker()?;
    let pass = registries(sh);
    let text = configuration(&address, &dir, &harness.dir.join("fixture"), &older, pass);
    sh.write_file(&config, text)?;
    let binary = broker::binary();
    let person = PEOPLE[0];
    let cmd = cmd!(sh, "{binary} user add {person} --config {config}");
    process::announce(&[], &cmd);
    cmd.quiet().ignore_stdout().stdin(password(person)).run()?;
    let cmd = cmd!(sh, "{binary} token add e2e --config {config}");
    process::announce(&[], &cmd);
    let token = cmd.quiet().read().context("no token")?;
    let broker =
        Broker::start(cmd!(sh, "{binary} serve --config {config}"), &dir.join("broker.log"))?;

    let mut total = Tally::default();
    for server in servers.iter().filter(|server| **server != "fixture") {
        total += cold(&broker, server, &token);
    }
    let stage = Stage { harness, older: &older, url: broker.url(), token: &token };
    let mut cells = Vec::new();
    for client in clients {
        for server in servers {
            let cell = stage.tell(sh, client, server, only).unwrap_or_else(Cell::broken);
            cells.push((*client, *server, cell));
        }
    }
    total += matrix(clients, servers, &cells);
    broker.stop(sh)?;
    Ok(total)
}

/// Opens two sessions, the first of which downloads the server.
fn cold(broker: &Broker, server: &str, token: &str) -> Tally {
    let open = || {
        let watch = Stopwatch::start();
        rpc::open_session(broker.url(), &format!("/{server}/mcp"), token)?;
        anyhow::Ok(watch.elapsed().as_secs_f32())
    };
    let opened = open().and_then(|first| Ok((first, open()?)));
    match &opened {
        Ok((first, second)) => println!(
            "ok - {server} starts from a cold cache in {first:.1} s, and again in {second:.1} s"
        ),
        Err(error) => println!("FAILED - {server} starts from a cold cache: {error:#}"),
    }
    Tally::one(opened.is_ok())
}

/// What the clients are told.
struct Stage<'a> {
    harness: &'a Harness,
    older: &'a Path,
    url: &'a str,
    token: &'a str,
}

impl Stage<'_> {
    /// Runs one client against one server.
    fn tell(
        &self,
        sh: &Shell,
        client: &str,
        server: &str,
        only: Option<&str>,
    ) -> anyhow::Result<Cell> {
        println!();
        println!("=== {client} with {server}");
        let script = |name: &str| self.harness.dir.join("ts").join(name);
        let person = ["--person", PEOPLE[0], "--password", &password(PEOPLE[0])];
        let cmd = match client {
            "ai-sdk" | "mcporter" | "codex" => {
                let script = script(&format!("{client}.mjs"));
                cmd!(sh, "node {script}").args(person)
            }
            "python-1.12" => {
                let python = self.older.join("python");
                cmd!(sh, "{python} -B xtask/e2e/py/older.py")
            }
            _ => {
                let python = self.harness.python.join("python");
                cmd!(sh, "{python} -B xtask/e2e/py/fast.py")
            }
        };
        let url = format!("{}/{server}/mcp", self.url);
        let mut cmd = cmd.args(["--url", &url, "--token", self.token, "--server", server]);
        if let Some(only) = only {
            cmd = cmd.args(["--only", only]);
        }
        follow(cmd, only)
    }
}

/// The broker's configuration: people with accounts of its own, and one token.
fn configuration<'a>(
    url: &str,
    dir: &Path,
    fixture: &Path,
    older: &Path,
    pass: impl Iterator<Item = &'a str>,
) -> String {
    let listen = url.trim_start_matches("http://");
    // JSON strings of these paths are TOML strings too.
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let pass: Vec<_> = pass.map(|name| format!("{name:?}")).collect();
    let pass = pass.join(", ");
    format!(
        "listen = \"{listen}\"\ndata_dir = {data}\n\n\
         [auth]\nverifiers = [\"static\", \"oauth\"]\nidentity = [\"local\"]\n\n\
         [server.fixture]\ncommand = {fixture}\ndefault = true\n\
         # It says which process it is.\nisolation.level = \"none\"\n\n\
         [server.memory]\ncommand = \"npx\"\nargs = [\"--yes\", \"{MEMORY}\"]\n\
         pass_env = [{pass}]\n\
         # A package runner that waits for its registry does nothing.\ninitialize_timeout = \"2m\"\n\
         # The second start from the cache is timed.\nreuse = false\n\n\
         [server.time]\ncommand = {uvx}\nargs = [\"{TIME}\"]\npass_env = [{pass}]\nreuse = false\n\
         initialize_timeout = \"2m\"\n\
         # With the machine's own Python.\nenv = {{ UV_PYTHON_DOWNLOADS = \"never\" }}\n",
        data = quoted(&dir.join("data")),
        fixture = quoted(fixture),
        uvx = quoted(&older.join("uvx")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_runners_are_told_where_this_machine_has_its_registries() {
        let path = Path::new("/tmp/it");
        let pass = ["PATH", "UV_DEFAULT_INDEX"];
        let text = configuration("http://127.0.0.1:1", path, path, path, pass.into_iter());
        assert!(text.starts_with("listen = \"127.0.0.1:1\"\ndata_dir = \"/tmp/it/data\"\n"));
        assert_eq!(text.matches("pass_env = [\"PATH\", \"UV_DEFAULT_INDEX\"]\n").count(), 2);
        assert!(text.contains("command = \"/tmp/it/uvx\"\n"));
    }
}
