//! Clients that do at random what clients do, and some things that they should not.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    line::Line,
    population::{Dice, Kills, Population, Slot},
    tally::Kind,
};
use crate::proc;

/// Calls of one session at the same time; each needs a connection.
const TOGETHER: usize = 4;
/// One in so many sessions is used more than the others.
const HOT: usize = 100;
/// Between two kills, whoever does them.
const KILL_EVERY: Duration = Duration::from_millis(700);
/// How long a call lets its child be killed, and when that is done.
const PAUSE: Duration = Duration::from_millis(60);
const KILLED_AFTER: Duration = Duration::from_millis(20);
/// How long a killed process may take to be dead.
const DYING: Duration = Duration::from_secs(10);

/// Log levels of MCP.
const LEVELS: [&str; 8] =
    ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// One client, which asks for many people.
#[derive(Debug)]
pub(crate) struct Client {
    population: Arc<Population>,
    lines: [Line; TOGETHER],
    dice: Dice,
}

/// Everybody who asks.
#[derive(Debug)]
pub(crate) struct Clients(Vec<Client>);

impl Clients {
    pub(crate) async fn connect(
        population: &Arc<Population>,
        count: usize,
        dice: &mut Dice,
    ) -> anyhow::Result<Self> {
        let mut clients = Vec::new();
        let address = population.owners.first().context("nobody has a token")?.endpoint.address;
        for _ in 0..count {
            let mut lines = Vec::new();
            for _ in 0..TOGETHER {
                lines.push(Line::connect(address).await?);
            }
            let lines = lines.try_into().expect("as many as there are places for");
            clients.push(Client { population: Arc::clone(population), lines, dice: dice.fork() });
        }
        Ok(Self(clients))
    }

    /// One connection, for what is done alone.
    pub(crate) fn line(&mut self) -> anyhow::Result<&mut Line> {
        Ok(&mut self.0.first_mut().context("there are no clients")?.lines[0])
    }

    /// Asks something on every connection.
    pub(crate) async fn greet(&mut self) -> anyhow::Result<()> {
        for client in &mut self.0 {
            for line in &mut client.lines {
                line.metric(&client.population, "mcp_broker_children").await?;
            }
        }
        Ok(())
    }

