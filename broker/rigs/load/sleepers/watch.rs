//! How many children the broker has, seen from outside and all the time.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, anyhow};

use crate::proc;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(10);

/// A thread that counts the children of one process, zombies included.
#[derive(Debug)]
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: JoinHandle<anyhow::Result<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    looks: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

/// What it saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) looks: usize,
    /// Children that were there at one and the same moment.
    pub(crate) most: usize,
}

impl Watch {
    pub(crate) fn start(pid: u32) -> Self {
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        Self { shared, thread: thread::spawn(move || own.look_on(pid)) }
    }

    /// Children at the last look.
    pub(crate) fn now(&self) -> usize {
        self.shared.now.load(Ordering::Relaxed)
    }

    pub(crate) fn stop(self) -> anyhow::Result<Seen> {
        self.shared.over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow!("the watch panicked"))?.context("the watch")?;
        Ok(Seen {
            looks: self.shared.looks.load(Ordering::Relaxed),
            most: self.shared.most.load(Ordering::Relaxed),
        })
    }
}

impl Shared {
    fn look_on(&self, pid: u32) -> anyhow::Result<()> {
        let mut known = HashMap::new();
        while !self.over.load(Ordering::Relaxed) {
            let before = look(pid, &mut known)?;
            self.looks.fetch_add(1, Ordering::Relaxed);
            self.now.store(before.len(), Ordering::Relaxed);
            if before.len() > self.most.load(Ordering::Relaxed) {
                // One may have ended, and another begun, while the directory was read. Who is still
                // there after that was there all the time between the two looks, beside all others
                // of whom that is true.
                let after = look(pid, &mut known)?;
                let both = before.iter().filter(|pid| after.contains(pid)).count();
                self.most.fetch_max(both, Ordering::Relaxed);
            }
            thread::sleep(INTERVAL);
        }
        Ok(())
    }
}

/// The children of `parent`. What is `known` of the processes of the last look holds while they are
/// there: numbers are given out in a circle, and none comes round between two looks.
fn look(parent: u32, known: &mut HashMap<u32, bool>) -> anyhow::Result<Vec<u32>> {
    let mut next = HashMap::with_capacity(known.len());
    for pid in proc::all()? {
        let is_child = match known.get(&pid) {
            Some(is_child) => *is_child,
            // One that ends between listing and reading is nobody's child.
            None => match proc::parent(pid) {
                Some(its_parent) => its_parent == parent,
                None => continue,
            },
        };
        next.insert(pid, is_child);
    }
    *known = next;
    Ok(known.iter().filter(|(_, is_child)| **is_child).map(|(pid, _)| *pid).collect())
}
