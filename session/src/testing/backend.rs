//! A backend that does nothing, and the handle that drives it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use tokio::sync::watch;
use tokio::time::Instant;

use crate::backend::{Backend, BoxFuture};
use crate::owner::Owner;
use crate::reason::StopReason;
use crate::testing::census::{Counted, number_in};
#[cfg(doc)]
use crate::testing::timeout::TIMEOUT;
use crate::testing::timeout::with_timeout;

/// What a [`FakeBackend`] calls itself.
pub const KIND: &str = "fake";

#[derive(Debug)]
pub(super) struct State {
    pub(super) owner: Owner,
    pub(super) obeys: bool,
    pub(super) woken: bool,
    pub(super) made: Instant,
    pub(super) disposable: bool,
    pub(super) fit_for_another: AtomicBool,
    pub(super) snapshot: Mutex<Option<Vec<u8>>>,
    pub(super) stops: watch::Sender<Vec<StopReason>>,
    pub(super) over: watch::Sender<bool>,
    pub(super) counted: Mutex<Option<Counted>>,
    pub(super) panics_in_stop: AtomicBool,
    pub(super) panics_in_ended: watch::Sender<bool>,
    pub(super) dropped: AtomicBool,
    pub(super) before: OnceLock<Weak<Self>>,
}

impl State {
    fn end(&self) {
        // Not counted any more before any waiter can learn that it has ended.
        drop(self.counted.lock().expect("no test panics while it holds it").take());
        self.over.send_replace(true);
    }
}

/// A backend that does nothing.
#[derive(Debug)]
pub struct FakeBackend(pub(super) Arc<State>);

impl FakeBackend {
    /// Whether `handle` drives this backend.
    pub fn is(&self, handle: &BackendHandle) -> bool {
        Arc::ptr_eq(&self.0, &handle.0)
    }
}

impl Backend for FakeBackend {
    fn stop(&self, why: StopReason) {
        self.0.stops.send_modify(|stops| stops.push(why));
        assert!(!self.0.panics_in_stop.load(Ordering::SeqCst), "told to panic when stopped");
        if self.0.obeys {
            self.0.end();
        }
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        let mut over = self.0.over.subscribe();
        let mut panics = self.0.panics_in_ended.subscribe();
        Box::pin(async move {
            tokio::select! {
                _ = over.wait_for(|&over| over) => {}
                Ok(_) = panics.wait_for(|&panics| panics) => panic!("told to panic while it lives"),
            }
        })
    }

    fn kind(&self) -> &str {
        KIND
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        self.0.snapshot.lock().expect("no test panics while it holds it").clone()
    }

    fn is_disposable(&self) -> bool {
        self.0.disposable
    }

    fn retire(&self) -> bool {
        self.0.fit_for_another.load(Ordering::SeqCst)
    }

    fn succeed(&self, before: &Self) {
        self.0.before.set(Arc::downgrade(&before.0)).expect("a backend succeeds one other");
    }
}

impl Drop for FakeBackend {
    fn drop(&mut self) {
        self.0.dropped.store(true, Ordering::SeqCst);
    }
}

/// Drives one [`FakeBackend`].
#[derive(Debug, Clone)]
pub struct BackendHandle(pub(super) Arc<State>);

impl BackendHandle {
    /// The owner that it was made for.
    pub fn owner(&self) -> &Owner {
        &self.0.owner
    }

    /// Why it was first asked to stop, if it was.
    pub fn stopped(&self) -> Option<StopReason> {
        self.0.stops.borrow().first().copied()
    }

    /// Waits until it is asked to stop.
    ///
    /// # Panics
    /// After [`TIMEOUT`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn asked_to_stop(&self) -> StopReason {
        let mut stops = self.0.stops.subscribe();
        let asked = stops.wait_for(|stops| !stops.is_empty());
        with_timeout("the backend was not asked to stop", asked)
            .await
            .expect("this handle keeps the sender")[0]
    }

    /// Whether it was woken, and not spawned for a new session.
    pub fn is_woken(&self) -> bool {
        self.0.woken
    }

    /// Whether it took over from `before`.
    pub fn succeeded(&self, before: &Self) -> bool {
        self.0.before.get().is_some_and(|own| std::ptr::eq(own.as_ptr(), Arc::as_ptr(&before.0)))
    }

    /// When it came into being.
    pub fn made(&self) -> Instant {
        self.0.made
    }

    /// The number of the session it serves, if sessions are numbered and it is not stateful.
    pub fn number(&self) -> Option<usize> {
        number_in(&self.snapshot()?)
    }

    /// What it would tell its successor; a fresh one says `fresh`.
    pub fn snapshot(&self) -> Option<Vec<u8>> {
        self.0.snapshot.lock().expect("no test panics while it holds it").clone()
    }

    /// Changes what it would tell its successor. `None` makes it stateful.
    pub fn remember(&self, snapshot: Option<&[u8]>) {
        *self.0.snapshot.lock().expect("no test panics while it holds it") =
            snapshot.map(<[u8]>::to_vec);
    }

    /// From now on it may stay for another session when its own is over; at first it is not fit for
    /// that.
    pub fn fit_for_another(&self) {
        self.0.fit_for_another.store(true, Ordering::SeqCst);
    }

    /// How often it was asked to stop.
    pub fn stop_calls(&self) -> usize {
        self.0.stops.borrow().len()
    }

    /// Ends it, as a process does that has exited and been reaped.
    pub fn end(&self) {
        self.0.end();
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        *self.0.over.borrow()
    }

    /// Whether the backend itself was dropped.
    pub fn is_dropped(&self) -> bool {
        self.0.dropped.load(Ordering::SeqCst)
    }

    /// Lets every later `stop` panic.
    pub fn panic_when_stopped(&self) {
        self.0.panics_in_stop.store(true, Ordering::SeqCst);
    }

    /// Lets the task that waits for its end panic now.
    pub fn panic_now(&self) {
        self.0.panics_in_ended.send_replace(true);
    }
}
