//! What of a body crosses: its data. Trailers do not, in either direction: an upstream may take those of a
//! request for headers, those of an answer may repeat the token, and no server of files or of JSON has any.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Body;

use super::answer::BodyError;

/// The next piece of `body`.
pub(super) fn poll_data<B>(
    body: &mut B,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, BodyError>>>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    loop {
        let frame = match ready!(Pin::new(&mut *body).poll_frame(context)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            Some(Ok(frame)) => frame,
        };
        if let Ok(piece) = frame.into_data() {
            return Poll::Ready(Some(Ok(piece)));
        }
    }
}
