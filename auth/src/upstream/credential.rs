//! What the vault gives out.

use std::time::{Duration, SystemTime};

use super::store::CredentialRealm;
use crate::{
    UnixTime,
    oauth::{Secret, StoreError},
};

/// What a user's own child acts with. It goes to that child and to the upstream, nowhere else.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The access token.
    pub access_token: Secret,
    /// The user's login at the upstream, if it said so. For display and environment, never a key.
    pub username: Option<String>,
    /// What the upstream granted, if it said so.
    pub scope: Option<String>,
    /// When the access token ends, if the upstream said so.
    pub expires: Option<SystemTime>,
    /// Grows with every other access token that is stored for the user, also after a removal; a
    /// child that was started with a smaller one runs with an older token.
    pub version: u64,
}

/// Why there is no credential to give.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The user never signed in there, or took it back.
    #[error("there is no credential")]
    Missing,
    /// The upstream takes it no more, and only the user can change that: by signing in, or by giving
    /// another token where it was the user's own for a server.
    #[error("the user has to sign in again")]
    SignInAgain,
    /// The upstream does not let the account in; it works again once the upstream does.
    #[error("the upstream refuses the account: {message}")]
    AccountRefused {
        /// The upstream's words for the person: one printable line of at most 200 characters.
        message: String,
    },
    /// Only the operator can change that; the log says what. The credential is kept.
    #[error("the identity provider or the key ring is misconfigured")]
    Misconfigured,
    /// The upstream does not answer.
    #[error("the upstream is unavailable")]
    Unavailable {
        /// When it will be asked again; at least a second.
        retry_after: Duration,
    },
    /// Our own store does not answer.
    #[error("the store of credentials is unavailable")]
    Store(#[from] StoreError),
}

/// One line of a user's account page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// What the credential opens.
    pub realm: CredentialRealm,
    /// The user's login there.
    pub username: Option<String>,
    /// How it stands.
    pub state: ConnectionState,
    /// What the upstream granted, if it said so.
    pub scope: Option<String>,
    /// What the operator configured and the upstream did not grant, in the upstream's words.
    pub missing: Vec<String>,
    /// Why the upstream does not let the account in, in its own words for the person.
    pub account_refused: Option<String>,
    /// When it was stored or last renewed.
    pub stored: UnixTime,
}

/// How a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// It works, as far as anybody knows.
    Fine {
        /// When the access token ends.
        expires: Option<SystemTime>,
        /// Whether it is renewed before that without the user.
        renews: bool,
    },
    /// The user has to sign in again, at once or when the access token ends.
    SignInAgain {
        /// Until when it still works; `None` when it does not any more.
        works_until: Option<SystemTime>,
    },
    /// It does not open: the operator has to look at the key ring, or the user to sign in again.
    Unreadable,
}
