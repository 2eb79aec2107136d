//! A child is let in: what it gets for its environment, and what keeps its dummy alive.

use std::sync::{Arc, atomic::AtomicBool};

use auth::{
    oauth::Secret,
    upstream::{Credential, CredentialKey},
};

use super::dummies::Living;
use crate::config::EgressConfig;

/// Who asks for a dummy.
#[derive(Debug)]
pub(crate) struct Admission<'a> {
    /// The name of the server.
    pub(crate) server: &'a str,
    pub(crate) config: &'a EgressConfig,
    /// Whose token takes the dummy's place.
    pub(crate) token: AdmittedToken,
    /// Is set when the upstream did not take the token.
    pub(crate) doubted: Arc<AtomicBool>,
}

/// Whose token takes a dummy's place.
#[derive(Debug)]
pub(crate) enum AdmittedToken {
    /// That of a person, as it is at the time of each request.
    OfPerson(CredentialKey),
    /// This one, for a child that belongs to nobody.
    Fixed(Credential),
}

/// A child that was let in. Its dummy dies when this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// The address that the child takes for its upstream's.
    pub(crate) base_url: String,
    /// The dummy.
    pub(crate) token: Secret,
    pub(super) _living: Living,
}
