//! The vault: keeps upstream credentials, and gives out good ones.

use std::{
    error::Error,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use super::{
    core::{Clock, Core, Failure, Held},
    credential::{Connection, ConnectionState, Credential, CredentialError},
    listener::Change,
    look::Look,
    looking,
    pair::Pair,
    parts::VaultParts,
    renewal::Renewal,
    store::{CredentialKey, CredentialRealm},
};
use crate::{
    BoxFuture, UnixTime,
    oauth::{CredentialSink, Identity, StoreError, UpstreamCredential, User},
    single_flight::{Joined, Waiter},
};

/// Keeps each user's credential at each upstream, sealed, and renews it early.
///
/// A credential is renewed once, whoever asks for it meanwhile: within this process all wait for
/// one renewal, and of all brokers on one store the one that holds the claim asks the upstream.
/// The renewal runs in the [`VaultDriver`], so that a request that goes away takes no spent refresh
/// token along, and a new pair is given to nobody before it is stored.
#[derive(Debug)]
pub struct Vault {
    pub(super) core: Arc<Core>,
    renewals: mpsc::Sender<Renewal>,
}

/// Runs the renewals of a [`Vault`].
#[derive(Debug)]
pub struct VaultDriver {
    core: Arc<Core>,
    renewals: mpsc::Receiver<Renewal>,
}

impl Vault {
    /// A vault, and the driver without which it renews nothing.
    #[must_use]
    pub fn new(parts: VaultParts) -> (Arc<Self>, VaultDriver) {
        let (sender, receiver) = mpsc::channel(parts.limits.max_waiting.get());
        let core = Arc::new(Core::new(parts));
        let vault = Self { core: Arc::clone(&core), renewals: sender };
        (Arc::new(vault), VaultDriver { core, renewals: receiver })
    }

    /// Whether the ring has every key that something is sealed with. To be asked before anything
    /// else: with a wrong ring nobody would be able to do anything but sign in again.
    ///
    /// # Errors
    ///
    /// [`RingError::MissingKey`] names the first key that is missing.
    pub async fn check_keys(&self) -> Result<(), RingError> {
        let used = self.core.store.sealing_keys().await?;
        match used.into_iter().find(|id| !self.core.ring.has(id)) {
            Some(id) => Err(RingError::MissingKey { id }),
            None => Ok(()),
        }
    }

    /// The user's credential at `provider`, good for another `need` (a token that never lives so
    /// long: for half of its life). Renewed if that is due: at 80 % of its lifetime or 5 minutes
    /// before its end, whichever is first. When the renewal fails, the old one is given as long as
    /// it serves.
    ///
    /// # Errors
    ///
    /// [`CredentialError`] says who must do something.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the wait; a renewal that was begun goes on.
    pub async fn credential(
        &self,
        provider: &str,
        issuer: &str,
        subject: &str,
        now: SystemTime,
        need: Duration,
    ) -> Result<Credential, CredentialError> {
        let key = key(provider, issuer, subject);
        let clock = Clock::new(now);
        // Twice, because who began the renewal that we wait for may have needed less than we do.
        for _ in 0..2 {
            let mut held = self.core.read(&key).await??;
            if let Some(message) = &held.pair.account_refused {
                // The upstream may let the account in again; the pause between two looks bounds
                // how often it is asked.
                let refused = CredentialError::AccountRefused { message: message.clone() };
                match self.look_with_living_token(&key, &held, clock).await {
                    Ok(Look::Stands) => held = self.core.read(&key).await??,
                    // Only another sign-in leads on from here, whatever becomes of the account.
                    Err(Failure::SignInAgain) => return Err(Failure::SignInAgain.into()),
                    Ok(_) | Err(_) => return Err(refused),
                }
            }
            let now = clock.now();
            if !held.pair.is_due(need, now) {
                return Ok(held.credential());
            }
            let is_usable = held.pair.is_usable(need, now);
            let outcome = match self.core.ways(&key, &held, now) {
                Ok(_) if is_usable => self.renew_in_time(&key, need, clock).await,
                Ok(_) => self.renew(&key, need, clock).await,
                Err(failure) => Err(failure),
            };
            match outcome {
                Ok(held) if held.pair.is_usable(need, clock.now()) => return Ok(held.credential()),
                Ok(_) => {}
                // The user took it back meanwhile.
                Err(Failure::Missing) => return Err(CredentialError::Missing),
                Err(_) if held.pair.is_usable(need, clock.now()) => return Ok(held.credential()),
                Err(failure) => return Err(failure.into()),
            }
        }
        Err(Failure::Unavailable(Duration::ZERO).into())
    }

    /// Asks the upstream whether the credential under `key` still stands, because something failed
    /// with it: at most once in 30 seconds, a few times more when the token was renewed meanwhile, and
    /// once for all who ask meanwhile. A token that the user gave for a server has no upstream that
    /// could be asked; what [was noted](Self::end_user_token) of it is the answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future abandons the look; one of those who wait for it asks in its place.
    pub async fn look(&self, key: &CredentialKey, now: SystemTime) -> Look {
        looking::look(&self.core, key, now).await
    }

    /// Why `provider` does not let the user's account in, in its own words, after a [look](Self::look)
    /// if one may be taken now.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store does not answer.
    pub async fn account_refused(
        &self,
        provider: &str,
        issuer: &str,
        subject: &str,
        now: SystemTime,
    ) -> Result<Option<String>, StoreError> {
        let key = key(provider, issuer, subject);
        let Ok(held) = self.core.read(&key).await? else { return Ok(None) };
        let look = self.look_with_living_token(&key, &held, Clock::new(now)).await;
        if let Ok(Look::AccountRefused(message)) = look {
            return Ok(Some((*message).into()));
        }
        Ok(self.core.read(&key).await?.ok().and_then(|held| held.pair.account_refused))
    }

    /// The credential under `key`, whatever it opens: as [`credential`](Self::credential) has it, or
    /// [`user_token`](Self::user_token), with their errors and cancel safety.
    pub async fn current(
        &self,
        key: &CredentialKey,
        now: SystemTime,
        need: Duration,
    ) -> Result<Credential, CredentialError> {
        let CredentialKey { realm, issuer, subject } = key;
        match realm {
            CredentialRealm::Server(server) => self.user_token(server, issuer, subject).await,
            CredentialRealm::Provider(provider) => {
                self.credential(provider, issuer, subject, now, need).await
            }
        }
    }

    /// Removes the user's credential at `provider`, which may be one that
    /// [`connections`](Self::connections) named. `true` when there was one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when it could not be removed.
    pub async fn remove(
        &self,
        provider: &str,
        issuer: &str,
        subject: &str,
    ) -> Result<bool, StoreError> {
        self.forget(&key(provider, issuer, subject)).await
    }

    /// What the user is connected with, by provider. No token is in it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store does not answer.
    pub async fn connections(
        &self,
        issuer: &str,
        subject: &str,
        now: SystemTime,
    ) -> Result<Vec<Connection>, StoreError> {
        let all = self.core.store.credentials_of(issuer, subject).await?;
        let connection = |(key, sealed)| match self.core.open(&key, &sealed) {
            Ok(held) => self.connection(key, &held, now),
            Err(_) => Connection {
                realm: key.realm,
                username: None,
                state: ConnectionState::Unreadable,
                scope: None,
                missing: Vec::new(),
                account_refused: None,
                stored: sealed.stored,
            },
        };
        Ok(all.into_iter().map(connection).collect())
    }

    fn connection(&self, key: CredentialKey, held: &Held, now: SystemTime) -> Connection {
        let pair = &held.pair;
        let works = pair.is_usable(Duration::ZERO, now);
        let renews = pair.refresh.is_some() && !pair.refused && self.core.provider(&key).is_some();
        let state = if renews || (works && !pair.refused) {
            ConnectionState::Fine { expires: pair.end(), renews }
        } else {
            ConnectionState::SignInAgain { works_until: pair.end().filter(|_| works) }
        };
        let missing = self.core.missing(&key, pair);
        Connection {
            realm: key.realm,
            username: pair.username.clone(),
            state,
            scope: pair.scope.clone(),
            missing,
            account_refused: pair.account_refused.clone(),
            stored: held.stored,
        }
    }

    /// The names of the identity providers of which a credential is stored, in order.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store does not answer.
    pub async fn providers(&self) -> Result<Vec<String>, StoreError> {
        let realms = self.core.store.credential_realms().await?;
        let names = realms.into_iter().filter_map(|realm| match realm {
            CredentialRealm::Provider(name) => Some(name),
            CredentialRealm::Server(_) => None,
        });
        Ok(names.collect())
    }

    /// Moves the credentials of the provider `from` to the name `to`: a credential is sealed together
    /// with the name. Where the user has one under the new name already, that one is the newer and
    /// stays. To be called at the start, before a child runs with a credential; when it is
    /// interrupted, calling it again does the rest.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store does not answer; what was moved until then stays so.
    pub async fn rename_provider(&self, from: &str, to: &str) -> Result<Renamed, StoreError> {
        let core = &self.core;
        let mut renamed = Renamed::default();
        let (from, to) = [from, to].map(|name| CredentialRealm::Provider(name.to_owned())).into();
        let mut after = (String::new(), String::new());
        loop {
            let page = (&*after.0, &*after.1);
            let all = core.store.credentials_at(&from, page, RENAME_BATCH).await?;
            let Some((last, _)) = all.last() else { return Ok(renamed) };
            let next = (last.issuer.clone(), last.subject.clone());
            for (old, sealed) in all {
                let Ok(held) = core.open(&old, &sealed) else {
                    renamed.left += 1;
                    continue;
                };
                let new = CredentialKey { realm: to.clone(), ..old.clone() };
                if core.store.credential(&new).await?.is_none() {
                    // The versions of the new name begin anew.
                    let pair = Pair { since: None, ..held.pair };
                    core.put(&new, &pair, None, held.stored).await?;
                }
                core.store.remove_credential(&old).await?;
                renamed.moved += 1;
            }
            after = next;
        }
    }

    /// Seals anew with the primary key what another key sealed, at most `limit` credentials. To be
    /// called again, at leisure, as long as `sealed` is not zero. What is being renewed is left to
    /// the renewal, which seals with the primary key anyway.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store does not answer; what was sealed until then stays so.
    pub async fn reseal(&self, limit: usize, now: SystemTime) -> Result<Resealed, StoreError> {
        let core = &self.core;
        let clock = Clock::new(now);
        let others = core.store.sealed_otherwise(core.ring.primary(), limit).await?;
        let mut resealed = Resealed { sealed: 0, left: others.len() };
        for (key, sealed) in others {
            let Ok(held) = core.open(&key, &sealed) else { continue };
            let now = UnixTime::of(clock.now());
            let until = now.plus(RESEAL_CLAIM);
            if !core.store.claim_renewal(&key, held.version, until, now).await? {
                continue;
            }
            let pair = held.again(held.pair.refused);
            if core.put(&key, &pair, Some(held.version), held.stored).await?.is_some() {
                resealed.sealed += 1;
                resealed.left -= 1;
            }
        }
        Ok(resealed)
    }

    pub(super) async fn store(
        &self,
        key: &CredentialKey,
        pair: &Pair,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        self.core.put(key, pair, None, UnixTime::of(now)).await?;
        self.core.failures.record_success(key);
        self.core.looked.forget(key);
        self.core.tell(key, Change::Kept);
        Ok(())
    }

    pub(super) async fn forget(&self, key: &CredentialKey) -> Result<bool, StoreError> {
        let removed = self.core.store.remove_credential(key).await?;
        if removed {
            self.core.failures.record_success(key);
            self.core.tell(key, Change::Removed);
        }
        Ok(removed)
    }

    /// Waits for a renewal no longer than the old token's bearer should.
    async fn renew_in_time(
        &self,
        key: &CredentialKey,
        need: Duration,
        clock: Clock,
    ) -> Result<Held, Failure> {
        let renewal = self.renew(key, need, clock);
        let outcome = timeout(self.core.limits.wait_timeout, renewal).await;
        outcome.unwrap_or(Err(Failure::Unavailable(Duration::ZERO)))
    }

    /// A look at an account. An access token that has ended says nothing about it, so it is renewed
    /// first: upstreams go on renewing for an account that they do not let in.
    async fn look_with_living_token(
        &self,
        key: &CredentialKey,
        held: &Held,
        clock: Clock,
    ) -> Result<Look, Failure> {
        let now = clock.now();
        if !held.pair.is_usable(Duration::ZERO, now) {
            let _way = self.core.ways(key, held, now)?;
            self.renew_in_time(key, Duration::ZERO, clock).await?;
        }
        Ok(looking::look(&self.core, key, clock.now()).await)
    }

    /// Joins the renewal that is under way in this process, or begins one.
    async fn renew(
        &self,
        key: &CredentialKey,
        need: Duration,
        clock: Clock,
    ) -> Result<Held, Failure> {
        let outcome = self.join(key, need, clock).await?.outcome().await;
        // The renewal panicked, or the driver was stopped before its end.
        outcome.unwrap_or(Err(Failure::Unavailable(Duration::ZERO)))
    }

    async fn join(
        &self,
        key: &CredentialKey,
        need: Duration,
        clock: Clock,
    ) -> Result<Waiter<CredentialKey, Result<Held, Failure>>, Failure> {
        if let Some(waiter) = self.core.renewals.waiter(key) {
            return Ok(waiter);
        }
        // The place first: nothing may come between the beginning of a run and the sending.
        let place = self.renewals.reserve().await;
        let place = place.map_err(|_| Failure::Unavailable(Duration::ZERO))?;
        match self.core.renewals.join(key) {
            Joined::Waiter(waiter) => Ok(waiter),
            Joined::Leader(leader) => {
                let waiter = leader.waiter();
                place.send(Renewal { core: Arc::clone(&self.core), leader, need, clock });
                Ok(waiter)
            }
        }
    }
}

/// How many credentials are moved at a time.
const RENAME_BATCH: usize = 500;

/// How long sealing anew keeps others from renewing.
const RESEAL_CLAIM: Duration = Duration::from_secs(5);

impl VaultDriver {
    /// Runs renewals until `stop` resolves or the vault is gone, and then those to their end that
    /// were begun or asked for. A renewal whose store does not answer has no end of its own, so the
    /// caller sets a deadline.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives up the renewals that are under way; a refresh token that was spent
    /// and not replaced is lost.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let max_renewals = self.core.limits.max_renewals.get();
        let mut stop = std::pin::pin!(stop);
        let mut stopping = false;
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut stop, if !stopping => {
                    stopping = true;
                    self.renewals.close();
                }
                renewal = self.renewals.recv(), if running.len() < max_renewals => match renewal {
                    Some(renewal) => { running.spawn(renewal.run()); }
                    None => break,
                },
                Some(ended) = running.join_next() => noticed(ended),
            }
        }
        while let Some(ended) = running.join_next().await {
            noticed(ended);
        }
    }
}

