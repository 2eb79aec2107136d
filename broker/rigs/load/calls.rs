//! `tools/call` at 1 and at 32 connections, through the broker and against both floors.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use hyper::header::HeaderValue;
use tokio::{task::JoinSet, time::sleep_until};

use crate::{
    floor, proc,
    report::Report,
    server::Server,
    wire::{Session, Wire},
};

/// Sessions that take part, however many connections carry them.
const SESSIONS: usize = 32;
const CONNECTIONS: [usize; 2] = [1, SESSIONS];
const WARM_UP: Duration = Duration::from_secs(1);

/// A server and the sessions its calls belong to.
struct Target {
    name: &'static str,
    server: Server,
    sessions: Vec<Session>,
    answers: Answers,
}

/// What a call must be answered.
#[derive(Debug, Clone, Copy)]
enum Answers {
    /// [`floor::FIXED`].
    Fixed,
    /// A result with the call's id.
    WithId,
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
struct Point {
    /// Calls per second.
    rate: f64,
    /// Microseconds.
    p50: f64,
    p99: f64,
    /// CPU time per call in microseconds: of the server, of its children, of this program.
    server: f64,
    children: f64,
    load: f64,
    /// Percent of the machine's CPU time that went to processes that are no part of this.
    others: f64,
}

/// Percent of [`Point::others`] above which the figures are not to be trusted.
const DISTURBED: f64 = 5.0;

/// Measures and prints; `window` is what counts of each point.
pub(crate) async fn run(
    broker: &Path,
    window: Duration,
    rounds: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let targets = [
        Target::floor("floor A", "floor-a", Answers::Fixed).await?,
        Target::floor("floor B", "floor-b", Answers::WithId).await?,
        Target::broker(broker).await?,
    ];
    println!("tools/call, {SESSIONS} sessions, {rounds} rounds of {window:?}, medians");
    println!("floor A answers at once; floor B asks one child per connection");
    println!();
    println!(
        "{:>11} {:<8} {:>10} {:>9} {:>9}   {:>9} {:>9} {:>9} {:>9}",
        "connections", "", "calls/s", "p50 µs", "p99 µs", "server", "children", "load", "others %"
    );
    let mut ratios = Vec::new();
    let mut disturbed = 0.0;
    for connections in CONNECTIONS {
        let mut points: [Vec<Point>; 3] = Default::default();
        for _ in 0..rounds.max(1) {
            // Alternating, so that a machine that slows down slows all three alike.
            for (target, points) in targets.iter().zip(&mut points) {
                points.push(target.measure(connections, window).await?);
            }
        }
        for (target, points) in targets.iter().zip(&points) {
            print(target.name, connections, &Point::median(points), report);
        }
        let [_, floor, broker] = &points;
        let pairs = broker.iter().zip(floor);
        ratios.push((connections, pairs.map(|(broker, floor)| broker.rate / floor.rate).collect()));
        let all = points.iter().flatten().map(|point| point.others);
        disturbed = all.fold(disturbed, f64::max);
    }
    println!("(server, children, load: µs of CPU per call; load is this program)");
    println!("(others: the machine's CPU time that went to processes that are no part of this)");
    println!();
    for (connections, ratios) in ratios {
        let ratios: Vec<f64> = ratios;
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        let ratio = median(ratios.into_iter());
        println!(
            "ratio broker / floor B at {connections:>2} connections: {ratio:.3} \
             (rounds {least:.3} to {most:.3})"
        );
        report.add(format!("calls/{connections}/ratio"), ratio);
        report.add(format!("calls/{connections}/ratio_least"), least);
        report.add(format!("calls/{connections}/ratio_most"), most);
    }
    report.add("calls/others_percent", disturbed);
    if disturbed > DISTURBED {
        println!(
            "DISTURBED: others took up to {disturbed:.0} % of the CPU; measure again in quiet"
        );
    }
    println!();
    for target in targets {
        target.server.stop().await?;
    }
    Ok(())
}

impl Target {
    async fn floor(name: &'static str, role: &str, answers: Answers) -> anyhow::Result<Self> {
        let server = Server::floor(role).await?;
        // The floors know no sessions; the requests look the same.
        let sessions = (0..SESSIONS)
            .map(|n| {
                anyhow::Ok(server.endpoint.session(HeaderValue::try_from(format!("{n:048x}"))?))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { name, server, sessions, answers })
    }

    async fn broker(program: &Path) -> anyhow::Result<Self> {
        let server = Server::broker(program).await?;
        let mut wire = Wire::connect(server.endpoint.address).await?;
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            sessions.push(wire.open(&server.endpoint).await?);
        }
        Ok(Self { name: "broker", server, sessions, answers: Answers::WithId })
    }

