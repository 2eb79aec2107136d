//! `cargo xtask conformance`: the MCP conformance suite against the broker in front of the
//! fixture server.

use xshell::{Shell, cmd};

use crate::{
    broker::{self, Broker},
    cargo::root,
    flags, process,
    tally::Tally,
};

mod authorization;
mod report;
mod requirements;
mod suite;

use authorization::Person;
use report::Report;
use suite::Suite;

/// The revision whose every check has to pass, scored by the suite or not.
const REQUIRED: &str = "2025-11-25";

/// The next revision. The broker does not speak it yet, so its failures are expected: the figure is
/// printed and nothing depends on it.
const REPORTED: &str = "2026-07-28";

/// Builds and installs what is needed and not there yet.
pub(crate) fn prepare(sh: &Shell) -> anyhow::Result<()> {
    Suite::prepare(sh)?;
    Ok(())
}

pub(crate) fn run(sh: &Shell, flags: flags::Conformance) -> anyhow::Result<Tally> {
    let suite = Suite::prepare(sh)?;
    let broker = suite.broker(sh)?;
    let filter = flags.filter.as_deref();
    let signing_in = if filter.is_none_or(|filter| "authorization".contains(filter)) {
        Some(suite.sign_in(sh)?)
    } else {
        None
    };
    let required = suite.check(sh, broker.url(), REQUIRED, filter)?;
    let reported = suite.check(sh, broker.url(), REPORTED, filter)?;
    println!();
    if let Some(report) = &signing_in {
        report.print(true);
    }
    required.print(true);
    // What is expected to fail is of interest to those who ask for it.
    reported.print(filter.is_some());
    println!("{REPORTED} is not served yet: its failures are expected and do not count.");

    let mut total = required.tally();
    if let Some(report) = &signing_in {
        total += report.tally();
    }
    if required.is_empty() && reported.is_empty() && signing_in.is_none() {
        println!("no scenario's name contains {:?}", filter.unwrap_or_default());
        total.failed += 1;
    }
    let stopped = broker.stop(sh);
    if let Err(error) = &stopped {
        println!("FAILED - the broker stops: {error:#}");
    }
    total += Tally::one(stopped.is_ok());
    println!();
    println!("conformance: {total}");
    Ok(total)
}

impl Suite {
    /// The scenarios of an authorization server, against a broker that signs people in.
    fn sign_in(&self, sh: &Shell) -> anyhow::Result<Report> {
        let modules = root().join("target/e2e/ts");
        let data = self.dir.join("people");
        sh.remove_path(&data)?;
        let binary = broker::binary();
        let settings = [format!("data_dir={}", data.display())];
        let settings: Vec<_> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let person = Person { name: "ada", password: "a quiet engine hums" };
        let add = cmd!(sh, "{binary} user add ada").args(&settings).stdin(person.password);
        process::announce(&[], &add);
        add.quiet().ignore_stdout().run()?;
        let serve = cmd!(sh, "{binary} serve --listen 127.0.0.1:0").args(&settings);
        let broker = Broker::start(serve, &self.dir.join("people.log"))?;
        let browser = modules.join("browser.mjs");
        let report =
            self.check_authorization(sh, broker.url(), "/oauth/register", person, &browser)?;
        broker.stop(sh)?;
        Ok(report)
    }
}
