//! What children leave behind when the broker is killed, and what it costs to hold them.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    child, churn, proc,
    report::Report,
    server::{Server, Setup},
    wire::{Endpoint, Wire},
};

/// Sessions under calls when the broker is killed.
const SESSIONS: usize = 4;
/// Descendants of each child that leave its group and ignore every signal that can be.
const ESCAPED: usize = 3;
/// How long what is left may be there.
const ENDED_WITHIN: Duration = Duration::from_secs(2);
/// How long it may take until all are there.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Openings of each side, in turn.
const OPENINGS: u32 = 300;
/// What a sandbox with limits may add to the median of an opening.
const MOST_ADDED_MS: f64 = 5.0;

/// One way in which a server's children are held.
struct Way {
    level: &'static str,
    /// Lines of the server's table.
    server: &'static str,
    /// What the machine is to lack, so that the broker takes a mechanism that it would not.
    without: Option<Lack>,
}

/// A stronger mechanism that the broker does not find.
#[derive(Debug, Clone, Copy)]
enum Lack {
    Cgroups,
    CgroupsAndNamespaces,
}

impl Lack {
    /// A line for a shell in a mount namespace of its own. Names of namespaces are limited in a user
    /// namespace of its own, since elsewhere that would be so for the whole machine.
    fn wrap(self) -> Vec<String> {
        let read_only = "for folder in $(awk '$3 == \"cgroup2\" { print $2 }' /proc/mounts); do \
                         mount --bind \"$folder\" \"$folder\"; \
                         mount -o remount,bind,ro,nosuid,nodev,noexec \"$folder\"; done";
        let none = "echo 0 > /proc/sys/user/max_pid_namespaces";
        let (flags, script) = match self {
            Self::Cgroups => ("-m", read_only.to_owned()),
            Self::CgroupsAndNamespaces => ("-Urm", format!("{read_only}; {none}")),
        };
        let script = format!("set -e; {script}; exec \"$0\" \"$@\"");
        ["unshare", flags, "sh", "-c", &script].map(str::to_owned).to_vec()
    }
}

/// At the level `none` the mechanism is the best that the broker finds; a sandbox is a PID namespace.
const WAYS: [Way; 4] = [
    Way { level: "none", server: PLAIN, without: None },
    Way { level: "none", server: PLAIN, without: Some(Lack::Cgroups) },
    Way { level: "none", server: PLAIN, without: Some(Lack::CgroupsAndNamespaces) },
    Way { level: "sandbox", server: LIMITED, without: None },
];

const PLAIN: &str = "isolation = { level = \"none\" }";

/// The sandbox with limits.
const LIMITED: &str = "isolation = { level = \"sandbox\" }\n\
                       limits = { memory = \"512MiB\", pids = 64, cpu = 2, open_files = 256 }";

/// The two that are measured in turn.
const SIDES: [(&str, &str); 2] = [("none", PLAIN), ("sandbox", LIMITED)];

/// Whether nothing outlived the broker in any round, nothing was left behind by any of the `sessions`,
/// and a sandbox costs no more than it may. Looks at all of that, whatever it finds. Without rounds, or
/// without sessions, that part is left out.
pub(crate) async fn run(
    broker: &Path,
    rounds: usize,
    sessions: usize,
    report: &mut Report,
) -> anyhow::Result<bool> {
    let mut clean = true;
    let mut part = |result: anyhow::Result<bool>| {
        if let Err(error) = &result {
            println!("FAILED: {error:#}");
        }
        clean &= result.unwrap_or(false);
        println!();
    };
    // The first, while the machine is quiet.
    part(cost(broker, report).await);
    if rounds > 0 {
        part(kills(broker, rounds, report).await);
    }
    for (name, server) in SIDES.iter().filter(|_| sessions > 0) {
        println!("level {name}:");
        let setup = Setup { server: (*server).to_owned(), ..Setup::default() };
        let name = format!("churn/{name}");
        part(churn::run_with(broker, &setup, &name, sessions, report).await);
    }
    Ok(clean)
}

/// Whether nothing outlives a killed broker, whatever holds its children.
async fn kills(broker: &Path, rounds: usize, report: &mut Report) -> anyhow::Result<bool> {
    let mut clean = true;
    println!(
        "{rounds} kills of the broker with {SESSIONS} sessions under calls, {ESCAPED} escaped \
         processes each"
    );
    println!();
    println!("{:<10} {:<16} {:>8} {:>14}", "level", "mechanism", "left", "slowest ms");
    for way in &WAYS {
        let (mut left, mut slowest, mut mechanism) = (0, Duration::ZERO, String::new());
        for _ in 0..rounds {
            let round = match kill(broker, way).await.with_context(|| format!("{:?}", way.without))
            {
                Ok(round) => round,
                // The other ways are tried all the same.
                Err(error) => {
                    println!("FAILED: level {}: {error:#}", way.level);
                    clean = false;
                    break;
                }
            };
            left += round.left;
            slowest = slowest.max(round.took);
            mechanism = round.mechanism;
        }
        let slowest = slowest.as_secs_f64() * 1e3;
        println!("{:<10} {mechanism:<16} {left:>8} {slowest:>14.0}", way.level);
        let name = format!("children/{}/{}", way.level, mechanism.replace(' ', "_"));
        report.add(format!("{name}/left"), left as f64);
        report.add(format!("{name}/slowest_ms"), slowest);
        clean &= left == 0;
    }
    Ok(clean)
}

