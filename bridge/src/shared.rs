//! What the handle, the driver and the response bodies of one bridge share.

use std::{
    collections::HashMap,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{Notify, broadcast, watch};

use crate::{
    complaints::Complaints,
    epoch::Epoch,
    error::{Closed, PostError},
    exchange::Notice,
    ledger::{Account, Ledger},
    limits::Limits,
    observer::Observer,
    outbox::Outbox,
    revision::Revision,
    stream::Stream,
    table::Table,
    takeovers::Takeovers,
};

/// Notices kept for a listener that is slow; it misses the oldest.
const NOTICES: usize = 256;

/// What a bridge has around it, beside its child.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// What this person's bridges together may keep for clients that have not read it.
    pub ledger: Arc<Ledger>,
    /// Told of what happens.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for Surroundings {
    /// A ledger without a bound, and no observer.
    fn default() -> Self {
        Self { ledger: Arc::new(Ledger::new(usize::MAX)), observer: None }
    }
}

/// The state of one bridge.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) epoch: Epoch,
    pub(crate) outbox: Outbox,
    table: Mutex<Table>,
    /// Has the child now. Set while the table is locked and closed.
    successor: Mutex<Option<Arc<Self>>>,
    /// Notified when the table has become idle or has closed, if it is told to.
    idle: Notify,
    /// Notified when the table has closed.
    end: Notify,
    pub(crate) standalone: Arc<Stream>,
    pub(crate) revision: OnceLock<Revision>,
    pub(crate) dropped: AtomicU64,
    pub(crate) complaints: Complaints,
    /// What its streams hold for clients that have not read it.
    pub(crate) account: Arc<Account>,
    takeovers: Mutex<Takeovers>,
    observer: Option<Arc<dyn Observer>>,
    /// Counts changes of the table's memory.
    pub(crate) changes: watch::Sender<u64>,
    /// There is no session: calls share the child.
    pub(crate) serves_calls: AtomicBool,
    /// The child's result of `initialize`, raw.
    pub(crate) welcome: OnceLock<Bytes>,
    /// What the child tells of itself, for calls that listen.
    pub(crate) notices: broadcast::Sender<Notice>,
    /// How many calls listen to each resource.
    pub(crate) listeners: Mutex<HashMap<String, usize>>,
    /// How often the child has said that its tools are others now, since that was last asked.
    pub(crate) tool_changes: AtomicU64,
}

impl Shared {
    pub(crate) fn new(
        epoch: Epoch,
        outbox: Outbox,
        limits: Limits,
        surroundings: Surroundings,
    ) -> Self {
        let Surroundings { ledger, observer } = surroundings;
        let account = Account::open(limits.max_unread_bytes, ledger, observer.clone());
        Self {
            epoch,
            outbox,
            table: Mutex::default(),
            successor: Mutex::default(),
            idle: Notify::new(),
            end: Notify::new(),
            standalone: Arc::new(Stream::standalone(epoch, Arc::clone(&account))),
            account,
            takeovers: Mutex::new(Takeovers::new()),
            revision: OnceLock::new(),
            dropped: AtomicU64::new(0),
            complaints: Complaints::default(),
            observer,
            changes: watch::Sender::new(0),
            serves_calls: AtomicBool::new(false),
            welcome: OnceLock::new(),
            notices: broadcast::Sender::new(NOTICES),
            listeners: Mutex::default(),
            tool_changes: AtomicU64::new(0),
            limits,
        }
    }

    pub(crate) fn table(&self) -> TableGuard<'_> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        TableGuard { table, idle: &self.idle }
    }

    /// Gives the child to `successor`: the driver goes on with it. The table is locked and closed.
    pub(crate) fn set_successor(&self, successor: Arc<Self>) {
        *self.successor.lock().unwrap_or_else(PoisonError::into_inner) = Some(successor);
        self.has_closed();
    }

    /// To be called when the table has closed.
    pub(crate) fn has_closed(&self) {
        self.end.notify_waiters();
    }

    /// Waits until the bridge has ended, and says why.
    pub(crate) async fn ended(&self) -> Closed {
        loop {
            // Created before the look at the table, so that a change in between is not missed.
            let notified = self.end.notified();
            let closed = self.table().closed;
            match closed {
                Some(why) => return why,
                None => notified.await,
            }
        }
    }

    /// What came of sending. Where the child had closed its input, the reason is known when the end of its
    /// output is.
    pub(crate) async fn settled<T>(&self, sent: Result<T, PostError>) -> Result<T, PostError> {
        match sent {
            Err(PostError::Closed(_)) => Err(PostError::Closed(self.ended().await)),
            sent => sent,
        }
    }

    /// Who has the child now, told once.
    pub(crate) fn take_successor(&self) -> Option<Arc<Self>> {
        self.successor.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until the table is idle or closed. It may be neither when this returns.
    pub(crate) async fn idle(&self) {
        // Created before the look at the table, so that a change in between is not missed.
        let notified = self.idle.notified();
        {
            let mut table = self.table();
            if table.closed.is_some() || table.is_idle() {
                return;
            }
            table.idle_is_awaited = true;
        }
        notified.await;
    }

    pub(crate) fn takeovers(&self) -> MutexGuard<'_, Takeovers> {
        self.takeovers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one line of the child that was dropped.
    pub(crate) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        if let Some(observer) = &self.observer {
            observer.line_dropped();
        }
    }
}

/// The locked table. On release it wakes those who wait for an idle table, so that no place that
/// takes an entry out has to think of them.
pub(crate) struct TableGuard<'a> {
    table: MutexGuard<'a, Table>,
    idle: &'a Notify,
}

impl Deref for TableGuard<'_> {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.table
    }
}

impl DerefMut for TableGuard<'_> {
    fn deref_mut(&mut self) -> &mut Table {
        &mut self.table
    }
}

impl Drop for TableGuard<'_> {
    fn drop(&mut self) {
        if self.table.idle_is_awaited && (self.table.closed.is_some() || self.table.is_idle()) {
            self.table.idle_is_awaited = false;
            self.idle.notify_waiters();
        }
    }
}
