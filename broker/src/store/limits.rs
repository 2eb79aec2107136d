//! How much of everything the store takes.

use std::time::Duration;

/// With less patience nothing would ever get its turn.
pub(super) const MIN_PATIENCE: Duration = Duration::from_millis(1);

/// How much of everything.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a change waits for other processes, and for its turn in the queue, each; and how
    /// long a look-up waits for a connection. Default 5 s; below a millisecond it counts as one.
    pub patience: Duration,
    /// How many connections read. Default 4; zero counts as one.
    pub readers: u32,
    /// How many changes may wait for their turn; more are refused. Default 1024; zero counts as
    /// one.
    pub max_waiting: usize,
    /// How many pages of 4 KiB the database may grow to; a change that would need more fails.
    /// `None`, the default, leaves it to the disk. A database that is larger already stays.
    pub max_pages: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { patience: Duration::from_secs(5), readers: 4, max_waiting: 1024, max_pages: None }
    }
}
