//! What is stored of users' connections to their providers, to be looked at by a command: nothing is
//! renewed, and no provider is asked.

use std::sync::Arc;

use auth::{
    oauth::IdentityProvider,
    upstream::{CredentialStore, Vault, VaultLimits, VaultParts},
};

use super::{http_clients::HttpClients, providers::Maker, start_error::StartError};
use crate::{
    config::Config,
    store::{Keys, Store},
};

/// The address of a broker that has not been started.
const NOWHERE: &str = "http://localhost";

/// The vault of a broker that need not run; `None` when no credential is stored. Its driver does not
/// run, so ask it for [`Vault::connections`] alone.
///
/// # Errors
///
/// [`StartError`]: the key ring, the store, or a provider's table.
pub(crate) async fn stored(
    config: &Config,
    store: &Arc<Store>,
) -> Result<Option<Arc<Vault>>, StartError> {
    // With nothing sealed there may be no key ring yet, and looking makes none.
    if store.sealing_keys().await?.is_empty() {
        return Ok(None);
    }
    let keys = Keys::open(&config.data_dir, &**store).await?;
    let outside = HttpClients::new(config)?;
    let maker = Maker::new(config, NOWHERE, &outside.fetch);
    let mut providers: Vec<Arc<dyn IdentityProvider>> = Vec::new();
    for table in config.auth.identity_tables() {
        providers.extend(maker.identity(table)?);
    }
    let (vault, _) = Vault::new(VaultParts {
        ring: keys.ring,
        store: Arc::clone(store) as Arc<dyn CredentialStore>,
        providers,
        admission: None,
        listener: None,
        limits: VaultLimits::default(),
        rng: auth::os_rng()?,
    });
    Ok(Some(vault))
}
