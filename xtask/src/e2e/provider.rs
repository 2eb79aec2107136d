//! Identity providers, and what the broker's configuration says about them.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::Context;
use xshell::{Cmd, Shell, cmd};

use super::harness::{self, Harness};
use crate::{
    cargo::{self, root},
    pinned, port, process,
};

/// The broker as the identity providers know it.
const CLIENT_ID: &str = "broker";
const CLIENT_SECRET: &str = "hush-of-the-broker-0123456789";

/// How long a provider may take until it prints its address.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Who signs in.
pub(super) const PEOPLE: [&str; 2] = ["ada", "bob"];

/// Which the forge double has as well.
pub(super) fn password(name: &str) -> String {
    format!("{name}-password")
}

/// Builds the forge double, and installs what [`packages`] does, whose path is returned.
pub(super) fn prepare(sh: &Shell) -> anyhow::Result<PathBuf> {
    build(sh)?;
    packages(sh)
}

/// Builds the forge double.
pub(super) fn build(sh: &Shell) -> anyhow::Result<()> {
    cargo::build_examples(sh, &["forge"])
}

/// Installs a browser, and the server that acts on the forge double, whose path is returned.
pub(super) fn packages(sh: &Shell) -> anyhow::Result<PathBuf> {
    pinned::browser(sh)?;
    let requirements = root().join("xtask/e2e/py/gitea.txt");
    Ok(pinned::pip(sh, &requirements, &harness::dir().join("gitea"))?.join("gitea-mcp"))
}

/// A free address for the broker: it and the identity provider have to know each other's before they
/// start.
pub(super) fn address_of_the_broker() -> anyhow::Result<String> {
    Ok(format!("http://127.0.0.1:{}", port::free()?))
}

/// The keys that say who the broker is to the identity provider.
pub(super) fn client() -> String {
    format!("client_id = \"{CLIENT_ID}\"\nclient_secret = \"{CLIENT_SECRET}\"\n")
}

/// The tables of the forge double at `address`, and of the server `gitea` that acts on it.
pub(super) fn forge_tables(address: &str, gitea: &Path) -> String {
    format!(
        "\n[auth.forgejo]\nurl = \"{address}\"\n{}\
         scopes = [\"read:user\", \"read:repository\", \"write:issue\"]\n\n\
         [server.gitea]\ncommand = {:?}\ndefault = true\n\
         env = {{ GITEA_URL = \"${{egress.base_url}}\", GITEA_TOKEN = \"${{egress.token}}\" }}\n\n\
         [server.gitea.egress]\norigin = \"{address}\"\n",
        client(),
        // A JSON string of this path is a TOML string too.
        gitea.display().to_string()
    )
}

/// An identity provider. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct Provider {
    child: Child,
    /// `http://HOST:PORT`.
    address: String,
}

impl Provider {
    /// The forge double, whose access tokens live `ttl` seconds; `back` is where it sends people.
    pub(super) fn forge(sh: &Shell, back: &str, ttl: u64, log: &Path) -> anyhow::Result<Self> {
        let options = format!("{{\"access_ttl\": {ttl}}}");
        let app = ["--client-id", CLIENT_ID, "--client-secret", CLIENT_SECRET];
        let forge = "target/debug/examples/forge";
        Self::start(cmd!(sh, "{forge} {app...} --redirect-uri {back} --options {options}"), log)
    }

    /// The double of one kind of forge, with people and no application.
    pub(super) fn empty_forge(
        sh: &Shell,
        kind: &str,
        ttl: u64,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let options = format!("{{\"access_ttl\": {ttl}}}");
        let forge = "target/debug/examples/forge";
        Self::start(cmd!(sh, "{forge} --preset {kind} --options {options}"), log)
    }

    /// npm's `oidc-provider`, in the same way.
    pub(super) fn oidc(
        sh: &Shell,
        harness: &Harness,
        back: &str,
        ttl: u64,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let script = harness.dir.join("ts/oidc.mjs");
        let app = ["--client-id", CLIENT_ID, "--client-secret", CLIENT_SECRET];
        let ttl = ["--access-ttl", &ttl.to_string()];
        Self::start(cmd!(sh, "node {script} {app...} --redirect-uri {back} {ttl...}"), log)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Starts `cmd` and waits for the address, which is its first line.
    fn start(cmd: Cmd<'_>, log: &Path) -> anyhow::Result<Self> {
        process::announce(&[], &cmd);
        let mut child = Command::from(cmd)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(log)?)
            .spawn()
            .context("the provider does not start")?;
        let stdout = child.stdout.take().expect("it was asked to be piped");
        let mut provider = Self { child, address: String::new() };
        let (sender, found) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            // The receiver is gone once the start was given up.
            let _ = read.map(|_| sender.send(line.trim().to_owned()));
        });
        provider.address = found
            .recv_timeout(START_LIMIT)
            .ok()
            .filter(|address| address.starts_with("http://"))
            .with_context(|| format!("the provider has no address, see {}", log.display()))?;
        Ok(provider)
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Both fail for a process that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
