//! Refreshes that come again within the grace: how many, and whether from elsewhere.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use super::{Grant, limiter::rate_limit_key};
use crate::{
    TokenHash,
    cache::{Cache, Span},
};

/// How many refresh tokens are remembered with the address that used them first.
const CAPACITY: usize = 10_000;

/// A client that lost an answer, and two machines that share a token, are let off once; a thief who is
/// quick looks the same. So there is a trace of it. It is kept by this process alone, for the grace.
#[derive(Debug)]
pub(crate) struct Repeats {
    count: AtomicU64,
    first: Cache<[u8; 32], IpAddr>,
}

impl Default for Repeats {
    fn default() -> Self {
        Self { count: AtomicU64::new(0), first: Cache::new(CAPACITY) }
    }
}

impl Repeats {
    /// The token was used, and may be used again for the grace.
    pub(crate) fn first(
        &self,
        token: &TokenHash,
        peer: IpAddr,
        (now, grace): (SystemTime, Duration),
    ) {
        let (epoch, span) = (self.first.epoch(), Span { from: now, until: now + grace });
        self.first.insert(*token.as_bytes(), rate_limit_key(peer), span, epoch);
    }

    /// It was used once more. Whether that was from another address than the first time, as far as is
    /// known here.
    pub(crate) fn again(
        &self,
        token: &TokenHash,
        peer: IpAddr,
        now: SystemTime,
        grant: &Grant,
    ) -> bool {
        self.count.fetch_add(1, Ordering::Relaxed);
        let first = self.first.get(token.as_bytes(), now);
        let Some(first) = first.filter(|first| *first != rate_limit_key(peer)) else {
            return false;
        };
        tracing::warn!(
            client = %grant.client,
            grant_id = %grant.grant_id,
            %first,
            again = %peer,
            "a refresh token was used again from another address; if it was not copied to that \
             machine on purpose, revoke the grant"
        );
        true
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{UnixTime, oauth::User, testing::now};

    #[test]
    fn another_address_is_told_from_the_first_for_as_long_as_the_grace_lasts() {
        let grant = Grant {
            grant_id: "g".into(),
            client: "c".into(),
            client_name: "C".into(),
            user: User {
                issuer: "i".into(),
                subject: "s".into(),
                display_name: "S".into(),
                provider: "p".into(),
            },
            resource: "r".into(),
            scope: "mcp".into(),
            created: UnixTime::of(now()),
            refreshed: UnixTime::of(now()),
            revoked: None,
        };
        let (own, minute) = (Repeats::default(), Duration::from_secs(60));
        let (token, other) = (TokenHash::of("a"), TokenHash::of("b"));
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        own.first(&token, ip("2001:db8::1"), (now(), minute));
        assert!(!own.again(&token, ip("2001:db8::2"), now(), &grant), "the same network");
        assert!(own.again(&token, ip("192.0.2.1"), now(), &grant));
        assert!(!own.again(&other, ip("192.0.2.1"), now(), &grant), "nothing is known of it");
        assert!(!own.again(&token, ip("192.0.2.1"), now() + minute, &grant));
        assert_eq!(own.count(), 4);
    }
}
