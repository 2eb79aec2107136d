//! Local accounts as a way to sign in, and what changes them.

use std::{
    fmt,
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::{
    Account, Accounts, AddError, ChangeError, Guessing, HashCost, ISSUER, SetUpError, check_name,
    check_password,
    hasher::{Busy, Hasher, Judged},
    name::is_too_long,
    throttle::{Attempted, Throttle},
};
use crate::{
    BoxFuture, UnixTime,
    admission::{Facts, Wanted},
    oauth::{
        Attempt, Begin, Field, FieldKind, Identity, IdentityProvider, Params, Secret, SignInError,
        address_group, rate_limit_key,
    },
    token::push_base64url,
};

/// How long a set-up link is good.
const SETUP: Duration = Duration::from_secs(24 * 3600);
/// After how long a place to hash a password may be free again.
const BUSY: Duration = Duration::from_secs(2);
/// The fields of the form.
const NAME: &str = "name";
const PASSWORD: &str = "password";

/// Limits of [`Local`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalLimits {
    /// What hashing a password costs.
    pub cost: HashCost,
    /// So many passwords are hashed at once, each in memory of its own; 4.
    pub max_hashing: NonZeroUsize,
    /// So many more wait for their turn; whoever comes after them is told to come again. 64.
    pub max_waiting: usize,
    /// How guesses are slowed down.
    pub guessing: Guessing,
}

impl Default for LocalLimits {
    fn default() -> Self {
        Self {
            cost: HashCost::default(),
            max_hashing: NonZeroUsize::new(4).expect("not zero"),
            max_waiting: 64,
            guessing: Guessing::default(),
        }
    }
}

/// The identity provider `local`: names and passwords that the broker itself keeps.
///
/// An unknown name, a wrong password, and an account that went away meanwhile are answered alike
/// and after the same work: one hash. Guessing is slowed down by account and address and by address
/// alone, and the number of hashes under way is bounded, whoever asks for them.
pub struct Local {
    accounts: Arc<dyn Accounts>,
    pub(super) hasher: Hasher,
    throttle: Throttle,
    rng: Mutex<ChaCha20Rng>,
}

impl Local {
    /// The provider over `accounts`. `rng` must be cryptographic; outside of tests it is
    /// [`os_rng`](crate::os_rng).
    #[must_use]
    pub fn new(accounts: Arc<dyn Accounts>, limits: LocalLimits, mut rng: ChaCha20Rng) -> Self {
        let LocalLimits { cost, max_hashing, max_waiting, guessing } = limits;
        let own = ChaCha20Rng::from_rng(&mut rng);
        Self {
            accounts,
            hasher: Hasher::new(cost, max_hashing, max_waiting, own),
            throttle: Throttle::new(guessing),
            rng: Mutex::new(rng),
        }
    }

    /// How many passwords were hashed so far, right and wrong ones and those of unknown names.
    #[must_use]
    pub fn hashed(&self) -> u64 {
        self.hasher.hashed()
    }

    /// Adds an account.
    ///
    /// # Errors
    ///
    /// [`AddError`] says what to do differently.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the account either added or not.
    pub async fn add(
        &self,
        name: &str,
        password: &Secret,
        now: SystemTime,
    ) -> Result<Account, AddError> {
        let name = check_name(name)?;
        check_password(password.expose())?;
        // Before the costly part; the store decides all the same.
        if self.accounts.account(&name).await?.is_some() {
            return Err(AddError::Taken);
        }
        let hash = self.hasher.hash(password).await.map_err(|Busy| AddError::Busy)?;
        let account = self.account(name, hash, now);
        if !self.accounts.add_account(account.clone()).await? {
            return Err(AddError::Taken);
        }
        Ok(account)
    }

    /// Gives an account another password, and ends the sign-ins of its user's browsers.
    ///
    /// # Errors
    ///
    /// [`ChangeError`] says what to do differently.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the password either changed or not.
    pub async fn set_password(&self, name: &str, password: &Secret) -> Result<(), ChangeError> {
        let name = check_name(name)?;
        check_password(password.expose())?;
        if self.accounts.account(&name).await?.is_none() {
            return Err(ChangeError::Unknown);
        }
        let hash = self.hasher.hash(password).await.map_err(|Busy| ChangeError::Busy)?;
        match self.accounts.set_password(&name, hash).await? {
            true => Ok(()),
            false => Err(ChangeError::Unknown),
        }
    }

    /// Makes the secret of a set-up link, good for 24 hours and for one account, and only as long
    /// as there is none. An earlier link is good no more.
    ///
    /// # Errors
    ///
    /// [`StoreError`](crate::oauth::StoreError) when it could not be kept.
    pub async fn offer_setup(&self, now: SystemTime) -> Result<Secret, crate::oauth::StoreError> {
        let mut text = String::with_capacity(43);
        push_base64url(&mut text, &self.random::<32>());
        let secret = Secret::new(text);
        self.accounts.offer_setup(secret.hash(), UnixTime::of(now).plus(SETUP)).await?;
        Ok(secret)
    }

    /// Whether `secret` is that of the set-up link, for showing the form.
    ///
    /// # Errors
    ///
    /// [`StoreError`](crate::oauth::StoreError) when the store does not answer.
    pub async fn is_setup(
        &self,
        secret: &Secret,
        now: SystemTime,
    ) -> Result<bool, crate::oauth::StoreError> {
        self.accounts.is_setup(&secret.hash(), UnixTime::of(now)).await
    }