    async fn measure(&self, connections: usize, window: Duration) -> anyhow::Result<Point> {
        let mut callers = Vec::new();
        for n in 0..connections {
            // Each connection goes round the sessions that are its own.
            let sessions: Vec<_> =
                self.sessions[n..].iter().step_by(connections).cloned().collect();
            let mut wire = Wire::connect(self.server.endpoint.address).await?;
            // Whatever a first call costs (a floor's child starts) is not this point's matter.
            self.answers.call(&mut wire, &sessions[0]).await?;
            callers.push((wire, sessions));
        }
        let begin = Instant::now() + WARM_UP;
        let end = begin + window;
        let mut tasks = JoinSet::new();
        for (wire, sessions) in callers {
            tasks.spawn(caller(wire, sessions, self.answers, begin, end));
        }
        sleep_until(begin.into()).await;
        let before = self.cpu()?;
        sleep_until(end.into()).await;
        let after = self.cpu()?;
        let mut latencies = Histogram::<u64>::new(3)?;
        while let Some(ended) = tasks.join_next().await {
            let (_wire, own) = ended??;
            latencies.add(own)?;
        }
        let calls = latencies.len() as f64;
        let us = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
        let [server, children, load, machine] =
            std::array::from_fn(|n| proc::ticks_to_us(after[n].saturating_sub(before[n])));
        let cores = std::thread::available_parallelism()?.get() as f64;
        let others = (machine - server - children - load).max(0.0);
        Ok(Point {
            rate: calls / window.as_secs_f64(),
            p50: us(0.5),
            p99: us(0.99),
            server: server / calls,
            children: children / calls,
            load: load / calls,
            others: 100.0 * others / (window.as_micros() as f64 * cores),
        })
    }

    /// Clock ticks so far of the server, its children, this program and the whole machine.
    fn cpu(&self) -> anyhow::Result<[u64; 4]> {
        let processes = proc::tree(self.server.pid, &self.server.mark)?;
        Ok([
            proc::process(self.server.pid)?.ticks,
            processes.iter().map(|process| process.ticks).sum(),
            proc::process(std::process::id())?.ticks,
            proc::machine_ticks()?,
        ])
    }
}

impl Answers {
    async fn call(self, wire: &mut Wire, session: &Session) -> anyhow::Result<()> {
        match self {
            Self::Fixed => wire.call_fixed(session, floor::FIXED).await,
            Self::WithId => wire.call(session).await,
        }
    }
}

/// Calls without a pause until `end`, and returns the nanoseconds of the calls after `begin`; with
/// the wire, because a floor's child ends with it and has yet to be asked for its CPU time.
async fn caller(
    mut wire: Wire,
    sessions: Vec<Session>,
    answers: Answers,
    begin: Instant,
    end: Instant,
) -> anyhow::Result<(Wire, Histogram<u64>)> {
    let mut latencies = Histogram::new(3)?;
    let mut asked = Instant::now();
    for session in sessions.iter().cycle() {
        answers.call(&mut wire, session).await?;
        let answered = Instant::now();
        if answered >= end {
            break;
        }
        if asked >= begin {
            latencies.record(u64::try_from((answered - asked).as_nanos())?)?;
        }
        asked = answered;
    }
    Ok((wire, latencies))
}

impl Point {
    fn median(points: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(points.iter().map(figure));
        Self {
            rate: of(|point| point.rate),
            p50: of(|point| point.p50),
            p99: of(|point| point.p99),
            server: of(|point| point.server),
            children: of(|point| point.children),
            load: of(|point| point.load),
            others: of(|point| point.others),
        }
    }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn print(name: &str, connections: usize, point: &Point, report: &mut Report) {
    let Point { rate, p50, p99, server, children, load, others } = *point;
    println!(
        "{connections:>11} {name:<8} {rate:>10.0} {p50:>9.1} {p99:>9.1}   {server:>9.1} \
         {children:>9.1} {load:>9.1} {others:>9.1}"
    );
    let name = name.replace(' ', "-").to_lowercase();
    let mut add = |what, figure| report.add(format!("calls/{connections}/{name}/{what}"), figure);
    add("per_second", rate);
    add("p50_us", p50);
    add("p99_us", p99);
    add("server_cpu_us", server);
    add("children_cpu_us", children);
    add("load_cpu_us", load);
}
