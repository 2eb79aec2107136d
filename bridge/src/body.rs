//! The body of a response: nothing, one document, or a stream of events.

use std::{
    any::Any,
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    limits::Limits,
    stream::{Next, Stream},
};

/// A value that lives as long as the response body of a stream, such as a lease on the session.
pub type StreamGuard = Box<dyn Any + Send + Sync>;

/// Events are given to the connection in pieces of about this size.
const PIECE: usize = 64 * 1024;

/// A comment as a block of its own.
const WHOLE_COMMENT: &str = ": still here\n\n";
/// A comment at the head of the block that follows. Parsers that keep the id of the last event take a
/// block of nothing but a comment for an event without data.
const LEADING_COMMENT: &str = ": still here\n";

/// A response body. Dropping it means that the client left: the call it belongs to goes on.
#[derive(Debug)]
pub struct Body(Inner);

#[derive(Debug)]
enum Inner {
    Whole(Option<Bytes>),
    Events(Box<Events>),
}

impl Body {
    /// A body of these bytes.
    #[must_use]
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(Inner::Whole((!bytes.is_empty()).then_some(bytes)))
    }

    /// No body.
    #[must_use]
    pub fn empty() -> Self {
        Self(Inner::Whole(None))
    }

    pub(crate) fn events(events: Events) -> Self {
        Self(Inner::Events(Box::new(events)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Inner::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Inner::Events(events) => {
                events.poll(cx).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Inner::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Inner::Events(_) => SizeHint::default(),
        }
    }
}

/// The events of one stream on one connection.
pub(crate) struct Events {
    stream: Arc<Stream>,
    generation: u64,
    /// Number of the last event delivered.
    seen: u64,
    /// Sent before all else, so that the client and its proxies see a byte at once.
    opening: Option<Bytes>,
    /// What the block of the first event begins with.
    first_fields: String,
    /// What keeps a silent stream alive.
    comment: &'static str,
    keep_alive: Duration,
    keep_alive_timer: Pin<Box<Sleep>>,
    /// When the stream is closed so that the client comes back.
    rotate_at: Option<Instant>,
    _guard: Option<StreamGuard>,
}

impl Events {
    /// Reads `stream` from behind event `seen`. `priming` announces an id to come back with before
    /// there is any event; clients older than revision 2025-11-25 do not expect it. Some of those
    /// take each block of fields for a message, so they get no block without one.
    pub(crate) fn new(
        stream: Arc<Stream>,
        generation: u64,
        seen: u64,
        priming: bool,
        limits: &Limits,
        guard: Option<StreamGuard>,
    ) -> Self {
        let retry = format!("retry: {}\n", limits.retry.as_millis());
        let (opening, first_fields) = if priming {
            let id = stream.event_id(seen);
            (format!(": ok\n\n{retry}id: {id}\ndata: \n\n"), String::new())
        } else {
            (": ok\n\n".to_owned(), retry)
        };
        let now = Instant::now();
        Self {
            stream,
            generation,
            seen,
            opening: Some(opening.into()),
            first_fields,
            comment: WHOLE_COMMENT,
            keep_alive: limits.keep_alive,
            keep_alive_timer: Box::pin(sleep_until(now + limits.keep_alive)),
            rotate_at: (priming && !limits.rotate_after.is_zero())
                .then(|| now + limits.rotate_after),
            _guard: guard,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(opening) = self.opening.take() {
            self.restart_keep_alive();
            return Poll::Ready(Some(opening));
        }
        if self.rotate_at.is_some_and(|at| at <= Instant::now()) {
            return Poll::Ready(None);
        }
        let (generation, seen) = (self.generation, self.seen);
        match self.stream.poll_next(generation, seen, PIECE, &self.first_fields, cx) {
            Poll::Ready(Next::Events(bytes, seen)) => {
                self.seen = seen;
                if !self.first_fields.is_empty() {
                    self.first_fields.clear();
                    self.comment = LEADING_COMMENT;
                }
                self.restart_keep_alive();
                return Poll::Ready(Some(bytes));
            }
            Poll::Ready(Next::End) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        ready!(self.keep_alive_timer.as_mut().poll(cx));
        if self.rotate_at.is_some_and(|at| at <= Instant::now()) {
            return Poll::Ready(None);
        }
        self.restart_keep_alive();
        Poll::Ready(Some(Bytes::from_static(self.comment.as_bytes())))
    }

    /// Waits for the next comment, or for the end of the connection's time if that is sooner.
    fn restart_keep_alive(&mut self) {
        let comment = Instant::now() + self.keep_alive;
        let at = self.rotate_at.map_or(comment, |rotate| rotate.min(comment));
        self.keep_alive_timer.as_mut().reset(at);
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.stream.disconnect(self.generation);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("stream", &self.stream)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
