//! The load scenario of `cargo xtask bench`: what the broker costs, measured beside its floors.
//!
//! Every number is a comparison within one run on one machine. The load comes from this program,
//! what it asks is always another process:
//!
//! ```text
//! load ── HTTP ──▶ load floor-a                       bare hyper, answers at once
//! load ── HTTP ──▶ load floor-b ── pipes ──▶ load child   bare hyper, a child per connection
//! load ── HTTP ──▶ mcp-broker   ── pipes ──▶ load child   the broker, a child per session
//! ```
//!
//! ```sh
//! cargo build --release -p broker --bin mcp-broker
//! cargo build --release -p broker --example load       # apart: dev-dependencies add features
//! target/release/examples/load                         # about a minute and a half; --quick for half
//! target/release/examples/load compare --baseline OTHER --rounds 10
//! target/release/examples/load eras --rounds 5
//! target/release/examples/load churn --sessions 10000
//! target/release/examples/load children --kills 100 --sessions 10000
//! target/release/examples/load sleepers                # about twelve minutes; --quick for half of one
//! ```
//!
//! | Module | Holds |
//! |---|---|
//! | `calls` | `tools/call` at 1 and 32 connections against broker and floors |
//! | `compare` | the same against two brokers in turn |
//! | `eras` | the same with a session and without one (2026-07-28), in turn, on one child each |
//! | `instructions` | what a call costs, with a session and without one, counted by valgrind |
//! | `point` | one measurement of calls, and what it is made against |
//! | `opening` | initialise latency, memory per session |
//! | `churn` | sessions opened and ended in a loop leave nothing behind |
//! | `children` | nothing outlives a killed broker, and what holding children costs |
//! | `sleepers` | many more sessions than children, and every answer is its owner's |
//! | `wire` | one client connection, and the requests of a session |
//! | `server` | starting and stopping broker and floors |
//! | `proc` | what Linux tells about a process |
//! | `floor`, `child`, `sleeper` | the other ends |
//!
//! An answer that is not 200 or does not carry the request's id stops the run: a benchmark that
//! counts errors measures nothing. Deliberately absent: open-loop load and several machines; both
//! belong to a study of one deployment.

#![expect(clippy::print_stdout, reason = "the figures are this program's output")]
#![expect(clippy::print_stderr, reason = "and how far it is, since it takes minutes")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the real clock and starts the processes it measures"
)]

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::{Parser, ValueEnum};

mod calls;
mod child;
mod children;
mod churn;
mod compare;
mod eras;
mod floor;
mod instructions;
mod opening;
mod point;
mod proc;
mod report;
mod server;
mod sleeper;
mod sleepers;
mod wire;

/// Measures the broker against floors built beside it.
#[derive(Debug, Parser)]
#[command(name = "load")]
struct Flags {
    /// What to measure, or which other end to be.
    #[arg(value_enum, default_value_t = Part::All)]
    part: Part,
    /// Marks the processes of one run; the other ends ignore it.
    #[arg(hide = true)]
    mark: Option<String>,
    /// Seconds measured per point, after one second of warm-up.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// One second per point; for `sleepers` some seconds with few sessions.
    #[arg(long)]
    quick: bool,
    /// Alternating rounds; the median is reported.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Sessions opened and ended by `churn` and `children` (10,000), or that sleep (5,000).
    #[arg(long)]
    sessions: Option<usize>,
    /// How often `children` kills the broker, for each way of holding them.
    #[arg(long, default_value_t = 100)]
    kills: usize,
    /// Owners of the sessions that sleep.
    #[arg(long)]
    owners: Option<usize>,
    /// Children of the sessions that sleep, at the same time.
    #[arg(long)]
    children: Option<usize>,
    /// Minutes of traffic among the sessions that sleep.
    #[arg(long)]
    minutes: Option<f64>,
    /// Makes `sleepers` do again what it did; any number.
    #[arg(long)]
    seed: Option<u64>,
    /// The broker's binary; default: `mcp-broker` in the directory above this program's.
    #[arg(long)]
    broker: Option<PathBuf>,
    /// The other broker's binary for `compare` and `instructions`.
    #[arg(long)]
    baseline: Option<PathBuf>,
    /// Also writes the figures to this file, as one JSON object of names and numbers.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// `calls`, `initialize` and `memory`.
    All,
    /// `tools/call` through broker and floors.
    Calls,
    /// `tools/call` through this broker and the one of `--baseline` in turn.
    Compare,
    /// `tools/call` in a session and without one (2026-07-28) in turn.
    Eras,
    /// Instructions per `tools/call` of this broker and of the one of `--baseline`, if there is one, in a
    /// session and without one; needs valgrind.
    Instructions,
    /// Initialise latency against a direct spawn.
    Initialize,
    /// The broker's memory per session at 1,000 sessions.
    Memory,
    /// Sessions opened and ended in a loop.
    Churn,
    /// Kills of the broker, what a sandbox costs, and sessions opened and ended at either level.
    Children,
    /// Many more sessions than children, and random traffic.
    Sleepers,
    /// Be the stdio server.
    Child,
    /// Be the stdio server that says whose it is.
    Sleeper,
    /// Be the stdio server whose descendants want to outlive it.
    Hostile,
    /// Be one of those descendants.
    Stays,
    /// Be bare hyper that answers at once.
    FloorA,
    /// Be bare hyper with a child per connection.
    FloorB,
}

