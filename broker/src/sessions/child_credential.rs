//! What a child has of its user's at an upstream, and how long it serves.

use std::{
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use auth::upstream::{Credential, CredentialKey};
use supervisor::Child;
use tracing::{debug, warn};

use super::{credential::NEEDED_LIFE, token_file::TokenFile};

/// The credential a child works with, without its secret.
#[derive(Debug)]
pub(crate) struct ChildCredential {
    key: CredentialKey,
    term: RwLock<Term>,
    /// Whether a newer one was stored since somebody looked.
    outdated: AtomicBool,
    child: Child,
    /// Where the child reads it again; `None` if it got it in its environment, for good.
    file: Option<TokenFile>,
    /// Held while the file is written.
    writing: tokio::sync::Mutex<()>,
}

/// How long a credential serves.
#[derive(Debug, Clone, Copy)]
struct Term {
    version: u64,
    good_until: Option<SystemTime>,
    ends: Option<SystemTime>,
}

impl ChildCredential {
    /// What `child` was started with, by `file` or for good. It is stored under `key`.
    pub(super) fn new(
        key: CredentialKey,
        credential: &Credential,
        now: SystemTime,
        child: Child,
        file: Option<TokenFile>,
    ) -> Self {
        Self {
            key,
            term: RwLock::new(Term::of(credential, now)),
            outdated: AtomicBool::new(false),
            child,
            file,
            writing: tokio::sync::Mutex::default(),
        }
    }

    /// Whether no call is to start with it any more.
    pub(crate) fn must_renew(&self, now: SystemTime) -> bool {
        self.term().good_until.is_some_and(|until| now >= until)
    }

    /// Whether the upstream still takes it, as far as the upstream said.
    pub(crate) fn works(&self, now: SystemTime) -> bool {
        self.term().ends.is_none_or(|ends| now < ends)
    }

    /// Whether this is what is stored under `key`, or was.
    pub(crate) fn is_of(&self, key: &CredentialKey) -> bool {
        self.key == *key
    }

    /// Whether it is another than that of `version`, and older.
    pub(crate) fn is_before(&self, version: u64) -> bool {
        self.term().version < version
    }

    /// Whether the child gets another one without being replaced.
    pub(crate) fn is_in_a_file(&self) -> bool {
        self.file.is_some()
    }

    /// Notes that there is a newer one.
    pub(crate) fn mark_stale(&self) {
        self.outdated.store(true, Ordering::SeqCst);
    }

    /// Whether that was noted since the last time this was asked.
    pub(crate) fn take_stale(&self) -> bool {
        self.outdated.swap(false, Ordering::SeqCst)
    }

    /// Gives the child `credential` by its file, and tells it so if it wants to be told. One that is
    /// not newer than what it has is not written. `false` when it has to be replaced for it: it
    /// reads no file, or that could not be written.
    ///
    /// # Cancel safety
    /// Dropping the future leaves what the child had, or it has the new one and is not told: then
    /// the next call of this does so.
    pub(crate) async fn deliver(&self, credential: &Credential, now: SystemTime) -> bool {
        let Some(file) = &self.file else { return false };
        let _turn = self.writing.lock().await;
        if !self.is_before(credential.version) {
            return true;
        }
        if let Err(error) = file.write(&credential.access_token).await {
            warn!(pid = self.child.pid(), %error, "a renewed token could not be written");
            return false;
        }
        *self.term.write().unwrap_or_else(PoisonError::into_inner) = Term::of(credential, now);
        if let Some(signal) = file.signal() {
            self.child.reload(signal);
        }
        debug!(pid = self.child.pid(), "a child has its user's renewed token");
        true
    }

    fn term(&self) -> Term {
        *self.term.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Term {
    fn of(credential: &Credential, now: SystemTime) -> Self {
        let (version, ends) = (credential.version, credential.expires);
        Self { version, good_until: ends.map(|ends| good_until(ends, now)), ends }
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
