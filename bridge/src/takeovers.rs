//! How often connections may take a stream of the session from each other.

use std::time::Duration;

use tokio::time::Instant;

/// Connections in quick succession, as of a client that opens, closes and opens again.
const BURST: u32 = 64;
/// How long one more takes. Two clients that take the stream from each other for ever do so at this
/// pace.
const PAUSE: Duration = Duration::from_secs(5);

/// A bucket of takeovers: the newest connection wins, within bounds.
#[derive(Debug)]
pub(crate) struct Takeovers {
    left: u32,
    since: Instant,
}

impl Takeovers {
    pub(crate) fn new() -> Self {
        Self { left: BURST, since: Instant::now() }
    }

    /// Takes one, or says how long until there is one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let earned = now.duration_since(self.since).as_secs() / PAUSE.as_secs();
        let earned = u32::try_from(earned).unwrap_or(BURST).min(BURST);
        self.left = (self.left + earned).min(BURST);
        self.since = if self.left == BURST { now } else { self.since + PAUSE * earned };
        if self.left == 0 {
            return Err(PAUSE.saturating_sub(now.duration_since(self.since)));
        }
        self.left -= 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn takeovers_without_end_slow_down_and_recover() {
        let mut takeovers = Takeovers::new();
        let start = Instant::now();
        for _ in 0..BURST {
            assert_eq!(takeovers.take(start), Ok(()));
        }
        assert_eq!(takeovers.take(start), Err(PAUSE));
        assert_eq!(takeovers.take(start + PAUSE / 2), Err(PAUSE / 2));
        assert_eq!(takeovers.take(start + PAUSE), Ok(()));
        assert!(takeovers.take(start + PAUSE).is_err());
        let later = start + PAUSE * (BURST * 2);
        assert!((0..BURST).all(|_| takeovers.take(later).is_ok()));
        assert!(takeovers.take(later).is_err());
    }
}
