//! What a bridge tells its composer while it runs.

use std::fmt;

/// What a bridge tells its composer while it runs.
pub trait Observer: fmt::Debug + Send + Sync {
    /// A line of the child was dropped: no message, or the answer to no request.
    fn line_dropped(&self);

    /// An answer, or what stood before one, was given up before its client had read it: the streams
    /// of its session, or of its person, hold more than they may. Must not call the bridge.
    fn answer_given_up(&self);
}