fn noticed(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = &error as &dyn Error, "a renewal ended badly");
    }
}

impl CredentialSink for Vault {
    fn keep<'a>(
        &'a self,
        provider: &'a str,
        identity: &'a Identity,
        credential: &'a UpstreamCredential,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let key = key(provider, &identity.issuer, &identity.subject);
            // What the user chose once holds for the next sign-in too.
            let former = self.core.read(&key).await?.ok();
            let accepted = former.and_then(|held| held.pair.accepted);
            let pair = Pair { accepted, ..Pair::new(credential, now) };
            self.store(&key, &pair, now).await?;
            self.core.check_scope(&key, &pair);
            Ok(())
        })
    }

    fn missing_rights<'a>(
        &'a self,
        user: &'a User,
    ) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async move {
            let key = key(&user.provider, &user.issuer, &user.subject);
            let held = self.core.read(&key).await?.ok();
            Ok(held.map(|held| self.core.unaccepted(&key, &held.pair)).unwrap_or_default())
        })
    }

    fn accept_missing<'a>(&'a self, user: &'a User) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let key = key(&user.provider, &user.issuer, &user.subject);
            loop {
                let Ok(held) = self.core.read(&key).await? else { return Ok(()) };
                let missing = self.core.missing(&key, &held.pair).join("\n");
                let pair = held.marked(|pair| pair.accepted = Some(missing));
                if self.core.put(&key, &pair, Some(held.version), held.stored).await?.is_some() {
                    return Ok(());
                }
            }
        })
    }
}

/// Why a vault cannot work with its ring.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// Something is sealed with a key that is not there. Starting without it would sign everybody
    /// out who depends on it.
    #[error("the key {id} is missing from the key ring")]
    MissingKey {
        /// Names the key.
        id: String,
    },
    /// The store could not be asked.
    #[error("the store of credentials is unavailable")]
    Store(#[from] StoreError),
}

/// What [`Vault::rename_provider`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Renamed {
    /// So many stand under the new name now.
    pub moved: usize,
    /// So many were left under the old name, because they do not open.
    pub left: usize,
}

/// What [`Vault::reseal`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resealed {
    /// So many are sealed with the primary key now.
    pub sealed: usize,
    /// So many were looked at and left: somebody renews them, or they do not open.
    pub left: usize,
}

fn key(provider: &str, issuer: &str, subject: &str) -> CredentialKey {
    key_in(CredentialRealm::Provider(provider.to_owned()), issuer, subject)
}

pub(super) fn key_in(realm: CredentialRealm, issuer: &str, subject: &str) -> CredentialKey {
    CredentialKey { realm, issuer: issuer.to_owned(), subject: subject.to_owned() }
}
