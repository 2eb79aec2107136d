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
    stream::{Next, Piece, Stream},
};

/// A value that lives as long as the response body of a stream, such as a lease on the session.
pub type StreamGuard = Box<dyn Any + Send + Sync>;

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
    Document(Document),
    Events(Box<Events>),
    Live(Box<Live>),
}

/// The messages of a response that is no stream of a session: it cannot be resumed.
pub trait Source: Send + Sync {
    /// The next message, one JSON document on one line; `None` at the end.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>>;
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

    /// A stream of one event, whose data is `message`: JSON on one line.
    pub(crate) fn one_event(message: &[u8]) -> Self {
        Self::whole([&b"event: message\ndata: "[..], message, b"\n\n"].concat())
    }

    /// The answers of `stream` as one document, which stays in the stream while it is sent.
    pub(crate) fn document(stream: Arc<Stream>, document: Bytes) -> Self {
        let left = document.len();
        stream.hold_document(document);
        Self(Inner::Document(Document { stream, sent: 0, left }))
    }

    /// The messages of `source` as events, with a comment after each `keep_alive` of silence.
    /// Dropping the body drops the source, which is how that learns that the client has left.
    #[must_use]
    pub fn live(source: Box<dyn Source>, keep_alive: Duration) -> Self {
        let timer = Box::pin(sleep_until(Instant::now() + keep_alive));
        Self(Inner::Live(Box::new(Live {
            source: Some(source),
            is_open: false,
            keep_alive,
            timer,
        })))
    }

    /// The same, as long as its reader may read: a stream of events ends when `revoked` resolves, and
    /// the standalone one also at `until`, when its reader's token has expired. A call that was let in
    /// runs to its answer, and the client of a standalone stream comes back with another token.
    #[must_use]
    pub fn while_admitted(
        mut self,
        until: Option<Instant>,
        revoked: impl Future<Output = ()> + Send + Sync + 'static,
    ) -> Self {
        if let Inner::Events(events) = &mut self.0 {
            events.revoked = Some(Box::pin(revoked));
            if events.stream.is_standalone() {
                events.rotate_at = [events.rotate_at, until].into_iter().flatten().min();
            }
        }
        self
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
            Inner::Document(document) => {
                Poll::Ready(document.next().map(|bytes| Ok(Frame::data(bytes))))
            }
            Inner::Events(events) => {
                events.poll(cx).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
            }
            Inner::Live(live) => live.poll(cx).map(|next| next.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(bytes) => bytes.is_none(),
            Inner::Document(document) => document.left == 0,
            Inner::Events(_) | Inner::Live(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Inner::Document(document) => SizeHint::with_exact(document.left as u64),
            Inner::Events(_) | Inner::Live(_) => SizeHint::default(),
        }
    }
}

/// A document on its way. When it is given up it ends too early, which its client can tell by its
/// length.
#[derive(Debug)]
struct Document {
    stream: Arc<Stream>,
    sent: usize,
    left: usize,
}

impl Document {
    fn next(&mut self) -> Option<Bytes> {
        let piece = self.stream.document_piece(self.sent)?;
        self.sent += piece.len();
        self.left = self.left.saturating_sub(piece.len());
        Some(piece)
    }
}

impl Drop for Document {
    fn drop(&mut self) {
        self.stream.release_document();
    }
}

/// A source on its connection.
struct Live {
    source: Option<Box<dyn Source>>,
    /// The client and its proxies have seen a byte.
    is_open: bool,
    keep_alive: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Live {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if !self.is_open {
            self.is_open = true;
            return Poll::Ready(Some(Bytes::from_static(b": ok\n\n")));
        }
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        match source.poll_message(cx) {
            Poll::Ready(Some(message)) => {
                self.timer.as_mut().reset(Instant::now() + self.keep_alive);
                let event = [b"event: message\ndata: ", &*message, b"\n\n"].concat();
                return Poll::Ready(Some(event.into()));
            }
            Poll::Ready(None) => {
                self.source = None;
                return Poll::Ready(None);
            }
            Poll::Pending => {}
        }
        ready!(self.timer.as_mut().poll(cx));
        self.timer.as_mut().reset(Instant::now() + self.keep_alive);
        Poll::Ready(Some(Bytes::from_static(WHOLE_COMMENT.as_bytes())))
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("is_open", &self.is_open).finish_non_exhaustive()
    }
}

/// The events of one stream on one connection.
pub(crate) struct Events {
    stream: Arc<Stream>,
    generation: u64,
    /// Number of the last event delivered.
    seen: u64,
    /// The large event that is half delivered, and how much of its data is.
    half_sent: Option<(u64, usize)>,
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
    /// Its reader may read nothing of it any more.
    is_over: bool,
    /// When that is so.
    revoked: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
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
            half_sent: None,
            opening: Some(opening.into()),
            first_fields,
            comment: WHOLE_COMMENT,
            keep_alive: limits.keep_alive,
            keep_alive_timer: Box::pin(sleep_until(now + limits.keep_alive)),
            rotate_at: (priming && !limits.rotate_after.is_zero())
                .then(|| now + limits.rotate_after),
            revoked: None,
            is_over: false,
            _guard: guard,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.revoked.as_mut().is_some_and(|revoked| revoked.as_mut().poll(cx).is_ready()) {
            self.revoked = None;
            self.is_over = true;
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Some(opening) = self.opening.take() {
            self.restart_keep_alive();
            return Poll::Ready(Some(opening));
        }
        if self.half_sent.is_none() && self.rotate_at.is_some_and(|at| at <= Instant::now()) {
            return Poll::Ready(None);
        }
        if let Some((number, at)) = self.half_sent.take() {
            self.restart_keep_alive();
            let piece = self.stream.piece(self.generation, number, at);
            return Poll::Ready(piece.map(|piece| match piece {
                Piece::Part(bytes) => {
                    self.half_sent = Some((number, at + bytes.len()));
                    bytes
                }
                Piece::End(bytes) => bytes,
            }));
        }
        match self.stream.poll_next(self.generation, self.seen, &self.first_fields, cx) {
            Poll::Ready(Next::Events(bytes, seen)) => {
                self.delivered(seen);
                return Poll::Ready(Some(bytes));
            }
            Poll::Ready(Next::Large(bytes, number)) => {
                self.delivered(number);
                self.half_sent = Some((number, 0));
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

    fn delivered(&mut self, seen: u64) {
        self.seen = seen;
        if !self.first_fields.is_empty() {
            self.first_fields.clear();
            self.comment = LEADING_COMMENT;
        }
        self.restart_keep_alive();
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
