//! What a vault is made of.

use std::sync::Arc;

use rand_chacha::ChaCha20Rng;

use super::{
    key_ring::KeyRing, limits::VaultLimits, listener::CredentialListener, store::CredentialStore,
};
use crate::{admission::Admission, oauth::IdentityProvider};

/// What a [`Vault`](super::Vault) is made of.
#[derive(Debug)]
pub struct VaultParts {
    /// Seals and opens.
    pub ring: KeyRing,
    /// Keeps what is sealed. Several vaults may share it.
    pub store: Arc<dyn CredentialStore>,
    /// Renew what they gave, by name.
    pub providers: Vec<Arc<dyn IdentityProvider>>,
    /// Whom the operator lets in, for judging each renewal; without it everyone is.
    pub admission: Option<Arc<Admission>>,
    /// Hears of every change, if there is a listener.
    pub listener: Option<Arc<dyn CredentialListener>>,
    /// How much at once.
    pub limits: VaultLimits,
    /// For nonces; outside of tests [`os_rng`](crate::os_rng).
    pub rng: ChaCha20Rng,
}
