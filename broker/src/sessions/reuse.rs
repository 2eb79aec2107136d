//! Sessions one after the other on one child. Some clients open a session for each call; a process for
//! each would cost seconds and memory. So a new session gets the child of one that is over or that its
//! client has left, if the child cannot tell them apart; a session that was not ended falls asleep.
//!
//! ```text
//! initialize ─► the credential that a child would be started with ─none─► open, which says why not
//!                  │
//!               a child of the same owner and server, greeted with the same, that has it
//!                  │yes: it leaves its slot ─► InheritedChild ─► the new session's
//!                  └no: a child is started
//! ```

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use auth::upstream::{Credential, Vault};
use bridge::Message;
use session::{Owner, VacatedSlot, View};
use tokio::time::timeout;

use super::{
    child::Child,
    child_session::ChildSession,
    credential::credential,
    inheritance::{ChildRequest, InheritedChild},
    registry::Sessions,
};
use crate::server::{Server, Settings};

/// How long it may take to store the earlier session. A child starts in about this time.
const PATIENCE: Duration = Duration::from_secs(1);

/// Gives children that are idle to new sessions.
#[derive(Debug)]
pub(crate) struct IdleChildren {
    pub(crate) sessions: Sessions,
    /// Has users' credentials at upstreams; `None` when sign-in is off.
    pub(crate) vault: Option<Arc<Vault>>,
}

/// What a new session needs of a child.
struct Wanted<'a> {
    owner: &'a Owner,
    server: &'a Arc<Server>,
    settings: &'a Arc<Settings>,
    initialize: &'a Message,
    /// What a child would be started with.
    credential: Option<&'a Credential>,
    now: SystemTime,
}

impl IdleChildren {
    /// An idle child of `owner`, if one can serve a client that sends this `initialize`, and the slot
    /// that it is counted in.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the earlier session either as it was or asleep.
    pub(crate) async fn take(
        &self,
        owner: &Owner,
        server: &Arc<Server>,
        initialize: &Message,
        now: SystemTime,
    ) -> Option<(VacatedSlot, InheritedChild)> {
        let settings = &server.settings();
        if !settings.server.reuse || settings.server.stateful {
            return None;
        }
        let vault = self.vault.as_deref();
        // The start of a child fails for the same reason, and says so to the client.
        let credential = credential(vault, &server.name, settings, owner, now).await.ok()?;
        let credential = credential.as_ref();
        let wanted = Wanted { owner, server, settings, initialize, credential, now };
        let (request, mut answer) = ChildRequest::new(initialize.clone());
        let request = Mutex::new(Some(request));
        let vacated = self.sessions.vacate(owner, |view| {
            let request = if wanted.is_met_by(view) { lock(&request).take() } else { None };
            let is_asked = request.is_some();
            if is_asked {
                *lock(&view.backend.promised_to) = request;
            }
            is_asked
        });
        // The child is handed over before its session has left the slot.
        let slot = timeout(PATIENCE, vacated).await.ok()??;
        let mut child = answer.try_recv().ok()?;
        if let Some(credential) = credential {
            let own = child.credential()?;
            if own.is_before(credential.version) && !own.deliver(credential, now).await {
                return None;
            }
            child.login.clone_from(&credential.username);
        }
        Some((slot, child))
    }
}

impl Wanted<'_> {
    fn is_met_by(&self, view: &View<'_, ChildSession>) -> bool {
        let child = view.backend;
        let is_free = view.is_spare
            || view.idle_since.is_some_and(|since| child.visit.is_over(since.elapsed()));
        // The end of a grant ends the children that were used with it.
        is_free
            && view.owner.grant_id() == self.owner.grant_id()
            && Arc::ptr_eq(&child.server, self.server)
            && Arc::ptr_eq(&child.settings, self.settings)
            && self.credential_fits(child)
            && child.bridge.can_be_handed_on(self.initialize)
    }

    /// Whether the child has what another one would be started with, or can get it.
    fn credential_fits(&self, child: &ChildSession) -> bool {
        match (child.credential(), self.credential) {
            (None, None) => true,
            (Some(own), Some(current)) if own.is_before(current.version) => {
                own.is_renewed_in_place()
            }
            (Some(own), Some(_)) => own.works(self.now),
            _ => false,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
