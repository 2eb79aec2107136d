//! What can go wrong, one type per operation.

use std::time::Duration;

use bytes::Bytes;

use crate::{message::Malformed, server::Difference};

/// Why a bridge has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The child closed its output, or some seconds ago its input: it has ended, or is about to.
    #[error("the child ended")]
    ChildEnded,
    /// The child's output failed with [`OutOfMemory`](std::io::ErrorKind::OutOfMemory): it has ended
    /// because it used more memory than it may.
    #[error("the child used more memory than it may")]
    OutOfMemory,
    /// The child left its input unread for [`Limits::write_deadline`](crate::Limits).
    #[error("the child does not read its input")]
    Stalled,
    /// [`Bridge::close`](crate::Bridge::close) was called, or the driver dropped.
    #[error("the bridge was closed")]
    Stopped,
}

impl Closed {
    /// What the client is told about a request that was under way.
    #[must_use]
    pub fn for_client(self) -> &'static str {
        match self {
            Self::ChildEnded => "the server ended before it answered",
            Self::OutOfMemory => {
                "the server used more memory than it may, and was ended before it answered"
            }
            Self::Stalled => "the server stopped reading its input and was stopped",
            Self::Stopped => "the session ended before the server answered",
        }
    }
}

/// How a POST's requests ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The child answered.
    Answered,
    /// The child answered with an error of its own: a JSON-RPC error, or a tool's result that says
    /// `isError` (MCP tools, "Error Handling").
    AnsweredError,
    /// The child did not answer in [`Limits::request_timeout`](crate::Limits).
    TimedOut,
    /// The child does not read its input.
    Unread,
    /// The child answered with what is no answer, or one longer than
    /// [`Limits::max_line_bytes`](crate::Limits).
    Unreadable,
    /// The client cancelled the request.
    Cancelled,
    /// What let the client in was withdrawn.
    Withdrawn,
    /// The bridge ended.
    Closed(Closed),
}

impl Outcome {
    /// Lowercase and stable; used in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered | Self::AnsweredError => "ok",
            Self::TimedOut => "timeout",
            Self::Unread => "unread",
            Self::Unreadable => "unreadable",
            Self::Cancelled => "cancelled",
            Self::Withdrawn => "withdrawn",
            Self::Closed(_) => "closed",
        }
    }
}

/// Why a session could not be initialized.
#[derive(Debug, thiserror::Error)]
pub enum InitializeError {
    /// The child answered with a JSON-RPC error, which is the client's to see: the `error` object
    /// as raw JSON.
    #[error("the child refused to initialize")]
    Refused(Bytes),
    /// The child did not answer in time.
    #[error("the child did not answer initialize in time")]
    TimedOut,
    /// The child answered with what is no answer; `what` says why.
    #[error("the child's answer to initialize could not be read: {what}")]
    Unreadable {
        /// What is wrong with it.
        what: String,
    },
    /// The child ended, or broke a bound, before it answered.
    #[error("the child was lost during initialize")]
    Closed(#[source] Closed),
}

/// Why a session could not go on with a new child.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The child answered `initialize` with a JSON-RPC error: the `error` object as raw JSON.
    #[error("the child refused to initialize again")]
    Refused(Bytes),
    /// The child did not answer in time.
    #[error("the child did not answer the repeated initialize in time")]
    TimedOut,
    /// The child answered with what is no answer; `what` says why.
    #[error("the child's answer to the repeated initialize could not be read: {what}")]
    Unreadable {
        /// What is wrong with it.
        what: String,
    },
    /// The child ended, or broke a bound, before it answered.
    #[error("the child was lost during the repeated initialize")]
    Closed(#[source] Closed),
    /// The child is not what the client was told it is. The session must end: the client has to
    /// learn of it with an `initialize` of its own.
    #[error("the child differs from the one before")]
    Changed(#[source] Difference),
}

/// Why a POST was refused. Nothing of it reached the child, unless its own words say otherwise.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// A message in it is not allowed here.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// As many requests are under way as may be.
    #[error("{max} requests are under way")]
    Busy {
        /// The bound, [`Limits::max_in_flight`](crate::Limits).
        max: usize,
    },
    /// As much waits for the child to be read as may.
    #[error("the child does not read its input")]
    Unread,
    /// What let the client in was withdrawn a moment ago.
    #[error("what let the client in was withdrawn")]
    Withdrawn,
    /// The bridge has ended.
    #[error("the bridge has ended")]
    Closed(#[source] Closed),
}

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Connections take a stream of the session from each other again and again. The one that has
    /// it keeps it.
    #[error("connections take a stream from each other")]
    Contended {
        /// When the next may try.
        retry_after: Duration,
    },
    /// The bridge has ended.
    #[error("the bridge has ended")]
    Closed(#[source] Closed),
}
