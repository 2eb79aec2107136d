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

impl Rate {
    /// So many a minute, all of them at once if need be. Zero counts as one.
    #[must_use]
    pub fn per_minute(count: usize) -> Self {
        let burst = u32::try_from(count).unwrap_or(u32::MAX).max(1);
        Self { burst, every: Duration::from_secs(60) / burst }
    }
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

/// How many times more a /48 of IPv6 gets than one of its 65,536 networks.
const WIDE: u32 = 4;

/// Buckets for addresses. Whoever has a /48 of IPv6 has as many networks as there are IPv4 addresses in
/// a /16, so each /48 has a bucket as well, and needs both.
#[derive(Debug)]
pub(crate) struct PeerLimiter<K = ()> {
    narrow: Limiter<(IpAddr, K)>,
    wide: Limiter<(IpAddr, K)>,
}

impl<K: Hash + Eq + Copy> PeerLimiter<K> {
    pub(crate) fn new(rate: Rate, capacity: usize) -> Self {
        let more = Rate { burst: rate.burst.saturating_mul(WIDE), every: rate.every / WIDE };
        Self { narrow: Limiter::new(rate, capacity), wide: Limiter::new(more, capacity) }
    }

    /// Takes one for `peer`, or says in how many seconds there is one.
    pub(crate) fn take(&self, peer: IpAddr, kind: K, now: SystemTime) -> Result<(), u64> {
        self.narrow.take((rate_limit_key(peer), kind), now)?;
        match network(peer) {
            Some(network) => self.wide.take((network, kind), now),
            None => Ok(()),
        }
    }

    /// Says what [`take`](Self::take) would, and takes nothing.
    pub(crate) fn look(&self, peer: IpAddr, kind: K, now: SystemTime) -> Result<(), u64> {
        self.narrow.look(&(rate_limit_key(peer), kind), now)?;
        match network(peer) {
            Some(network) => self.wide.look(&(network, kind), now),
            None => Ok(()),
        }
    }
}

/// An address as the key of a limit: itself, or the /64 of IPv6 that it is in, since one machine has
/// all of that.
#[must_use]
pub fn rate_limit_key(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

/// Whom an address belongs to, as far as it tells: itself, or a whole /48 of IPv6.
pub(crate) fn address_group(peer: IpAddr) -> IpAddr {
    network(peer).unwrap_or_else(|| peer.to_canonical())
}

/// The /48 of an IPv6 address.
fn network(peer: IpAddr) -> Option<IpAddr> {
    match peer.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            Some(IpAddr::from([a, b, c, 0, 0, 0, 0, 0]))
        }
        IpAddr::V4(_) => None,
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

    #[test]
    fn who_has_many_ipv6_networks_does_not_have_as_many_buckets() {
        let limiter = PeerLimiter::new(Rate { burst: 2, every: 8 * SECOND }, 1000);
        let of = |a: u32, b: u32| IpAddr::from([0x2001, 0xdb8, a as u16, b as u16, 0, 0, 0, 1]);
        let taken =
            |a: u32| (0..100).filter(|n| limiter.take(of(a, *n), (), now()).is_ok()).count();
        assert_eq!(taken(1), 8, "four times what one network gets");
        assert_eq!(taken(1), 0);
        assert_eq!(limiter.look(of(1, 500), (), now()), Err(2));
        assert_eq!(taken(2), 8, "another /48 is somebody else's");
        let v4 = |n: u8| IpAddr::from([192, 0, 2, n]);
        assert_eq!((0..100).filter(|n| limiter.take(v4(*n), (), now()).is_ok()).count(), 100);
        assert_eq!(address_group(of(1, 1)), address_group(of(1, 2)));
        assert_ne!(address_group(of(1, 1)), address_group(of(2, 1)));
        assert_ne!(address_group(v4(1)), address_group(v4(2)));
    }
}
