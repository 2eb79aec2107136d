//! How many sessions there may be, and how long each may live.

use std::num::NonZeroUsize;
use std::time::Duration;

/// The bounds a [`Registry`](crate::Registry) keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions in all, counting those being spawned and those still stopping. `None` is without
    /// bound. Default 256.
    pub max_sessions: Option<NonZeroUsize>,
    /// The same for one owner. `None` is without bound. Default 16.
    pub max_per_owner: Option<NonZeroUsize>,
    /// At a cap, a session idle for at least this long may be ended to make room for a new one.
    /// Zero never ends one for that. Default 5 minutes.
    pub evict_idle: Duration,
    /// A session without a lease for this long is ended. Zero is never. Default 15 minutes.
    pub idle: Duration,
    /// The age at which a session ends, as soon as nobody holds a lease. Zero is never. Default
    /// 30 days.
    pub lifetime: Duration,
    /// How often ages are looked at, and so how late an idle session may be ended. Anything
    /// shorter than 10 ms, zero included, counts as 10 ms. Default 30 seconds.
    pub reap_interval: Duration,
}

impl Limits {
    const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);

    pub(crate) fn reap_interval(&self) -> Duration {
        self.reap_interval.max(Self::SHORTEST_INTERVAL)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_sessions: NonZeroUsize::new(256),
            max_per_owner: NonZeroUsize::new(16),
            evict_idle: Duration::from_secs(5 * 60),
            idle: Duration::from_secs(15 * 60),
            lifetime: Duration::from_secs(30 * 24 * 60 * 60),
            reap_interval: Duration::from_secs(30),
        }
    }
}
