//! A million bodies, read by the bridge and by `serde_json`: no figure but that they agree.

use std::env;

#[path = "../tests/it/differential/comparison.rs"]
mod comparison;

const BODIES: u32 = 1_000_000;

/// As many as show that the program works, when it is run among the tests.
const FEW: u32 = 100;

#[expect(clippy::print_stdout, reason = "a bench reports")]
fn main() {
    // What cargo says to a bench and not to a test.
    let is_bench = env::args().any(|argument| argument == "--bench");
    let bodies = if is_bench { BODIES } else { FEW };
    let counts = comparison::run(bodies);
    println!(
        "{bodies} bodies from the seed {}: {} accepted, {} of them read by the child unchanged; \
         {} no JSON, {} no message",
        comparison::SEED,
        counts.accepted,
        counts.delivered,
        counts.no_json,
        counts.no_message
    );
}
