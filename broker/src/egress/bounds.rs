//! How much one child may have under way.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};

/// How long a request waits for others of its child to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connections of one child.
pub(super) const MAX_CONNECTIONS: usize = 256;

/// The requests of one child: how many at once, and how many a second.
#[derive(Debug)]
pub(super) struct Bounds {
    at_once: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    /// Requests a second; a burst of as many is fine. `None`: any.
    rate: Option<f64>,
    bucket: Mutex<Bucket>,
    /// No byte moves for so long: the request ends.
    pub(super) silence: Duration,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    filled: Instant,
}

/// Of what a child has too much, so that a request has to come back later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Busy {
    /// Requests under way.
    Requests,
    /// Requests in a second.
    Rate,
    /// Connections.
    Connections,
}

impl Bounds {
    pub(super) fn new(at_once: usize, rate: Option<u32>, silence: Duration) -> Self {
        let rate = rate.map(f64::from);
        let bucket = Bucket { left: rate.unwrap_or_default(), filled: Instant::now() };
        let at_once = Arc::new(Semaphore::new(at_once));
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        Self { at_once, connections, rate, bucket: Mutex::new(bucket), silence }
    }

    /// A place for one more connection, held until it has ended.
    pub(super) fn connect(&self) -> Result<OwnedSemaphorePermit, Busy> {
        let place = Arc::clone(&self.connections).try_acquire_owned();
        place.map_err(|_| Busy::Connections)
    }

    /// A place for one request, held until its answer has ended. Waits for its turn: a child that is
    /// fast is slowed down and not refused.
    ///
    /// # Cancel safety
    /// Dropping the future gives the place up.
    pub(super) async fn enter(&self) -> Result<OwnedSemaphorePermit, Busy> {
        let permit = timeout(PATIENCE, Arc::clone(&self.at_once).acquire_owned()).await;
        let permit = permit.ok().and_then(Result::ok).ok_or(Busy::Requests)?;
        let begun = Instant::now();
        while let Some(wait) = self.until_turn(Instant::now()) {
            if begun.elapsed() + wait > PATIENCE {
                return Err(Busy::Rate);
            }
            sleep(wait).await;
        }
        Ok(permit)
    }

    /// How long until there is a turn; `None` takes it.
    fn until_turn(&self, now: Instant) -> Option<Duration> {
        let rate = self.rate?;
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let gained = now.duration_since(bucket.filled).as_secs_f64() * rate;
        bucket.left = (bucket.left + gained).min(rate);
        bucket.filled = now;
        if bucket.left < 1.0 {
            // Never zero, so that a turn that is missed by a hair is not waited for in circles.
            let wait = Duration::from_secs_f64((1.0 - bucket.left) / rate);
            return Some(wait.max(Duration::from_millis(1)));
        }
        bucket.left -= 1.0;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_child_has_a_burst_and_then_its_rate_and_no_request_fails() {
        let bounds = Bounds::new(100, Some(10), Duration::from_secs(1));
        let begun = Instant::now();
        for _ in 0..10 {
            drop(bounds.enter().await.expect("within the burst"));
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..20 {
            drop(bounds.enter().await.expect("its turn comes"));
        }
        let took = begun.elapsed();
        assert!(
            took > Duration::from_millis(1900) && took < Duration::from_millis(2200),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_another_of_its_child_to_end_and_not_for_ever() {
        let bounds = Arc::new(Bounds::new(1, None, Duration::from_secs(1)));
        let first = bounds.enter().await.expect("a place");
        assert_eq!(bounds.enter().await.map(drop), Err(Busy::Requests));
        let mut waiting = tokio::task::JoinSet::new();
        let bounds = Arc::clone(&bounds);
        waiting.spawn(async move { bounds.enter().await.map(drop) });
        tokio::task::yield_now().await;
        drop(first);
        let entered = waiting.join_next().await.expect("it waits");
        assert_eq!(entered.expect("no panic"), Ok(()));
    }
}
