//! The calendar, handed to whatever needs to know what time it is.

use std::{fmt, sync::Arc, time::SystemTime};

/// Tells the time. The composition root makes one and hands it down; nothing else reads the system's
/// calendar, so a test decides what time it is. Waiting and ages use tokio's clock, not this one.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// A clock that asks `now`.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The system's calendar.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where the calendar is read")]
    pub fn system() -> Self {
        Self::new(SystemTime::now)
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").finish_non_exhaustive()
    }
}
