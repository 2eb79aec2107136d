//! The handshake with a child, and what becomes of the child when it fails.

use std::time::Duration;

use bridge::Bridge;
use supervisor::Child;
use tokio::time::timeout;
use tracing::{field, warn};

use super::{child_session::ChildSession, spawn_failure::SpawnFailure};
use crate::error_chain::error_chain;

/// How long a child that has closed its output may take to end by itself.
const LAST_STEPS: Duration = Duration::from_millis(250);

/// Waits until the child can be used. When that fails, the child has ended before this returns: the
/// place it took is free then and not earlier.
pub(super) async fn complete_handshake<T>(
    live: &ChildSession,
    handshake: impl Future<Output = Result<T, SpawnFailure>>,
) -> Result<T, SpawnFailure> {
    let guard = KillOnDrop(Some((live.bridge.clone(), live.child.clone())));
    let failure = match handshake.await {
        Ok(done) => {
            guard.disarm();
            return Ok(done);
        }
        Err(failure) => failure,
    };
    if failure.is_of_a_lost_child() {
        // Its pipes end before it does. Killed meanwhile, it would seem not to have ended by itself.
        let _ = timeout(LAST_STEPS, live.child.ended()).await;
    }
    drop(guard);
    session::Backend::ended(live).await;
    if failure.is_the_childs() {
        let cause = error_chain(&failure);
        let last_words = live.child.stderr_tail();
        let last_words: Vec<_> = last_words.lines().rev().take(5).collect();
        let last_words = last_words.into_iter().rev().collect::<Vec<_>>().join("\n");
        // What is no message: a banner, another framing, a prompt.
        let read = live.bridge.unread_output().unwrap_or_default();
        let exit = live.child.exit().map(field::display);
        warn!(error = %failure, %cause, exit, %last_words, %read, "the child failed to initialize");
    }
    Err(failure)
}

/// The spawn may be given up at any await: the child must not stay behind.
pub(super) struct KillOnDrop(pub(super) Option<(Bridge, Child)>);

impl KillOnDrop {
    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some((bridge, child)) = &self.0 {
            bridge.close();
            child.kill();
        }
    }
}
