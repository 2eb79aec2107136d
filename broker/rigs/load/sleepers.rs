//! Many more sessions than children: whoever asks gets the right answer, from a child of their own,
//! and a session that sleeps costs next to nothing.
//!
//! Every answer is checked for being the right one, every byte of it for being nobody else's. What
//! must hold is said at the end, and when something does not, the program fails.
//!
//! | Module | Holds |
//! |---|---|
//! | `population` | owners with a mark each, their sessions, and chance |
//! | `line` | one connection, and what is a right answer on it |
//! | `traffic` | what clients do at random |
//! | `quiet` | memory, and how long a wake takes |
//! | `watch` | how many children there are, seen from outside |
//! | `tally` | what was asked, and what came of it |

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    proc::Memory,
    report::Report,
    server::{Server, Setup},
    sleeper,
    wire::{Endpoint, Wire},
};

mod line;
mod population;
mod quiet;
mod tally;
mod traffic;
mod watch;

use population::{Dice, Population};
use quiet::Latencies;
use tally::{Kind, Outcome, Tally};
use traffic::Clients;
use watch::{Seen, Watch};

/// Resident bytes of the broker that a sleeping session may cost.
const MAX_BYTES: f64 = 2048.0;
/// With fewer sessions than this, a few MiB that do not depend on their number (the store's caches,
/// what an allocator keeps) are more than they may cost.
const WEIGHABLE: usize = 5_000;
/// How much the second half of the traffic may add to the broker's memory, in percent: what grows
/// with time does so in both halves, and what an allocator keeps, in the first.
const GROWTH: u64 = 15;
/// How much longer than an `initialize` the first call of a sleeping session may take.
const MAX_RATIO: f64 = 1.5;
/// Between two looks at the broker's own count of its children.
const COUNT_EVERY: Duration = Duration::from_millis(500);
/// Lines of the broker's log that are shown when something is broken.
const COMPLAINTS: usize = 10;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) sessions: usize,
    pub(crate) owners: usize,
    /// The cap on children that live at the same time.
    pub(crate) children: usize,
    pub(crate) clients: usize,
    pub(crate) traffic: Duration,
    /// Wakes that are timed.
    pub(crate) wakes: usize,
    /// Of chance; the same one does the same again, as far as the clock allows.
    pub(crate) seed: u64,
}

/// Whether all that must hold did.
pub(crate) async fn run(broker: &Path, size: Size, report: &mut Report) -> anyhow::Result<bool> {
    ensure!(size.owners >= 2, "there must be two owners or more");
    ensure!(size.sessions >= size.owners, "there must be a session for each owner");
    let mut dice = Dice::new(size.seed);
    let seed = format!("{:016x}{:016x}", dice.next(), dice.next());
    let names: Vec<_> = (0..size.owners).map(|n| format!("owner-{n:03}")).collect();
    let setup = Setup {
        people: names.clone(),
        role: "sleeper",
        // Whoever is not asked sleeps soon, and at the cap whoever is not asked makes room. No
        // connection is closed under a request that is just being sent.
        tables: format!(
            "[http]\nheader_timeout = \"1h\"\n\
             [session]\nmax = {}\nidle = \"1s\"\nreap_interval = \"200ms\"\nevict_idle = \"0s\"\n\
             place_wait = \"20s\"",
            size.children
        ),
        under: Vec::new(),
        server: format!(
            "env = {{ {} = \"${{user.subject}}\", {} = {seed:?} }}",
            sleeper::OWNER,
            sleeper::SEED
        ),
        keeps_log: true,
    };
    let Size { sessions, owners, children, clients, traffic, wakes, seed: chance } = size;
    println!(
        "{sessions} sessions of {owners} owners, at most {children} children, {clients} clients, \
         traffic for {traffic:?}, seed {chance}"
    );
    println!();
    let server = Server::broker_with(broker, &setup).await?;
    let population = Arc::new(Population::new(&server, &names, &mut dice, &seed)?);
    let run = run_against(&population, &server, size, &seed, &mut dice).await;
    if run.is_err() {
        print_complaints(&server);
        population.tally.print(report);
    }
    let run = run?;

    run.print_memory(sessions, report);
    run.print_latencies(wakes, report);
    population.tally.print(report);
    run.print_rest(&population.tally, report);
    let holds = run.print_checks(&population, size);
    if !holds {
        print_complaints(&server);
    }
    server.stop().await?;
    Ok(holds)
}

