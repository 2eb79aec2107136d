//! The one `subscriptions/listen` that stands for all that a session of the legacy era hears of a modern
//! child. It is made anew with each change, and the one before is given up once the child has acknowledged
//! the new one, so that nothing is missed between them (MCP 2026-07-28, "Subscriptions").

use std::mem::take;

/// A `resources/subscribe` of the session that is answered once the child listens.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The session's id.
    pub(super) id: u64,
    pub(super) uri: String,
}

/// The request under way, and those that it replaces.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    current: Option<u64>,
    is_acknowledged: bool,
    before: Vec<u64>,
    waiting: Vec<Waiting>,
}

/// What is over now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// Requests that the child is to give up.
    pub(super) given_up: Vec<u64>,
    /// Requests of the session that can be answered.
    pub(super) answered: Vec<Waiting>,
}

impl Subscription {
    /// The child is asked anew, by the request `id`.
    pub(super) fn start(&mut self, id: u64) {
        self.before.extend(self.current.replace(id));
        self.is_acknowledged = false;
    }

    /// There is nothing to hear any more.
    pub(super) fn stop(&mut self) -> Settled {
        self.before.extend(self.current.take());
        self.settle()
    }

    /// Has the session's request answered later; gives it back where nothing is to be waited for. What the
    /// session sends next could overtake the subscription, since a child may serve several requests at a time.
    pub(super) fn wait(&mut self, waiting: Waiting) -> Option<Waiting> {
        if self.current.is_none() || self.is_acknowledged {
            return Some(waiting);
        }
        self.waiting.push(waiting);
        None
    }

    /// The child has acknowledged the request `id`; without one, the last.
    pub(super) fn acknowledged(&mut self, id: Option<u64>) -> Settled {
        if self.current.is_none() || (id.is_some() && id != self.current) {
            return Settled::default();
        }
        self.is_acknowledged = true;
        self.settle()
    }

    /// The request `id` has ended; `None` when it is none of these. It is not made again until something
    /// else is to be heard. The one that it was to replace goes on: a child that refuses to tell of more
    /// tells of what it did before.
    pub(super) fn ended(&mut self, id: u64) -> Option<Settled> {
        if self.current != Some(id) {
            let known = self.before.len();
            self.before.retain(|before| *before != id);
            return (self.before.len() < known).then(Settled::default);
        }
        self.current = self.before.pop();
        self.is_acknowledged = true;
        Some(self.settle())
    }

    fn settle(&mut self) -> Settled {
        Settled { given_up: take(&mut self.before), answered: take(&mut self.waiting) }
    }
}
