//! What is kept about people: the store, its keys, the vault, and the ways to sign in. It is there
//! before anybody can connect, because sessions are opened with what the vault holds.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use auth::{
    BoxFuture,
    local::{Local, LocalLimits},
    oauth::{
        CredentialSink, Fetch, Identity, IdentityProvider, ServerKey, StoreError,
        UpstreamCredential, User,
    },
    upstream::{
        Change, ConnectionState, CredentialKey, CredentialListener, Outcome, Vault, VaultDriver,
        VaultLimits, VaultParts,
    },
};

use session::{AfterStop, Owner, Replacement, StopWhen};
use tokio::sync::Notify;

use super::{providers, start_error::StartError};
use crate::{
    config::{Config, Upstream, Verifier},
    metrics::{Metrics, RefreshLabels},
    sessions::{child_credential::ChildCredential, registry::Sessions},
    store::{Keys, Store},
};

/// What is kept about people.
#[derive(Debug)]
pub(crate) struct IdentityServices {
    pub(crate) store: Arc<Store>,
    pub(crate) vault: Arc<Vault>,
    /// Where local accounts are made, if people sign in with them.
    pub(super) local: Option<Arc<Local>>,
    pub(super) identities: Vec<Arc<dyn IdentityProvider>>,
    pub(super) key: ServerKey,
    renewals: Arc<Renewals>,
}

impl IdentityServices {
    /// Opens it, if anybody signs in here. The driver renews credentials and has to be run.
    pub(crate) async fn open(
        config: &Config,
        store: &Arc<Store>,
        fetch: &Arc<dyn Fetch>,
        metrics: &Arc<Metrics>,
    ) -> Result<Option<(Self, VaultDriver)>, StartError> {
        if !config.auth.verifiers.contains(&Verifier::OAuth) {
            return Ok(None);
        }
        let store = Arc::clone(store);
        let keys = Keys::open(&config.data_dir, &*store).await?;
        let mut identities: Vec<Arc<dyn IdentityProvider>> = Vec::new();
        let mut local = None;
        for identity in &config.auth.identity {
            identities.push(match providers::outside(config, *identity, fetch)? {
                Some(provider) => {
                    metrics.expect_renewals(provider.name());
                    provider
                }
                None => {
                    let limits = LocalLimits::default();
                    let own = Arc::new(Local::new(store.clone(), limits, auth::os_rng()?));
                    local = Some(Arc::clone(&own));
                    own
                }
            });
        }
        let renewals = Arc::new(Renewals {
            metrics: Arc::clone(metrics),
            outdated: Arc::default(),
            sessions: OnceLock::new(),
        });
        let (vault, driver) = Vault::new(VaultParts {
            ring: keys.ring,
            store: store.clone(),
            providers: identities.clone(),
            listener: Some(renewals.clone()),
            limits: VaultLimits::default(),
            rng: auth::os_rng()?,
        });
        Ok(Some((Self { store, vault, identities, local, key: keys.server, renewals }, driver)))
    }

    /// Rings when children have an old token in their file.
    pub(super) fn outdated(&self) -> Arc<Notify> {
        Arc::clone(&self.renewals.outdated)
    }

    /// Has these sessions follow what becomes of credentials. They are the only ones.
    pub(crate) fn followed_by(&self, sessions: &Sessions) {
        let _ = self.renewals.sessions.set(sessions.clone());
    }
}

/// Counts what came of asking upstreams, and has children replaced that run with what was before.
#[derive(Debug)]
struct Renewals {
    metrics: Arc<Metrics>,
    /// Rung when children have an old token in their file.
    outdated: Arc<Notify>,
    /// They are opened with what the vault holds, and so there is the vault first.
    sessions: OnceLock<Sessions>,
}

impl CredentialListener for Renewals {
    fn asked(&self, key: &CredentialKey, outcome: Outcome) {
        let labels = RefreshLabels { provider: key.provider.clone(), outcome: outcome.name() };
        self.metrics.upstream_refresh.get_or_create(&labels).inc();
    }

    fn changed(&self, key: &CredentialKey, change: Change) {
        let Some(sessions) = self.sessions.get() else { return };
        let how = match change {
            // One in use is replaced when nobody uses it, or when a call finds its own credential
            // due.
            Change::Renewed => Replacement { when: StopWhen::Idle, then: AfterStop::Awake },
            // The user means this one, and not one that still works for a while.
            Change::Kept => Replacement { when: StopWhen::Drained, then: AfterStop::Awake },
            Change::Removed => Replacement { when: StopWhen::Now, then: AfterStop::Asleep },
            // What was given out works until its end.
            Change::Refused => return,
        };
        // A child that reads its token from a file is no worse for a new one.
        let by_file = |own: &ChildCredential| change != Change::Removed && own.is_in_a_file();
        sessions.replace(
            |view| {
                let own = view.backend.own.as_ref().filter(|own| own.is_of(key));
                own.is_some_and(|own| !by_file(own))
            },
            how,
        );
        let is_users =
            |owner: &Owner| owner.issuer() == key.issuer && owner.subject() == key.subject;
        let outdated = sessions.look(is_users, |view| {
            let own = view.backend.own.as_ref().filter(|own| own.is_of(key) && by_file(own));
            own.map(|own| own.mark_stale()).is_some()
        });
        if outdated.contains(&true) {
            self.outdated.notify_one();
        }
    }
}

/// The vault as the authorization server sees it: it takes what sign-ins yield, and says when only
/// another sign-in helps.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) vault: Arc<Vault>,
    /// The upstream of each server that has one, by the server's canonical address.
    pub(super) upstreams: BTreeMap<String, Upstream>,
}

impl CredentialSink for Credentials {
    fn keep<'a>(
        &'a self,
        provider: &'a str,
        identity: &'a Identity,
        credential: &'a UpstreamCredential,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.vault.keep(provider, identity, credential, now)
    }

    fn wants_sign_in<'a>(
        &'a self,
        user: &'a User,
        resource: &'a str,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            match self.upstreams.get(resource) {
                Some(Upstream::Provider(identity)) if identity.name() == user.provider => {
                    let all = self.vault.connections(&user.issuer, &user.subject, now).await?;
                    let own = all.into_iter().find(|own| own.provider == user.provider);
                    // Taken back on the account page, or refused by the upstream.
                    Ok(own.is_none_or(|own| {
                        matches!(
                            own.state,
                            ConnectionState::SignInAgain { works_until: None }
                                | ConnectionState::Unreadable
                        )
                    }))
                }
                Some(Upstream::Provider(_) | Upstream::User) | None => Ok(false),
            }
        })
    }
}
