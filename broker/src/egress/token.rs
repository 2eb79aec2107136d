//! The token that takes the place of a dummy.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use auth::{
    oauth::Secret,
    upstream::{Credential, CredentialError, CredentialKey, CredentialRealm, Vault},
};
use http::StatusCode;
use tokio::time::Instant;
use tracing::warn;

use super::refused::RefusedTokens;
use crate::clock::Clock;

/// How long a token still has to live when it is sent.
const NEEDED_LIFE: Duration = Duration::from_secs(10);

/// A token that was just read is sent again without reading the store. What removes or replaces a
/// credential ends the child or shows after this time.
const FRESH: Duration = Duration::from_secs(1);

/// Tokens of a child's person that are known beside the current one. Who renews more often than so within
/// a token's life has the oldest of them forgotten.
const MAX_FORMER: usize = 4;

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
    known: Mutex<Known>,
    refused: Arc<RefusedTokens>,
}

/// The tokens of a person that this child had sent, as far as they may still live.
#[derive(Default)]
struct Known {
    /// The one that was read last, and when.
    last: Option<(Instant, Credential)>,
    /// Those before it, the oldest first.
    former: Vec<Credential>,
}

impl Known {
    fn note(&mut self, read: &Credential, now: SystemTime) {
        let before = self.last.replace((Instant::now(), read.clone()));
        self.former.extend(before.map(|(_, before)| before));
        // A provider may let a token live on that was renewed, or that it said is dead.
        let lives = |own: &Credential| own.expires.is_none_or(|ends| ends > now);
        self.former.retain(|own| own.version != read.version && lives(own));
        let excess = self.former.len().saturating_sub(MAX_FORMER);
        self.former.drain(..excess);
    }
}

impl PersonToken {
    pub(super) fn new(
        vault: Option<Arc<Vault>>,
        key: CredentialKey,
        clock: Clock,
        refused: Arc<RefusedTokens>,
    ) -> Self {
        Self { vault, key, clock, known: Mutex::default(), refused }
    }

    fn last(&self, now: SystemTime) -> Option<Credential> {
        let known = self.known();
        let (read, credential) = known.last.as_ref()?;
        let lives = credential.expires.is_none_or(|ends| ends > now + NEEDED_LIFE);
        (read.elapsed() < FRESH && lives).then(|| credential.clone())
    }

    async fn read(&self) -> Result<Credential, CredentialError> {
        let now = self.clock.now();
        let vault = self.vault.as_ref().ok_or(CredentialError::Missing)?;
        let read = vault.current(&self.key, now, NEEDED_LIFE).await?;
        self.known().note(&read, now);
        Ok(read)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// What an answer must not repeat to the child: the token that was `sent`, and those that were sent
    /// before and may still live, which an upstream that shows earlier requests has.
    pub(super) fn secrets(&self, sent: &Credential) -> Vec<Secret> {
        let mut secrets = vec![sent.access_token.clone()];
        if let Self::Person(person) = self {
            let known = person.known();
            let others = known.former.iter().chain(known.last.iter().map(|(_, last)| last));
            let others = others.filter(|own| own.version != sent.version);
            secrets.extend(others.map(|own| own.access_token.clone()));
        }
        secrets
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

impl TokenSource {
    /// Hears how the upstream without a name answered to the token of `version`. One that the user gave
    /// for the server ends by that.
    ///
    /// # Cancel safety
    /// Dropping the future may leave a token that has ended for the next answer.
    pub(super) async fn answered(&self, version: u64, status: StatusCode) {
        let Self::Person(person) = self else { return };
        let (CredentialRealm::Server(server), Some(vault)) = (&person.key.realm, &person.vault)
        else {
            return;
        };
        if !person.refused.note(&person.key, version, status) {
            return;
        }
        if let Err(error) = vault.end_user_token(&person.key, version).await {
            let error = &error as &dyn std::error::Error;
            warn!(server, error, "the store did not take that a user's token has ended");
        }
        // It is not sent again, and may be repeated to the child.
        let mut known = person.known();
        let last = known.last.take().map(|(_, last)| last);
        known.former.extend(last);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(version: u64, expires: Option<SystemTime>) -> Credential {
        let access_token = Secret::new(format!("token-{version}"));
        Credential { access_token, username: None, scope: None, expires, version }
    }

    #[test]
    fn a_token_that_was_sent_is_known_until_it_ends_and_not_more_than_a_few_are() {
        let (mut known, start) = (Known::default(), SystemTime::UNIX_EPOCH);
        let minute = Duration::from_secs(60);
        let former = |known: &Known| known.former.iter().map(|own| own.version).collect::<Vec<_>>();
        known.note(&credential(1, Some(start + minute)), start);
        known.note(&credential(1, Some(start + minute)), start);
        assert_eq!(former(&known), [0; 0], "it is the current one");
        known.note(&credential(2, Some(start + 2 * minute)), start);
        assert_eq!(former(&known), [1]);
        known.note(&credential(3, None), start + minute);
        assert_eq!(former(&known), [2], "the first one has ended");
        for version in 4..20 {
            known.note(&credential(version, None), start);
        }
        assert_eq!(former(&known), [15, 16, 17, 18]);
    }
}
