//! Sessions opened and ended in a loop leave the broker as it was.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    proc,
    report::Report,
    server::{Server, Setup},
    wire::{Endpoint, Wire},
};

/// Sessions opened and ended at the same time.
const AT_ONCE: usize = 8;
/// Sessions after which the broker has whatever it keeps for good.
const SETTLED: usize = 500;
/// How long the last children may take to be gone.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How far open files may differ: connections and timers come and go.
const FILES_APART: usize = 5;
/// How much memory may have grown, in percent: an allocator keeps what it once needed.
const GROWTH: u64 = 15;

/// The broker with no session open.
#[derive(Debug, Clone, Copy)]
struct Rest {
    children: f64,
    processes: usize,
    zombies: usize,
    files: usize,
    rss_kib: u64,
}

/// Whether nothing was left behind.
pub(crate) async fn run(
    broker: &Path,
    sessions: usize,
    report: &mut Report,
) -> anyhow::Result<bool> {
    run_with(broker, &Setup::default(), "churn", sessions, report).await
}

/// As [`run`], with a broker that is set up differently; the figures' names begin with `name`.
pub(crate) async fn run_with(
    broker: &Path,
    setup: &Setup,
    name: &str,
    sessions: usize,
    report: &mut Report,
) -> anyhow::Result<bool> {
    let server = Server::broker_with(broker, setup).await?;
    let mut wires = Vec::new();
    for _ in 0..AT_ONCE {
        wires.push(Wire::connect(server.endpoint.address).await?);
    }

    let settled = SETTLED.min(sessions);
    let wires = open_and_end(wires, &server.endpoint, settled).await?;
    let before = at_rest(&server).await?;
    let begun = Instant::now();
    let wires = open_and_end(wires, &server.endpoint, sessions - settled).await?;
    let took = begun.elapsed().as_secs_f64();
    let after = at_rest(&server).await?;
    drop(wires);

    println!("{sessions} sessions opened and ended, {AT_ONCE} at a time");
    println!();
    println!("{:<26} {:>12} {:>12}", "", format!("after {settled}"), format!("after {sessions}"));
    println!("{:<26} {:>12} {:>12}", "mcp_broker_children", before.children, after.children);
    println!("{:<26} {:>12} {:>12}", "child processes", before.processes, after.processes);
    println!("{:<26} {:>12} {:>12}", "of these zombies", before.zombies, after.zombies);
    println!("{:<26} {:>12} {:>12}", "open files", before.files, after.files);
    println!("{:<26} {:>12} {:>12}", "resident memory KiB", before.rss_kib, after.rss_kib);
    println!();
    println!("{:.0} sessions per second", (sessions - settled) as f64 / took);
    report.add(format!("{name}/sessions_per_second"), (sessions - settled) as f64 / took);
    report.add(format!("{name}/files_before"), before.files as f64);
    report.add(format!("{name}/files_after"), after.files as f64);
    report.add(format!("{name}/rss_before_kib"), before.rss_kib as f64);
    report.add(format!("{name}/rss_after_kib"), after.rss_kib as f64);
    report.add(format!("{name}/processes_after"), after.processes as f64);

    let mut clean = true;
    let mut complain = |holds: bool, what: &str| {
        if !holds {
            clean = false;
            println!("LEFT BEHIND: {what}");
        }
    };
    complain(after.children == 0.0, "the broker counts children");
    complain(after.processes == 0, "processes");
    complain(before.files.abs_diff(after.files) <= FILES_APART, "open files");
    complain(after.rss_kib * 100 <= before.rss_kib * (100 + GROWTH), "memory");
    if clean {
        println!("nothing was left behind");
    }
    println!();
    server.stop().await?;
    Ok(clean)
}

/// Opens and ends `count` sessions, shared among the connections.
async fn open_and_end(
    wires: Vec<Wire>,
    endpoint: &Endpoint,
    count: usize,
) -> anyhow::Result<Vec<Wire>> {
    let mut workers = JoinSet::new();
    for (n, wire) in wires.into_iter().enumerate() {
        let share = (n..count).step_by(AT_ONCE).len();
        workers.spawn(worker(wire, endpoint.clone(), share));
    }
    let mut wires = Vec::new();
    while let Some(done) = workers.join_next().await {
        wires.push(done??);
    }
    Ok(wires)
}

async fn worker(mut wire: Wire, endpoint: Endpoint, count: usize) -> anyhow::Result<Wire> {
    for _ in 0..count {
        let session = wire.open(&endpoint).await?;
        wire.call(&session).await?;
        wire.end(&session).await?;
    }
    Ok(wire)
}

/// Waits until the broker says that no child is left and the system agrees, or patience ends.
async fn at_rest(server: &Server) -> anyhow::Result<Rest> {
    // A connection that was idle while sessions came and went would be closed by then.
    let mut watch = Wire::connect(server.endpoint.address).await?;
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let processes = proc::tree(server.pid, &server.mark)?;
        let rest = Rest {
            children: watch.metric(&server.endpoint, "mcp_broker_children").await?,
            // More than one launcher is too many.
            processes: processes.len().saturating_sub(usize::from(proc::has_launcher(server.pid)?)),
            zombies: processes.iter().filter(|process| process.state == 'Z').count(),
            files: proc::open_files(server.pid)?,
            rss_kib: proc::rss_kib(server.pid)?,
        };
        if (rest.children == 0.0 && rest.processes == 0) || Instant::now() >= deadline {
            return Ok(rest);
        }
        sleep(Duration::from_millis(50)).await;
    }
}
