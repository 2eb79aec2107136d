//! Taking a session's backend away while the session goes on.

/// How backends are replaced, or only taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replacement {
    /// When the old backend is stopped.
    pub when: StopWhen,
    /// What comes after it.
    pub then: AfterStop,
}

/// When a backend that is to be replaced is stopped. One without a lease is stopped at once in any
/// case; later demands on the same session make earlier ones more urgent, never less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopWhen {
    /// As soon as no lease is held. Until then new leases are given as ever, so a session in constant
    /// use keeps its backend.
    Idle,
    /// As soon as the leases held now are dropped. A request that comes meanwhile waits for what
    /// follows. `Lease::asked_to_leave` tells the holders, so that streams can be closed.
    Drained,
    /// At once, also under leases.
    Now,
}

/// What follows the old backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AfterStop {
    /// The session sleeps until a request wakes it.
    Asleep,
    /// A new backend is woken at once, in the old one's place. If that fails the session sleeps.
    Awake,
}

impl Replacement {
    /// Both demands in one.
    pub(crate) fn and(self, other: Option<Self>) -> Self {
        other.map_or(self, |other| Self {
            when: self.when.max(other.when),
            then: self.then.max(other.then),
        })
    }
}
