//! Sessions one after the other on one child. Some clients open a session for each call; a process for
//! each would cost seconds and memory. So a new session gets the child of one that its owner has left
//! idle, if the child cannot tell them apart; the earlier one falls asleep.
//!
//! ```text
//! initialize ─► an idle session of the same owner and server, greeted with the same
//!                  │yes: it falls asleep, and leaves its child ─► InheritedChild ─► the new session's
//!                  └no: a child is started
//! ```

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bridge::Message;
use session::{Owner, VacatedSlot};
use tokio::time::timeout;

use super::{
    inheritance::{ChildRequest, InheritedChild},
    registry::Sessions,
};
use crate::server::Server;

/// How long it may take to store the earlier session. A child starts in about this time.
const PATIENCE: Duration = Duration::from_secs(1);

/// The child of a session of `owner` that is idle, if one can serve a client that sends this
/// `initialize`, and the slot that it is counted in.
///
/// # Cancel safety
/// Dropping the future leaves the earlier session either as it was or asleep.
pub(crate) async fn take_idle_child(
    sessions: &Sessions,
    owner: &Owner,
    server: &Arc<Server>,
    initialize: &Message,
) -> Option<(VacatedSlot, InheritedChild)> {
    let settings = server.settings();
    if !settings.server.reuse || settings.server.stateful {
        return None;
    }
    let (request, mut answer) = ChildRequest::new(initialize.clone());
    let request = Mutex::new(Some(request));
    let vacated = sessions.vacate(owner, |view| {
        let child = view.backend;
        // The end of a grant ends the children that were used with it.
        let fits = view.owner.grant_id() == owner.grant_id()
            && Arc::ptr_eq(&child.server, server)
            && Arc::ptr_eq(&child.settings, &settings)
            && child.bridge.can_be_handed_on(initialize);
        let request = if fits { lock(&request).take() } else { None };
        let is_asked = request.is_some();
        if is_asked {
            *lock(&child.promised_to) = request;
        }
        is_asked
    });
    // The child is handed over before its session has left the slot.
    let slot = timeout(PATIENCE, vacated).await.ok()??;
    Some((slot, answer.try_recv().ok()?))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
