//! A session's backend: one child process and the bridge on its pipes. The session may outlive it:
//! then another backend goes on where a snapshot says that this one was.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use bridge::{Bridge, Surroundings, Welcome};
use session::{BoxFuture, SessionId, StopReason};
use tokio::sync::watch;
use tracing::{Span, field, info};

use super::{
    child::Child,
    child_credential::ChildCredential,
    children::Counted,
    inheritance::{ChildRequest, Handover},
    session_span::SessionSpan,
    visit::Visit,
};
use crate::server::{Server, Settings};

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
    /// The child has gone to another session.
    pub(super) left: watch::Sender<bool>,
    /// Who gets the child when the session falls asleep.
    pub(super) promised_to: Mutex<Option<ChildRequest>>,
    /// Its person's ledger, and who is told of what happens.
    pub(super) surroundings: Surroundings,
    /// What the child was started with.
    pub(super) settings: Arc<Settings>,
    pub(super) span: Span,
    /// The span of the session that has the child, in which the child's own tasks run.
    pub(super) current_span: SessionSpan,
    /// How its client uses the session.
    pub(crate) visit: Visit,
    /// The session is over, and the child waits for the next one.
    pub(super) is_retired: AtomicBool,
}

impl ChildSession {
    /// The handshake's result, once.
    pub(crate) fn take_welcome(&self) -> Option<Welcome> {
        self.welcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ChildSession {
    /// Leaves the child to another session; `false` when it cannot be had.
    fn leave_child_to(&self, request: ChildRequest) -> bool {
        if request.has_left() {
            return false;
        }
        let handed_on = self.bridge.hand_on(&request.initialize, self.surroundings.clone());
        let Some((bridge, welcome)) = handed_on else { return false };
        request.receive(Handover {
            bridge,
            welcome,
            child: self.child.clone(),
            credential: self.credential.clone(),
            counted: Arc::clone(&self.counted),
            ended: self.ended.clone(),
            surroundings: self.surroundings.clone(),
            current_span: self.current_span.clone(),
            settings: Arc::clone(&self.settings),
        });
        true
    }
}

impl session::Backend for ChildSession {
    fn stop(&self, why: StopReason) {
        let request = self.promised_to.lock().unwrap_or_else(PoisonError::into_inner).take();
        if why == StopReason::Replaced
            && let Some(request) = request
            && self.why.get().is_none()
            && self.leave_child_to(request)
        {
            let _ = self.why.set(why);
            let is_retired = self.is_retired.load(Ordering::Relaxed);
            let what = match is_retired {
                true => "the idle child goes to another session",
                false => "session sleeps, and another one goes on with its child",
            };
            self.span.in_scope(|| info!("{what}"));
            self.left.send_replace(true);
            return;
        }
        if self.why.set(why).is_ok() {
            let what = match self.is_retired.load(Ordering::Relaxed) {
                true => "the idle child stops",
                false => "session stops",
            };
            self.span.in_scope(|| info!(reason = %why, "{what}"));
            self.counted.stops();
        }
        self.bridge.close();
        self.child.stop();
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        let (mut ended, mut left) = (self.ended.clone(), self.left.subscribe());
        Box::pin(async move {
            let ended = async {
                // An error means that the task is gone, and with it everything it owned.
                let _ = ended.wait_for(|ended| *ended).await;
            };
            let left = async {
                // Without this session nobody gives its child away.
                if left.wait_for(|left| *left).await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = ended => {}
                () = left => {}
            }
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

    /// A child that calls share holds nothing that the next one does not.
    fn is_disposable(&self) -> bool {
        self.bridge.snapshot().is_some_and(|snapshot| !snapshot.is_of_a_session())
    }

    fn retire(&self) -> bool {
        let is_kept = self.settings.server.reuse
            && !self.stateful
            && Arc::ptr_eq(&self.settings, &self.server.settings())
            && self.bridge.retire();
        if is_kept {
            self.is_retired.store(true, Ordering::Relaxed);
            self.counted.retires();
            self.span.in_scope(|| info!("session is over, and its child waits for another one"));
        }
        is_kept
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
