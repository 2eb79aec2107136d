//! What comes of asking an upstream about a credential.

use std::sync::Arc;

/// What a look at a credential showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It stands: the failure had another cause.
    Stands,
    /// The upstream takes the access token no more. It is given to nobody from now on;
    /// [`Vault::credential`](super::Vault::credential) has it renewed, or says that the user has to
    /// sign in.
    Dead,
    /// The upstream does not let the account in, in its own words for the person.
    AccountRefused(Arc<str>),
    /// Nothing is known: no usable answer, nobody to ask, or another credential is stored by now.
    Unknown,
    /// It was looked at a moment ago.
    Paused,
}