    /// Makes the first account and spends the set-up link.
    ///
    /// # Errors
    ///
    /// [`SetUpError`] says what to do differently.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the account either made and the link spent, or neither.
    pub async fn set_up(
        &self,
        secret: &Secret,
        name: &str,
        password: &Secret,
        now: SystemTime,
    ) -> Result<Account, SetUpError> {
        // First, so that a forged link costs no hash and learns nothing of the rules.
        if !self.is_setup(secret, now).await? {
            return Err(SetUpError::Over);
        }
        let name = check_name(name)?;
        check_password(password.expose())?;
        let hash = self.hasher.hash(password).await.map_err(|Busy| SetUpError::Busy)?;
        let account = self.account(name, hash, now);
        match self.accounts.set_up(&secret.hash(), account.clone(), UnixTime::of(now)).await? {
            true => Ok(account),
            false => Err(SetUpError::Over),
        }
    }

    fn account(&self, name: String, password: String, now: SystemTime) -> Account {
        let subject = hex::encode(self.random::<16>());
        Account { subject, name, password, created: UnixTime::of(now) }
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
        bytes
    }

    async fn sign_in(
        &self,
        attempt: &Attempt,
        reply: &Params,
        now: SystemTime,
    ) -> Result<Identity, SignInError> {
        let (Ok(Some(name)), Ok(Some(password))) = (reply.one(NAME), reply.one(PASSWORD)) else {
            return Err(SignInError::WrongCredentials);
        };
        // Neither depends on who exists.
        if is_too_long(password) {
            return Err(SignInError::WrongCredentials);
        }
        // A name that nobody can have is nobody's; it is looked for and answered like any other.
        let name = check_name(name).unwrap_or_default();
        let password = Secret::new(password);
        let entered = self.throttle.enter(&name, rate_limit_key(attempt.peer), now);
        let attempted = entered.map_err(|retry_after| SignInError::TooMany { retry_after })?;
        let judged = match self.judge(&name, &password, address_group(attempt.peer)).await {
            Ok(judged) => judged,
            Err(error) => {
                self.throttle.unjudged(attempted);
                return Err(error);
            }
        };
        self.admit(attempted, judged, &attempt.wanted)
    }

    fn admit(
        &self,
        attempted: Attempted,
        judged: Option<Account>,
        wanted: &Wanted,
    ) -> Result<Identity, SignInError> {
        let account = judged.ok_or(SignInError::WrongCredentials)?;
        self.throttle.right(attempted);
        Ok(Identity {
            issuer: ISSUER.to_owned(),
            subject: account.subject,
            facts: Facts::of_login(&account.name, wanted),
            display_name: account.name,
            credential: None,
        })
    }

    /// The account, if the password is right.
    async fn judge(
        &self,
        name: &str,
        password: &Secret,
        group: IpAddr,
    ) -> Result<Option<Account>, SignInError> {
        let busy = |Busy| SignInError::TooMany { retry_after: BUSY };
        let mut account = self.accounts.account(name).await?;
        // Twice at most: somebody may hash the same password anew while we look at it.
        for _ in 0..2 {
            let stored = account.as_ref().map(|own| own.password.as_str());
            let judged = self.hasher.judge(stored, password, group).await.map_err(busy)?;
            let (Judged::Right { stale }, Some(own)) = (judged, account) else { return Ok(None) };
            // Hashing takes its time. A password that was taken away meanwhile lets nobody in.
            let current = self.accounts.account(name).await?;
            if current.as_ref() == Some(&own) {
                if stale {
                    self.hash_anew(&own, password).await;
                }
                return Ok(Some(own));
            }
            account = current;
        }
        Ok(None)
    }

    /// Brings the hash of a right password to the present cost. The sign-in does not depend on it.
    async fn hash_anew(&self, account: &Account, password: &Secret) {
        let Ok(hash) = self.hasher.hash(password).await else { return };
        if let Err(error) = self.accounts.rehash(&account.name, &account.password, hash).await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(provider = ISSUER, error, "a password was not hashed anew");
        }
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("hasher", &self.hasher).finish_non_exhaustive()
    }
}

impl IdentityProvider for Local {
    fn name(&self) -> &str {
        ISSUER
    }

    fn label(&self) -> &str {
        "name and password"
    }

    fn has_callback(&self) -> bool {
        false
    }

    fn begin<'a>(
        &'a self,
        _attempt: &'a Attempt,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Begin, SignInError>> {
        let field = |name: &str, label: &str, kind, autocomplete| Field {
            name: name.into(),
            label: label.into(),
            kind,
            autocomplete,
        };
        Box::pin(std::future::ready(Ok(Begin::Form(vec![
            field(NAME, "Name", FieldKind::Text, "username"),
            field(PASSWORD, "Password", FieldKind::Password, "current-password"),
        ]))))
    }

    fn finish<'a>(
        &'a self,
        attempt: &'a Attempt,
        reply: &'a Params,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Identity, SignInError>> {
        Box::pin(self.sign_in(attempt, reply, now))
    }

    fn confirm<'a>(&'a self, identity: &'a Identity) -> BoxFuture<'a, Result<bool, SignInError>> {
        Box::pin(async move {
            // The display name is the account's name; another account may have it by now.
            let account = self.accounts.account(&identity.display_name).await?;
            Ok(account.is_some_and(|own| own.subject == identity.subject))
        })
    }
}
