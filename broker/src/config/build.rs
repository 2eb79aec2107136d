//! How an identity provider or a verifier is made of its table.
//!
//! A kind brings a function that does so; the broker calls it at the start, and `check` calls it to
//! find out whether the table can be used. Nothing is asked over the network here.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use auth::oauth::{Fetch, IdentityProvider};
use auth::{AudienceRule, SetupError, TokenVerifier};

use super::table::Table;

/// What a provider or a verifier is made of. Calendar time is no part of it: each call of their
/// methods says what time it is. For random numbers there is `auth::os_rng`.
#[derive(Debug)]
pub struct BuildContext<'a, T> {
    /// The name of the table, which the operator chose: what `name()` has to answer. For a provider
    /// it is part of the callback address and of stored data.
    pub name: &'a str,
    /// The table.
    pub settings: &'a T,
    /// Sends requests to addresses that the operator wrote down.
    pub fetch: Arc<dyn Fetch>,
    /// The address of the broker, without a slash at its end.
    pub public_url: &'a str,
    /// What `aud` may be when the operator wrote nothing: the address of each server.
    pub audiences: &'a [AudienceRule],
    /// Whether no verifier of the same kind stands after this one in `auth.verifiers`. One that is
    /// followed leaves the tokens that it does not know to the next; the last one may refuse them.
    pub is_last: bool,
}

impl<T> BuildContext<'_, T> {
    /// Where a browser comes back after signing in with this provider.
    #[must_use]
    pub fn callback(&self) -> String {
        format!("{}/callback/{}", self.public_url, self.name)
    }
}

/// What is the same for every table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) fetch: &'a Arc<dyn Fetch>,
    pub(crate) public_url: &'a str,
    pub(crate) audiences: &'a [AudienceRule],
    pub(crate) is_last: bool,
}

/// Makes one of a table's settings.
type Make<O> = Arc<dyn Fn(Erased<'_>) -> Result<Arc<O>, SetupError> + Send + Sync>;

/// A context whose settings are of a type that is known by the function alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Erased<'a> {
    pub(super) name: &'a str,
    pub(super) settings: &'a dyn Any,
    pub(super) around: Surroundings<'a>,
}

impl<'a> Erased<'a> {
    fn with<T: Table>(self) -> BuildContext<'a, T> {
        let settings = self.settings.downcast_ref().expect("a kind reads its own tables");
        BuildContext {
            name: self.name,
            settings,
            fetch: Arc::clone(self.around.fetch),
            public_url: self.around.public_url,
            audiences: self.around.audiences,
            is_last: self.around.is_last,
        }
    }
}

/// How the tables of a kind are put to use.
#[derive(Clone)]
pub(super) enum Build {
    /// By the broker itself, which has the store that these work on.
    Broker,
    Identity(Make<dyn IdentityProvider>),
    Verifier(Make<dyn TokenVerifier>),
}

impl Build {
    pub(super) fn identity<T: Table>(
        build: impl Fn(BuildContext<'_, T>) -> Result<Arc<dyn IdentityProvider>, SetupError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self::Identity(Arc::new(move |erased| build(erased.with())))
    }

    pub(super) fn verifier<T: Table>(
        build: impl Fn(BuildContext<'_, T>) -> Result<Arc<dyn TokenVerifier>, SetupError>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self::Verifier(Arc::new(move |erased| build(erased.with())))
    }
}

impl fmt::Debug for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broker => "Broker",
            Self::Identity(_) => "Identity",
            Self::Verifier(_) => "Verifier",
        })
    }
}

/// The issuer that a table's users or tokens are of, as far as the table tells.
#[derive(Clone)]
pub(super) struct IssuerOf(Arc<ReadIssuer>);

/// Reads a table, which is of the type that it was declared with.
type ReadIssuer = dyn Fn(&dyn Any) -> Option<String> + Send + Sync;

impl IssuerOf {
    pub(super) fn new<T: Table>(
        issuer: impl Fn(&T) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |settings| issuer(settings.downcast_ref()?)))
    }

    pub(super) fn of(&self, settings: &dyn Any) -> Option<String> {
        (self.0)(settings)
    }
}

impl fmt::Debug for IssuerOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IssuerOf")
    }
}
