//! One renewal, from the claim to the store.
//!
//! ```text
//!  read ─► not due: somebody was faster ────────────────────────────► complete: what is stored
//!   │ due
//!  claim ─► another broker's: wait and read again, or make do ──────► complete
//!   │ ours
//!  ask the upstream, once more if no answer came
//!   ├─ renewed ──────► store, as often as it takes, before anybody ──► complete: the new pair
//!   ├─ refused ──────► read again; still ours: mark it ──────────────► complete: sign in again
//!   └─ no answer ────► give the claim back, back off ────────────────► complete: unavailable
//! ```

use std::{error::Error, sync::Arc, time::Duration, time::SystemTime};

use tokio::time::{Instant, sleep, timeout};

use super::{
    core::{Clock, Core, Failure, Held},
    failure_tracker::Reason,
    listener::{Change, Outcome},
    store::CredentialKey,
};
use crate::{
    UnixTime,
    oauth::{IdentityProvider, RenewError, Secret, UpstreamCredential},
    single_flight::Leader,
};

/// How often a broker looks whether another one has finished a renewal.
const POLL: Duration = Duration::from_millis(200);
/// Beyond the two questions to the upstream, how long a claim leaves for the store.
const CLAIM_MARGIN: Duration = Duration::from_secs(15);
/// The pauses between attempts to store a new pair.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A renewal that is under way, for all in this process who wait for it.
#[derive(Debug)]
pub(super) struct Renewal {
    pub(super) core: Arc<Core>,
    pub(super) leader: Leader<CredentialKey, Result<Held, Failure>>,
    pub(super) need: Duration,
    pub(super) clock: Clock,
}

impl Renewal {
    /// Renews the credential, and gives the outcome to all who wait.
    ///
    /// # Cancel safety
    ///
    /// None: a new pair that is not stored yet would be lost. The driver runs it to its end.
    pub(super) async fn run(self) {
        let outcome = self.renew().await;
        self.leader.complete(outcome);
    }

    fn key(&self) -> &CredentialKey {
        self.leader.key()
    }

    async fn renew(&self) -> Result<Held, Failure> {
        let (held, until) = match self.claim().await? {
            Claim::Ours { held, until } => (held, until),
            Claim::Theirs(held) => return Ok(held),
        };
        let (provider, refresh) = self.core.ways(self.key(), &held, self.clock.now())?;
        let asked = self.clock.now();
        let answer = self.ask(&**provider, refresh).await;
        let (outcome, reason, cause) = match answer {
            Ok((credential, now)) => {
                self.count(Outcome::Renewed);
                if self.is_kept_out(&**provider, &credential.access_token, now).await {
                    let cause =
                        Box::<dyn Error + Send + Sync>::from("the rules do not let them in");
                    return self.refused(&held, &*cause).await;
                }
                return self.keep(&held, &credential, now).await;
            }
            Err(RenewError::SignInAgain(cause)) => {
                self.count(Outcome::SignInAgain);
                return self.refused(&held, &*cause).await;
            }
            // Whoever gave a refresh token and renews nothing: the user's next sign-in is the only
            // way on, but nobody refused anything.
            Err(RenewError::Unsupported) => {
                (Outcome::SignInAgain, Reason::SignInAgain, "it renews nothing".into())
            }
            Err(RenewError::Misconfigured(cause)) => {
                (Outcome::Misconfigured, Reason::Misconfigured, cause)
            }
            Err(RenewError::Unavailable(cause)) => {
                (Outcome::Unavailable, Reason::Unavailable, cause)
            }
        };
        self.count(outcome);
        let (failures, now) = (&self.core.failures, self.clock.now());
        failures.record_failure(self.key(), held.version, reason, now);
        let wait =
            self.core.put_off(self.key(), &held, now).map_or(Duration::ZERO, |(_, wait)| wait);
        let (provider, owner, error) = (&self.key().realm, &self.key().subject, &*cause);
        if reason == Reason::Misconfigured {
            tracing::error!(%provider, %owner, error, ?wait, "renewal: provider misconfigured");
        } else {
            tracing::warn!(%provider, %owner, error, ?wait, "credential not renewed");
        }
        // A claim that ended may be another broker's by now.
        if self.clock.now() < until {
            let released = self.core.store.release_renewal(self.key(), held.version).await;
            if let Err(error) = released {
                let error = &error as &dyn Error;
                tracing::debug!(%provider, error, ?asked, "claim not released; it ends by itself");
            }
        }
        Err(Failure::of(reason, wait))
    }

