//! A body of the tests, which comes in pieces.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// The body.
#[derive(Debug)]
pub(super) struct Pieces(VecDeque<Bytes>);

impl Pieces {
    /// `text`, cut into pieces of these lengths, over and over.
    pub(super) fn cut(text: &str, lengths: &[usize]) -> Self {
        let mut rest = Bytes::copy_from_slice(text.as_bytes());
        let mut pieces = VecDeque::new();
        for length in lengths.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            pieces.push_back(rest.split_to((*length).clamp(1, rest.len())));
        }
        Self(pieces)
    }

    /// Pieces of these sizes: of `a`, of `b` and so on.
    pub(super) fn of(sizes: &[usize]) -> Self {
        let piece = |(byte, size): (u8, &usize)| Bytes::from(vec![byte; *size]);
        Self((b'a'..).zip(sizes).map(piece).collect())
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}