/// What a run has shown, besides what came of the requests.
#[derive(Debug)]
struct Run {
    /// Memory of the broker, each time without a child: before any session, with all of them asleep,
    /// and so again after half of the traffic and after all of it.
    empty: Memory,
    full: Memory,
    half: Memory,
    after: Memory,
    latencies: Latencies,
    seen: Seen,
    /// Children, by the broker's own count.
    counted: usize,
    woken_by_strangers: f64,
    opened_per_second: f64,
    asked_per_second: f64,
    /// By the broker's own count.
    wakes: f64,
}

async fn run_against(
    population: &Arc<Population>,
    server: &Server,
    size: Size,
    seed: &str,
    dice: &mut Dice,
) -> anyhow::Result<Run> {
    let watch = Watch::start(server.pid);
    let counted = Arc::new(AtomicUsize::new(0));
    let mut counting = JoinSet::new();
    let wire = Wire::connect(server.endpoint.address).await?;
    counting.spawn(count(wire, server.endpoint.clone(), Arc::clone(&counted)));
    let mut clients = Clients::connect(population, size.clients, dice).await?;

    clients.greet().await?;
    let first = clients.open(size.children * 2).await?;
    quiet::warm_up(population, clients.line()?, &watch, first).await?;
    let empty = quiet::at_rest(population, clients.line()?, &watch).await?;

    let begun = Instant::now();
    population.settle(clients.open(size.sessions).await?)?;
    let opened_per_second = size.sessions as f64 / begun.elapsed().as_secs_f64();
    let full = quiet::at_rest(population, clients.line()?, &watch).await?;
    let before = wakes(population, &mut clients).await?;
    quiet::intrude(population, clients.line()?, size.wakes).await;
    let woken_by_strangers = wakes(population, &mut clients).await? - before;
    let latencies = quiet::latencies(population, clients.line()?, seed, size.wakes, dice).await?;

    let before = population.tally.all(Outcome::Right);
    clients.mingle(Instant::now() + size.traffic / 2).await?;
    let half = quiet::at_rest(population, clients.line()?, &watch).await?;
    clients.mingle(Instant::now() + size.traffic / 2).await?;
    let asked = population.tally.all(Outcome::Right) - before;
    let asked_per_second = asked as f64 / size.traffic.as_secs_f64();
    clients.call_all().await?;
    let after = quiet::at_rest(population, clients.line()?, &watch).await?;

    let wakes = wakes(population, &mut clients).await?;
    if let Some(ended) = counting.try_join_next() {
        ended??;
    }
    Ok(Run {
        empty,
        full,
        half,
        after,
        latencies,
        seen: watch.stop()?,
        counted: counted.load(Ordering::Relaxed),
        woken_by_strangers,
        opened_per_second,
        asked_per_second,
        wakes,
    })
}

/// Sessions woken so far, by the broker's own count.
async fn wakes(population: &Population, clients: &mut Clients) -> anyhow::Result<f64> {
    clients.line()?.metric(population, "mcp_broker_wakes_total").await
}

/// Asks the broker again and again how many children it has; ends when that fails.
async fn count(mut wire: Wire, endpoint: Endpoint, most: Arc<AtomicUsize>) -> anyhow::Result<()> {
    loop {
        let children = wire.metric(&endpoint, "mcp_broker_children").await?;
        most.fetch_max(children as usize, Ordering::Relaxed);
        sleep(COUNT_EVERY).await;
    }
}

impl Run {
    fn bytes_per_session(&self, sessions: usize) -> f64 {
        (self.full.rss as f64 - self.empty.rss as f64) * 1024.0 / sessions as f64
    }

    fn ratio(&self) -> f64 {
        let Latencies { initialize, wake, .. } = &self.latencies;
        wake.value_at_quantile(0.5) as f64 / initialize.value_at_quantile(0.5) as f64
    }

    fn print_memory(&self, sessions: usize, report: &mut Report) {
        println!(
            "{:<40} {:>9} {:>9} {:>9}",
            "memory of the broker, no child alive", "RSS KiB", "own KiB", "PSS KiB"
        );
        for (name, key, memory) in [
            ("before any session", "empty", self.empty),
            ("all sessions asleep", "full", self.full),
            ("after half of the traffic, all asleep", "half", self.half),
            ("after the traffic, all asleep again", "after", self.after),
        ] {
            let Memory { rss, pss, anonymous } = memory;
            println!("{name:<40} {rss:>9} {anonymous:>9} {pss:>9}");
            report.add(format!("sleepers/memory/{key}/rss_kib"), rss as f64);
            report.add(format!("sleepers/memory/{key}/own_kib"), anonymous as f64);
            report.add(format!("sleepers/memory/{key}/pss_kib"), pss as f64);
        }
        let bytes = self.bytes_per_session(sessions);
        println!("{:<40} {bytes:>9.0}", "bytes of RSS per sleeping session");
        report.add("sleepers/memory/per_session_bytes", bytes);
        println!();
    }

