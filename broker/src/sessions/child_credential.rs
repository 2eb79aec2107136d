//! What a child has of its user's at an upstream, and how long it serves.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use auth::upstream::{Credential, CredentialKey};
use tracing::{debug, warn};

use super::token_file::TokenFile;

/// How long a credential must still live for a child to be started with it.
pub(super) const NEEDED_LIFE: Duration = Duration::from_secs(60);

/// The credential a child works with, without its secret.
#[derive(Debug)]
pub(crate) struct ChildCredential {
    key: CredentialKey,
    term: RwLock<Term>,
    /// Whether a newer one has been stored that the child does not have.
    stale: AtomicBool,
    /// Whether the upstream takes it no more, or does not let its account in.
    dead: AtomicBool,
    /// Whether something failed with it since this was last asked.
    doubted: Arc<AtomicBool>,
    /// How another one reaches the child; `None` if it got it in its environment, for good.
    delivery: Option<Delivery>,
    /// Held while the file is written.
    writing: tokio::sync::Mutex<()>,
}

/// How a running child works with another token.
pub(super) enum Delivery {
    /// It reads a file again.
    File {
        file: TokenFile,
        /// Signals the child that the file has changed, if its server is configured so.
        notify: Box<dyn Fn() + Send + Sync>,
    },
    /// It never has the token: the broker puts the current one into its requests, and shares the note
    /// of what failed with it.
    Egress { doubted: Arc<AtomicBool> },
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, .. } => f.debug_tuple("File").field(file).finish(),
            Self::Egress { .. } => f.write_str("Egress"),
        }
    }
}

/// How long a credential serves.
#[derive(Debug, Clone, Copy)]
struct Term {
    version: u64,
    good_until: Option<SystemTime>,
    ends: Option<SystemTime>,
}

impl ChildCredential {
    /// What a child was started with, which is stored under `key`.
    pub(super) fn new(
        key: CredentialKey,
        credential: &Credential,
        now: SystemTime,
        delivery: Option<Delivery>,
    ) -> Self {
        Self {
            key,
            term: RwLock::new(Term::of(credential, now)),
            stale: AtomicBool::new(false),
            dead: AtomicBool::new(false),
            doubted: match &delivery {
                Some(Delivery::Egress { doubted }) => Arc::clone(doubted),
                _ => Arc::default(),
            },
            delivery,
            writing: tokio::sync::Mutex::default(),
        }
    }

    /// Whether no call is to start with it any more.
    pub(crate) fn must_renew(&self, now: SystemTime) -> bool {
        self.is_dead() || self.term().good_until.is_some_and(|until| now >= until)
    }

    /// Whether the upstream still takes it, as far as the upstream said.
    pub(crate) fn works(&self, now: SystemTime) -> bool {
        !self.is_dead() && self.term().ends.is_none_or(|ends| now < ends)
    }

    /// Under what it is stored.
    pub(crate) fn key(&self) -> &CredentialKey {
        &self.key
    }

    /// Notes that the upstream takes the token of `version` no more, or does not let its account in.
    pub(crate) fn mark_dead(&self, version: u64) {
        if self.term().version <= version {
            self.dead.store(true, Ordering::SeqCst);
        }
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Notes that something failed with it, so that the next call has the upstream asked about it.
    pub(crate) fn doubt(&self) {
        self.doubted.store(true, Ordering::SeqCst);
    }

    /// Whether that was noted since this was last asked.
    pub(crate) fn take_doubt(&self) -> bool {
        self.doubted.swap(false, Ordering::SeqCst)
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
    pub(crate) fn is_renewed_in_place(&self) -> bool {
        self.delivery.is_some()
    }

    /// Notes that there is a newer one to deliver.
    pub(crate) fn mark_stale(&self) {
        self.stale.store(true, Ordering::SeqCst);
    }

    /// Whether that was noted since this was last asked.
    pub(crate) fn take_stale(&self) -> bool {
        self.stale.swap(false, Ordering::SeqCst)
    }

    /// Which token it is.
    pub(crate) fn version(&self) -> u64 {
        self.term().version
    }

    /// Gives the child `credential` by its file, and signals it if so configured; on the way by the
    /// broker there is nothing to give. One that is not newer than what it has is not written. `false`
    /// when it has to be replaced for it: it has its token for good, or the file could not be written.
    ///
    /// # Cancel safety
    /// Dropping the future leaves what the child had, or it has the new one and was not signalled: then
    /// the next call of this does so.
    pub(crate) async fn deliver(&self, credential: &Credential, now: SystemTime) -> bool {
        let Some(delivery) = &self.delivery else { return false };
        let _turn = self.writing.lock().await;
        if !self.is_before(credential.version) {
            return true;
        }
        if let Delivery::File { file, .. } = delivery
            && let Err(error) = file.write(&credential.access_token).await
        {
            let path = file.path();
            warn!(?path, %error, "the renewed token could not be written for the child");
            return false;
        }
        *self.term.write().unwrap_or_else(PoisonError::into_inner) = Term::of(credential, now);
        self.dead.store(false, Ordering::SeqCst);
        if let Delivery::File { file, notify } = delivery {
            notify();
            debug!(path = ?file.path(), "the child's token was renewed");
        }
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
