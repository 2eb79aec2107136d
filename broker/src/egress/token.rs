//! The token that takes the place of a dummy.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use auth::upstream::{Credential, CredentialError, CredentialKey, Vault};
use tokio::time::Instant;

use crate::clock::Clock;

/// How long a token still has to live when it is sent.
const NEEDED_LIFE: Duration = Duration::from_secs(10);

/// A token that was just read is sent again without reading the store. What removes or replaces a
/// credential ends the child or shows after this time.
const FRESH: Duration = Duration::from_secs(1);

/// Where the current token of a child's person is.
pub(super) enum TokenSource {
    /// One for a child without a user, as in a trial.
    Fixed(Credential),
    /// That of a person.
    Person(PersonToken),
}

/// The token of a person, as the vault has it.
pub(super) struct PersonToken {
    vault: Option<Arc<Vault>>,
    key: CredentialKey,
    clock: Clock,
    last: Mutex<Option<(Instant, Credential)>>,
}

impl PersonToken {
    pub(super) fn new(vault: Option<Arc<Vault>>, key: CredentialKey, clock: Clock) -> Self {
        Self { vault, key, clock, last: Mutex::default() }
    }

    fn last(&self, now: SystemTime) -> Option<Credential> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (read, credential) = last.as_ref()?;
        let lives = credential.expires.is_none_or(|ends| ends > now + NEEDED_LIFE);
        (read.elapsed() < FRESH && lives).then(|| credential.clone())
    }

    async fn read(&self) -> Result<Credential, CredentialError> {
        let now = self.clock.now();
        let vault = self.vault.as_ref().ok_or(CredentialError::Missing)?;
        let read = vault.current(&self.key, now, NEEDED_LIFE).await?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((Instant::now(), read.clone()));
        Ok(read)
    }
}

impl TokenSource {
    /// Whose it is, and what time it is for them; `None` for a child without a user.
    pub(super) fn person(&self) -> Option<(&CredentialKey, SystemTime)> {
        match self {
            Self::Fixed(_) => None,
            Self::Person(person) => Some((&person.key, person.clock.now())),
        }
    }

    /// What to send now; renewed if it has to be.
    ///
    /// # Errors
    /// [`CredentialError`].
    ///
    /// # Cancel safety
    /// Dropping the future abandons the wait; a renewal that was begun goes on.
    pub(super) async fn current(&self) -> Result<Credential, CredentialError> {
        match self {
            Self::Fixed(credential) => Ok(credential.clone()),
            Self::Person(person) => match person.last(person.clock.now()) {
                Some(credential) => Ok(credential),
                None => person.read().await,
            },
        }
    }

    /// What to send instead of the token of `version`, which the upstream did not take: one that was
    /// renewed meanwhile, or after the provider said that this one is dead. `None`: there is no other.
    ///
    /// # Cancel safety
    /// As [`current`](Self::current).
    pub(super) async fn instead_of(&self, version: u64) -> Option<Credential> {
        let Self::Person(person) = self else { return None };
        let newer = |read: Credential| (read.version > version).then_some(read);
        if let Some(newer) = person.read().await.ok().and_then(newer) {
            return Some(newer);
        }
        let vault = person.vault.as_ref()?;
        // The provider has the word on it: an upstream may answer 401 for many reasons.
        vault.look(&person.key, person.clock.now()).await;
        person.read().await.ok().and_then(newer)
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(_) => f.write_str("Fixed"),
            Self::Person(person) => f.debug_tuple("Person").field(&person.key).finish(),
        }
    }
}