    /// Gets the right to ask the upstream, or what another broker got from it.
    async fn claim(&self) -> Result<Claim, Failure> {
        let (core, limits) = (&self.core, &self.core.limits);
        let give_up = Instant::now() + limits.wait_timeout;
        loop {
            let held = core.read(self.key()).await.map_err(|error| self.store_down(&error))??;
            let now = self.clock.now();
            if !held.pair.is_due(self.need, now) {
                return Ok(Claim::Theirs(held));
            }
            core.ways(self.key(), &held, now)?;
            let until = now + 2 * limits.renew_timeout + limits.retry_pause + CLAIM_MARGIN;
            let claimed = core.store.claim_renewal(
                self.key(),
                held.version,
                UnixTime::of(until),
                UnixTime::of(now),
            );
            if claimed.await.map_err(|error| self.store_down(&error))? {
                return Ok(Claim::Ours { held, until });
            }
            if held.pair.is_usable(self.need, now) {
                return Ok(Claim::Theirs(held));
            }
            if Instant::now() >= give_up {
                return Err(Failure::Unavailable(POLL));
            }
            sleep(POLL).await;
        }
    }

    /// Asks the upstream, and a second time when no answer came: the first question may have been
    /// lost, and if it was the answer that got lost, the upstream will say so.
    async fn ask(
        &self,
        provider: &dyn IdentityProvider,
        refresh: &Secret,
    ) -> Result<(UpstreamCredential, SystemTime), RenewError> {
        let limits = &self.core.limits;
        let once = async || {
            let now = self.clock.now();
            match timeout(limits.renew_timeout, provider.renew(refresh, now)).await {
                Ok(answer) => answer.map(|credential| (credential, now)),
                Err(elapsed) => Err(RenewError::Unavailable(elapsed.into())),
            }
        };
        match once().await {
            Err(RenewError::Unavailable(cause)) => {
                let (provider, error) = (&self.key().realm, &*cause);
                tracing::debug!(%provider, error, "no answer to a renewal, asking once more");
                sleep(limits.retry_pause).await;
                once().await
            }
            answer => answer,
        }
    }

    /// Whether the operator's rules, by what the upstream says of the bearer now, do not let the user
    /// in any more. When it does not say, the pair is kept, and what it said last serves until it is a
    /// day old.
    async fn is_kept_out(
        &self,
        provider: &dyn IdentityProvider,
        access_token: &Secret,
        now: SystemTime,
    ) -> bool {
        let (name, CredentialKey { issuer, subject, .. }) = (provider.name(), self.key());
        let Some(admission) = &self.core.admission else { return false };
        // For the rules of servers too: their people are judged by what is kept of this.
        let wanted = admission.wanted(name);
        if wanted.is_nothing() {
            return false;
        }
        let looked =
            timeout(self.core.limits.renew_timeout, provider.look_up(access_token, &wanted, now));
        let identity = match looked.await {
            Ok(Ok(Some(own))) if own.issuer == *issuer && own.subject == *subject => own,
            Ok(Ok(_)) => return false,
            Ok(Err(error)) => {
                let error = &error as &dyn Error;
                tracing::warn!(provider = %name, owner = %subject, error, "not looked up");
                return false;
            }
            Err(_) => return false,
        };
        match admission.judge(name, &identity, None, now).await {
            Ok(is_let_in) => !is_let_in,
            Err(error) => {
                self.store_down(&error);
                false
            }
        }
    }

