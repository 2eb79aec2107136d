//! `cargo xtask lint`: format, clippy, rustdoc and tidy. Every step runs, whatever the others say.

use xshell::{Shell, cmd};

use crate::{flags, process, tally::Tally, tidy};

pub(crate) fn run(sh: &Shell, flags: flags::Lint) -> anyhow::Result<Tally> {
    let mut steps = Vec::new();

    let cmd =
        if flags.fix { cmd!(sh, "cargo fmt --all") } else { cmd!(sh, "cargo fmt --all --check") };
    steps.push(("fmt", process::run(cmd)?.ok));

    // A contributor who asks for mending has uncommitted work.
    let fix: &[&str] = if flags.fix { &["--fix", "--allow-dirty", "--allow-staged"] } else { &[] };
    let cmd = cmd!(
        sh,
        "cargo clippy --workspace --all-targets --all-features --keep-going {fix...} -- -D warnings"
    );
    steps.push(("clippy", process::run(cmd)?.ok));

    // What users of the crates compile: without the fakes that `--all-features` brings, code that
    // only they use is dead, and code that forgot their `cfg` does not compile.
    let cmd = cmd!(sh, "cargo clippy --workspace --keep-going -- -D warnings");
    steps.push(("clippy, default features", process::run(cmd)?.ok));

    let cmd = cmd!(sh, "cargo doc --workspace --no-deps --all-features");
    steps.push(("rustdoc", process::run_with(&[("RUSTDOCFLAGS", "-D warnings")], cmd)?.ok));

    println!("$ cargo test -p xtask tidy");
    for (rule, problems) in tidy::check(sh)? {
        for problem in &problems {
            println!("tidy: {rule}: {problem}");
        }
        steps.push((rule, problems.is_empty()));
    }

    let mut total = Tally::default();
    println!();
    for (step, held) in steps {
        println!("{:<8} {step}", if held { "ok" } else { "FAILED" });
        total += Tally::one(held);
    }
    println!();
    println!("lint: {total}");
    Ok(total)
}
