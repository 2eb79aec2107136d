//! The body of a request that may have to be sent twice.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{answer::BodyError, data::poll_data};

/// How much of a body is kept, in bytes. A longer one is sent once.
const MAX_KEPT: usize = 64 * 1024;

/// A body, and its beginning as far as it was sent.
#[derive(Debug)]
pub(super) struct Replay<B>(Arc<Mutex<Source<B>>>);

#[derive(Debug)]
struct Source<B> {
    body: B,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    /// More was sent than is kept.
    is_lost: bool,
    /// It did not come to its end.
    is_broken: bool,
    /// Grows with every piece that was sent.
    moved: u64,
    /// Which sending is the one in force; an earlier one must not take what belongs to it.
    sending: u64,
}

/// One sending of a [`Replay`].
#[derive(Debug)]
pub(super) struct Sending<B> {
    source: Arc<Mutex<Source<B>>>,
    sending: u64,
    /// How many of the kept pieces were sent.
    sent: usize,
}

impl<B: Body<Data = Bytes> + Unpin> Replay<B> {
    pub(super) fn new(body: B) -> Self {
        let (kept, kept_bytes, is_lost, is_broken) = (Vec::new(), 0, false, false);
        let source = Source { body, kept, kept_bytes, is_lost, is_broken, moved: 0, sending: 0 };
        Self(Arc::new(Mutex::new(source)))
    }

    /// The whole body, from its beginning; `None` when that was sent and not kept. What was sent
    /// before breaks off.
    pub(super) fn send(&self) -> Option<Sending<B>> {
        let mut source = lock(&self.0);
        if source.is_lost {
            return None;
        }
        source.sending += 1;
        Some(Sending { source: Arc::clone(&self.0), sending: source.sending, sent: 0 })
    }

    /// Whether it can be sent again from its beginning.
    pub(super) fn is_whole(&self) -> bool {
        !lock(&self.0).is_lost
    }

    /// Whether it failed at its source.
    pub(super) fn is_broken(&self) -> bool {
        lock(&self.0).is_broken
    }

    /// Grows with every piece that was sent.
    pub(super) fn moved(&self) -> u64 {
        lock(&self.0).moved
    }
}

impl<B> Body for Sending<B>
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
        let mut source = lock(&own.source);
        if source.sending != own.sending {
            return Poll::Ready(Some(Err("the request is sent again".into())));
        }
        if let Some(piece) = source.kept.get(own.sent) {
            let piece = piece.clone();
            own.sent += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let piece = match ready!(poll_data(&mut source.body, context)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => {
                source.is_broken = true;
                return Poll::Ready(Some(Err(error)));
            }
            Some(Ok(piece)) => piece,
        };
        source.moved += 1;
        if !source.is_lost && source.kept_bytes + piece.len() <= MAX_KEPT {
            source.kept_bytes += piece.len();
            source.kept.push(piece.clone());
            own.sent += 1;
        } else {
            source.is_lost = true;
            source.kept = Vec::new();
            own.sent = 0;
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let source = lock(&self.source);
        self.sent >= source.kept.len() && source.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let source = lock(&self.source);
        let again: usize = source.kept.iter().skip(self.sent).map(Bytes::len).sum();
        let rest = source.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + again as u64);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + again as u64);
        }
        hint
    }
}

fn lock<B>(source: &Mutex<Source<B>>) -> MutexGuard<'_, Source<B>> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::{super::pieces::Pieces, *};

    async fn whole<B: Body<Data = Bytes, Error = BodyError>>(body: B) -> Bytes {
        body.collect().await.expect("it is whole").to_bytes()
    }

    #[tokio::test]
    async fn a_short_body_is_sent_again_from_its_beginning_wherever_the_first_sending_stopped() {
        for read in 0..4 {
            let replay = Replay::new(Pieces::of(&[3, 1, 2]));
            let mut first = replay.send().expect("nothing was sent yet");
            for _ in 0..read {
                first.frame().await.expect("another piece").expect("it comes");
            }
            let again = replay.send().expect("it is kept");
            assert_eq!(again.size_hint().exact(), Some(6), "after {read} pieces");
            assert_eq!(whole(again).await, "aaabcc");
            assert!(first.frame().await.expect("an end").is_err(), "the first one breaks off");
        }
    }

    #[tokio::test]
    async fn a_long_body_is_sent_once_and_none_of_it_is_kept() {
        let replay = Replay::new(Pieces::of(&[MAX_KEPT, 1, 7]));
        let mut first = replay.send().expect("nothing was sent yet");
        first.frame().await.expect("a piece").expect("it comes");
        assert!(replay.send().is_some(), "so far it is kept");
        let replay = Replay::new(Pieces::of(&[MAX_KEPT, 1, 7]));
        let first = replay.send().expect("nothing was sent yet");
        assert_eq!(whole(first).await.len(), MAX_KEPT + 8);
        assert!(replay.send().is_none(), "its beginning is gone");
        assert_eq!(lock(&replay.0).kept.len(), 0);
    }
}
