//! The broker as a part of somebody else's program. That program is this one, started again for this very
//! test: its `main` is the test runner's, and refuses arguments that it does not know.
#![expect(clippy::disallowed_methods, reason = "the program is nobody's child")]
#![expect(clippy::print_stdout, reason = "it tells where it serves")]

use std::{env, process::Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::{Duration, timeout},
};

use crate::{
    harness::{Harness, STUBBORN, until_so, with_timeout, within_turns},
    kills::{EACH, alive},
    wire::{Client, TIMEOUT},
};

/// Where the test tells the program what to do.
const LEVEL: &str = "LEVEL_OF_THE_EMBEDDED";
/// What is before the address.
const SIGN: &str = "serves at ";

/// What the program does that the test starts.
async fn serve_until_killed(level: &str) {
    let level = format!("server.main.isolation.level={level}");
    let args = r#"server.main.args=["$W","escapes"]"#;
    let harness = Harness::start(&[STUBBORN, args, &level]).await;
    println!("{SIGN}{} {}", harness.client.address, harness.witness.path());
    std::future::pending().await
}

#[test]
fn nothing_outlives_a_killed_program_that_has_the_broker_in_it() {
    with_timeout(async {
        if let Ok(level) = env::var(LEVEL) {
            serve_until_killed(&level).await;
        }
        for level in ["none", "sandbox"] {
            let place = tempfile::tempdir().expect("a directory");
            let mut program = Command::new(env::current_exe().expect("a path"));
            let own_name = "embedded::nothing_outlives_a_killed_program_that_has_the_broker_in_it";
            program.args([own_name, "--exact", "--nocapture"]);
            program.env(LEVEL, level).env("TMPDIR", place.path());
            program.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
            let mut program = program.spawn().expect("it starts");
            let mut lines = BufReader::new(program.stdout.take().expect("its output")).lines();
            let (address, witness) = loop {
                let line = timeout(TIMEOUT, lines.next_line()).await.expect("in time");
                let line = line.expect("text").expect("it serves");
                if let Some((_, said)) = line.split_once(SIGN) {
                    let (address, witness) = said.split_once(' ').expect("two words");
                    break (address.parse().expect("an address"), witness.to_owned());
                }
            };
            let client = Client::new(address);
            let session = client.open().await;
            until_so("all have come", async || alive(&witness) == EACH).await;
            assert!(session.is_alive().await);
            let pid = program.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
            kill_process(pid.expect("it runs"), Signal::KILL).expect("it runs");
            let what = format!("all in {level} are gone");
            within_turns(Duration::from_secs(2), &what, async || alive(&witness) == 0).await;
        }
    });
}
