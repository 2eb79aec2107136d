//! What is measured while nothing else happens: memory, and how long a wake takes.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use tokio::time::sleep;

use super::{
    line::Line,
    population::{Dice, Now, Population, Slot},
    tally::Kind,
    watch::Watch,
};
use crate::{
    opening,
    proc::{self, Memory},
    sleeper,
};

/// How long the last children may take to be gone.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long an allocator gets to return what it does not need.
const SETTLING: Duration = Duration::from_secs(3);
/// Between two wakes. Few children are awake then, and none has to make room for another: what is
/// measured is a wake and not the end of somebody else's child.
const PACE: Duration = Duration::from_millis(25);

/// Waits until every session sleeps and the memory has settled.
pub(crate) async fn at_rest(
    population: &Population,
    line: &mut Line,
    watch: &Watch,
) -> anyhow::Result<Memory> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let counted = line.metric(population, "mcp_broker_children").await?;
        if counted == 0.0 && watch.now() == 0 {
            break;
        }
        if Instant::now() >= deadline {
            bail!("{} children are left that should sleep, and {counted} counted", watch.now());
        }
        sleep(Duration::from_millis(50)).await;
    }
    sleep(SETTLING).await;
    proc::memory(population.pid)
}

/// Nanoseconds until the answer.
#[derive(Debug)]
pub(crate) struct Latencies {
    pub(crate) direct: Histogram<u64>,
    pub(crate) initialize: Histogram<u64>,
    pub(crate) wake: Histogram<u64>,
    /// Of the metrics' page.
    pub(crate) scrape: Histogram<u64>,
}

/// Asks, in turns: a process that was started for it, `initialize`, a session that sleeps, the metrics.
pub(crate) async fn latencies(
    population: &Population,
    line: &mut Line,
    seed: &str,
    count: usize,
    dice: &mut Dice,
) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies {
        direct: Histogram::new(3)?,
        initialize: Histogram::new(3)?,
        wake: Histogram::new(3)?,
        scrape: Histogram::new(3)?,
    };
    let slots = population.slots();
    // Each session once: it sleeps, for it has been left alone so far.
    let step = slots.len() / count.max(1);
    let environment = [(sleeper::OWNER, "direct"), (sleeper::SEED, seed)];
    for slot in slots.iter().step_by(step.max(1)).take(count) {
        latencies.direct.record(opening::spawn_directly("sleeper", &environment)?)?;
        sleep(PACE).await;

        let mark = format!("quiet-{:016x}", dice.next());
        let opened = line.initialize(population, slot.owner, &mark).await;
        let opened = opened.context("a session did not open")?;
        record(&mut latencies.initialize, opened.took)?;
        let extra = Now { session: opened.what, mark, level: None };
        line.delete(population, slot, &extra).await;
        sleep(PACE).await;

        let now = slot.now.read().await;
        let woken = line.call(population, Kind::Wake, slot, &now, Duration::ZERO).await;
        record(&mut latencies.wake, woken.context("a session did not wake")?.took)?;
        sleep(PACE).await;

        let begun = Instant::now();
        line.metric(population, "mcp_broker_sessions").await?;
        record(&mut latencies.scrape, begun.elapsed())?;
    }
    Ok(latencies)
}

fn record(times: &mut Histogram<u64>, time: Duration) -> anyhow::Result<()> {
    Ok(times.record(u64::try_from(time.as_nanos())?)?)
}

/// Has strangers ask for sessions that sleep. Whether one woke is for the caller to find out.
pub(crate) async fn intrude(population: &Population, line: &mut Line, count: usize) {
    let others = population.owners.len();
    for (n, slot) in population.slots().iter().take(count).enumerate() {
        let now = slot.now.read().await;
        line.intrude(population, (slot.owner + 1 + n % (others - 1)) % others, &now, n).await;
    }
}

/// Goes every way once that the run will go, with sessions that are ended then: code, tables and
/// buffers that belong to no session are there before its memory is looked at.
pub(crate) async fn warm_up(
    population: &Population,
    line: &mut Line,
    watch: &Watch,
    slots: Vec<Slot>,
) -> anyhow::Result<()> {
    at_rest(population, line, watch).await?;
    for slot in &slots {
        let mut now = slot.now.write().await;
        line.call(population, Kind::Wake, slot, &now, Duration::ZERO).await;
        if line.set_level(population, slot, &now, "debug").await {
            now.level = Some("debug");
        }
        line.call(population, Kind::Wake, slot, &now, Duration::ZERO).await;
        line.intrude(population, (slot.owner + 1) % population.owners.len(), &now, 0).await;
        line.delete(population, slot, &now).await;
    }
    Ok(())
}
