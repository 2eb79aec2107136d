//! Calls that go on as tasks after their answer (the extension `io.modelcontextprotocol/tasks` of MCP
//! 2026-07-28): whose each is, and which child has it.
//!
//! The names of tasks are the children's, and a program may know the tasks of all its processes. So a
//! client is let near those alone that it was given; one that it made up, or learnt of elsewhere, is for
//! it as if it never was. A child with a task under way does not sleep until its owner has seen the end
//! of it, and for an hour at most.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bridge::modern::tasks::TaskState;
use session::Owner;
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::warm::{Place, WarmChild};

/// Tasks remembered per owner. Beyond this the oldest is forgotten.
const MAX_TASKS: usize = 256;
/// How long a task is remembered whose child says nothing, or more.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a task keeps its child awake.
const LONGEST_AWAKE: Duration = Duration::from_secs(60 * 60);

/// Those of everybody.
#[derive(Default)]
pub(crate) struct Tasks {
    owners: Mutex<HashMap<Owner, Vec<KnownTask>>>,
    /// What keeps children awake.
    holds: Mutex<JoinSet<()>>,
}

/// A task that a client was given.
struct KnownTask {
    server: Arc<str>,
    id: String,
    child: WarmChild,
    until: Instant,
    /// Keeps the child awake; dropped when the task is over.
    hold: Option<oneshot::Sender<()>>,
}

impl Tasks {
    /// Remembers a task that a call of `owner` became.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(crate) fn began(&self, owner: &Owner, server: &Arc<str>, state: &TaskState, place: &Place) {
        let now = Instant::now();
        let ttl = state.ttl.unwrap_or(LONGEST).min(LONGEST);
        let hold = if state.is_over { None } else { self.hold(ttl.min(LONGEST_AWAKE), place) };
        let mut owners = self.owners();
        // Those whose time is over make room, of this owner and of those that never come back.
        owners.retain(|_, tasks| {
            tasks.retain(|task| task.until > now);
            !tasks.is_empty()
        });
        let tasks = owners.entry(owner.clone()).or_default();
        tasks.retain(|task| !task.is(server, &state.id));
        if tasks.len() >= MAX_TASKS {
            tasks.remove(0);
        }
        tasks.push(KnownTask {
            server: Arc::clone(server),
            id: state.id.clone(),
            child: place.child(),
            until: now + ttl,
            hold,
        });
    }

    /// The owner of a task has seen how it stands.
    pub(crate) fn was_seen(&self, owner: &Owner, server: &str, state: &TaskState) {
        let mut owners = self.owners();
        let tasks = owners.get_mut(owner).into_iter().flatten();
        if let Some(task) = tasks.into_iter().find(|task| task.is(server, &state.id))
            && state.is_over
        {
            task.hold = None;
        }
    }

    /// The child that has the task `id`, if that is one of `owner`'s at `server`.
    pub(crate) fn child_of(&self, owner: &Owner, server: &str, id: &str) -> Option<WarmChild> {
        let owners = self.owners();
        let task = owners.get(owner)?.iter().find(|task| task.is(server, id))?;
        Some(task.child.clone())
    }

    /// A lease on the child until the task is over, or so much time, or the child is to leave.
    fn hold(&self, longest: Duration, place: &Place) -> Option<oneshot::Sender<()>> {
        let lease = place.lease_again()?;
        let (hold, over) = oneshot::channel();
        let mut holds = self.holds.lock().unwrap_or_else(PoisonError::into_inner);
        while holds.try_join_next().is_some() {}
        holds.spawn(async move {
            tokio::select! {
                _ = over => {}
                () = sleep(longest) => {}
                // Its token ends, for example: calls must not wait for a task.
                () = lease.asked_to_leave() => {}
            }
        });
        Some(hold)
    }

    fn owners(&self) -> MutexGuard<'_, HashMap<Owner, Vec<KnownTask>>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KnownTask {
    fn is(&self, server: &str, id: &str) -> bool {
        *self.server == *server && self.id == id
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("owners", &self.owners().len()).finish_non_exhaustive()
    }
}
