//! Who wants to know what becomes of credentials.

use std::fmt;

use super::CredentialKey;

/// Hears what happens to credentials: to count it, and to tell the children that run with one.
///
/// The calls come in the middle of the work, so they return at once and lock nothing for long.
/// Another broker's changes to the same store are not heard of; compare
/// [`Credential::version`](super::Credential::version).
pub trait CredentialListener: fmt::Debug + Send + Sync {
    /// The upstream was asked to renew a credential, and this came of it. Called once for each
    /// renewal, however many requests wait for it.
    fn asked(&self, key: &CredentialKey, outcome: Outcome);

    /// The upstream granted less than the operator configured; `missing` in its own words. Called at
    /// each sign-in and renewal.
    fn narrowed(&self, key: &CredentialKey, missing: &[String]) {
        let _ = (key, missing);
    }

    /// Something else is stored under `key` from now on.
    fn changed(&self, key: &CredentialKey, change: Change);
}

/// What came of asking the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It gave a new credential.
    Renewed,
    /// The user has to sign in again.
    SignInAgain,
    /// The operator has to change something.
    Misconfigured,
    /// It did not answer, or not sensibly.
    Unavailable,
}

impl Outcome {
    /// Everything there is.
    pub const ALL: [Self; 4] =
        [Self::Renewed, Self::SignInAgain, Self::Misconfigured, Self::Unavailable];

    /// A word for a metric's label: `renewed`, `sign_in_again`, `misconfigured` or `unavailable`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::SignInAgain => "sign_in_again",
            Self::Misconfigured => "misconfigured",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What became of what is stored under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// The user signed in, or gave a token: there is another access token.
    Kept,
    /// It was renewed: there is another access token; the old one works until its end.
    Renewed,
    /// The upstream renews it no more; the access token works until its end.
    Refused,
    /// It is gone.
    Removed,
    /// The upstream accepts the access token `version` no more, or does not let its account in.
    Died {
        /// [`Credential::version`](super::Credential::version) of that token.
        version: u64,
    },
}