    /// Opens a session for every number below `count`, of one owner after the other.
    pub(crate) async fn open(&mut self, count: usize) -> anyhow::Result<Vec<Slot>> {
        let (next, slots) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
        let into = Arc::clone(&slots);
        self.each(|client| client.open_some(Arc::clone(&next), count, Arc::clone(&into))).await?;
        let slots = std::mem::take(&mut *slots.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(slots)
    }

    /// Does things at random until `end`.
    pub(crate) async fn mingle(&mut self, end: Instant) -> anyhow::Result<()> {
        let next_kill = Arc::new(Mutex::new(Instant::now() + KILL_EVERY));
        self.each(|client| client.mingle(end, Arc::clone(&next_kill))).await
    }

    /// Calls every session once.
    pub(crate) async fn call_all(&mut self) -> anyhow::Result<()> {
        let next = Arc::new(AtomicUsize::new(0));
        self.each(|client| client.call_some(Arc::clone(&next))).await
    }

    /// Lets all clients do something at the same time.
    async fn each<F>(&mut self, work: impl Fn(Client) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<Client>> + Send + 'static,
    {
        let mut tasks: JoinSet<_> = self.0.drain(..).map(work).collect();
        while let Some(client) = tasks.join_next().await {
            self.0.push(client??);
        }
        Ok(())
    }
}

impl Client {
    async fn open_some(
        mut self,
        next: Arc<AtomicUsize>,
        count: usize,
        into: Arc<Mutex<Vec<Slot>>>,
    ) -> anyhow::Result<Self> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(self);
            }
            let owner = number % self.population.owners.len();
            let mark = self.session_mark();
            let now = self.lines[0].open(&self.population, owner, mark).await?;
            let slot = Slot::new(owner, now);
            let now = slot.now.read().await.clone();
            self.lines[0].call(&self.population, Kind::Call, &slot, &now, Duration::ZERO).await;
            into.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        }
    }

    async fn call_some(mut self, next: Arc<AtomicUsize>) -> anyhow::Result<Self> {
        let population = Arc::clone(&self.population);
        while let Some(slot) = population.slots().get(next.fetch_add(1, Ordering::Relaxed)) {
            let now = slot.now.read().await;
            self.lines[0].call(&population, Kind::Last, slot, &now, Duration::ZERO).await;
        }
        Ok(self)
    }

    async fn mingle(
        mut self,
        end: Instant,
        next_kill: Arc<Mutex<Instant>>,
    ) -> anyhow::Result<Self> {
        let population = Arc::clone(&self.population);
        while Instant::now() < end {
            let slot = self.somebody(&population);
            if is_time(&next_kill) {
                self.kill(slot).await?;
                continue;
            }
            match self.dice.below(100) {
                0..6 => self.several(slot).await,
                6..10 => self.level(slot).await,
                10..13 => self.delete(slot).await?,
                13..20 => self.intrude(slot).await,
                _ => {
                    let now = slot.now.read().await;
                    self.lines[0].call(&population, Kind::Call, slot, &now, Duration::ZERO).await;
                }
            }
        }
        Ok(self)
    }

    /// A session: one of the few that are used much, or any.
    fn somebody<'a>(&mut self, population: &'a Population) -> &'a Slot {
        let slots = population.slots();
        let is_hot = self.dice.below(10) < 3;
        let number = match is_hot {
            true => self.dice.skewed_below(slots.len().div_ceil(HOT)),
            false => self.dice.below(slots.len()),
        };
        &slots[number]
    }

    /// Several calls at once, which share one child.
    async fn several(&mut self, slot: &Slot) {
        let (population, now) = (&*self.population, slot.now.read().await);
        let calls = self.lines.each_mut();
        let calls =
            calls.map(|line| line.call(population, Kind::Together, slot, &now, Duration::ZERO));
        let [a, b, c, d] = calls;
        tokio::join!(a, b, c, d);
    }

    /// Another log level. Later calls show whether later children know it.
    async fn level(&mut self, slot: &Slot) {
        let mut now = slot.now.write().await;
        let level = LEVELS[self.dice.below(LEVELS.len())];
        if self.lines[0].set_level(&self.population, slot, &now, level).await {
            now.level = Some(level);
        }
    }

    /// The end of a session, and another one of the same owner.
    async fn delete(&mut self, slot: &Slot) -> anyhow::Result<()> {
        let mut now = slot.now.write().await;
        self.lines[0].delete(&self.population, slot, &now).await;
        let mark = self.session_mark();
        *now = self.lines[0].open(&self.population, slot.owner, mark).await?;
        slot.pid.store(0, Ordering::Relaxed);
        Ok(())
    }

    async fn intrude(&mut self, slot: &Slot) {
        let others = self.population.owners.len() - 1;
        let stranger = (slot.owner + 1 + self.dice.below(others)) % (others + 1);
        let now = slot.now.read().await;
        let way = self.dice.below(3);
        self.lines[0].intrude(&self.population, stranger, &now, way).await;
    }

    /// Kills a session's child, with a call under way or without, and calls again.
    async fn kill(&mut self, slot: &Slot) -> anyhow::Result<()> {
        let Ok(_turn) = slot.kills.turn.try_lock() else { return Ok(()) };
        let now = slot.now.read().await;
        let population = Arc::clone(&self.population);
        let [line, ..] = &mut self.lines;
        let called = line.call(&population, Kind::Call, slot, &now, Duration::ZERO).await;
        let Some(child) = called.map(|right| right.what) else { return Ok(()) };
        if self.dice.below(2) == 0 {
            kill(&population, &slot.kills, child).await?;
        } else {
            let (_, killed) =
                tokio::join!(line.call(&population, Kind::InFlight, slot, &now, PAUSE), async {
                    sleep(KILLED_AFTER).await;
                    kill(&population, &slot.kills, child).await
                },);
            killed?;
        }
        line.call(&population, Kind::AfterKill, slot, &now, Duration::ZERO).await;
        Ok(())
    }

    /// What a new session's client is called, and no other one.
    fn session_mark(&mut self) -> String {
        format!("session-{:016x}{:016x}", self.dice.next(), self.dice.next())
    }
}

fn is_time(next: &Mutex<Instant>) -> bool {
    let mut next = next.lock().unwrap_or_else(PoisonError::into_inner);
    let is_time = Instant::now() >= *next;
    if is_time {
        *next = Instant::now() + KILL_EVERY;
    }
    is_time
}

/// Kills a child, and returns when it is dead. It may have gone by itself before that.
async fn kill(population: &Population, kills: &Kills, child: u32) -> anyhow::Result<()> {
    let pid = i32::try_from(child).ok().and_then(Pid::from_raw).context("no process id")?;
    // What is looked at and killed is this process and none that got its number later.
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
    if proc::parent(child) != Some(population.pid) {
        return Ok(());
    }
    kills.begin();
    // An error says that it is gone.
    let is_there = pidfd_send_signal(&process, Signal::KILL).is_ok();
    let dead = async {
        while is_there && proc::process(child).is_ok_and(|process| process.state != 'Z') {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let dead = timeout(DYING, dead).await;
    kills.end();
    if is_there {
        population.tally.killed.fetch_add(1, Ordering::Relaxed);
    }
    dead.with_context(|| format!("the child {child} did not die"))
}
