//! Tokens that users gave for one server themselves. No provider renews them, and none can be
//! asked whether they stand.

use std::time::SystemTime;

use super::{
    credential::{Credential, CredentialError},
    listener::Change,
    looking,
    pair::Pair,
    store::{CredentialKey, CredentialRealm},
    vault::{Vault, key_in},
};
use crate::oauth::{Secret, StoreError, UpstreamCredential};

impl Vault {
    /// Keeps a token that the user gave for `server`, in the place of an earlier one. The caller
    /// checked that it is one, and that the user may.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when it could not be kept.
    pub async fn put_user_token(
        &self,
        server: &str,
        issuer: &str,
        subject: &str,
        token: Secret,
        now: SystemTime,
    ) -> Result<(), StoreError> {
        let credential = UpstreamCredential {
            access_token: token,
            refresh_token: None,
            expires: None,
            scope: None,
            username: None,
        };
        let pair = Pair::new(&credential, now);
        self.store(&user_token_key(server, issuer, subject), &pair, now).await
    }

    /// The token that the user gave for `server`.
    ///
    /// # Errors
    ///
    /// [`CredentialError`]: usually `Missing`, and `SignInAgain` once the token
    /// [has ended](Self::end_user_token).
    pub async fn user_token(
        &self,
        server: &str,
        issuer: &str,
        subject: &str,
    ) -> Result<Credential, CredentialError> {
        let held = self.core.read(&user_token_key(server, issuer, subject)).await??;
        if held.pair.dead {
            return Err(CredentialError::SignInAgain);
        }
        Ok(held.credential())
    }

    /// Notes that the upstream takes a token no more that the user gave for a server: the one of
    /// `version` under `key`. It is not given out from now on, until the user gives another one.
    /// `false` when that is not what is stored, or was noted before. There is no provider to ask about
    /// such a token, so this goes by the caller's word.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when it could not be noted.
    pub async fn end_user_token(
        &self,
        key: &CredentialKey,
        version: u64,
    ) -> Result<bool, StoreError> {
        let Ok(held) = self.core.read(key).await? else { return Ok(false) };
        let is_meant = matches!(key.realm, CredentialRealm::Server(_))
            && held.token_version() == version
            && !held.pair.dead;
        if !is_meant || !looking::mark(&self.core, key, &held, |pair| pair.dead = true).await? {
            return Ok(false);
        }
        let (server, owner) = (&key.realm, &key.subject);
        tracing::info!(%server, %owner, "the upstream takes a user's token for a server no more");
        self.core.tell(key, Change::Died { version });
        Ok(true)
    }

    /// Removes the token that the user gave for `server`. `true` when there was one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when it could not be removed.
    pub async fn remove_user_token(
        &self,
        server: &str,
        issuer: &str,
        subject: &str,
    ) -> Result<bool, StoreError> {
        self.forget(&user_token_key(server, issuer, subject)).await
    }
}

fn user_token_key(server: &str, issuer: &str, subject: &str) -> CredentialKey {
    key_in(CredentialRealm::Server(server.to_owned()), issuer, subject)
}
