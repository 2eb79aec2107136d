//! How many sessions there may be, and how long each may live.

use std::num::NonZeroUsize;
use std::time::Duration;

/// The bounds a [`Registry`](crate::Registry) keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions with a backend in all, counting those being spawned and those still stopping.
    /// `None` is without bound. Default 256.
    pub max_sessions: Option<NonZeroUsize>,
    /// The same for one person, through all their clients together: issuer and subject. At this cap
    /// a session of the person without a call under way is put to sleep at once, so only busy
    /// sessions and those that cannot sleep count in the end. `None` is without bound. Default 16.
    pub max_per_owner: Option<NonZeroUsize>,
    /// The same for one client of one person. `None`, the default, is without a bound of its own.
    pub max_per_client: Option<NonZeroUsize>,
    /// At the total cap, a session that can sleep and has had no call under way for at least this
    /// long may be put to sleep to make room for anybody's. Zero never does that. Default 30 seconds.
    pub evict_idle: Duration,
    /// A session without a lease for this long is put to sleep, or ended if it cannot sleep. Zero
    /// is never. Default 15 minutes.
    pub idle: Duration,
    /// A backend whose session its client has ended is kept this long for the next session of the same
    /// owner ([`Registry::retire`](crate::Registry::retire)), unless its slot is needed. Zero keeps
    /// none. Default 3 seconds.
    pub spare: Duration,
    /// The age at which a session ends, as soon as no lease is held. Zero is never. Default
    /// 30 days.
    pub lifetime: Duration,
    /// How often ages are looked at, and so how late an idle session may be ended. Anything
    /// shorter than 10 ms, zero included, counts as 10 ms. Default 30 seconds.
    pub reap_interval: Duration,
    /// How long an open or a wake waits for a slot when none is free, and for its turn to start.
    /// Waiting requests are served person by person in turn. Zero, the default, refuses at once.
    pub slot_wait: Duration,
    /// How many opens and wakes of one person may wait for a slot at a time; more are refused at
    /// once. Default 32.
    pub max_waiting_per_owner: usize,
    /// How many backends one person may have started at once, by opens and wakes, after a time of
    /// rest. Zero counts as one. Default 100.
    pub start_burst: usize,
    /// After a burst, one more may be started each time this has passed. Zero is without bound.
    /// Default 100 milliseconds.
    pub start_interval: Duration,
    /// Records in all, asleep or not. At the cap an open removes the record of a session that has
    /// been asleep longest: of the same client, else of the same person, else of anybody. `None`
    /// is without bound. Default 100,000.
    pub max_records: Option<NonZeroUsize>,
    /// The same for one person, through all their clients. `None` is without bound. Default 1,000.
    pub max_records_per_owner: Option<NonZeroUsize>,
    /// The same for one client of one person. `None`, the default, is without a bound of its own.
    pub max_records_per_client: Option<NonZeroUsize>,
    /// After so many wakes in a row that failed, or were followed by a crash within ten seconds,
    /// requests are refused for `wake_pause` without another attempt. Zero is never. Default 4.
    pub max_wake_failures: u32,
    /// How long the attempt after a failed wake is held back; each further failure doubles it, up
    /// to `wake_pause`. Default 250 ms.
    pub wake_backoff: Duration,
    /// See `max_wake_failures`. One attempt is made after it. Default 30 seconds.
    pub wake_pause: Duration,
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
            max_per_client: None,
            evict_idle: Duration::from_secs(30),
            idle: Duration::from_secs(15 * 60),
            spare: Duration::from_secs(3),
            lifetime: Duration::from_secs(30 * 24 * 60 * 60),
            reap_interval: Duration::from_secs(30),
            slot_wait: Duration::ZERO,
            max_waiting_per_owner: 32,
            start_burst: 100,
            start_interval: Duration::from_millis(100),
            max_records: NonZeroUsize::new(100_000),
            max_records_per_owner: NonZeroUsize::new(1_000),
            max_records_per_client: None,
            max_wake_failures: 4,
            wake_backoff: Duration::from_millis(250),
            wake_pause: Duration::from_secs(30),
        }
    }
}
