//! Stories of the registry, over fakes and a paused clock.

use std::num::NonZeroUsize;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::testing::{self, Answer, Backends, FakeBackend, FakeError, FakeRegistry, owner};
use crate::testing::{BackendHandle, KIND, MemoryRecords};
use crate::{
    EndError, Lease, LeaseError, Limits, OpenError, Owner, OwnerLimit, Purpose, SessionId,
    StopReason, WakeError, WakeReason,
};

mod cap;
mod durability;
mod eviction;
mod fairness;
mod faults;
mod leases;
mod listening;
mod opening;
mod people;
mod property;
mod reaping;
mod records;
mod replacement;
mod restart;
mod revoking;
mod sleeping;
mod spares;
mod starting;
mod stopping;
mod succession;
mod threads;
mod waking;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

type Opened = Result<Lease<FakeBackend>, OpenError<FakeError>>;

/// No bound, no age: each story names the limits it is about.
fn unlimited() -> Limits {
    Limits {
        max_sessions: None,
        max_per_owner: None,
        evict_idle: Duration::ZERO,
        idle: Duration::ZERO,
        lifetime: Duration::ZERO,
        start_interval: Duration::ZERO,
        reap_interval: 30 * SECOND,
        max_records: None,
        max_records_per_owner: None,
        ..Limits::default()
    }
}

fn capped(max: usize) -> Limits {
    Limits { max_sessions: NonZeroUsize::new(max), ..unlimited() }
}

type Woken = Result<Lease<FakeBackend>, WakeError<FakeError>>;

async fn wake(registry: &FakeRegistry, id: &SessionId, name: &str) -> Woken {
    registry.wake(id, &owner(name), KIND, Purpose::Call).await
}

/// Wakes in a task, so that the story goes on while the wake waits.
fn wake_in(tasks: &mut JoinSet<Woken>, registry: &FakeRegistry, id: SessionId, name: &str) {
    let (registry, owner) = (registry.clone(), owner(name));
    tasks.spawn(async move { registry.wake(&id, &owner, KIND, Purpose::Call).await });
}

/// A session of `name` whose backend ended by itself long after its start, so that it sleeps.
async fn asleep(registry: &FakeRegistry, backends: &mut Backends, name: &str) -> SessionId {
    let (id, backend) = opened(registry, backends, name).await;
    sleep(MINUTE).await;
    backend.end();
    settle().await;
    assert_eq!(registry.lease(&id, &owner(name)).err(), Some(LeaseError::Unknown), "it sleeps");
    id
}

/// A session of `name` without a lease, and its backend.
async fn opened(
    registry: &FakeRegistry,
    backends: &mut Backends,
    name: &str,
) -> (SessionId, BackendHandle) {
    let id = *registry.open(owner(name), ()).await.expect("there is room").id();
    (id, backends.next().await)
}

/// The person `name` through another client than `owner` names.
fn through(client: &str, name: &str) -> Owner {
    let same = owner(name);
    Owner::new(same.issuer(), same.subject(), client)
}

/// Lets every task run until all of them wait: the paused clock moves only then.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

/// Opens in a task, so that the story goes on while the open waits.
fn open_in(tasks: &mut JoinSet<Opened>, registry: &FakeRegistry, name: &str) {
    let (registry, owner) = (registry.clone(), owner(name));
    tasks.spawn(async move { registry.open(owner, ()).await });
}

/// The outcome of an end that no store can have hindered.
fn plain(ended: Result<(), EndError>) -> Result<(), LeaseError> {
    ended.map_err(|error| match error {
        EndError::Unknown => LeaseError::Unknown,
        EndError::Foreign => LeaseError::Foreign,
        EndError::Records(error) => panic!("{error}"),
    })
}

/// The answer of the only open in `tasks`, if it has come.
fn answer_of(tasks: &mut JoinSet<Opened>) -> Option<Opened> {
    tasks.try_join_next().map(|done| done.expect("no open panics"))
}
