//! The double itself: [`start`] it on a listener, drive it through [`Forge`] or over HTTP.
//!
//! It is one file with its modules beside it, so that a test can have it in its own process:
//!
//! ```ignore
//! #[path = "../../rigs/forge/forge.rs"]
//! mod forge;
//! ```

use std::sync::{Arc, MutexGuard};

use tokio::{net::TcpListener, task::JoinSet};

mod admin;
mod api;
mod authorize;
mod call;
mod control;
mod identity;
mod issues;
mod jwt;
mod options;
mod reply;
mod repos;
mod scope;
mod serve;
mod shared;
mod state;
mod token;

// For tests; the program itself needs the options alone.
#[allow(unused_imports, reason = "each includer uses its part of them")]
pub(crate) use options::{Fault, ForeignRefresh, ForgeOptions};
pub(crate) use state::{App, Counters, State};

use shared::Shared;

/// A running forge. Dropping it ends it and its connections.
#[derive(Debug)]
pub(crate) struct Forge {
    shared: Arc<Shared>,
    // Ends with us.
    _server: JoinSet<()>,
}

/// Serves a forge on `listener` until the handle is dropped. `root` is its public address, when
/// that is not the listener's.
pub(crate) fn start(listener: TcpListener, root: Option<String>, options: ForgeOptions) -> Forge {
    let address = listener.local_addr().expect("it is bound");
    let root = root.unwrap_or_else(|| format!("http://{address}"));
    let shared = Arc::new(Shared::new(root, options));
    let mut server = JoinSet::new();
    server.spawn(serve::accept(listener, Arc::clone(&shared)));
    Forge { shared, _server: server }
}

#[allow(dead_code, reason = "the program uses the one half, tests the other")]
impl Forge {
    /// The forge's address, without a slash at the end.
    pub(crate) fn root(&self) -> &str {
        &self.shared.root
    }

    /// Everything it remembers, to read and to change.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Changes the options.
    pub(crate) fn change_options(&self, change: impl FnOnce(&mut ForgeOptions)) {
        change(&mut self.state().options);
    }

    /// What happened so far.
    pub(crate) fn counters(&self) -> Counters {
        self.state().counters.clone()
    }

    /// Registers an application with one redirect address. It keeps a secret when it gets one.
    pub(crate) fn add_app(&self, client_id: &str, secret: &str, redirect_uri: &str) {
        self.state().add_app(App {
            id: 0,
            name: client_id.to_owned(),
            client_id: client_id.to_owned(),
            secret: secret.to_owned(),
            confidential: !secret.is_empty(),
            redirect_uris: vec![redirect_uri.to_owned()],
            owner: None,
        });
    }

    /// Turns an application into a public one, or back; it keeps its secret, as at a real forge.
    pub(crate) fn set_confidential(&self, client_id: &str, confidential: bool) {
        let mut state = self.state();
        let app = state.apps.iter_mut().find(|app| app.client_id == client_id);
        app.expect("it is registered").confidential = confidential;
    }

    /// An access token of `user` for the API, without a browser. It comes from a grant to an
    /// application of its own, so that it disturbs no other.
    pub(crate) fn token_for(&self, user: &str, scope: &str) -> Option<String> {
        self.shared.token_for(user, scope)
    }

    /// Lets go of every request that hangs.
    pub(crate) fn release(&self) {
        self.shared.release.notify_waiters();
    }
}