struct Round {
    /// Processes that were there when the time was over.
    left: usize,
    /// Until the last one was gone.
    took: Duration,
    mechanism: String,
}

async fn kill(broker: &Path, way: &Way) -> anyhow::Result<Round> {
    let setup = Setup {
        role: "hostile",
        server: way.server.to_owned(),
        under: way.without.map(Lack::wrap).unwrap_or_default(),
        ..Setup::default()
    };
    let server = Server::broker_with(broker, &setup).await?;
    let mut watch = Wire::connect(server.endpoint.address).await?;
    let mechanism = mechanism(&watch.metrics(&server.endpoint).await?);
    let mut callers = JoinSet::new();
    for _ in 0..SESSIONS {
        callers.spawn(call(server.endpoint.clone()));
    }
    let begun = Instant::now();
    while proc::marked(&server.mark)? < SESSIONS * (1 + ESCAPED) {
        ensure!(begun.elapsed() < TIMEOUT, "not all descendants have come");
        sleep(Duration::from_millis(10)).await;
    }
    let mark = server.mark.clone();
    let directory = server.kill().await?;
    let begun = Instant::now();
    let mut left = proc::marked(&mark)?;
    while left > 0 && begun.elapsed() < ENDED_WITHIN {
        sleep(Duration::from_millis(5)).await;
        left = proc::marked(&mark)?;
    }
    callers.abort_all();
    drop(directory);
    Ok(Round { left, took: begun.elapsed(), mechanism })
}

/// Calls until the broker is gone.
async fn call(endpoint: Endpoint) -> anyhow::Result<()> {
    let mut wire = Wire::connect(endpoint.address).await?;
    let session = wire.open(&endpoint).await?;
    loop {
        wire.call(&session).await?;
    }
}

/// Which mechanism the broker's metrics name.
fn mechanism(page: &str) -> String {
    let line = page.lines().find(|line| line.starts_with("mcp_broker_child_containment{"));
    let word = line.and_then(|line| line.split("mechanism=\"").nth(1)?.split('"').next());
    word.unwrap_or("not told").to_owned()
}

/// Opening a session at either level, in turn.
async fn cost(broker: &Path, report: &mut Report) -> anyhow::Result<bool> {
    let mut sides = Vec::new();
    for (name, table) in SIDES {
        let setup = Setup { server: table.to_owned(), ..Setup::default() };
        let server = Server::broker_with(broker, &setup).await?;
        let wire = Wire::connect(server.endpoint.address).await?;
        sides.push((name, server, wire, Histogram::<u64>::new(3)?));
    }
    for _ in 0..OPENINGS {
        for (_, server, wire, latencies) in &mut sides {
            let asked = Instant::now();
            let session = wire.initialize(&server.endpoint).await?;
            latencies.record(u64::try_from(asked.elapsed().as_nanos())?)?;
            wire.end(&session).await?;
        }
    }
    println!("initialize, {OPENINGS} in turn, until the answer is there");
    println!();
    println!("{:<22} {:>9} {:>9}", "", "p50 ms", "p99 ms");
    let mut medians = Vec::new();
    for (name, server, wire, latencies) in sides {
        let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e6;
        println!("{name:<22} {:>9.2} {:>9.2}", ms(0.5), ms(0.99));
        report.add(format!("children/{name}/p50_ms"), ms(0.5));
        medians.push(ms(0.5));
        drop(wire);
        server.stop().await?;
    }
    let [without, with] = medians[..] else { unreachable!("there are two sides") };
    let added = with - without;
    println!();
    println!("a sandbox with limits adds {added:.2} ms to the median");
    report.add("children/added_ms", added);
    Ok(added < MOST_ADDED_MS)
}

/// The stdio server, with descendants that do what they can to outlive it: a session of their own, a
/// parent that is gone, every signal ignored, and its pipes held open.
pub(crate) fn be_hostile() -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let mark = std::env::args_os().nth(2).context("no mark")?;
    for _ in 0..ESCAPED {
        // Ignored signals stay ignored in what the shell executes.
        let script = "trap '' HUP INT QUIT USR1 USR2 TERM; setsid \"$0\" stays \"$1\" &";
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]).arg(&program).arg(&mark).stdin(Stdio::null());
        ensure!(shell.stdout(Stdio::inherit()).status()?.success(), "no shell, or no setsid");
    }
    child::run()
}

/// Stays, though not for ever: a failing run should leave nothing behind.
pub(crate) fn stay() -> anyhow::Result<()> {
    thread::sleep(Duration::from_secs(120));
    Ok(())
}
