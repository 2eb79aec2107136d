//! How long a handshake may take: as long as the child shows signs of life, and not for ever.

use std::{pin::pin, time::Duration};

use supervisor::Life;
use tokio::time::{Instant, sleep_until};

use crate::config::ServerConfig;

/// A child that uses less of the processor than this, on average since its last sign of life, only
/// waits: for a terminal that is not there, say.
const WORKING: u32 = 100;
/// The same, for a time too short to average over.
const LEAST_WORK: Duration = Duration::from_millis(20);

/// How long a child may take to answer `server/discover`. Some of the legacy era never do.
const DISCOVERY: Duration = Duration::from_secs(10);

/// How long a child may take at most to answer what it is asked first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// `initialize`.
    pub(super) initialize: Duration,
    /// `server/discover`.
    pub(super) discover: Duration,
}

impl Times {
    /// A child that `is_filling` its cache has as long for either: where one is ended amid its download,
    /// the next one has to begin anew.
    pub(super) fn of(timeout: HandshakeTimeout, is_filling: bool) -> Self {
        let initialize = timeout.max;
        let discover = if is_filling { initialize } else { initialize.min(DISCOVERY) };
        Self { initialize, discover }
    }
}

/// The bounds of one handshake.
#[derive(Debug, Clone, Copy)]
pub(super) struct HandshakeTimeout {
    /// Without a sign of life.
    quiet: Duration,
    /// In all.
    pub(super) max: Duration,
}

impl HandshakeTimeout {
    pub(super) fn of(server: &ServerConfig) -> Self {
        let quiet = server.initialize_timeout;
        Self { quiet, max: server.initialize_max.max(quiet) }
    }

    /// Waits for `handshake`; `None` when it takes too long. `look` tells what the child has done so
    /// far, and is asked now and then.
    ///
    /// # Cancel safety
    /// Dropping the future drops the handshake.
    pub(super) async fn wait<T, L>(
        self,
        mut look: impl FnMut() -> L,
        handshake: impl Future<Output = T>,
    ) -> Option<T>
    where
        L: Future<Output = Life>,
    {
        let mut handshake = pin!(handshake);
        let begun = Instant::now();
        let (mut seen, mut sign) = (Life::default(), begun);
        // A child that starts at once is never looked at: that reads a file of every process.
        let interval = (self.quiet / 8).clamp(LEAST_WORK, Duration::from_secs(5));
        loop {
            let ends = (sign + self.quiet).min(begun + self.max);
            tokio::select! {
                biased;
                done = &mut handshake => return Some(done),
                () = sleep_until(ends.min(Instant::now() + interval)) => {}
            }
            let life = look().await;
            let now = Instant::now();
            if shows_life(seen, life, now - sign) {
                (seen, sign) = (life, now);
            }
            if now >= (sign + self.quiet).min(begun + self.max) {
                return None;
            }
        }
    }
}

/// Whether a child has done something in the time since it was `before`.
fn shows_life(before: Life, after: Life, time: Duration) -> bool {
    let worked = after.processor.saturating_sub(before.processor);
    after.stderr_bytes > before.stderr_bytes || worked >= (time / WORKING).max(LEAST_WORK)
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TIMEOUT: HandshakeTimeout =
        HandshakeTimeout { quiet: Duration::from_secs(20), max: Duration::from_secs(300) };

    /// How many seconds pass before a handshake that takes `takes` seconds is given up, if it is.
    async fn given_up(takes: u32, mut life: impl FnMut(Duration) -> Life) -> Option<u64> {
        let begun = Instant::now();
        let look = || std::future::ready(life(begun.elapsed()));
        let done = TIMEOUT.wait(look, sleep(takes * SECOND)).await;
        done.is_none().then(|| begun.elapsed().as_secs())
    }

    #[test]
    fn a_discovery_is_short_but_for_a_child_that_downloads_itself() {
        let times = |is_filling| Times::of(TIMEOUT, is_filling);
        assert_eq!((times(false).discover, times(false).initialize), (DISCOVERY, TIMEOUT.max));
        assert_eq!((times(true).discover, times(true).initialize), (TIMEOUT.max, TIMEOUT.max));
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_does_nothing_is_given_up_after_the_timeout() {
        assert_eq!(given_up(19, |_| Life::default()).await, None);
        assert_eq!(given_up(3600, |_| Life::default()).await, Some(20));
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_of_25_seconds_is_not_killed_at_20() {
        let talks = |at: Duration| Life { stderr_bytes: at.as_secs() / 10, ..Life::default() };
        assert_eq!(given_up(25, talks).await, None);
        let works = |at: Duration| Life { processor: at / 50, ..Life::default() };
        assert_eq!(given_up(250, works).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_that_works_for_ever_is_given_up_in_the_end() {
        assert_eq!(given_up(3600, |at| Life { processor: at, ..Life::default() }).await, Some(300));
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_counts_from_the_last_sign_and_a_timer_in_the_child_is_none() {
        let begins =
            |at: Duration| Life { stderr_bytes: u64::from(at >= 10 * SECOND), ..Life::default() };
        assert_eq!(given_up(3600, begins).await, Some(30));
        let ticks = |at: Duration| Life { processor: at / 500, ..Life::default() };
        assert_eq!(given_up(3600, ticks).await, Some(20));
    }
}
