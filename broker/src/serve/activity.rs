//! Whether a connection is of use: whether it has a request under way, and since when it has none.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// How much of a response is handed over at once: each piece that finds room shows that the client reads.
const PIECE: usize = 64 * 1024;

/// What a connection's task, and the tasks of its streams, note about requests.
#[derive(Debug)]
pub(super) struct Activity {
    begun: Instant,
    /// Requests whose response is not at its end.
    open: AtomicUsize,
    /// Milliseconds after `begun` at which the last request came or ended.
    changed: AtomicU64,
    /// Requests ever.
    requests: AtomicUsize,
}

/// A request under way: until its response is at its end, if that is a stream, and else until the
/// response is there. What is left to do then is up to the client, and one that takes nothing of its
/// answers would have a connection and their memory for ever.
#[derive(Debug)]
pub(super) struct Underway {
    activity: Arc<Activity>,
    is_open: bool,
}

impl Activity {
    pub(super) fn new() -> Self {
        let zero = AtomicUsize::new(0);
        let requests = AtomicUsize::new(0);
        Self { begun: Instant::now(), open: zero, changed: AtomicU64::new(0), requests }
    }

    pub(super) fn begin(self: &Arc<Self>) -> Underway {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Underway { activity: Arc::clone(self), is_open: true }
    }

    fn note(&self) {
        let after = self.begun.elapsed().as_millis();
        self.changed.store(u64::try_from(after).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Since when there is no request under way and no client took any of an answer; `None` while there
    /// is one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        if self.open.load(Ordering::Acquire) > 0 {
            return None;
        }
        Some(self.begun + Duration::from_millis(self.changed.load(Ordering::Acquire)))
    }

    /// Whether there was any request.
    pub(super) fn was_used(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }
}

impl Underway {
    /// There is nothing left but to be read by the client.
    fn close(&mut self) {
        self.activity.note();
        if std::mem::take(&mut self.is_open) {
            self.activity.open.fetch_sub(1, Ordering::Release);
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.close();
    }
}

/// The body of a response, which ends its request when it is dropped.
pub(super) struct Tracked<B> {
    body: B,
    /// Of the last frame.
    rest: Bytes,
    is_stream: bool,
    underway: Underway,
}

impl<B: Body> Tracked<B> {
    pub(super) fn new(body: B, mut underway: Underway) -> Self {
        let is_stream = body.size_hint().exact().is_none();
        if !is_stream {
            underway.close();
        }
        Self { body, rest: Bytes::new(), is_stream, underway }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if this.is_stream {
            return Pin::new(&mut this.body).poll_frame(cx);
        }
        // The server asks when the client has made room.
        this.underway.activity.note();
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_frame(cx)).transpose()?.map(Frame::into_data)
            {
                Some(Ok(data)) => this.rest = data,
                Some(Err(other)) => return Poll::Ready(Some(Ok(other))),
                None => return Poll::Ready(None),
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.body.size_hint();
        left.exact().map_or(left, |left| SizeHint::with_exact(left + self.rest.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, task::Waker};

    use bridge::Body as Answer;
    use tokio::time::advance;

    use super::*;

    const STEP: Duration = Duration::from_secs(20);

    fn next<B>(body: &mut Tracked<B>) -> Option<usize>
    where
        B: Body<Data = Bytes, Error = Infallible> + Unpin,
    {
        match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(frame) => frame.map(|frame| {
                let Ok(frame) = frame;
                frame.data_ref().map_or(0, Bytes::len)
            }),
            Poll::Pending => panic!("it is all there"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_idle_from_when_it_takes_no_more_of_its_answer() {
        let activity = Arc::new(Activity::new());
        let underway = activity.begin();
        advance(STEP).await;
        assert_eq!(activity.idle_since(), None, "it is being answered");
        let mut body = Tracked::new(Answer::whole(vec![0; 2 * PIECE + 1]), underway);
        assert_eq!(activity.idle_since(), Some(Instant::now()));
        for (piece, left) in [(PIECE, PIECE + 1), (PIECE, 1), (1, 0)] {
            advance(STEP).await;
            assert!(!body.is_end_stream());
            assert_eq!(next(&mut body), Some(piece));
            assert_eq!(body.size_hint().exact(), Some(left as u64));
            assert_eq!(activity.idle_since(), Some(Instant::now()), "it reads");
        }
        assert!(body.is_end_stream());
        assert_eq!(next(&mut body), None);
        let read = Instant::now();
        advance(STEP).await;
        assert_eq!(activity.idle_since(), Some(read));
        drop(body);
        assert_eq!(activity.open.load(Ordering::Relaxed), 0);
    }
}
