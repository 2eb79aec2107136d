//! Which credential of its user's a child is started with.

use std::{sync::Arc, time::SystemTime};

use auth::upstream::{Credential, CredentialError, CredentialKey, CredentialRealm, Look, Vault};
use session::{BoxFuture, Owner};

use super::{
    child::{Child, CredentialSource},
    child_credential::NEEDED_LIFE,
    child_session::ChildSession,
    spawn_failure::SpawnFailure,
};
use crate::{config::Upstream, server::Settings};

/// The user's own credential, if the server asks for one.
pub(crate) async fn credential(
    vault: Option<&Vault>,
    server: &str,
    settings: &Settings,
    owner: &Owner,
    now: SystemTime,
) -> Result<Option<Credential>, SpawnFailure> {
    let (Some(upstream), true) = (&settings.server.upstream, settings.server.asks_upstream())
    else {
        return Ok(None);
    };
    let found = match vault {
        None => Err(CredentialError::Missing),
        Some(vault) => vault.current(&key(upstream, server, owner), now, NEEDED_LIFE).await,
    };
    found
        .map(Some)
        .map_err(|source| SpawnFailure::Credential { upstream: upstream.clone(), source })
}

/// Under what a user's credential for this server is stored.
pub(super) fn key(upstream: &Upstream, server: &str, owner: &Owner) -> CredentialKey {
    let realm = match upstream {
        Upstream::User => CredentialRealm::Server(server.to_owned()),
        Upstream::Provider(provider) => CredentialRealm::Provider(provider.as_str().to_owned()),
    };
    let (issuer, subject) = (owner.issuer().to_owned(), owner.subject().to_owned());
    CredentialKey { realm, issuer, subject }
}

/// The vault, as children of this broker are given what it holds.
#[derive(Debug, Clone)]
pub(crate) struct VaultSource(pub(crate) Option<Arc<Vault>>);

impl CredentialSource<ChildSession> for VaultSource {
    fn credential<'a>(
        &'a self,
        child: &'a ChildSession,
        owner: &'a Owner,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Option<Credential>, SpawnFailure>> {
        Box::pin(async move {
            let (server, settings) = (&child.server, child.server.settings());
            credential(self.0.as_deref(), &server.name, &settings, owner, now).await
        })
    }

    fn look<'a>(&'a self, child: &'a ChildSession, now: SystemTime) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (Some(vault), Some(own)) = (&self.0, child.credential()) else { return };
            match vault.look(own.key(), now).await {
                // The vault has told of it as well, and this child must not wait for that.
                Look::Dead | Look::AccountRefused(_) => own.mark_dead(own.version()),
                Look::Stands | Look::Unknown | Look::Paused => {}
            }
        })
    }
}
