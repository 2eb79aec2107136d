//! Children that are kept warm for clients without sessions: one for each owner, server and set of
//! client capabilities, several where calls cannot share one.
//!
//! A child may ask the client something in the middle of a call, and a pipe does not say in which. So
//! on a child whose client can be asked, one call of those that may ask runs at a time; the next
//! takes another child.
//!
//! ```text
//!            ┌─ as many as `parallel` run: wait for one of them to end
//! acquire ───┤
//!            ├─ free ◄──────── its call ended ─┐
//!            │    └──────────────────────► running ◄──► parked (does not count)
//!            └─ none is free ──────► start ────┘
//! ```

use std::{
    borrow::Borrow,
    collections::HashMap,
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bridge::{Message, modern::discovery::Facts};
use bytes::Bytes;
use session::{Lease, OpenError, Owner, Purpose, SessionId, StopReason, WakeError};
use tokio::{
    sync::{Mutex as Turns, Notify},
    task::JoinSet,
};

use super::{
    acquire::{AcquireError, Acquirer},
    child_session::ChildSession,
    credential::VaultSource,
    registry::Sessions,
    spawn_failure::SpawnFailure,
    spawner::{OpenRequest, Users},
    tool_schemas::ToolSchemas,
};
use crate::server::Server;

/// Pools remembered; beyond this, those without a call under way are forgotten. Their children end
/// when they are idle.
const MAX_POOLS: usize = 4096;

/// Why there is no child for a call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WarmError {
    #[error("no child was started")]
    Open(#[source] Arc<OpenError<SpawnFailure>>),
    #[error("the access of the client was revoked while its child started")]
    Withdrawn,
    #[error(transparent)]
    Acquire(#[from] AcquireError),
}

/// Whose child it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    owner: Owner,
    server: Arc<str>,
    /// What the client can do, as canonical JSON.
    capabilities: String,
}

/// What makes a [`Key`], so that each call looks its pool up without making one.
trait KeyParts {
    fn parts(&self) -> (&Owner, &str, &str);
}

impl KeyParts for Key {
    fn parts(&self) -> (&Owner, &str, &str) {
        (&self.owner, &self.server, &self.capabilities)
    }
}

impl KeyParts for (&Owner, &str, &str) {
    fn parts(&self) -> (&Owner, &str, &str) {
        *self
    }
}

impl Hash for dyn KeyParts + '_ {
    /// Of what clients choose. The rest is the operator's choice, and sets few keys apart.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (owner, _, capabilities) = self.parts();
        for part in [owner.subject(), owner.client(), capabilities] {
            state.write(part.as_bytes());
        }
    }
}

impl PartialEq for dyn KeyParts + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn KeyParts + '_ {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self as &dyn KeyParts).hash(state);
    }
}

