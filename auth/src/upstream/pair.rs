//! What is inside a sealed credential.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    UnixTime,
    oauth::{Secret, UpstreamCredential},
};

/// Renewal is due this long before the end at the latest.
const MARGIN: Duration = Duration::from_secs(5 * 60);

/// An access token and what it is renewed with.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) access: Secret,
    pub(super) refresh: Option<Secret>,
    /// When the upstream gave it.
    pub(super) issued: UnixTime,
    /// When the access token ends; after `issued`.
    pub(super) expires: Option<UnixTime>,
    pub(super) scope: Option<String>,
    pub(super) username: Option<String>,
    /// The upstream takes the refresh token no more.
    pub(super) refused: bool,
    /// The upstream takes the access token no more, before its end.
    pub(super) dead: bool,
    /// Why the upstream does not let the account in, in its words for the person.
    pub(super) account_refused: Option<String>,
    /// The missing rights without which the user chose to go on, one a line.
    pub(super) accepted: Option<String>,
    /// The version under which this pair was stored first, if it was sealed anew or marked since.
    pub(super) since: Option<u64>,
}

/// The text that is sealed. Short names, because every byte is stored for every user.
#[derive(Serialize, Deserialize)]
struct Text<S> {
    access: S,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh: Option<S>,
    issued: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<S>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<S>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    refused: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    dead: bool,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    account_refused: Option<S>,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    accepted: Option<S>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
}

impl Pair {
    /// What the upstream gave at `now`.
    pub(super) fn new(credential: &UpstreamCredential, now: SystemTime) -> Self {
        let issued = UnixTime::of(now);
        Self {
            access: credential.access_token.clone(),
            refresh: credential.refresh_token.clone(),
            issued,
            // A token that ended before it came says nothing useful about its end; taken at its
            // word it would be renewed with every request.
            expires: credential.expires.map(UnixTime::of).filter(|end| *end > issued),
            scope: credential.scope.clone(),
            username: credential.username.clone(),
            refused: false,
            dead: false,
            account_refused: None,
            accepted: None,
            since: None,
        }
    }

    /// What a renewal of `self` gave at `now`. What the upstream left out stays as it was.
    pub(super) fn renewed(&self, credential: &UpstreamCredential, now: SystemTime) -> Self {
        let new = Self::new(credential, now);
        Self {
            refresh: new.refresh.or_else(|| self.refresh.clone()),
            scope: new.scope.or_else(|| self.scope.clone()),
            username: new.username.or_else(|| self.username.clone()),
            // Some upstreams go on renewing for an account that they do not let in.
            account_refused: self.account_refused.clone(),
            accepted: self.accepted.clone(),
            ..new
        }
    }

    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let secret = |own: &Secret| own.expose().len();
        // Room for every byte escaped, so that the buffer never moves and leaves a copy behind.
        let length = secret(&self.access)
            + self.refresh.as_ref().map_or(0, secret)
            + self.scope.as_ref().map_or(0, String::len)
            + self.username.as_ref().map_or(0, String::len)
            + self.account_refused.as_ref().map_or(0, String::len)
            + self.accepted.as_ref().map_or(0, String::len);
        let mut bytes = Zeroizing::new(Vec::with_capacity(6 * length + 256));
        let text = Text {
            access: self.access.expose(),
            refresh: self.refresh.as_ref().map(Secret::expose),
            issued: self.issued.0,
            expires: self.expires.map(|end| end.0),
            scope: self.scope.as_deref(),
            username: self.username.as_deref(),
            refused: self.refused,
            dead: self.dead,
            account_refused: self.account_refused.as_deref(),
            accepted: self.accepted.as_deref(),
            since: self.since,
        };
        serde_json::to_writer(&mut *bytes, &text).expect("texts and numbers are always JSON");
        bytes
    }

    /// `None` when it is not what [`to_bytes`](Self::to_bytes) made.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let text: Text<String> = serde_json::from_slice(bytes).ok()?;
        Some(Self {
            access: Secret::new(text.access),
            refresh: text.refresh.map(Secret::new),
            issued: UnixTime(text.issued),
            expires: text.expires.map(UnixTime),
            scope: text.scope,
            username: text.username,
            refused: text.refused,
            dead: text.dead,
            account_refused: text.account_refused,
            accepted: text.accepted,
            since: text.since,
        })
    }

    /// The end of the access token.
    pub(super) fn end(&self) -> Option<SystemTime> {
        self.expires.map(|end| instant(end.0))
    }

    /// Whether the access token lives for another `need`. A token that never lives so long need
    /// only be in its first half.
    pub(super) fn is_usable(&self, need: Duration, now: SystemTime) -> bool {
        if self.dead {
            return false;
        }
        let Some(end) = self.end() else { return true };
        let left = end.duration_since(now).unwrap_or_default();
        !left.is_zero() && left >= need.min(self.lifetime() / 2)
    }

    /// Whether it should be renewed: at 80 % of its lifetime or 5 minutes before its end, whichever
    /// is first, though never in its first half, or when it does not live for another `need`.
    pub(super) fn is_due(&self, need: Duration, now: SystemTime) -> bool {
        if self.dead {
            return true;
        }
        let Some(end) = self.end() else { return false };
        let lifetime = self.lifetime();
        let early = (lifetime / 5).max(MARGIN).min(lifetime / 2);
        now + early >= end || !self.is_usable(need, now)
    }

    /// Zero when it has no end.
    fn lifetime(&self) -> Duration {
        let issued = instant(self.issued.0);
        self.end().and_then(|end| end.duration_since(issued).ok()).unwrap_or_default()
    }

    /// Whether both came from the upstream in one answer.
    pub(super) fn is(&self, other: &Self) -> bool {
        same(Some(&self.access), Some(&other.access)) && self.shares_refresh(other)
    }

    /// Whether both are renewed with the same token.
    pub(super) fn shares_refresh(&self, other: &Self) -> bool {
        same(self.refresh.as_ref(), other.refresh.as_ref())
    }
}

