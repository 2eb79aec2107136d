//! What is known of a person.

use std::collections::BTreeMap;

use auth::UnixTime;

/// One account at an identity provider, as (issuer, subject) names it.
#[derive(Debug, Default)]
pub(super) struct Person {
    /// The name of the provider in the configuration, as far as anything stored says it.
    pub(super) provider: Option<String>,
    /// What pages call them.
    pub(super) name: Option<String>,
    pub(super) last_use: Option<UnixTime>,
    pub(super) credential: Option<Stored>,
    /// Since when the operator keeps them out.
    pub(super) blocked: Option<UnixTime>,
}

impl Person {
    /// What they call themselves at their provider, as far as it is known.
    pub(super) fn login(&self) -> Option<&str> {
        self.credential.as_ref().and_then(|own| own.login.as_deref())
    }
}

/// What is stored to act for a person at the provider.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) login: Option<String>,
    pub(super) state: &'static str,
    /// What the provider granted; `None` when it did not say.
    pub(super) scope: Option<String>,
}

pub(super) type ByAccount = BTreeMap<(String, String), Person>;
