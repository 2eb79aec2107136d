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
mod exceptions;
mod report;
mod requirements;
mod suite;

use authorization::Person;
use exceptions::Exception;
use report::Report;
use suite::Suite;

/// A client's revision and a server's era: every check has to pass, scored by the suite or not, but
/// for those that `exceptions.tsv` says cannot.
struct Pairing {
    name: &'static str,
    revision: &'static str,
    /// What the fixture speaks: `legacy`, `modern`, or both.
    era: Option<&'static str>,
}

const PAIRINGS: [Pairing; 4] = [
    Pairing { name: "2025-11-25", revision: "2025-11-25", era: None },
    Pairing {
        name: "2025-11-25 with a modern server",
        revision: "2025-11-25",
        era: Some("modern"),
    },
    Pairing { name: "2026-07-28 with a modern server", revision: "2026-07-28", era: None },
    Pairing {
        name: "2026-07-28 with a legacy server",
        revision: "2026-07-28",
        era: Some("legacy"),
    },
];

/// Installs the suite.
pub(crate) fn packages(sh: &Shell) -> anyhow::Result<()> {
    Suite::install(sh)?;
    Ok(())
}

pub(crate) fn run(sh: &Shell, flags: flags::Conformance) -> anyhow::Result<Tally> {
    let suite = Suite::prepare(sh)?;
    let filter = flags.filter.as_deref();
    let signing_in = if filter.is_none_or(|filter| "authorization".contains(filter)) {
        Some(suite.sign_in(sh)?)
    } else {
        None
    };
    let mut total = Tally::default();
    let mut reports: Vec<_> = signing_in.into_iter().collect();
    let exceptions = sh.read_file(root().join("xtask/conformance/exceptions.tsv"))?;
    for Pairing { name, revision, era } in PAIRINGS {
        let broker = suite.broker(sh, era)?;
        let mut report = suite.check(sh, broker.url(), (name, revision), filter)?;
        for (needless, scenario) in report.excuse(&Exception::parse(&exceptions, name)) {
            println!("FAILED - {scenario} passes without the exception {needless:?}");
            total.failed += 1;
        }
        reports.push(report);
        let stopped = broker.stop(sh);
        if let Err(error) = &stopped {
            println!("FAILED - the broker stops: {error:#}");
        }
        total += Tally::one(stopped.is_ok());
    }
    println!();
    for report in &reports {
        report.print(true);
        total += report.tally();
    }
    if reports.iter().all(Report::is_empty) {
        println!("no scenario's name contains {:?}", filter.unwrap_or_default());
        total.failed += 1;
    }
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
