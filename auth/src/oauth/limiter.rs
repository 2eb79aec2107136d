//! Token buckets by key, over a clock that is passed in.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// How many requests, and how fast more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// So many at once. Zero lets nothing through.
    pub burst: u32,
    /// One more after each of these.
    pub every: Duration,
}

/// Buckets for at most `capacity` keys; beyond that, keys whose bucket is full again are
/// forgotten, and if none is, all are.
#[derive(Debug)]
pub(crate) struct Limiter<K> {
    rate: Rate,
    capacity: usize,
    /// When each bucket will be full again.
    full_at: Mutex<HashMap<K, SystemTime>>,
}

impl<K: Hash + Eq> Limiter<K> {
    pub(crate) fn new(rate: Rate, capacity: usize) -> Self {
        Self { rate, capacity, full_at: Mutex::default() }
    }

    /// Takes one, or says in how many seconds there is one (at least 1).
    pub(crate) fn take(&self, key: K, now: SystemTime) -> Result<(), u64> {
        let mut buckets = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= self.capacity && !buckets.contains_key(&key) {
            buckets.retain(|_, full_at| *full_at > now);
            if buckets.len() >= self.capacity {
                buckets.clear();
            }
        }
        let next = self.next(buckets.get(&key).copied(), now)?;
        buckets.insert(key, next);
        Ok(())
    }

    /// Says what [`take`](Self::take) would, and takes nothing.
    pub(crate) fn look(&self, key: &K, now: SystemTime) -> Result<(), u64> {
        let buckets = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        self.next(buckets.get(key).copied(), now).map(drop)
    }

    /// When a bucket will be full again that is full at `full_at` and gives one now.
    fn next(&self, full_at: Option<SystemTime>, now: SystemTime) -> Result<SystemTime, u64> {
        let span = self.rate.every * self.rate.burst;
        let full_at = full_at.filter(|full_at| *full_at > now).unwrap_or(now);
        // A clock that was set back must not lock anybody out for longer than an empty bucket does.
        let full_at = full_at.min(now + span);
        let next = full_at + self.rate.every;
        match next.duration_since(now + span) {
            Ok(wait) if !wait.is_zero() || self.rate.burst == 0 => {
                Err((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
            }
            _ => Ok(next),
        }
    }
}

/// An address as a key: a rate_limit_key has a whole /64 of IPv6.
pub(crate) fn rate_limit_key(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::now;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_empties_fills_and_tells_how_long() {
        let limiter = Limiter::new(Rate { burst: 2, every: 10 * SECOND }, 8);
        assert_eq!(limiter.take("a", now()), Ok(()));
        assert_eq!(limiter.take("a", now()), Ok(()));
        assert_eq!(limiter.look(&"b", now()), Ok(()));
        assert_eq!(limiter.take("a", now()), Err(10));
        assert_eq!(limiter.look(&"a", now()), Err(10), "a look tells the same");
        assert_eq!(limiter.take("b", now()), Ok(()), "everybody has a bucket");
        assert_eq!(limiter.take("a", now() + 9 * SECOND), Err(1));
        assert_eq!(limiter.take("a", now() + 10 * SECOND), Ok(()));
        assert_eq!(limiter.take("a", now() - 1000 * SECOND), Err(10), "a clock set back");
    }

    #[test]
    fn the_number_of_buckets_is_bounded() {
        let limiter = Limiter::new(Rate { burst: 2, every: SECOND }, 100);
        for key in 0..100_000 {
            let _ = limiter.take(key, now());
        }
        assert!(limiter.full_at.lock().unwrap().len() <= 100);
    }

    #[test]
    fn neighbours_in_one_ipv6_network_share_a_bucket() {
        let ip = |text: &str| rate_limit_key(text.parse().unwrap());
        assert_eq!(ip("2001:db8::1"), ip("2001:db8::ffff:2"));
        assert_ne!(ip("2001:db8::1"), ip("2001:db8:0:1::1"));
        assert_eq!(ip("::ffff:192.0.2.1"), ip("192.0.2.1"));
    }
}
