//! Things that arrive, to be awaited.

use std::{
    pin::pin,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

/// All that has arrived so far of one sort.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    items: Mutex<Vec<T>>,
    changed: Notify,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self { items: Mutex::default(), changed: Notify::new() }
    }
}

impl<T: Clone> Inbox<T> {
    pub(crate) fn push(&self, item: T) {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).push(item);
        self.changed.notify_waiters();
    }

    pub(crate) fn all(&self) -> Vec<T> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first item that `matches`, as soon as there is one.
    pub(crate) async fn until(&self, matches: impl Fn(&T) -> bool) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            // What arrives between the look and the wait counts too.
            changed.as_mut().enable();
            if let Some(found) = self.all().into_iter().find(&matches) {
                return found;
            }
            changed.await;
        }
    }
}
