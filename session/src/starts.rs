//! How fast one person may have backends started: a bucket per person that fills up again with time.
//!
//! A slot bounds how many backends there are at a time, not how many are started: a client that
//! opens and deletes in a loop never has more than one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::error::OwnerLimit;
use crate::limits::Limits;
use crate::owner::Person;

/// When each person's bucket is full again. A full one is not remembered.
type Buckets = HashMap<Person, Instant>;

#[derive(Debug, Default)]
pub(crate) struct Starts(Mutex<Buckets>);

impl Starts {
    /// Takes one start of `person`, which may have to be [waited for](Start::due), though not
    /// beyond `until`.
    pub(crate) fn take(
        self: &Arc<Self>,
        person: Person,
        limits: &Limits,
        until: Instant,
    ) -> Result<Start, OwnerLimit> {
        let (interval, now) = (limits.start_interval, Instant::now());
        if interval.is_zero() {
            return Ok(Start { at: now, taken: None });
        }
        let burst = u32::try_from(limits.start_burst.max(1)).unwrap_or(u32::MAX);
        let mut buckets = self.lock();
        let full = buckets.get(&person).map_or(now, |&full| full.max(now));
        // One start is there as soon as all but `burst - 1` of those taken have come back.
        let at = full.checked_sub(interval.saturating_mul(burst - 1)).map_or(now, |at| at.max(now));
        // What is there already is not refused, also when the caller's clock was read before this.
        if at > now.max(until) {
            return Err(OwnerLimit::Starts { retry_in: at - now });
        }
        buckets.insert(person.clone(), full + interval);
        drop(buckets);
        Ok(Start { at, taken: Some(Taken { starts: Arc::clone(self), person, interval }) })
    }

    /// Forgets the people whose buckets are full.
    pub(crate) fn forget_full(&self) {
        let now = Instant::now();
        self.lock().retain(|_, full| *full > now);
    }

    /// How many people are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.0.lock().expect("nothing panics while it holds the buckets")
    }
}

/// One start. Dropped without being [used](Self::used) it goes back into the bucket.
#[derive(Debug)]
pub(crate) struct Start {
    at: Instant,
    taken: Option<Taken>,
}

#[derive(Debug)]
struct Taken {
    starts: Arc<Starts>,
    person: Person,
    interval: Duration,
}

impl Start {
    /// Waits until it may be made.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub(crate) async fn due(&self) {
        if self.at > Instant::now() {
            sleep_until(self.at).await;
        }
    }

    /// There is a slot: the start is made.
    pub(crate) fn used(mut self) {
        self.taken = None;
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        let Some(Taken { starts, person, interval }) = self.taken.take() else { return };
        if let Some(full) = starts.lock().get_mut(&person) {
            *full = full.checked_sub(interval).unwrap_or(*full);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::testing::owner;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits() -> Limits {
        Limits { start_burst: 3, start_interval: SECOND, ..Limits::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_burst_starts_come_one_by_one() {
        let starts = Arc::new(Starts::default());
        let now = || starts.take(owner("ada").person(), &limits(), Instant::now());
        (0..3).for_each(|_| now().expect("a burst of three").used());
        assert_eq!(now().err(), Some(OwnerLimit::Starts { retry_in: SECOND }));
        advance(SECOND / 2).await;
        assert_eq!(now().err(), Some(OwnerLimit::Starts { retry_in: SECOND / 2 }));
        advance(SECOND / 2).await;
        now().expect("one has come back").used();
        now().expect_err("one, and no more");
        let bobs = starts.take(owner("bob").person(), &limits(), Instant::now());
        bobs.expect("another person has a bucket of their own").used();
        advance(10 * SECOND).await;
        (0..3).for_each(|_| now().expect("no more than the burst has come back").used());
        now().expect_err("the bucket was full, not overfull");
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_is_there_is_given_also_to_who_cannot_wait_at_all() {
        let (starts, asked) = (Arc::new(Starts::default()), Instant::now());
        advance(SECOND / 1000).await;
        let take = || starts.take(owner("ada").person(), &limits(), asked);
        (0..3).for_each(|_| take().expect("a burst of three").used());
        take().expect_err("the bucket is empty");
    }

    #[tokio::test(start_paused = true)]
    async fn who_can_wait_gets_the_starts_to_come_in_order() {
        let (starts, begun) = (Arc::new(Starts::default()), Instant::now());
        let take = || starts.take(owner("ada").person(), &limits(), begun + 2 * SECOND);
        let mut dues = Vec::new();
        for _ in 0..5 {
            let start = take().expect("within two seconds");
            dues.push((start.at - begun).as_secs());
            start.used();
        }
        assert_eq!(dues, [0, 0, 0, 1, 2]);
        assert_eq!(take().err(), Some(OwnerLimit::Starts { retry_in: 3 * SECOND }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_is_not_made_goes_back_and_a_full_bucket_is_forgotten() {
        let starts = Arc::new(Starts::default());
        let take = || starts.take(owner("ada").person(), &limits(), Instant::now());
        for _ in 0..100 {
            drop(take().expect("the one before came back"));
        }
        assert_eq!(starts.len(), 1);
        starts.forget_full();
        assert_eq!(starts.len(), 0);
        take().expect("it is full").used();
        starts.forget_full();
        assert_eq!(starts.len(), 1, "one is missing");
        advance(SECOND).await;
        starts.forget_full();
        assert_eq!(starts.len(), 0);
    }
}
