//! A child between two sessions: who asks for it, and what goes over.

use std::{fmt, sync::Arc};

use bridge::{Bridge, Message, Surroundings, Welcome};
use tokio::sync::{oneshot, watch};

use super::{child_credential::ChildCredential, children::Counted, session_span::SessionSpan};
use crate::server::Settings;

/// Who gets a child.
pub(super) struct ChildRequest {
    /// What its client greets the child with.
    pub(super) initialize: Message,
    reply: oneshot::Sender<InheritedChild>,
}

/// A child between two sessions. Dropping it stops the child.
pub(crate) struct InheritedChild {
    handover: Option<Handover>,
    /// The user's login at the upstream, for the log.
    pub(super) login: Option<String>,
}

/// What a session leaves to the next.
pub(super) struct Handover {
    pub(super) bridge: Bridge,
    pub(super) welcome: Welcome,
    pub(super) child: supervisor::Child,
    pub(super) credential: Option<Arc<ChildCredential>>,
    pub(super) counted: Arc<Counted>,
    pub(super) ended: watch::Receiver<bool>,
    pub(super) surroundings: Surroundings,
    pub(super) current_span: SessionSpan,
    pub(super) settings: Arc<Settings>,
}

impl ChildRequest {
    /// Somebody who waits at the receiver for a child that was greeted with `initialize`.
    pub(super) fn new(initialize: Message) -> (Self, oneshot::Receiver<InheritedChild>) {
        let (reply, answer) = oneshot::channel();
        (Self { initialize, reply }, answer)
    }

    /// Whether nobody waits any more.
    pub(super) fn has_left(&self) -> bool {
        self.reply.is_closed()
    }

    /// Hands the child over. If nobody waits any more it is stopped.
    pub(super) fn receive(self, handover: Handover) {
        let child = InheritedChild { handover: Some(handover), login: None };
        drop(self.reply.send(child));
    }
}

impl InheritedChild {
    /// What there is to go on with; `None` when the child has ended meanwhile.
    pub(super) fn take(mut self) -> Option<Handover> {
        self.handover.take_if(|handover| handover.bridge.closed().is_none())
    }

    /// What it has of its user's, if anything.
    pub(super) fn credential(&self) -> Option<&ChildCredential> {
        self.handover.as_ref()?.credential.as_deref()
    }
}

impl Drop for InheritedChild {
    fn drop(&mut self) {
        if let Some(handover) = &self.handover {
            handover.counted.stops();
            handover.bridge.close();
            handover.child.stop();
        }
    }
}

impl fmt::Debug for ChildRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildRequest").finish_non_exhaustive()
    }
}

impl fmt::Debug for InheritedChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pid = self.handover.as_ref().map(|handover| handover.child.pid());
        f.debug_struct("InheritedChild").field("pid", &pid).finish_non_exhaustive()
    }
}
