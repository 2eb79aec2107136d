//! Which children there are, for the metrics.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};
use supervisor::{Containment, Mechanism};
use tracing::{info, warn};

use super::uids::Uids;
use crate::{
    metrics::{ServerLabel, StateLabels},
    server::Server,
};

/// The children alive.
#[derive(Debug)]
pub(crate) struct Children {
    pids: Mutex<HashSet<u32>>,
    /// Holds the descendants of each together.
    pub(super) containment: Option<Containment>,
    /// Which users run them.
    pub(super) uids: Uids,
}

impl Children {
    /// Chooses how descendants are held together; a broker runs as well without. What an earlier run
    /// on this data directory left behind is ended, so the directory must be locked.
    pub(crate) fn new(data_dir: &Path) -> Self {
        let path = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
        let hash = Sha256::digest(path.as_os_str().as_encoded_bytes());
        let uids = Uids::of_broker(data_dir);
        Self::named(&format!("mcp-broker-{}", hex::encode(&hash[..8])), uids)
    }

    /// For a process that has no data directory.
    pub(crate) fn of_trials() -> Self {
        Self::named(&format!("mcp-broker-trial-{}", std::process::id()), Uids::of_trials())
    }

    fn named(name: &str, uids: Uids) -> Self {
        let containment = Containment::start(name)
            .inspect(|containment| {
                let mechanism = containment.mechanism();
                info!(%mechanism, "descendants of children end with their child and with the broker");
                match mechanism {
                    Mechanism::Cgroup | Mechanism::PidNamespace => {}
                    Mechanism::Helper => warn!(
                        "this system gives neither cgroups nor PID namespaces; a helper process of \
                         each child ends what the child started, but a process that ends the helper \
                         first survives the child and the broker"
                    ),
                    Mechanism::ProcessGroup => warn!(
                        "this system gives neither cgroups nor PID namespaces; a process that leaves \
                         its child's process group survives the child and the broker"
                    ),
                }
            })
            .inspect_err(|error| {
                warn!(
                    %error,
                    "descendants of children cannot be held together; child process groups may \
                     survive a SIGKILL of the broker"
                );
            });
        Self { pids: Mutex::default(), containment: containment.ok(), uids }
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

    /// Its session is over.
    pub(super) fn retires(&self) {
        self.moves_to(None);
    }

    /// It works for a session again.
    pub(super) fn goes_on(&self) {
        self.moves_to(Some("live"));
    }

    /// It was asked to stop, unless it is gone already.
    pub(super) fn stops(&self) {
        if self.state.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            self.moves_to(Some("stopping"));
        }
    }

    /// The kernel ended it: it reached its limit on memory.
    pub(super) fn ran_out_of_memory(&self) {
        let label = ServerLabel { server: self.server.name.to_string() };
        self.server.metrics.out_of_memory.get_or_create(&label).inc();
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
