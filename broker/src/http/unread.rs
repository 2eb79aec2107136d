//! The body of a request that is refused before all of it was read.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// How much of a body is read and dropped after its request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiscardLimits {
    /// Bytes; zero drops nothing.
    pub(crate) bytes: usize,
    /// How long it may take.
    pub(crate) time: Duration,
}

/// A body that, dropped before its end, is still read to its end, within limits, and thrown away.
///
/// Many clients send all of a request before they look at the answer. A connection that is closed while
/// they send resets theirs, and the answer that was on its way (sign in again; this is too large) is
/// lost with it (RFC 9112 section 9.6).
pub(crate) struct Unread<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    body: Option<B>,
    limits: DiscardLimits,
    /// Owns what reads the rest.
    readers: TaskTracker,
}

impl<B> Unread<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    /// `readers` owns the task that reads the rest.
    pub(crate) fn new(body: B, limits: DiscardLimits, readers: TaskTracker) -> Self {
        Self { body: Some(body), limits, readers }
    }
}

impl<B> Body for Unread<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            this.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> Drop for Unread<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        if self.limits.bytes > 0 {
            // It ends with its connection, or earlier; the connection waits for it.
            self.readers.spawn(timeout(self.limits.time, discard(body, self.limits.bytes)));
        }
    }
}

/// Reads until the end, an error, or `bytes`.
async fn discard<B>(mut body: B, bytes: usize)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut left = bytes;
    while let Some(Ok(frame)) = body.frame().await {
        let read = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(read) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, future::pending, sync::Arc};

    use tokio::sync::{Notify, mpsc};

    use super::*;

    const LIMITS: DiscardLimits = DiscardLimits { bytes: 10, time: Duration::from_secs(30) };

    /// A body whose pieces a test sends, and that tells when it is dropped.
    struct Pieces {
        pieces: mpsc::UnboundedReceiver<Bytes>,
        dropped: Arc<Notify>,
    }

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.pieces.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
        }
    }

    impl Drop for Pieces {
        fn drop(&mut self) {
            self.dropped.notify_one();
        }
    }

    fn pieces() -> (mpsc::UnboundedSender<Bytes>, Arc<Notify>, Unread<Pieces>) {
        let (sender, pieces) = mpsc::unbounded_channel();
        let dropped = Arc::new(Notify::new());
        let body = Pieces { pieces, dropped: Arc::clone(&dropped) };
        (sender, dropped, Unread::new(body, LIMITS, TaskTracker::new()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_read_is_read_to_its_end_and_thrown_away() {
        let (sender, dropped, body) = pieces();
        drop(body);
        sender.send(Bytes::from_static(b"12345")).expect("it is still read");
        sender.send(Bytes::from_static(b"67890")).expect("it is still read");
        tokio::task::yield_now().await;
        assert!(!sender.is_closed(), "no more than allowed came");
        drop(sender);
        dropped.notified().await;
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_the_bound_is_not_read() {
        let (sender, dropped, body) = pieces();
        drop(body);
        sender.send(Bytes::from_static(b"12345678901")).expect("it is still read");
        dropped.notified().await;
        assert!(sender.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up_in_time() {
        let (sender, dropped, body) = pieces();
        let begun = tokio::time::Instant::now();
        drop(body);
        tokio::select! {
            () = dropped.notified() => {}
            () = pending() => {}
        }
        assert_eq!(begun.elapsed(), LIMITS.time);
        assert!(sender.is_closed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_was_read_leaves_nothing_to_do() {
        let (sender, dropped, body) = pieces();
        sender.send(Bytes::from_static(b"123")).expect("it is there");
        drop(sender);
        assert_eq!(body.collect().await.expect("it ends").to_bytes(), "123");
        dropped.notified().await;
    }
}
