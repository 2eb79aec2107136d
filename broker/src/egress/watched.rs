//! A body that ends when nothing moves, or when the child does.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
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
    /// The request is under way until its answer has ended.
    _place: OwnedSemaphorePermit,
}

impl<B> Watched<B> {
    /// Ends `body` with an error when nothing comes for `silence`, and when `gone` is cancelled.
    pub(super) fn new(
        body: B,
        silence: Duration,
        gone: CancellationToken,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let (timer, gone) = (Box::pin(sleep(silence)), Box::pin(gone.cancelled_owned()));
        Self { body, silence, timer, is_waiting: false, gone, _place: place }
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
            return Poll::Ready(piece.map(|piece| piece.map(Frame::data)));
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
