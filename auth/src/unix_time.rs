//! Calendar time as it is stored.

use std::time::{Duration, SystemTime};

/// Whole seconds since 1970, as records keep them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// The second `time` falls into. A clock before 1970 counts as 1970: everything that was
    /// issued under a sane clock is then still in the future, and [`since`](Self::since) says so.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        Self(time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }

    /// `span` later, in whole seconds. A span below one second rounds up, so that nothing expires
    /// in the second it was made.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
        Self(self.0.saturating_add(seconds))
    }

    /// The beginning of this second; `None` beyond what the system can tell.
    #[must_use]
    pub fn to_system(self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.0))
    }

    /// How long ago `earlier` was, or `None` when the clock was set back to before it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_secs)
    }

    /// What is left until `later`; zero when it has passed.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_secs(later.0.saturating_sub(self.0))
    }

    /// Whether something that ends at `expires` has ended. The named second is already too late.
    #[must_use]
    pub fn is_past(self, expires: Self) -> bool {
        self >= expires
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_second_counts_as_one() {
        assert_eq!(UnixTime(5).plus(Duration::from_millis(1)), UnixTime(6));
        assert_eq!(UnixTime(5).plus(Duration::from_secs(1)), UnixTime(6));
        assert_eq!(UnixTime(u64::MAX).plus(Duration::from_secs(9)), UnixTime(u64::MAX));
    }

    #[test]
    fn a_clock_that_was_set_back_tells_no_age() {
        assert_eq!(UnixTime(5).since(UnixTime(6)), None);
        assert_eq!(UnixTime(6).since(UnixTime(5)), Some(Duration::from_secs(1)));
    }
}
