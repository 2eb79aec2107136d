//! `cargo xtask packages`: what the stories and the conformance suite need from registries.
//!
//! They install it themselves where it is missing. Alone it runs beside a build: it mostly waits.

use xshell::Shell;

use crate::{conformance, e2e, flags, tally::Tally};

pub(crate) fn run(sh: &Shell, _: flags::Packages) -> anyhow::Result<Tally> {
    e2e::packages(sh)?;
    conformance::packages(sh)?;
    let total = Tally::one(true);
    println!();
    println!("packages: {total}");
    Ok(total)
}
