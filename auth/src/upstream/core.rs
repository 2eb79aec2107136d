//! What the vault and its renewals share: the store behind a key ring.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rand_chacha::ChaCha20Rng;
use tokio::time::Instant;

use super::{
    credential::{Credential, CredentialError},
    failure_tracker::{FailureTracker, Reason},
    key_ring::{KeyRing, OpenError},
    limits::VaultLimits,
    listener::{Change, CredentialListener},
    look::Look,
    look_times::LookTimes,
    pair::Pair,
    parts::VaultParts,
    store::{CredentialKey, CredentialStore, Sealed},
};
use crate::{
    UnixTime,
    admission::Admission,
    oauth::{IdentityProvider, Secret, StoreError},
    single_flight::SingleFlight,
};

pub(super) struct Core {
    pub(super) ring: KeyRing,
    pub(super) store: Arc<dyn CredentialStore>,
    pub(super) providers: Vec<Arc<dyn IdentityProvider>>,
    pub(super) admission: Option<Arc<Admission>>,
    pub(super) listener: Option<Arc<dyn CredentialListener>>,
    pub(super) limits: VaultLimits,
    pub(super) failures: FailureTracker,
    /// Looks under way in this process, and when each credential was looked at.
    pub(super) looks: SingleFlight<CredentialKey, Look>,
    pub(super) looked: LookTimes,
    /// Renewals under way in this process.
    pub(super) renewals: SingleFlight<CredentialKey, Result<Held, Failure>>,
    rng: Mutex<ChaCha20Rng>,
}

/// An opened credential and its place in the store.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) version: u64,
    pub(super) stored: UnixTime,
    pub(super) pair: Pair,
}

impl Held {
    pub(super) fn credential(&self) -> Credential {
        Credential {
            access_token: self.pair.access.clone(),
            username: self.pair.username.clone(),
            scope: self.pair.scope.clone(),
            expires: self.pair.end(),
            version: self.token_version(),
        }
    }

    /// The version of the access token: what was only sealed anew, or marked, keeps it.
    pub(super) fn token_version(&self) -> u64 {
        self.pair.since.unwrap_or(self.version)
    }

    /// The same tokens, to be stored with another mark.
    pub(super) fn marked(&self, mark: impl FnOnce(&mut Pair)) -> Pair {
        let mut pair = self.again(self.pair.refused);
        mark(&mut pair);
        pair
    }

    /// The same tokens, for storing them again.
    pub(super) fn again(&self, refused: bool) -> Pair {
        Pair { refused, since: Some(self.token_version()), ..self.pair.clone() }
    }
}

/// [`CredentialError`] for many who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    Missing,
    SignInAgain,
    Misconfigured,
    Unavailable(Duration),
    Store,
}

impl Failure {
    pub(super) fn of(reason: Reason, wait: Duration) -> Self {
        match reason {
            Reason::SignInAgain => Self::SignInAgain,
            Reason::Misconfigured => Self::Misconfigured,
            Reason::Unavailable => Self::Unavailable(wait),
        }
    }
}

impl From<Failure> for CredentialError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Missing => Self::Missing,
            Failure::SignInAgain => Self::SignInAgain,
            Failure::Misconfigured => Self::Misconfigured,
            Failure::Unavailable(wait) => {
                Self::Unavailable { retry_after: wait.max(Duration::from_secs(1)) }
            }
            Failure::Store => {
                Self::Store(StoreError::new("it did not answer while a credential was renewed"))
            }
        }
    }
}

impl Core {
    pub(super) fn new(parts: VaultParts) -> Self {
        let VaultParts { ring, store, providers, admission, listener, limits, rng } = parts;
        let (first, longest) = (limits.first_back_off, limits.longest_back_off);
        let failures = FailureTracker::new(first, longest, limits.max_back_offs.get());
        let looked = LookTimes::new(limits.look_pause, limits.max_back_offs.get());
        let (looks, renewals) = (SingleFlight::new(), SingleFlight::new());
        let rng = Mutex::new(rng);
        Self {
            ring,
            store,
            providers,
            admission,
            listener,
            limits,
            failures,
            looks,
            looked,
            renewals,
            rng,
        }
    }

    /// Reads and opens what is stored. `Err(Ok(_))` is a failure other than the store's.
    pub(super) async fn read(
        &self,
        key: &CredentialKey,
    ) -> Result<Result<Held, Failure>, StoreError> {
        let sealed = self.store.credential(key).await?;
        Ok(sealed.ok_or(Failure::Missing).and_then(|sealed| self.open(key, &sealed)))
    }

