//! Which children there are, for the metrics.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use supervisor::OrphanCleanup;
use tracing::warn;

use crate::{
    metrics::{ServerLabel, StateLabels},
    server::Server,
};

/// The children alive.
#[derive(Debug)]
pub(crate) struct Children {
    pids: Mutex<HashSet<u32>>,
    /// Ends their groups if the broker is killed.
    pub(super) orphan_cleanup: Option<OrphanCleanup>,
}

impl Children {
    /// Starts the orphan-cleanup process; a broker runs as well without.
    pub(crate) fn new() -> Self {
        let started = OrphanCleanup::start().inspect_err(|error| {
            warn!(
                %error,
                "orphan-cleanup process did not start; child process groups may survive a SIGKILL \
                 of the broker"
            );
        });
        Self { pids: Mutex::default(), orphan_cleanup: started.ok() }
    }

    fn starts(&self, pid: u32) {
        self.lock().insert(pid);
    }

    fn ends(&self, pid: u32) {
        self.lock().remove(&pid);
    }

    /// Resident bytes of all of them. Reads one small file per child.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let pids: Vec<u32> = self.lock().iter().copied().collect();
        let page = rustix::param::page_size() as u64;
        let pages = |pid| {
            let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
            statm.split(' ').nth(1)?.parse::<u64>().ok()
        };
        pids.into_iter().filter_map(pages).sum::<u64>() * page
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a child from its start to its end.
#[derive(Debug)]
pub(super) struct Counted {
    server: Arc<Server>,
    children: Arc<Children>,
    pid: u32,
    state: Mutex<Option<&'static str>>,
}

impl Counted {
    pub(super) fn new(server: &Arc<Server>, children: &Arc<Children>, pid: u32) -> Arc<Self> {
        children.starts(pid);
        let counted = Self {
            server: Arc::clone(server),
            children: Arc::clone(children),
            pid,
            state: Mutex::default(),
        };
        counted.children(1);
        counted.moves_to(Some("live"));
        Arc::new(counted)
    }

    /// The session is in another state, or (`None`) gone for good.
    fn moves_to(&self, next: Option<&'static str>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (state, change) in [(*state, -1), (next, 1)] {
            if let Some(state) = state {
                let labels = StateLabels { server: self.server.name.to_string(), state };
                self.server.metrics.sessions.get_or_create(&labels).inc_by(change);
            }
        }
        *state = next;
    }

    /// It was asked to stop, unless it is gone already.
    pub(super) fn stops(&self) {
        if self.state.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            self.moves_to(Some("stopping"));
        }
    }

    fn children(&self, change: i64) {
        let label = ServerLabel { server: self.server.name.to_string() };
        self.server.metrics.children.get_or_create(&label).inc_by(change);
    }

    pub(super) fn over(&self) {
        self.children.ends(self.pid);
        self.children(-1);
        self.moves_to(None);
    }
}
