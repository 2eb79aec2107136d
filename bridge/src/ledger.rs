//! What clients have not read costs memory: who holds how much of it, and who gives it up.
//!
//! A stream is charged for what it keeps, undelivered, on its way, or for a client that comes back:
//! to the account of its session, and to the ledger of the person whose sessions these are. Over
//! either bound, first what was delivered and is kept for a return is given up, the largest stream
//! first; then the stream that holds the most ends with an error under each request's own id. One
//! answer always fits.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::observer::Observer;

/// The bytes that the bridges of one person may keep for clients that have not read them. Given to
/// each bridge of that person with [`Bridge::attach_with`](crate::Bridge::attach_with).
pub struct Ledger {
    max: AtomicUsize,
    used: AtomicUsize,
    accounts: Mutex<Vec<Weak<Account>>>,
}

/// One bridge's part of a ledger.
pub(crate) struct Account {
    max: usize,
    used: AtomicUsize,
    holders: Mutex<Vec<Weak<dyn Holder>>>,
    ledger: Arc<Ledger>,
    observer: Option<Arc<dyn Observer>>,
}

/// Something that is charged for what it holds.
pub(crate) trait Holder: Send + Sync {
    /// What it holds, for the choice of one that has to give up.
    fn holding(&self) -> Holding;

    /// Gives up what is kept; `false` when that frees nothing.
    fn give_up(&self) -> bool;
}

/// What a stream holds, as far as the choice of one goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holding {
    /// Its client has all of it, and may only come back for it.
    pub(crate) is_delivered: bool,
    pub(crate) bytes: usize,
    /// Its client can still be told: nothing of it is half sent.
    pub(crate) is_whole: bool,
}

impl Ledger {
    /// A ledger of at most `max` bytes.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self { max: AtomicUsize::new(max), used: AtomicUsize::new(0), accounts: Mutex::default() }
    }

    /// Sets another bound, which holds from the next message on.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Bytes that are kept now, to within a few kilobytes a stream.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Account {
    /// Opens an account of at most `max` bytes.
    pub(crate) fn open(
        max: usize,
        ledger: Arc<Ledger>,
        observer: Option<Arc<dyn Observer>>,
    ) -> Arc<Self> {
        let account = Arc::new(Self {
            max,
            used: AtomicUsize::new(0),
            holders: Mutex::default(),
            ledger,
            observer,
        });
        add(&mut lock(&account.ledger.accounts), Arc::downgrade(&account));
        account
    }

    /// Has `holder` among those that may have to give something up.
    pub(crate) fn register(&self, holder: Weak<dyn Holder>) {
        add(&mut lock(&self.holders), holder);
    }

    /// Charges a stream that held `before` bytes for `now`. Not to be called with its lock held.
    pub(crate) fn charge(&self, before: usize, now: usize) {
        for used in [&self.used, &self.ledger.used] {
            if now >= before {
                used.fetch_add(now - before, Ordering::Relaxed);
            } else {
                used.fetch_sub(before - now, Ordering::Relaxed);
            }
        }
        if now > before {
            self.relieve();
        }
    }

    /// Has streams give up what they hold until the bounds are kept.
    fn relieve(&self) {
        let is_over = |used: &AtomicUsize, max: usize| used.load(Ordering::Relaxed) > max;
        let ledger = &self.ledger;
        let shared_max = ledger.max.load(Ordering::Relaxed);
        if !is_over(&self.used, self.max) && !is_over(&ledger.used, shared_max) {
            return;
        }
        // One at a time, or two would give up more than they need to.
        let accounts = lock(&ledger.accounts);
        while is_over(&self.used, self.max) && self.give_up_one(&self.holders()) {}
        while is_over(&ledger.used, shared_max) {
            let accounts = accounts.iter().filter_map(Weak::upgrade);
            let holders: Vec<_> = accounts.flat_map(|account| account.holders()).collect();
            if !self.give_up_one(&holders) {
                break;
            }
        }
    }

    /// `false` when nothing is left to give up.
    fn give_up_one(&self, holders: &[Arc<dyn Holder>]) -> bool {
        let holdings = holders.iter().map(|holder| (holder.holding(), holder));
        let mut holding: Vec<_> = holdings.filter(|(holding, _)| holding.bytes > 0).collect();
        holding.sort_by_key(|(holding, _)| *holding);
        let Some((largest, holder)) = holding.pop() else { return false };
        if holding.is_empty() && !largest.is_delivered {
            return false;
        }
        let gave_up = holder.give_up();
        if gave_up
            && !largest.is_delivered
            && let Some(observer) = &self.observer
        {
            observer.answer_given_up();
        }
        gave_up
    }

    fn holders(&self) -> Vec<Arc<dyn Holder>> {
        lock(&self.holders).iter().filter_map(Weak::upgrade).collect()
    }
}

/// Adds to a list of what may have gone, which is swept before it has to grow.
fn add<T: ?Sized>(list: &mut Vec<Weak<T>>, one: Weak<T>) {
    if list.len() == list.capacity() {
        list.retain(|other| other.strong_count() > 0);
    }
    list.push(one);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("used", &self.used()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("used", &self.used).finish_non_exhaustive()
    }
}
