//! The suite's scenarios of an authorization server: it prints an address, and a user with a
//! browser has to go there.

use std::{
    fs::File,
    io::Write,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::Context;
use xshell::{Shell, cmd};

use super::{
    report::{Report, Scenario},
    suite::{Suite, checks},
};
use crate::{port, process, rpc};

/// What the suite knows about authorization servers.
const SCENARIOS: [&str; 2] = ["authorization-server-metadata-endpoint", "authorization-code-grant"];

/// What its folders of results begin with.
const ROLE: &str = "authorization-server";

/// Both scenarios; the suite itself waits five minutes for the browser, and ours needs seconds.
const LIMIT: Duration = Duration::from_mins(2);

/// How long a browser may take to close.
const CLOSING: Duration = Duration::from_secs(10);

/// A user who can sign in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Person<'a> {
    pub(super) name: &'a str,
    pub(super) password: &'a str,
}

impl Suite {
    /// Runs the scenarios against the authorization server at `issuer` (`http://HOST:PORT`), which
    /// lets clients register at `registration`. `browser` is `browser.mjs` beside its packages.
    pub(super) fn check_authorization(
        &self,
        sh: &Shell,
        issuer: &str,
        registration: &str,
        person: Person<'_>,
        browser: &Path,
    ) -> anyhow::Result<Report> {
        let results = self.dir.join("results").join(ROLE);
        sh.remove_path(&results)?;
        sh.create_dir(&results)?;
        let mut log = File::create(self.dir.join("authorization.log"))?;
        let port = port::free()?.to_string();
        let redirect_uri = format!("http://127.0.0.1:{port}/callback");
        let client = rpc::register(issuer, registration, &redirect_uri)?;

        println!();
        println!("=== authorization, output in target/conformance/authorization.log");
        let package = self.dir.join("node_modules/@modelcontextprotocol/conformance");
        let (node, program) = (&self.node, package.join("dist/index.js"));
        let cmd = cmd!(
            sh,
            "{node} {program} authorization --url {issuer} --client-id {client} --port {port} -o {results}"
        );
        let mut written = Ok(());
        let mut visits = Vec::new();
        process::watch(cmd, LIMIT, |line| {
            if written.is_ok() {
                written = writeln!(log, "{line}");
            }
            if line.starts_with(issuer) && line.contains("response_type=code") {
                visits.push(visit(sh, browser, person, line));
            }
        })?;
        written.context("cannot write the log")?;
        let mut scenarios = Vec::new();
        for name in SCENARIOS {
            scenarios.push(Scenario::read(name, true, checks(&results, ROLE, name)?.as_deref()));
        }
        for browser in visits {
            let mut browser = browser?;
            if process::wait(&mut browser, CLOSING)?.is_none() {
                browser.kill().context("the browser cannot be ended")?;
                browser.wait()?;
            }
        }
        Ok(Report { revision: "authorization", scenarios })
    }
}

/// Sends the person to `address`. What goes wrong there is said on standard error, and the suite
/// misses its code.
fn visit(sh: &Shell, browser: &Path, person: Person<'_>, address: &str) -> anyhow::Result<Child> {
    let Person { name, password } = person;
    let cmd = cmd!(sh, "node {browser} --person {name} --password {password} {address}");
    Command::from(cmd)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("the browser does not start")
}
