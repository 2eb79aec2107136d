//! Where the registry stands, from open to gone.

use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::OpenError;

/// What became of the sessions when the registry stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Sessions whose backend has released everything.
    pub ended: usize,
    /// Sessions given up at the deadline (or lost to a panic): their backends were asked to stop
    /// and were then dropped, if they had been started at all.
    pub abandoned: usize,
}

/// Where the registry stands; it only moves downward.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Phase {
    Open,
    Draining,
    Stopping { deadline: Instant },
    Gone(Report),
}

impl Phase {
    /// Why nothing can be opened in this phase.
    pub(crate) fn refusal<E>(&self) -> Option<OpenError<E>> {
        match self {
            Self::Open => None,
            Self::Draining | Self::Stopping { .. } => Some(OpenError::Draining),
            Self::Gone(_) => Some(OpenError::Gone),
        }
    }

    /// Whether opens under way are refused too.
    pub(crate) fn is_stopping(&self) -> bool {
        matches!(self, Self::Stopping { .. } | Self::Gone(_))
    }
}

/// Resolves once opens under way are refused.
pub(crate) async fn stopping(phase: &mut watch::Receiver<Phase>) {
    // What `wait_for` returns is a read lock. It ends here, so that no caller takes a second one
    // beside it. The sender outlives every receiver.
    let _ = phase.wait_for(Phase::is_stopping).await;
}
