//! The child behind a dummy: whose it is, where its requests go, and what it may use.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use auth::oauth::Secret;
use tokio_util::sync::CancellationToken;

use super::{
    bounds::Bounds, client::UpstreamClient, rewrite::Addresses, routes::Routes, token::TokenSource,
};

/// A child that has a dummy.
#[derive(Debug)]
pub(super) struct Holder {
    /// The name of its server.
    pub(super) server: String,
    pub(super) dummy: Secret,
    /// Whether it comes to the listener of all children, and to none of its own.
    pub(super) is_shared: bool,
    /// Where its requests go.
    pub(super) routes: Routes,
    /// Its own connections to them, so that nothing it does on one meets another child's request.
    pub(super) client: UpstreamClient,
    /// What of its answers is rewritten.
    pub(super) addresses: Option<Arc<Addresses>>,
    pub(super) token: TokenSource,
    pub(super) bounds: Bounds,
    /// Cancelled at the child's end, and with it what is under way.
    pub(super) gone: CancellationToken,
    /// Has the upstream asked about the credential before the next call; shared with the session.
    pub(super) doubted: Arc<AtomicBool>,
}

impl Holder {
    /// Notes that the upstream did not take the token.
    pub(super) fn doubt(&self) {
        self.doubted.store(true, Ordering::SeqCst);
    }
}