    fn print_latencies(&self, count: usize, report: &mut Report) {
        let title = format!("until the answer, {count} each in turn");
        println!("{title:<40} {:>9} {:>9}", "p50 µs", "p99 µs");
        let Latencies { direct, initialize, wake, scrape } = &self.latencies;
        for (name, key, times) in [
            ("a process of one's own, initialize", "direct", direct),
            ("initialize", "initialize", initialize),
            ("a call of a session that sleeps", "wake", wake),
            ("the page of /metrics", "scrape", scrape),
        ] {
            let us = |quantile| times.value_at_quantile(quantile) as f64 / 1000.0;
            println!("{name:<40} {:>9.0} {:>9.0}", us(0.5), us(0.99));
            report.add(format!("sleepers/quiet/{key}/p50_us"), us(0.5));
            report.add(format!("sleepers/quiet/{key}/p99_us"), us(0.99));
        }
        println!("{:<40} {:>9.2}", "wake / initialize, p50", self.ratio());
        report.add("sleepers/quiet/ratio", self.ratio());
        println!();
    }

    fn print_rest(&self, tally: &Tally, report: &mut Report) {
        let Seen { looks, most } = self.seen;
        for (name, key, figure) in [
            ("sessions opened per second", "opened_per_second", self.opened_per_second),
            ("requests of the traffic per second", "asked_per_second", self.asked_per_second),
            ("wakes, as the broker counts", "wakes", self.wakes),
            ("looks at the broker's children", "looks", looks as f64),
            ("most children at one moment", "most_children", most as f64),
            ("most children, as the broker counts", "most_children_counted", self.counted as f64),
            ("sessions woken by strangers", "woken_by_strangers", self.woken_by_strangers),
            ("children killed", "killed", tally.killed.load(Ordering::Relaxed) as f64),
            (
                "bytes of other owners",
                "foreign_bytes",
                tally.foreign.load(Ordering::Relaxed) as f64,
            ),
            ("wrong answers", "wrong", tally.all(Outcome::Wrong) as f64),
            ("refusals", "refused", tally.all(Outcome::Refused) as f64),
        ] {
            println!("{name:<40} {figure:>9.0}");
            report.add(format!("sleepers/{key}"), figure);
        }
        println!();
    }

    /// Says what must hold, and whether all of it does.
    fn print_checks(&self, population: &Population, size: Size) -> bool {
        let tally = &population.tally;
        let wrong = tally.all(Outcome::Wrong);
        let foreign = tally.foreign.load(Ordering::Relaxed);
        let killed = tally.killed.load(Ordering::Relaxed);
        let (most, counted) = (self.seen.most, self.counted);
        let last = tally.of(Kind::Last, Outcome::Right);
        let (bytes, ratio) = (self.bytes_per_session(size.sessions), self.ratio());
        let checks = [
            (wrong == 0, format!("{wrong} wrong answers")),
            (foreign == 0, format!("{foreign} bytes of other owners")),
            (
                last == size.sessions as u64,
                format!("{last} of {} sessions answer at the end", size.sessions),
            ),
            (most <= size.children, format!("{most} of {} children at one moment", size.children)),
            (counted <= size.children, format!("{counted} by the broker's own count")),
            (
                self.woken_by_strangers == 0.0,
                format!("{} sessions woken by strangers", self.woken_by_strangers),
            ),
            (killed > 0, format!("{killed} children killed")),
            (
                bytes < MAX_BYTES || size.sessions < WEIGHABLE,
                match size.sessions < WEIGHABLE {
                    true => "memory: not judged, there are too few sessions".to_owned(),
                    false => format!("{bytes:.0} of {MAX_BYTES} bytes per sleeping session"),
                },
            ),
            (
                self.after.rss * 100 <= self.half.rss * (100 + GROWTH),
                format!("{} KiB after the traffic, {} after half", self.after.rss, self.half.rss),
            ),
            (ratio <= MAX_RATIO, format!("a wake takes {ratio:.2} of {MAX_RATIO} initializes")),
        ];
        for (holds, what) in &checks {
            println!("{:<7} {what}", if *holds { "holds" } else { "BROKEN" });
        }
        checks.iter().all(|(holds, _)| *holds)
    }
}

fn print_complaints(server: &Server) {
    println!();
    println!("the broker's last complaints:");
    println!("{}", server.complaints(COMPLAINTS));
    println!();
}
