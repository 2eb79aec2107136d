//! Calendar time, which records need beside tokio's clock.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Where calendar time comes from: the one thing a record needs that tokio's clock cannot tell.
///
/// It is given at construction and not with each call, because sessions also fall asleep, crash
/// and expire while no caller is there to pass the time.
#[derive(Clone)]
pub struct Calendar(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Calendar {
    /// Asks `now` for the time. It must not block and may step back.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    pub(crate) fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calendar")
    }
}
