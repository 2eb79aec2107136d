//! A body that ends when nothing moves, or when the child does.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{answer::BodyError, data::poll_data};

/// The body of an answer on its way to a child.
pub(super) struct Watched<B> {
    body: B,
    silence: Duration,
    timer: Pin<Box<Sleep>>,
    is_waiting: bool,
    gone: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Its protocol marks the end of a body, which `is_end_stream` tells.
    marks_its_end: bool,
    /// How much is still to come, where the head told.
    left: Option<u64>,
    /// The request is under way until its answer has ended.
    _place: OwnedSemaphorePermit,
}

impl<B: Body> Watched<B> {
    /// Ends `body` with an error when nothing comes for `silence`, and when `gone` is cancelled.
    pub(super) fn new(
        body: B,
        silence: Duration,
        gone: CancellationToken,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let (timer, gone) = (Box::pin(sleep(silence)), Box::pin(gone.cancelled_owned()));
        let (is_waiting, marks_its_end, left) = (false, false, body.size_hint().exact());
        Self { body, silence, timer, is_waiting, gone, marks_its_end, left, _place: place }
    }

    /// Takes an end without a mark for a body that broke off: a stream of HTTP/2 that is reset without an
    /// error (RFC 9113 section 8.1) says that no more is to be sent, and not that this is all.
    pub(super) fn of_version(self, version: Version) -> Self {
        Self { marks_its_end: version == Version::HTTP_2, ..self }
    }

    /// What becomes of `piece`, the next one. However a body of a known length ends, once all of it has
    /// come it is whole: an upstream that has answered early may end its connection at once.
    fn judged(
        &mut self,
        piece: Option<Result<Bytes, BodyError>>,
    ) -> Option<Result<Bytes, BodyError>> {
        match piece {
            Some(Ok(piece)) => {
                self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
                Some(Ok(piece))
            }
            _ if self.left == Some(0) => None,
            Some(Err(error)) => Some(Err(error)),
            None if self.marks_its_end && !self.body.is_end_stream() => {
                Some(Err("the upstream broke off".into()))
            }
            None => None,
        }
    }
}

impl<B> Body for Watched<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let own = self.get_mut();
        if own.gone.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err("the child has ended".into())));
        }
        if let Poll::Ready(piece) = poll_data(&mut own.body, context) {
            own.is_waiting = false;
            return Poll::Ready(own.judged(piece).map(|piece| piece.map(Frame::data)));
        }
        if !own.is_waiting {
            own.is_waiting = true;
            own.timer.as_mut().reset(Instant::now() + own.silence);
        }
        match own.timer.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Some(Err("the upstream says nothing".into()))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> fmt::Debug for Watched<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("silence", &self.silence).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use http_body_util::BodyExt;
    use tokio::sync::Semaphore;

    use super::{super::pieces::Pieces, *};

    /// A body that stops, and never says that it is at its end.
    struct Reset {
        piece: Option<Bytes>,
        /// What its head said.
        length: Option<u64>,
        /// Whether it stops with an error.
        fails: bool,
    }

    impl Body for Reset {
        type Data = Bytes;
        type Error = io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
            let fails = self.fails;
            let end = || fails.then(|| Err(io::ErrorKind::ConnectionReset.into()));
            Poll::Ready(self.piece.take().map(|piece| Ok(Frame::data(piece))).or_else(end))
        }

        fn size_hint(&self) -> SizeHint {
            self.length.map(SizeHint::with_exact).unwrap_or_default()
        }
    }

    /// Whether a child takes `body` for a whole one.
    async fn is_whole<B>(body: B, version: Version) -> bool
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BodyError>,
    {
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.expect("a place");
        let watched = Watched::new(body, Duration::from_secs(1), CancellationToken::new(), place);
        watched.of_version(version).collect().await.is_ok()
    }

    #[tokio::test]
    async fn a_stream_that_is_reset_without_an_error_before_its_end_is_no_whole_answer() {
        let ended = || Pieces::of(&[3, 2]);
        let reset = || Reset { piece: Some(Bytes::from("abc")), length: None, fails: false };
        assert!(is_whole(ended(), Version::HTTP_2).await);
        assert!(!is_whole(reset(), Version::HTTP_2).await);
        assert!(is_whole(reset(), Version::HTTP_11).await, "there the end is in the framing");
    }
    #[tokio::test]
    async fn an_answer_of_which_all_has_come_is_whole_however_its_connection_ends() {
        for fails in [false, true] {
            let reset = |length| Reset { piece: Some(Bytes::from("abc")), length, fails };
            assert!(is_whole(reset(Some(3)), Version::HTTP_2).await, "{fails}");
            assert!(!is_whole(reset(Some(4)), Version::HTTP_2).await, "{fails}");
            assert!(!is_whole(reset(None), Version::HTTP_2).await, "{fails}");
        }
    }
}
