//! A session's backend: one child process and the bridge on its pipes. The session may outlive it:
//! then another backend goes on where a snapshot says that this one was.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bridge::{Bridge, Welcome};
use session::{BoxFuture, SessionId, StopReason};
use tokio::sync::watch;
use tracing::{Span, field, info};

use super::{child::Child, child_credential::ChildCredential, children::Counted};
use crate::server::Server;

/// One live session's child.
#[derive(Debug)]
pub(crate) struct ChildSession {
    pub(crate) server: Arc<Server>,
    pub(crate) bridge: Bridge,
    /// What the child has of its user's, if anything.
    pub(super) credential: Option<Arc<ChildCredential>>,
    /// Its state is in the process: the session ends with it.
    pub(super) stateful: bool,
    pub(super) child: supervisor::Child,
    /// The handshake's result, for the client that opened the session.
    pub(super) welcome: Mutex<Option<Welcome>>,
    pub(super) why: OnceLock<StopReason>,
    pub(super) counted: Arc<Counted>,
    pub(super) ended: watch::Receiver<bool>,
    pub(super) span: Span,
}

impl ChildSession {
    /// The handshake's result, once.
    pub(crate) fn take_welcome(&self) -> Option<Welcome> {
        self.welcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl session::Backend for ChildSession {
    fn stop(&self, why: StopReason) {
        if self.why.set(why).is_ok() {
            self.span.in_scope(|| info!(reason = %why, "session stops"));
            self.counted.stops();
        }
        self.bridge.close();
        self.child.stop();
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        let mut ended = self.ended.clone();
        Box::pin(async move {
            // An error means that the task is gone, and with it everything it owned.
            let _ = ended.wait_for(|ended| *ended).await;
        })
    }

    fn kind(&self) -> &str {
        &self.server.name
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        if self.stateful {
            return None;
        }
        self.bridge.snapshot().map(|snapshot| snapshot.to_bytes())
    }

    fn named(&self, id: &SessionId) {
        self.span.record("session", field::display(id.short()));
    }

    fn succeed(&self, before: &Self) {
        self.bridge.inherit(&before.bridge);
    }
}

impl Child for ChildSession {
    fn is_closed(&self) -> bool {
        self.bridge.closed().is_some()
    }

    fn credential(&self) -> Option<&Arc<ChildCredential>> {
        self.credential.as_ref()
    }

    fn is_stateful(&self) -> bool {
        self.stateful
    }
}
