//! The plug point for sealed credentials.

use std::fmt;

use crate::{UnixTime, oauth::Stored};

/// What stands before a server's name in the stored form of a [`CredentialRealm`]. No identity
/// provider's name has a colon.
const SERVER: &str = "server:";

/// What a credential opens. [`Display`](fmt::Display) writes the form in which it is stored, logged
/// and counted: `NAME` of a provider, `server:NAME` of a server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CredentialRealm {
    /// The identity provider of this name, which gave it at a sign-in.
    Provider(String),
    /// The server of this name, for which the user gave a token of their own.
    Server(String),
}

impl CredentialRealm {
    /// The realm whose stored form is `stored`.
    #[must_use]
    pub fn from_stored(stored: &str) -> Self {
        match stored.strip_prefix(SERVER) {
            Some(server) => Self::Server(server.to_owned()),
            None => Self::Provider(stored.to_owned()),
        }
    }

    /// The name of the identity provider, if it is one's.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        match self {
            Self::Provider(name) => Some(name),
            Self::Server(_) => None,
        }
    }
}

impl fmt::Display for CredentialRealm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Provider(name) => f.write_str(name),
            Self::Server(name) => write!(f, "{SERVER}{name}"),
        }
    }
}

/// Whose credential it is, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CredentialKey {
    /// What it opens.
    pub realm: CredentialRealm,
    /// The user's issuer.
    pub issuer: String,
    /// The user's subject.
    pub subject: String,
}

/// A credential as it is stored: nothing of it can be read without the key ring.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Counts what was stored under the key, from 1; it only grows, removals included.
    pub version: u64,
    /// Names the key of the ring that sealed it.
    pub key_id: String,
    /// Nonce and ciphertext.
    pub bytes: Vec<u8>,
    /// When it was stored.
    pub stored: UnixTime,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("version", &self.version)
            .field("key_id", &self.key_id)
            .field("bytes", &self.bytes.len())
            .field("stored", &self.stored)
            .finish()
    }
}

/// Keeps sealed credentials. What holds for every method of
/// [`AuthStore`](crate::oauth::AuthStore) holds here: atomic, durable before it returns, no clock.
///
/// Every implementation runs `auth::testing::credentials_contract`.
pub trait CredentialStore: fmt::Debug + Send + Sync {
    /// The credential under `key`.
    fn credential<'a>(&'a self, key: &'a CredentialKey) -> Stored<'a, Option<Sealed>>;

    /// Stores `bytes` in the place of whatever is there and returns the new version. With
    /// `replaces` it does so only if that is the version which is there, and returns `None` if it
    /// is not: somebody else was faster. A claim on the renewal ends with it.
    fn put_credential<'a>(
        &'a self,
        key: &'a CredentialKey,
        key_id: &'a str,
        bytes: Vec<u8>,
        replaces: Option<u64>,
        now: UnixTime,
    ) -> Stored<'a, Option<u64>>;

    /// Removes the credential. `true` when there was one.
    fn remove_credential<'a>(&'a self, key: &'a CredentialKey) -> Stored<'a, bool>;

    /// Claims the renewal of version `version` until `until`, so that of all brokers on one store
    /// one asks the upstream. `false` when somebody else holds an unexpired claim, or the version
    /// is not the current one.
    fn claim_renewal<'a>(
        &'a self,
        key: &'a CredentialKey,
        version: u64,
        until: UnixTime,
        now: UnixTime,
    ) -> Stored<'a, bool>;

    /// Gives a claim back without having stored anything.
    fn release_renewal<'a>(&'a self, key: &'a CredentialKey, version: u64) -> Stored<'a, ()>;

    /// At most `limit` credentials that are sealed with another key than `key_id`, for sealing them
    /// anew.
    fn sealed_otherwise<'a>(
        &'a self,
        key_id: &'a str,
        limit: usize,
    ) -> Stored<'a, Vec<(CredentialKey, Sealed)>>;

    /// Every key identifier that is in use: a ring without one of them cannot be right.
    fn sealing_keys(&self) -> Stored<'_, Vec<String>>;

    /// At most `limit` credentials of `realm`, in order of issuer and subject, above
    /// the pair `after`.
    fn credentials_at<'a>(
        &'a self,
        realm: &'a CredentialRealm,
        after: (&'a str, &'a str),
        limit: usize,
    ) -> Stored<'a, Vec<(CredentialKey, Sealed)>>;

    /// Each realm of which there is a credential, once, in order of its stored form.
    fn credential_realms(&self) -> Stored<'_, Vec<CredentialRealm>>;

    /// The credentials of a user, in order of their realm's stored form.
    fn credentials_of<'a>(
        &'a self,
        issuer: &'a str,
        subject: &'a str,
    ) -> Stored<'a, Vec<(CredentialKey, Sealed)>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_comes_back_from_its_stored_form() {
        for (stored, realm) in [
            ("forge", CredentialRealm::Provider("forge".into())),
            ("server", CredentialRealm::Provider("server".into())),
            ("server:forge", CredentialRealm::Server("forge".into())),
        ] {
            assert_eq!(realm.to_string(), stored);
            assert_eq!(CredentialRealm::from_stored(stored), realm);
        }
        assert_ne!(
            CredentialRealm::from_stored("server:forge").provider(),
            Some("server:forge"),
            "a token for one server is not a provider's"
        );
    }
}
