//! What the rules of acquiring and replacing ask of a session's child; tests bring a fake.

use std::{sync::Arc, time::SystemTime};

use auth::upstream::Credential;
use session::{Backend, BoxFuture, Owner};

use super::{child_credential::ChildCredential, spawn_failure::SpawnFailure};

/// A child whose credential has an end.
pub(crate) trait Child: Backend {
    /// Whether it has ended, or is about to.
    fn is_closed(&self) -> bool;
    /// What it has of its user's, if anything.
    fn credential(&self) -> Option<&Arc<ChildCredential>>;
    /// Whether the session ends with it, so that no other child can take its place.
    fn is_stateful(&self) -> bool;
}

/// Where the credential is that a child would be started with now.
pub(crate) trait CredentialSource<C> {
    /// The credential of `owner` for the server of `child`, renewed if it has to be; `None` when the
    /// server takes none any more.
    fn credential<'a>(
        &'a self,
        child: &'a C,
        owner: &'a Owner,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Option<Credential>, SpawnFailure>>;

    /// Has the upstream asked whether the credential of `child` still stands, because something failed
    /// with it. What comes of it is marked at the children that have it.
    fn look<'a>(&'a self, child: &'a C, now: SystemTime) -> BoxFuture<'a, ()>;
}