fn instant(seconds: u64) -> SystemTime {
    let since = Duration::from_secs(seconds);
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH + FAR)
}

/// Some ten thousand years; an upstream that names a later end means never.
const FAR: Duration = Duration::from_secs(1 << 38);

fn same(left: Option<&Secret>, right: Option<&Secret>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => {
            left.expose().as_bytes().ct_eq(right.expose().as_bytes()).into()
        }
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::now;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn credential(lifetime: Option<Duration>) -> UpstreamCredential {
        UpstreamCredential {
            access_token: Secret::new("access \"\u{1f511}\n"),
            refresh_token: Some(Secret::new("refresh")),
            expires: lifetime.map(|lifetime| now() + lifetime),
            scope: Some("read".into()),
            username: Some("ada".into()),
        }
    }

    fn lives(lifetime: Duration) -> Pair {
        Pair::new(&credential(Some(lifetime)), now())
    }

    /// How many seconds after its issue a token is due.
    fn due(lifetime: Duration, need: Duration) -> u64 {
        let pair = lives(lifetime);
        let mut seconds = 0..=lifetime.as_secs();
        seconds
            .find(|at| pair.is_due(need, now() + Duration::from_secs(*at)))
            .expect("it ends at last")
    }

    #[test]
    fn a_pair_survives_the_way_through_its_text() {
        for pair in [
            lives(MINUTE),
            Pair { refused: true, since: Some(7), ..lives(MINUTE) },
            Pair {
                refresh: None,
                scope: None,
                username: None,
                ..Pair::new(&credential(None), now())
            },
        ] {
            let again = Pair::from_bytes(&pair.to_bytes()).expect("it was just made");
            assert!(again.is(&pair));
            let rest = |own: &Pair| {
                (
                    own.issued,
                    own.expires,
                    own.scope.clone(),
                    own.username.clone(),
                    own.refused,
                    own.since,
                )
            };
            assert_eq!(rest(&again), rest(&pair));
        }
        assert!(Pair::from_bytes(b"{}").is_none() && Pair::from_bytes(b"").is_none());
    }

    #[test]
    fn a_token_is_renewed_at_80_percent_or_5_minutes_before_its_end_and_never_in_its_first_half() {
        assert_eq!(due(60 * MINUTE, SECOND), 48 * 60, "80 % comes first");
        assert_eq!(due(20 * MINUTE, SECOND), 15 * 60, "5 minutes come first");
        assert_eq!(due(6 * MINUTE, SECOND), 3 * 60, "half of a short life");
        assert_eq!(due(2 * SECOND, SECOND), 1);
        assert_eq!(due(60 * MINUTE, 30 * MINUTE), 30 * 60 + 1, "somebody needs it for longer");
        assert_eq!(due(60 * MINUTE, 600 * MINUTE), 30 * 60 + 1, "longer than it ever lives");
        assert!(!Pair::new(&credential(None), now()).is_due(MINUTE, now() + 1_000_000 * MINUTE));
    }

    #[test]
    fn a_token_is_usable_as_long_as_it_lives_for_what_it_is_needed() {
        let pair = lives(60 * MINUTE);
        assert!(pair.is_usable(MINUTE, now() + 59 * MINUTE));
        assert!(!pair.is_usable(MINUTE, now() + 59 * MINUTE + SECOND));
        assert!(pair.is_usable(Duration::ZERO, now() + 60 * MINUTE - SECOND));
        assert!(
            !pair.is_usable(Duration::ZERO, now() + 60 * MINUTE),
            "the last second is too late"
        );
        assert!(lives(2 * SECOND).is_usable(MINUTE, now() + SECOND), "it never lives for a minute");
        assert!(pair.is_usable(MINUTE, now() - 60 * MINUTE), "a clock set back");
    }

    #[test]
    fn a_token_that_ended_before_it_came_has_no_end() {
        for lifetime in [Duration::ZERO, Duration::from_millis(900)] {
            assert_eq!(lives(lifetime).expires, None);
        }
        let past = UpstreamCredential { expires: Some(now() - MINUTE), ..credential(None) };
        assert_eq!(Pair::new(&past, now()).expires, None);
    }

    #[test]
    fn what_a_renewal_leaves_out_stays() {
        let bare = UpstreamCredential {
            access_token: Secret::new("new"),
            refresh_token: None,
            expires: None,
            scope: None,
            username: None,
        };
        let (old, new) = (lives(MINUTE), lives(MINUTE).renewed(&bare, now()));
        assert!(new.shares_refresh(&old) && !new.is(&old));
        assert_eq!((new.scope, new.username), (old.scope, old.username));
        assert_eq!(new.expires, None, "the end belongs to the access token");
    }

    #[test]
    fn an_end_beyond_all_calendars_does_no_harm() {
        let pair = Pair { expires: Some(UnixTime(u64::MAX)), ..lives(MINUTE) };
        assert!(pair.is_usable(MINUTE, now()) && !pair.is_due(MINUTE, now()));
    }

    #[test]
    fn a_pair_shows_no_token() {
        let shown = format!("{:?}", lives(MINUTE));
        assert!(!shown.contains("access \"") && !shown.contains("\"refresh\""), "{shown}");
    }
}
