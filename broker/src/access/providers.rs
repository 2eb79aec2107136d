//! One arm per way to sign in and per verifier: from configuration to trait object.

use std::sync::Arc;

use auth::{TokenVerifier, oauth::IdentityProvider};

use super::AccessError;
use crate::{
    config::{Config, Identity},
    fetch::Configured,
    store::Store,
};

/// Why a provider cannot be used as it is configured.
pub(super) type ProviderError = Box<dyn std::error::Error + Send + Sync>;

/// The ways to sign in, in the order of their buttons.
pub(super) fn identities(
    config: &Config,
    store: &Arc<Store>,
    fetch: Arc<Configured>,
) -> Result<Vec<Arc<dyn IdentityProvider>>, AccessError> {
    let _ = (store, fetch);
    for identity in &config.auth.identity {
        match identity {
            Identity::Local => {}
            Identity::Forgejo | Identity::Gitea | Identity::Oidc | Identity::GitHub => {}
        }
    }
    Ok(Vec::new())
}

pub(super) fn jwt(
    _config: &Config,
    _base: &str,
    _fetch: Arc<Configured>,
) -> Result<Arc<dyn TokenVerifier>, AccessError> {
    todo!()
}

pub(super) fn introspection(
    _config: &Config,
    _base: &str,
    _fetch: Arc<Configured>,
) -> Result<Arc<dyn TokenVerifier>, AccessError> {
    todo!()
}