impl<'a> Borrow<dyn KeyParts + 'a> for Key {
    fn borrow(&self) -> &(dyn KeyParts + 'a) {
        self
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct WarmChildren {
    pools: Mutex<HashMap<Key, Arc<Pool>>>,
}

/// The children of one key, and what is known of them.
pub(crate) struct Pool {
    /// Where its children are.
    sessions: Sessions,
    seats: Mutex<Vec<Seat>>,
    /// One child is started at a time, so that calls that can share one do.
    starting: Turns<()>,
    failures: Mutex<Failures>,
    freed: Notify,
    /// What its children are, as the last of them that differed from the one before said.
    facts: Mutex<Option<(Bytes, Arc<Facts>)>>,
    /// Which arguments of its tools headers repeat.
    pub(crate) schemas: ToolSchemas,
    /// Children that are given up are being ended.
    endings: Mutex<JoinSet<()>>,
}

/// Starts of a pool's children that have failed.
#[derive(Debug, Default)]
struct Failures {
    count: u64,
    /// Why the last one did, if the next would fail as well for the same reason.
    last: Option<Arc<OpenError<SpawnFailure>>>,
}

#[derive(Debug)]
struct Seat {
    id: SessionId,
    state: SeatState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SeatState {
    /// No call that may ask runs on it.
    Free,
    /// One does.
    Running,
    /// One does, and waits for its client.
    Parked,
}

/// Which calls may run beside a call on its child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Any.
    Any,
    /// None that may ask; up to so many children work side by side.
    Alone { parallel: usize },
}

/// A child for one call, for as long as the call lasts.
pub(crate) struct Place {
    pub(crate) pool: Arc<Pool>,
    /// Shared with the call that is counted, which may end before its response does.
    pub(crate) lease: Option<Arc<Lease<ChildSession>>>,
    id: SessionId,
    sharing: Sharing,
    /// The child may still be at a call that nobody waits for.
    is_spoilt: bool,
}

/// One child among those of its key.
#[derive(Debug, Clone)]
pub(crate) struct WarmChild {
    pool: Arc<Pool>,
    id: SessionId,
}

/// What a call needs.
pub(crate) struct Wanted<'a> {
    pub(crate) owner: &'a Owner,
    pub(crate) server: &'a Arc<Server>,
    /// What its client can do, as canonical JSON.
    pub(crate) capabilities: &'a str,
    /// What a child of the legacy era is greeted with.
    pub(crate) initialize: &'a (dyn Fn() -> Message + Sync),
    pub(crate) sharing: Sharing,
    pub(crate) purpose: Purpose,
    /// Whether the client is still let in.
    pub(crate) is_admitted: &'a (dyn Fn() -> bool + Sync),
    pub(crate) now: SystemTime,
}

impl WarmChildren {
    fn pool(&self, wanted: &Wanted<'_>, sessions: &Sessions) -> Arc<Pool> {
        let parts = (wanted.owner, &*wanted.server.name, wanted.capabilities);
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&parts as &dyn KeyParts) {
            return Arc::clone(pool);
        }
        if pools.len() >= MAX_POOLS {
            pools.retain(|_, pool| Arc::strong_count(pool) > 1);
        }
        let pool = Arc::new(Pool::new(sessions.clone()));
        let key = Key {
            owner: wanted.owner.clone(),
            server: Arc::clone(&wanted.server.name),
            capabilities: wanted.capabilities.to_owned(),
        };
        pools.insert(key, Arc::clone(&pool));
        pool
    }