    /// Stores a new pair. The old refresh token may be spent, so this gives up only when something
    /// newer is stored, or nothing any more; whoever waits is told meanwhile that the store is down.
    async fn keep(
        &self,
        old: &Held,
        credential: &UpstreamCredential,
        now: SystemTime,
    ) -> Result<Held, Failure> {
        let core = &self.core;
        let mut pair = old.pair.renewed(credential, now);
        let stored = UnixTime::of(now);
        let (mut replaces, mut pause) = (old.version, FIRST_PAUSE);
        loop {
            let error = match core.put(self.key(), &pair, Some(replaces), stored).await {
                Ok(Some(version)) => {
                    self.renewed();
                    core.check_scope(self.key(), &pair);
                    return Ok(Held { version, stored, pair });
                }
                Ok(None) => match core.read(self.key()).await {
                    // Stored after all: only the answer got lost.
                    Ok(Ok(held)) if held.pair.is(&pair) => {
                        self.renewed();
                        return Ok(held);
                    }
                    // Sealed anew, or marked as refused by one who was too late with the same
                    // refresh token: what the upstream gave us supersedes that.
                    Ok(Ok(held)) if held.pair.shares_refresh(&old.pair) => {
                        // With what was found out about the account meanwhile.
                        pair = held.pair.renewed(credential, now);
                        replaces = held.version;
                        continue;
                    }
                    // The user signed in meanwhile, or took it back.
                    Ok(theirs) => return theirs,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            self.leader.report(Err(self.store_down(&error)));
            sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    fn renewed(&self) {
        self.core.failures.record_success(self.key());
        self.core.looked.renewed(self.key());
        self.core.tell(self.key(), Change::Renewed);
        tracing::debug!(provider = %self.key().realm, owner = %self.key().subject, "renewed");
    }

    /// The upstream takes the refresh token no more: because somebody else used it and has stored
    /// what he got, or for good.
    async fn refused(
        &self,
        old: &Held,
        cause: &(dyn Error + Send + Sync + 'static),
    ) -> Result<Held, Failure> {
        let core = &self.core;
        let (provider, owner) = (&self.key().realm, &self.key().subject);
        loop {
            let now = self.clock.now();
            let held = match core.read(self.key()).await {
                Ok(held) => held?,
                Err(error) => {
                    core.failures.record_failure(self.key(), old.version, Reason::SignInAgain, now);
                    self.store_down(&error);
                    return Err(Failure::SignInAgain);
                }
            };
            let is_newer =
                !held.pair.shares_refresh(&old.pair) || !held.pair.is_due(self.need, now);
            if held.version != old.version && is_newer {
                return Ok(held);
            }
            if held.pair.refused {
                return Err(Failure::SignInAgain);
            }
            match core.put(self.key(), &held.again(true), Some(held.version), held.stored).await {
                Ok(Some(_)) => {
                    tracing::info!(%provider, %owner, error = cause, "user has to sign in again");
                    core.tell(self.key(), Change::Refused);
                    return Err(Failure::SignInAgain);
                }
                // Somebody changed it this moment: look again.
                Ok(None) => {}
                Err(error) => {
                    // Not marked, so this broker at least remembers.
                    core.failures.record_failure(
                        self.key(),
                        held.version,
                        Reason::SignInAgain,
                        now,
                    );
                    self.store_down(&error);
                    return Err(Failure::SignInAgain);
                }
            }
        }
    }

    fn count(&self, outcome: Outcome) {
        if let Some(listener) = &self.core.listener {
            listener.asked(self.key(), outcome);
        }
    }

    fn store_down(&self, error: &(dyn Error + 'static)) -> Failure {
        let provider = &self.key().realm;
        tracing::warn!(%provider, error, "the store did not answer during a renewal");
        Failure::Store
    }
}

enum Claim {
    /// This broker asks the upstream, until the claim ends.
    Ours { held: Held, until: SystemTime },
    /// Somebody else did, or does while what there is still serves.
    Theirs(Held),
}
