//! What a child has of its user's at an upstream, and how long it serves.

use std::time::{Duration, SystemTime};

use auth::upstream::{Credential, CredentialKey};
use session::Owner;

use super::NEEDED_LIFE;
use crate::config::Upstream;

/// The credential a child was started with, without its secret.
#[derive(Debug)]
pub(crate) struct Own {
    key: CredentialKey,
    version: u64,
    good_until: Option<SystemTime>,
    ends: Option<SystemTime>,
}

impl Own {
    pub(super) fn new(
        upstream: Upstream,
        server: &str,
        owner: &Owner,
        credential: &Credential,
        now: SystemTime,
    ) -> Self {
        let provider = match upstream {
            Upstream::User => format!("server:{server}"),
            Upstream::Provider(identity) => identity.name().to_owned(),
        };
        let (issuer, subject) = (owner.issuer().to_owned(), owner.subject().to_owned());
        Self {
            key: CredentialKey { provider, issuer, subject },
            version: credential.version,
            good_until: credential.expires.map(|ends| good_until(ends, now)),
            ends: credential.expires,
        }
    }

    /// Whether no call is to start with it any more.
    pub(crate) fn is_due(&self, now: SystemTime) -> bool {
        self.good_until.is_some_and(|until| now >= until)
    }

    /// Whether the upstream still takes it, as far as the upstream said.
    pub(crate) fn works(&self, now: SystemTime) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }

    /// Whether this is what is stored under `key`, or was.
    pub(crate) fn is_of(&self, key: &CredentialKey) -> bool {
        self.key == *key
    }

    /// Whether it is another than that of `version`, and older.
    pub(crate) fn is_before(&self, version: u64) -> bool {
        self.version < version
    }
}

/// A minute before its end, or for one that never lives so long, at half of what is left of it.
fn good_until(ends: SystemTime, now: SystemTime) -> SystemTime {
    let left = ends.duration_since(now).unwrap_or(Duration::ZERO);
    ends.checked_sub(NEEDED_LIFE.min(left / 2)).unwrap_or(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_serves_until_a_minute_before_its_end_or_half_its_life() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (lives, serves) in [(3600, 3540), (120, 60), (4, 2), (0, 0)] {
            let until = good_until(now + Duration::from_secs(lives), now);
            assert_eq!(until, now + Duration::from_secs(serves), "{lives} s");
        }
    }
}
