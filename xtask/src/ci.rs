//! `cargo xtask ci`: everything that has to hold, one after the other, and one line at the end.

use xshell::Shell;

use crate::{conformance, e2e, flags, lint, process::Stopwatch, tally::Tally, test};

pub(crate) fn run(sh: &Shell, _: flags::Ci) -> anyhow::Result<Tally> {
    let mut parts = Vec::new();
    let mut part = |name: &'static str, run: &dyn Fn() -> anyhow::Result<Tally>| {
        println!();
        println!("##### {name}");
        let watch = Stopwatch::start();
        let tally = run().unwrap_or_else(|error| {
            println!("error: {error:#}");
            Tally::one(false)
        });
        parts.push((name, tally, watch.elapsed()));
    };
    part("lint", &|| lint::run(sh, flags::Lint { fix: false }));
    part("test", &|| test::run(sh, flags::Test { package: None, repeat: None, busy: false }));
    part("e2e", &|| {
        let all = flags::E2e {
            server: None,
            client: None,
            sign_in: false,
            outlive: false,
            rotate_for: None,
            only: None,
        };
        e2e::run(sh, all)
    });
    part("conformance", &|| conformance::run(sh, flags::Conformance { filter: None }));

    let mut total = Tally::default();
    println!();
    for (name, tally, took) in parts {
        println!("{name:<12} {tally} in {} s", took.as_secs());
        total += tally;
    }
    println!("{total}");
    Ok(total)
}