    /// A child for a call. Starts or wakes one where it has to, and waits for one where as many work
    /// as may.
    ///
    /// # Errors
    /// [`WarmError`].
    ///
    /// # Cancel safety
    /// Dropping the future gives up the claim. A child that is being started goes on starting.
    pub(crate) async fn acquire(
        &self,
        wanted: &Wanted<'_>,
        sessions: &Sessions,
        acquirer: &Acquirer<OpenRequest, ChildSession, VaultSource>,
    ) -> Result<Place, WarmError> {
        let pool = self.pool(wanted, sessions);
        loop {
            let id = match pool.claim_or_wait(wanted.sharing).await {
                Claim::Seat(id) => id,
                Claim::Wait => continue,
                Claim::Start => {
                    let before = pool.failures().count;
                    let turn = pool.starting.lock().await;
                    // Another may have started one meanwhile.
                    match pool.claim(wanted.sharing) {
                        Claim::Seat(id) => id,
                        Claim::Wait => continue,
                        Claim::Start => {
                            if let Some(failure) = pool.failed_since(before) {
                                return Err(WarmError::Open(failure));
                            }
                            let lease = pool.start(wanted).await?;
                            drop(turn);
                            return Ok(Place::new(pool, lease, wanted.sharing));
                        }
                    }
                }
            };
            let claimed = ClaimedSeat { pool: &pool, id, sharing: wanted.sharing };
            let name = &wanted.server.name;
            let acquired =
                acquirer.acquire(&id, wanted.owner, name, wanted.purpose, wanted.now).await;
            match acquired {
                Ok(lease) => {
                    std::mem::forget(claimed);
                    return Ok(Place::new(pool, lease, wanted.sharing));
                }
                Err(AcquireError::Wake(WakeError::Unknown | WakeError::Foreign)) => {
                    // It has ended for good.
                    pool.remove(&id);
                }
                Err(AcquireError::Wake(WakeError::Spawn(failure))) if failure.is_final() => {
                    pool.remove(&id);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

enum Claim {
    Seat(SessionId),
    Start,
    Wait,
}

impl Pool {
    fn new(sessions: Sessions) -> Self {
        Self {
            sessions,
            seats: Mutex::default(),
            starting: Turns::new(()),
            failures: Mutex::default(),
            freed: Notify::new(),
            facts: Mutex::default(),
            schemas: ToolSchemas::default(),
            endings: Mutex::default(),
        }
    }

    fn seats(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`claim`](Self::claim); what waits has waited until one of its children was freed.
    async fn claim_or_wait(&self, sharing: Sharing) -> Claim {
        let claim = self.claim(sharing);
        if !matches!(claim, Claim::Wait) {
            return claim;
        }
        let freed = self.freed.notified();
        tokio::pin!(freed);
        freed.as_mut().enable();
        // One may have been freed before this was heard of.
        let claim = self.claim(sharing);
        if matches!(claim, Claim::Wait) {
            freed.await;
        }
        claim
    }

    fn claim(&self, sharing: Sharing) -> Claim {
        let mut seats = self.seats();
        match sharing {
            Sharing::Any => seats.first().map_or(Claim::Start, |seat| Claim::Seat(seat.id)),
            Sharing::Alone { parallel } => {
                let running = seats.iter().filter(|seat| seat.state == SeatState::Running).count();
                // Free ones may be left of calls that waited for their clients, more than may work.
                if running >= parallel.max(1) {
                    return Claim::Wait;
                }
                match seats.iter_mut().find(|seat| seat.state == SeatState::Free) {
                    Some(seat) => {
                        seat.state = SeatState::Running;
                        Claim::Seat(seat.id)
                    }
                    None => Claim::Start,
                }
            }
        }
    }

    async fn start(&self, wanted: &Wanted<'_>) -> Result<Lease<ChildSession>, WarmError> {
        let ask = OpenRequest {
            server: Arc::clone(wanted.server),
            initialize: (wanted.initialize)(),
            users: Users::Calls,
            inherited: None,
        };
        let opened = self.sessions.open(wanted.owner.clone(), ask).await;
        let lease = opened.map_err(|error| WarmError::Open(self.note_failure(error)))?;
        if !(wanted.is_admitted)() {
            // The sessions of its owner were ended before it was one.
            let (id, server) = (*lease.id(), &wanted.server.name);
            drop(lease);
            let _ = self.sessions.end(&id, wanted.owner, server, StopReason::Revoked).await;
            return Err(WarmError::Withdrawn);
        }
        let state = match wanted.sharing {
            Sharing::Any => SeatState::Free,
            Sharing::Alone { .. } => SeatState::Running,
        };
        self.seats().push(Seat { id: *lease.id(), state });
        Ok(lease)
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why no child could be started while a call waited for its turn. An attempt of its own would take as
    /// long again (a place that does not become free, a handshake without an answer), and calls that wait
    /// for each other would add these times up.
    fn failed_since(&self, before: u64) -> Option<Arc<OpenError<SpawnFailure>>> {
        let failures = self.failures();
        failures.last.clone().filter(|_| failures.count > before)
    }

    fn note_failure(&self, error: OpenError<SpawnFailure>) -> Arc<OpenError<SpawnFailure>> {
        let error = Arc::new(error);
        let mut failures = self.failures();
        failures.count += 1;
        failures.last = match &*error {
            OpenError::Full { .. } | OpenError::OwnerFull(_) | OpenError::Spawn(_) => {
                Some(Arc::clone(&error))
            }
            // These say something of that attempt alone, or take no time.
            OpenError::Draining
            | OpenError::Gone
            | OpenError::Records(_)
            | OpenError::Revoked
            | OpenError::Panicked
            | OpenError::NoFreeId => None,
        };
        error
    }

    /// What a child is that has `said` this of itself. One that says something else than the one before may
    /// be of another version of its program, whose tools are others.
    fn facts(&self, said: &Bytes) -> Arc<Facts> {
        let mut known = self.facts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, facts)) = &*known {
            // Nearly always it is the same child, whose words may be long.
            if std::ptr::eq(&**before, &**said) || before == said {
                return Arc::clone(facts);
            }
            self.schemas.note_changes(1);
        }
        let facts = Arc::new(Facts::of_initialize(said));
        *known = Some((said.clone(), Arc::clone(&facts)));
        facts
    }

    fn set(&self, id: &SessionId, state: SeatState) {
        if let Some(seat) = self.seats().iter_mut().find(|seat| seat.id == *id) {
            seat.state = state;
        }
        self.freed.notify_waiters();
    }

    fn remove(&self, id: &SessionId) {
        self.seats().retain(|seat| seat.id != *id);
        self.freed.notify_waiters();
    }
}

/// A seat that was claimed and not got yet.
struct ClaimedSeat<'a> {
    pool: &'a Pool,
    id: SessionId,
    sharing: Sharing,
}

impl Drop for ClaimedSeat<'_> {
    fn drop(&mut self) {
        if self.sharing != Sharing::Any {
            self.pool.set(&self.id, SeatState::Free);
        }
    }
}

impl Place {
    fn new(pool: Arc<Pool>, lease: Lease<ChildSession>, sharing: Sharing) -> Self {
        Self { pool, id: *lease.id(), lease: Some(Arc::new(lease)), sharing, is_spoilt: false }
    }

    /// A child that is known to have what a call is about; `None` when that has ended for good.
    ///
    /// # Errors
    /// [`WarmError`].
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing.
    pub(crate) async fn at(
        child: &WarmChild,
        owner: &Owner,
        server: &str,
        (purpose, now): (Purpose, SystemTime),
        acquirer: &Acquirer<OpenRequest, ChildSession, VaultSource>,
    ) -> Result<Option<Self>, WarmError> {
        match acquirer.acquire(&child.id, owner, server, purpose, now).await {
            Ok(lease) => Ok(Some(Self::new(Arc::clone(&child.pool), lease, Sharing::Any))),
            Err(AcquireError::Wake(WakeError::Unknown | WakeError::Foreign)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What its child is.
    pub(crate) fn facts(&self) -> Option<Arc<Facts>> {
        Some(self.pool.facts(self.lease.as_ref()?.bridge.welcome()?))
    }

    /// Where its child is found again.
    pub(crate) fn child(&self) -> WarmChild {
        WarmChild { pool: Arc::clone(&self.pool), id: self.id }
    }

    /// Another lease on its child, for what goes on there after the call.
    pub(crate) fn lease_again(&self) -> Option<Lease<ChildSession>> {
        let owner = self.lease.as_ref()?.owner();
        self.pool.sessions.lease(&self.id, owner).ok()
    }

    /// Whose its child is, and of which server.
    pub(crate) fn whose(&self) -> Option<(&Owner, &Arc<str>)> {
        self.lease.as_ref().map(|lease| (lease.owner(), &lease.server.name))
    }

    /// Its call waits for the client, or goes on.
    pub(crate) fn park(&self, is_parked: bool) {
        if self.sharing != Sharing::Any {
            let state = if is_parked { SeatState::Parked } else { SeatState::Running };
            self.pool.set(&self.id, state);
        }
    }

    /// Its call was given up before its end. What the child asks from now on may belong to that one,
    /// so no other call may be asked in its place. The child ends once it has answered those that it has.
    pub(crate) fn spoil(&mut self) {
        self.is_spoilt = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Sharing::Alone { .. } = self.sharing else { return };
        if !self.is_spoilt {
            return self.pool.set(&self.id, SeatState::Free);
        }
        self.pool.remove(&self.id);
        let Some(lease) = self.lease.take() else { return };
        let (sessions, id) = (self.pool.sessions.clone(), self.id);
        let owner = lease.owner().clone();
        let server = Arc::clone(&lease.server.name);
        let bridge = lease.bridge.clone();
        drop(lease);
        let mut endings = self.pool.endings.lock().unwrap_or_else(PoisonError::into_inner);
        while endings.try_join_next().is_some() {}
        endings.spawn(async move {
            // A list, say, that the same client waits for.
            bridge.close_when_idle().await;
            // One that was ended meanwhile is what is wanted.
            let _ = sessions.end(&id, &owner, &server, StopReason::Deleted).await;
        });
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("seats", &self.seats).finish_non_exhaustive()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("id", &self.id.short()).finish_non_exhaustive()
    }
}
