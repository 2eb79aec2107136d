//! What opening a session costs: time against a direct spawn, and the broker's memory.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::{
    proc,
    report::Report,
    server::Server,
    wire::{self, Endpoint, Session, Wire},
};

const OPENINGS: u32 = 200;
const SESSIONS: usize = 1_000;
/// Sessions opened at the same time on the way to [`SESSIONS`].
const AT_ONCE: usize = 8;

/// `initialize` through the broker against spawning the same child and asking it over its pipes,
/// one after the other in turns.
pub(crate) async fn latency(broker: &Path, report: &mut Report) -> anyhow::Result<()> {
    let server = Server::broker(broker).await?;
    let mut wire = Wire::connect(server.endpoint.address).await?;
    let (mut direct, mut brokered) = (Histogram::<u64>::new(3)?, Histogram::<u64>::new(3)?);
    for done in 0..OPENINGS {
        if done % (OPENINGS / 4) == 0 {
            eprintln!("initialize: {done} of {OPENINGS}");
        }
        direct.record(spawn_directly("child", &[])?)?;
        let asked = Instant::now();
        let session = wire.initialize(&server.endpoint).await?;
        brokered.record(u64::try_from(asked.elapsed().as_nanos())?)?;
        wire.end(&session).await?;
    }
    println!("initialize, {OPENINGS} in turn, until the answer is there");
    println!();
    println!("{:<14} {:>9} {:>9}", "", "p50 µs", "p99 µs");
    for (name, key, latencies) in
        [("direct spawn", "direct", &direct), ("broker", "broker", &brokered)]
    {
        let us = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
        println!("{name:<14} {:>9.0} {:>9.0}", us(0.5), us(0.99));
        report.add(format!("initialize/{key}/p50_us"), us(0.5));
        report.add(format!("initialize/{key}/p99_us"), us(0.99));
    }
    println!();
    server.stop().await
}

/// Nanoseconds from the spawn to the answer.
pub(crate) fn spawn_directly(role: &str, environment: &[(&str, &str)]) -> anyhow::Result<u64> {
    let program = std::env::current_exe()?;
    let asked = Instant::now();
    let mut child = Command::new(program)
        .arg(role)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("the child did not start")?;
    let mut stdin = child.stdin.take().expect("it was asked for");
    let mut stdout = BufReader::new(child.stdout.take().expect("it was asked for"));
    stdin.write_all(format!("{}\n", wire::INITIALIZE).as_bytes())?;
    let mut answer = String::new();
    stdout.read_line(&mut answer)?;
    let took = asked.elapsed();
    ensure!(answer.contains("protocolVersion"), "the child answered {answer:?}");
    drop(stdin);
    child.wait()?;
    Ok(u64::try_from(took.as_nanos())?)
}

/// The broker's resident memory per session, with [`SESSIONS`] open after a call on each.
pub(crate) async fn memory(broker: &Path, report: &mut Report) -> anyhow::Result<()> {
    let server = Server::broker(broker).await?;
    // The first session brings in code and tables that belong to no session.
    let mut wire = Wire::connect(server.endpoint.address).await?;
    let first = wire.open(&server.endpoint).await?;
    wire.call(&first).await?;
    let before = proc::rss_kib(server.pid)?;

    eprintln!("memory: opening {SESSIONS} sessions");
    let mut openers = JoinSet::new();
    for n in 0..AT_ONCE {
        let share = (n..SESSIONS).step_by(AT_ONCE).len();
        openers.spawn(open_many(server.endpoint.clone(), share));
    }
    let mut sessions = Vec::with_capacity(SESSIONS);
    while let Some(opened) = openers.join_next().await {
        sessions.extend(opened??);
    }
    let after = proc::rss_kib(server.pid)?;
    let children = proc::tree(server.pid, &server.mark)?.len();
    ensure!(children > SESSIONS, "{children} processes for {} sessions", SESSIONS + 1);

    let per_session = after.saturating_sub(before) as f64 / SESSIONS as f64;
    println!("memory of the broker with {SESSIONS} sessions open, a call done on each");
    println!();
    println!("{before} KiB before, {after} KiB with them: {per_session:.1} KiB per session");
    println!();
    report.add("memory/per_session_kib", per_session);
    report.add("memory/before_kib", before as f64);
    server.stop().await
}

async fn open_many(endpoint: Endpoint, count: usize) -> anyhow::Result<Vec<Session>> {
    let mut wire = Wire::connect(endpoint.address).await?;
    let mut sessions = Vec::with_capacity(count);
    for _ in 0..count {
        let session = wire.open(&endpoint).await?;
        wire.call(&session).await?;
        sessions.push(session);
    }
    Ok(sessions)
}
