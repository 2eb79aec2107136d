//! A child is let in: what it gets for its environment, and what keeps its dummy alive.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
};

use auth::{
    oauth::Secret,
    upstream::{Credential, CredentialKey},
};

use super::{dummies::Living, holder::Holder};
use crate::config::EgressConfig;

/// Who asks for a dummy.
#[derive(Debug)]
pub(crate) struct Admission<'a> {
    /// The name of the server.
    pub(crate) server: &'a str,
    pub(crate) config: &'a EgressConfig,
    /// Where the child is to come.
    pub(crate) listener: ListenerChoice,
    /// Whose token takes the dummy's place.
    pub(crate) token: AdmittedToken,
    /// Is set when the upstream did not take the token.
    pub(crate) doubted: Arc<AtomicBool>,
}

/// Which listener a child comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListenerChoice {
    /// The one of all children that share the host's network.
    Shared,
    /// One in the child's own network, which [`serve`](super::proxy::EgressProxy::serve) is given.
    Own,
}

/// Whose token takes a dummy's place.
#[derive(Debug)]
pub(crate) enum AdmittedToken {
    /// That of a person, as it is at the time of each request.
    OfPerson(CredentialKey),
    /// This one, for a child without a user.
    Fixed(Credential),
}

/// The addresses that a child takes for its upstreams'.
#[derive(Debug, Default)]
pub(crate) struct BaseUrls {
    /// For the one without a name; empty if there is none.
    pub(super) own: String,
    /// For the further ones, by name.
    pub(super) further: BTreeMap<String, String>,
}

impl BaseUrls {
    /// For the upstream without a name; empty if there is none.
    pub(crate) fn own(&self) -> &str {
        &self.own
    }

    /// For the upstream of this name; empty if there is none.
    pub(crate) fn of(&self, name: &str) -> &str {
        self.further.get(name).map_or("", String::as_str)
    }
}

/// A child that was let in. Its dummy dies when this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) base_urls: BaseUrls,
    /// The dummy.
    pub(crate) token: Secret,
    /// Where the child presents it.
    pub(super) port: u16,
    pub(super) holder: Arc<Holder>,
    pub(super) _living: Living,
}

impl Admitted {
    /// The port of the listener, on the loopback interface of the child's network.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}
