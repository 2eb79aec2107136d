//! Which credential of its user's a child is started with.

use std::time::{Duration, SystemTime};

use auth::upstream::{Credential, CredentialError, CredentialKey, Vault};
use session::Owner;

use super::spawn_failure::SpawnFailure;
use crate::{
    config::{Template, Upstream},
    server::Settings,
};

/// How long a credential must still live for a child to be started with it.
pub(super) const NEEDED_LIFE: Duration = Duration::from_secs(60);

/// The user's own credential, if the server asks for one.
pub(crate) async fn credential(
    vault: Option<&Vault>,
    server: &str,
    settings: &Settings,
    owner: &Owner,
) -> Result<Option<Credential>, SpawnFailure> {
    let asked = settings.server.token_file.is_some()
        || settings.server.env.values().any(Template::asks_upstream);
    let (Some(upstream), true) = (settings.server.upstream, asked) else { return Ok(None) };
    #[expect(clippy::disallowed_methods, reason = "a spawn reads the calendar once")]
    let now = SystemTime::now();
    let (issuer, subject) = (owner.issuer(), owner.subject());
    let found = match (vault, upstream) {
        (None, _) => Err(CredentialError::Missing),
        (Some(vault), Upstream::User) => vault.user_token(server, issuer, subject).await,
        (Some(vault), Upstream::Provider(identity)) => {
            vault.credential(identity.name(), issuer, subject, now, NEEDED_LIFE).await
        }
    };
    found.map(Some).map_err(|source| SpawnFailure::Credential { upstream, source })
}

/// Under what a user's credential for this server is stored.
pub(super) fn key(upstream: Upstream, server: &str, owner: &Owner) -> CredentialKey {
    let provider = match upstream {
        Upstream::User => format!("server:{server}"),
        Upstream::Provider(identity) => identity.name().to_owned(),
    };
    let (issuer, subject) = (owner.issuer().to_owned(), owner.subject().to_owned());
    CredentialKey { provider, issuer, subject }
}
