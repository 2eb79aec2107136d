//! Servers that others wrote, at each level of isolation: each lists its tools and answers a call.
//!
//! | Server | What it is |
//! |---|---|
//! | `npm` | `npx @modelcontextprotocol/server-memory`, which writes a file |
//! | `pypi` | `uvx mcp-server-time` |
//! | `venv` | the same out of a virtual environment |
//! | `go` | the example of the official SDK for Go |
//! | `rust` | `rust-mcp-filesystem`, with a directory of its own |
//! | `git` | `mcp-server-git`, with a repository of its own |

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};
use xshell::{Shell, cmd};

use super::{
    cell::{Cell, follow, matrix},
    clients,
    harness::{self, Harness},
    repository,
};
use crate::{
    broker::{self, Broker},
    pinned, process,
    tally::Tally,
};

const LEVELS: [&str; 3] = ["none", "sandbox", "user"];

/// Users that people get at the level `user`.
const USERS: &str = "270000-270099";

/// What the Rust server is, and which version of it.
const RUST: (&str, &str) = ("rust-mcp-filesystem", "0.4.5");

/// Installs the server in Rust; returns its program.
pub(super) fn packages(sh: &Shell) -> anyhow::Result<PathBuf> {
    pinned::cargo(sh, RUST, &harness::dir().join("rust"))
}

/// One server: its command, and a call that it answers.
struct Foreign {
    name: &'static str,
    command: Vec<String>,
    /// Further lines of its table.
    more: String,
    tool: &'static str,
    arguments: Value,
    /// What a good answer says.
    says: &'static str,
}

/// Tells the story of each server at each level, or those whose name contains `only`.
pub(super) fn run(sh: &Shell, harness: &Harness, only: Option<&str>) -> anyhow::Result<Tally> {
    let older = clients::packages(sh)?;
    let rust = packages(sh)?;
    let dir = harness.dir.join("levels");
    sh.remove_path(&dir)?;
    sh.create_dir(&dir)?;
    let servers = servers(sh, harness, &dir, &older, &rust)?;
    let is_root = cmd!(sh, "id -u").quiet().read()? == "0";
    let levels = &LEVELS[..if is_root { 3 } else { 2 }];
    if !is_root {
        println!("skipped - the level user: the broker must be root for it");
    }
    let mut text = format!(
        "listen = \"127.0.0.1:0\"\ndata_dir = {:?}\n\n[auth]\nverifiers = [\"static\"]\n\n\
         [isolation]\nuids = \"{USERS}\"\n",
        dir.join("data").display().to_string()
    );
    for level in levels {
        for server in &servers {
            text += &server.table(level);
        }
    }
    // The first one; a broker with several needs one.
    text = text.replacen("# default", "default = true", 1);
    let config = dir.join("mcp-broker.toml");
    sh.write_file(&config, text)?;
    let binary = broker::binary();
    let cmd = cmd!(sh, "{binary} token add e2e --config {config}");
    process::announce(&[], &cmd);
    let token = cmd.quiet().read().context("no token")?;
    let broker =
        Broker::start(cmd!(sh, "{binary} serve --config {config}"), &dir.join("broker.log"))?;
    let python = harness.python.join("python");
    let url = broker.url();
    let names: Vec<_> = servers.iter().map(|server| server.name).collect();
    let mut cells = Vec::new();
    for level in levels {
        println!();
        println!("=== servers at the level {level}");
        for server in &servers {
            let plan = server.plan(level).to_string();
            let words = ["--url", url, "--token", &token, "--plan", &plan];
            let mut cmd = cmd!(sh, "{python} -B xtask/e2e/py/levels.py").args(words);
            if let Some(only) = only {
                cmd = cmd.args(["--only", only]);
            }
            cells.push((*level, server.name, follow(cmd, only).unwrap_or_else(Cell::broken)));
        }
    }
    let total = matrix(levels, &names, &cells);
    broker.stop(sh)?;
    Ok(total)
}

/// All of them; the directories that they look at are made.
fn servers(
    sh: &Shell,
    harness: &Harness,
    dir: &Path,
    older: &Path,
    rust: &Path,
) -> anyhow::Result<Vec<Foreign>> {
    let path = |path: &Path| path.display().to_string();
    let text = str::to_owned;
    let pass: Vec<_> = clients::registries(sh).map(|name| format!("{name:?}")).collect();
    // A package runner that waits for its registry does nothing.
    let pass = format!("pass_env = [{}]\ninitialize_timeout = \"90s\"\n", pass.join(", "));
    let time = || json!({ "timezone": "UTC" });
    let repository = repository::make(sh, &dir.join("repository"))?;
    let files = sh.create_dir(dir.join("files"))?;
    sh.write_file(files.join("story.txt"), "Once upon a time.\n")?;
    // Any person's process is to reach both; at the level `user` each has another owner.
    cmd!(sh, "chmod -R a+rX {repository} {files}").quiet().run()?;
    let mut servers = vec![
        Foreign {
            name: "npm",
            command: vec![text("npx"), text("--yes"), text(clients::MEMORY)],
            more: pass.clone(),
            tool: "read_graph",
            arguments: json!({}),
            says: "entities",
        },
        Foreign {
            name: "pypi",
            command: vec![path(&older.join("uvx")), text(clients::TIME)],
            more: pass + "env = { UV_PYTHON_DOWNLOADS = \"never\" }\n",
            tool: "get_current_time",
            arguments: time(),
            says: "\"UTC\"",
        },
        Foreign {
            name: "venv",
            command: vec![path(&harness.python.join("mcp-server-time"))],
            more: String::new(),
            tool: "get_current_time",
            arguments: time(),
            says: "\"UTC\"",
        },
        Foreign {
            name: "rust",
            command: vec![path(rust), path(&files)],
            more: String::new(),
            tool: "read_text_file",
            arguments: json!({ "path": path(&files.join("story.txt")) }),
            says: "Once upon a time.",
        },
        Foreign {
            name: "git",
            command: vec![
                path(&harness.python.join("mcp-server-git")),
                text("--repository"),
                path(&repository),
            ],
            // Git looks at who owns a repository.
            more: text(
                "env = { GIT_CONFIG_COUNT = \"1\", GIT_CONFIG_KEY_0 = \"safe.directory\", \
                 GIT_CONFIG_VALUE_0 = \"*\" }\n",
            ),
            tool: "git_log",
            arguments: json!({ "repo_path": path(&repository) }),
            says: "Begin the story",
        },
    ];
    if let Some(go) = &harness.go {
        servers.push(Foreign {
            name: "go",
            command: vec![path(&go.join("go-sdk/everything"))],
            more: String::new(),
            tool: "greet",
            arguments: json!({ "name": "Ada" }),
            says: "Ada",
        });
    }
    Ok(servers)
}

impl Foreign {
    fn table(&self, level: &str) -> String {
        let (program, arguments) = self.command.split_first().expect("a command has a program");
        format!(
            "\n[server.{}-{level}]\n# default\ncommand = {program:?}\nargs = {arguments:?}\n\
             isolation.level = {level:?}\n{}",
            self.name, self.more
        )
    }

    /// The story, for the program that tells it.
    fn plan(&self, level: &str) -> Value {
        json!([{
            "name": format!("{} lists and answers at the level {level}", self.name),
            "path": format!("/{}-{level}/mcp", self.name),
            "tool": self.tool,
            "arguments": self.arguments,
            "says": self.says,
        }])
    }
}
