//! What is kept about people: the store, its keys, the vault, and the ways to sign in. It is there
//! before a client can connect, because sessions are opened with what the vault holds.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use auth::{
    BoxFuture,
    admission::Admission,
    local::{Local, LocalLimits},
    oauth::{
        AuthStore, CredentialSink, Identity, IdentityProvider, Secret, ServerKey, StoreError,
        UpstreamCredential, User,
    },
    upstream::{
        Change, ConnectionState, CredentialError, CredentialKey, CredentialListener, Outcome,
        Renamed, Vault, VaultDriver, VaultLimits, VaultParts,
    },
};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{admission::admission, providers::Maker, start_error::StartError};
use crate::{
    config::{Config, Upstream},
    metrics::{Metrics, ProviderLabel, RefreshLabels},
    sessions::{
        credential_changes::{ChangeSender, CredentialChange},
        replacement::Event,
    },
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
    pub(super) admission: Arc<Admission>,
    pub(super) key: ServerKey,
}

impl IdentityServices {
    /// Opens it, if users sign in here. The driver renews credentials and has to be run.
    pub(super) async fn open(
        config: &Config,
        store: &Arc<Store>,
        maker: &Maker<'_>,
        metrics: &Arc<Metrics>,
        (changes, renewals): (ChangeSender, RenewalSender),
    ) -> Result<Option<(Self, VaultDriver)>, StartError> {
        if !config.auth.signs_in() {
            return Ok(None);
        }
        let store = Arc::clone(store);
        let keys = Keys::open(&config.data_dir, &*store).await?;
        let mut identities: Vec<Arc<dyn IdentityProvider>> = Vec::new();
        let mut local = None;
        for identity in config.auth.identity_tables() {
            identities.push(match maker.identity(identity)? {
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
        let admission = admission(config, maker.base(), store.clone());
        let events = Arc::new(VaultEvents { metrics: Arc::clone(metrics), changes, renewals });
        let (vault, driver) = Vault::new(VaultParts {
            ring: keys.ring,
            store: store.clone(),
            providers: identities.clone(),
            admission: Some(Arc::clone(&admission)),
            listener: Some(events),
            limits: VaultLimits::default(),
            rng: auth::os_rng()?,
        });
        carry_over(config, &*store, &vault).await?;
        let key = keys.server;
        Ok(Some((Self { store, vault, identities, local, admission, key }, driver)))
    }
}

/// Carries what is stored of providers that have another name now over to it, and tells the operator
/// of credentials whose provider is not configured.
async fn carry_over(
    config: &Config,
    store: &dyn AuthStore,
    vault: &Vault,
) -> Result<(), StoreError> {
    for table in config.auth.identity_tables() {
        let Some(former) = table.former_name.as_ref().map(|own| own.as_str()) else { continue };
        let name = table.name.as_str();
        let credentials = vault.rename_provider(former, name).await?;
        let records = store.rename_provider(former, name).await?;
        if records > 0 || credentials != Renamed::default() {
            let Renamed { moved, left } = credentials;
            info!(provider = name, former, records, moved, left, "identity provider renamed");
        }
    }
    for provider in vault.providers().await? {
        if config.auth.identity_tables().all(|table| table.name != provider.as_str()) {
            warn!(
                %provider,
                "stored credentials belong to an identity provider that is not configured; if its \
                 table was renamed, set former_name in the renamed table"
            );
        }
    }
    Ok(())
}

/// Takes the credentials that were to be renewed: with what the provider said then, their users are judged
/// anew.
pub(super) type RenewalSender = mpsc::UnboundedSender<CredentialKey>;

/// Counts what came of asking upstreams, and passes on which credentials have changed.
#[derive(Debug)]
struct VaultEvents {
    metrics: Arc<Metrics>,
    changes: ChangeSender,
    renewals: RenewalSender,
}

impl CredentialListener for VaultEvents {
    fn asked(&self, key: &CredentialKey, outcome: Outcome) {
        let labels = RefreshLabels { provider: key.realm.to_string(), outcome: outcome.name() };
        self.metrics.upstream_refresh.get_or_create(&labels).inc();
    }

    fn narrowed(&self, key: &CredentialKey, _missing: &[String]) {
        let labels = ProviderLabel { provider: key.realm.to_string() };
        self.metrics.narrow_grants.get_or_create(&labels).inc();
    }

    fn changed(&self, key: &CredentialKey, change: Change) {
        let event = match change {
            Change::Renewed => Event::Renewed,
            Change::Kept => Event::Stored,
            Change::Removed => Event::Removed,
            Change::Refused => Event::Refused,
            Change::Died { version } => Event::Died { version },
        };
        if matches!(change, Change::Renewed | Change::Refused) {
            let _ = self.renewals.send(key.clone());
        }
        // Without a receiver there are no sessions any more.
        let _ = self.changes.send(CredentialChange { key: key.clone(), event });
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

    fn forget<'a>(
        &'a self,
        provider: &'a str,
        identity: &'a Identity,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.vault.remove(provider, &identity.issuer, &identity.subject).await.map(drop)
        })
    }

    fn access_token<'a>(
        &'a self,
        user: &'a User,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Option<Secret>, StoreError>> {
        let User { provider, issuer, subject, .. } = user;
        Box::pin(async move {
            match self.vault.credential(provider, issuer, subject, now, Duration::ZERO).await {
                Ok(credential) => Ok(Some(credential.access_token)),
                Err(CredentialError::Store(error)) => Err(error),
                Err(_) => Ok(None),
            }
        })
    }

    fn account_refused<'a>(
        &'a self,
        user: &'a User,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        let User { provider, issuer, subject, .. } = user;
        Box::pin(self.vault.account_refused(provider, issuer, subject, now))
    }

    fn missing_rights<'a>(
        &'a self,
        user: &'a User,
    ) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        self.vault.missing_rights(user)
    }

    fn accept_missing<'a>(&'a self, user: &'a User) -> BoxFuture<'a, Result<(), StoreError>> {
        self.vault.accept_missing(user)
    }

    fn wants_sign_in<'a>(
        &'a self,
        user: &'a User,
        resource: &'a str,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            match self.upstreams.get(resource) {
                Some(Upstream::Provider(identity)) if *identity == user.provider.as_str() => {
                    let all = self.vault.connections(&user.issuer, &user.subject, now).await?;
                    let own =
                        all.into_iter().find(|own| own.realm.provider() == Some(&user.provider));
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
