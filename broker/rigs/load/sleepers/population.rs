//! Who takes part: owners, their sessions, and chance.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use anyhow::Context;
use memchr::memmem::Finder;
use tokio::sync::{Mutex, RwLock};

use super::tally::Tally;
use crate::{
    server::Server,
    sleeper,
    wire::{Endpoint, Reply, Session},
};

/// Somebody with a token of their own.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) name: String,
    /// In every answer of this owner's children and in nobody else's.
    pub(crate) mark: String,
    pub(crate) endpoint: Endpoint,
    finder: Finder<'static>,
}

/// One session of an owner, and the next one in its place when it was deleted.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) owner: usize,
    pub(crate) kills: Kills,
    /// The process that answered last.
    pub(crate) pid: AtomicU32,
    /// Shared by calls; alone with it is whoever changes it.
    pub(crate) now: RwLock<Now>,
}

/// What a session must know.
#[derive(Debug, Clone)]
pub(crate) struct Now {
    pub(crate) session: Session,
    /// Told at `initialize`, and nowhere else.
    pub(crate) mark: String,
    pub(crate) level: Option<&'static str>,
}

impl Slot {
    pub(crate) fn new(owner: usize, now: Now) -> Self {
        Self { owner, kills: Kills::default(), pid: AtomicU32::new(0), now: RwLock::new(now) }
    }
}

/// How often a session's child was killed. A call overlapped one of these times if, when it ended,
/// more had begun than were over when it was sent.
#[derive(Debug, Default)]
pub(crate) struct Kills {
    pub(crate) turn: Mutex<()>,
    begun: AtomicU64,
    over: AtomicU64,
}

impl Kills {
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn end(&self) {
        self.over.fetch_add(1, Ordering::SeqCst);
    }

    /// For [`overlapped`](Self::overlapped), when the call ends.
    pub(crate) fn over(&self) -> u64 {
        self.over.load(Ordering::SeqCst)
    }

    pub(crate) fn overlapped(&self, over_when_sent: u64) -> bool {
        self.begun.load(Ordering::SeqCst) > over_when_sent
    }
}

/// Everybody.
#[derive(Debug)]
pub(crate) struct Population {
    /// The broker.
    pub(crate) pid: u32,
    pub(crate) owners: Vec<Owner>,
    pub(crate) tally: Tally,
    slots: OnceLock<Vec<Slot>>,
    ids: AtomicU64,
    chance: u64,
}

impl Population {
    /// The people that `server` gave tokens, without a session yet.
    pub(crate) fn new(
        server: &Server,
        names: &[String],
        dice: &mut Dice,
        seed: &str,
    ) -> anyhow::Result<Self> {
        let people = names.iter().zip(&server.endpoints);
        let owners = people.map(|(name, endpoint)| {
            let mark = sleeper::mark(seed, name);
            let finder = Finder::new(&mark).into_owned();
            Owner { name: name.clone(), mark, endpoint: endpoint.clone(), finder }
        });
        Ok(Self {
            pid: server.pid,
            owners: owners.collect(),
            tally: Tally::new()?,
            slots: OnceLock::new(),
            ids: AtomicU64::new(1),
            chance: dice.next(),
        })
    }

    /// Where the sessions of the traffic go once they are open.
    pub(crate) fn settle(&self, slots: Vec<Slot>) -> anyhow::Result<()> {
        self.slots.set(slots).ok().context("the sessions are open already")
    }

    /// Every session of the traffic.
    pub(crate) fn slots(&self) -> &[Slot] {
        self.slots.get().map_or(&[], Vec::as_slice)
    }

    /// A number that no other request has as its id.
    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// What no other call says.
    pub(crate) fn nonce(&self, id: u64) -> String {
        format!("{:016x}", Dice::new(self.chance ^ id).next())
    }

    /// Bytes of other owners' marks in an answer that `asker` got, wherever in it they stand.
    pub(crate) fn foreign_bytes(&self, asker: usize, reply: &Reply) -> usize {
        let mut bytes = 0;
        let others = self.owners.iter().enumerate().filter(|(n, _)| *n != asker);
        for (_, other) in others {
            let mut count = |text: &[u8]| {
                bytes += other.finder.find_iter(text).count() * other.mark.len();
            };
            count(&reply.body);
            for (name, value) in &reply.headers {
                count(name.as_str().as_bytes());
                count(value.as_bytes());
            }
        }
        bytes
    }
}

/// Chance that can be repeated: SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Dice of one's own.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; all are as likely, as far as anybody here can tell.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// A number below `end`, small ones more often: half of them are in the first eighth.
    pub(crate) fn skewed_below(&mut self, end: usize) -> usize {
        let part = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        ((part.powi(3) * end as f64) as usize).min(end.saturating_sub(1))
    }
}