fn main() -> anyhow::Result<ExitCode> {
    // The child's start is part of what is measured, so nothing else comes first.
    let part = std::env::args_os().nth(1);
    if let Some(be) = part.and_then(|part| match part.to_str()? {
        "child" => Some(child::run as fn() -> anyhow::Result<()>),
        "sleeper" => Some(sleeper::run as fn() -> anyhow::Result<()>),
        "hostile" => Some(children::be_hostile as fn() -> anyhow::Result<()>),
        "stays" => Some(children::stay as fn() -> anyhow::Result<()>),
        _ => None,
    }) {
        be()?;
        return Ok(ExitCode::SUCCESS);
    }
    let flags = Flags::parse();
    // As many workers as the broker has: one per core.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(flags))
}

impl Flags {
    /// How many sessions sleep, and how long that is looked at.
    fn size(&self) -> anyhow::Result<sleepers::Size> {
        let (sessions, owners, children, clients, minutes, wakes) = match self.quick {
            true => (300, 10, 16, 24, 0.1, 50),
            false => (5_000, 50, 64, 56, 10.0, 200),
        };
        let traffic = Duration::try_from_secs_f64(60.0 * self.minutes.unwrap_or(minutes));
        let mut chance = [0; 4];
        getrandom::fill(&mut chance)?;
        Ok(sleepers::Size {
            sessions: self.sessions.unwrap_or(sessions),
            owners: self.owners.unwrap_or(owners),
            children: self.children.unwrap_or(children),
            clients,
            traffic: traffic.context("no such number of minutes")?,
            wakes,
            seed: self.seed.unwrap_or_else(|| u32::from_ne_bytes(chance).into()),
        })
    }
}

async fn run(flags: Flags) -> anyhow::Result<ExitCode> {
    proc::raise_open_files();
    let size = flags.size()?;
    let broker = match flags.broker {
        Some(path) => path,
        None => server::beside_this_program("mcp-broker")?,
    };
    let window = Duration::from_secs(if flags.quick { 1 } else { flags.seconds });
    let mut report = report::Report::default();
    let mut clean = true;
    match flags.part {
        Part::Child => child::run()?,
        Part::FloorA => floor::serve(floor::Floor::Fixed).await?,
        Part::FloorB => floor::serve(floor::Floor::Piped).await?,
        Part::Calls => calls::run(&broker, window, flags.rounds, &mut report).await?,
        Part::Compare => {
            let baseline = flags.baseline.context("compare with what? give --baseline")?;
            compare::run(&baseline, &broker, window, flags.rounds, &mut report).await?;
        }
        Part::Eras => clean = eras::run(&broker, window, flags.rounds, &mut report).await?,
        Part::Instructions => {
            instructions::run(flags.baseline.as_deref(), &broker, &mut report).await?;
        }
        Part::Initialize => opening::latency(&broker, &mut report).await?,
        Part::Memory => opening::memory(&broker, &mut report).await?,
        Part::Churn => {
            let sessions = flags.sessions.unwrap_or(10_000);
            clean = churn::run(&broker, sessions, &mut report).await?;
        }
        Part::Children => {
            let sessions = flags.sessions.unwrap_or(10_000);
            clean = children::run(&broker, flags.kills, sessions, &mut report).await?;
        }
        Part::Hostile => children::be_hostile()?,
        Part::Stays => children::stay()?,
        Part::Sleepers => clean = sleepers::run(&broker, size, &mut report).await?,
        Part::Sleeper => sleeper::run()?,
        Part::All => {
            calls::run(&broker, window, flags.rounds, &mut report).await?;
            opening::latency(&broker, &mut report).await?;
            opening::memory(&broker, &mut report).await?;
        }
    }
    if let Some(path) = flags.json {
        report.write(&path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