    pub(super) fn open(&self, key: &CredentialKey, sealed: &Sealed) -> Result<Held, Failure> {
        let held = |pair| Held { version: sealed.version, stored: sealed.stored, pair };
        let opened = self.ring.open(key, &sealed.key_id, &sealed.bytes);
        let opened = opened.and_then(|text| Pair::from_bytes(&text).ok_or(OpenError::Forged));
        opened.map(held).map_err(|error| {
            let (provider, subject) = (&key.realm, &key.subject);
            let cause = &error as &dyn std::error::Error;
            tracing::error!(%provider, owner = %subject, error = cause, "credential not opened");
            match error {
                OpenError::UnknownKey { .. } => Failure::Misconfigured,
                // Another sign-in overwrites it.
                OpenError::Forged => Failure::SignInAgain,
            }
        })
    }

    /// Seals and stores; see [`CredentialStore::put_credential`].
    pub(super) async fn put(
        &self,
        key: &CredentialKey,
        pair: &Pair,
        replaces: Option<u64>,
        stored: UnixTime,
    ) -> Result<Option<u64>, StoreError> {
        let (key_id, bytes) = {
            let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
            self.ring.seal(key, &pair.to_bytes(), &mut *rng)
        };
        self.store.put_credential(key, key_id, bytes, replaces, stored).await
    }

    /// The identity provider that gave this credential, if one did and it is configured.
    pub(super) fn provider(&self, key: &CredentialKey) -> Option<&Arc<dyn IdentityProvider>> {
        let name = key.realm.provider()?;
        self.providers.iter().find(|own| own.name() == name)
    }

    /// Who renews this credential, and with what; or why nobody does.
    pub(super) fn ways<'a>(
        &'a self,
        key: &CredentialKey,
        held: &'a Held,
        now: SystemTime,
    ) -> Result<(&'a Arc<dyn IdentityProvider>, &'a Secret), Failure> {
        if held.pair.refused {
            return Err(Failure::SignInAgain);
        }
        let refresh = held.pair.refresh.as_ref().ok_or(Failure::SignInAgain)?;
        if let Some((reason, wait)) = self.put_off(key, held, now) {
            return Err(Failure::of(reason, wait));
        }
        let provider = self.provider(key).ok_or_else(|| {
            tracing::error!(provider = %key.realm, "cannot renew credential: identity provider not configured");
            Failure::Misconfigured
        })?;
        Ok((provider, refresh))
    }

    /// Why the renewal of this credential waits after a failure, and for how much longer.
    pub(super) fn put_off(
        &self,
        key: &CredentialKey,
        held: &Held,
        now: SystemTime,
    ) -> Option<(Reason, Duration)> {
        let urgent = !held.pair.is_usable(Duration::ZERO, now);
        self.failures.backoff(key, held.version, now, urgent)
    }

    /// What the operator configured and the upstream did not grant. What is not known is not missing.
    pub(super) fn missing(&self, key: &CredentialKey, pair: &Pair) -> Vec<String> {
        let granted = self.provider(key).zip(pair.scope.as_deref());
        granted.map(|(provider, scope)| provider.missing(scope)).unwrap_or_default()
    }

    /// What is missing and the user has not accepted to go without.
    pub(super) fn unaccepted(&self, key: &CredentialKey, pair: &Pair) -> Vec<String> {
        let mut missing = self.missing(key, pair);
        let accepted = pair.accepted.as_deref().unwrap_or_default();
        missing.retain(|right| !accepted.lines().any(|own| own == right));
        missing
    }

    /// Tells the log and the listener when the upstream granted less than the operator configured.
    pub(super) fn check_scope(&self, key: &CredentialKey, pair: &Pair) {
        let missing = self.missing(key, pair);
        if missing.is_empty() {
            return;
        }
        let (provider, owner, missing_words) = (&key.realm, &key.subject, missing.join(" "));
        tracing::warn!(
            %provider, %owner, missing = %missing_words,
            "the upstream granted less than the configured scopes; the person has to withdraw the \
             earlier consent there and sign in again"
        );
        if let Some(listener) = &self.listener {
            listener.narrowed(key, &missing);
        }
    }

    pub(super) fn tell(&self, key: &CredentialKey, change: Change) {
        if let Some(listener) = &self.listener {
            listener.changed(key, change);
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("ring", &self.ring)
            .field("store", &self.store)
            .field("providers", &self.providers)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Calendar time for work that takes time: what it was at the start, and what passed since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: SystemTime,
    started: Instant,
}

impl Clock {
    pub(super) fn new(now: SystemTime) -> Self {
        Self { start: now, started: Instant::now() }
    }

    pub(super) fn now(&self) -> SystemTime {
        self.start + self.started.elapsed()
    }
}
