//! Whether a connection is of use: whether it has a request under way, and since when it has none.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

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

/// A request under way, until its response is at its end.
#[derive(Debug)]
pub(super) struct Underway(Arc<Activity>);

impl Activity {
    pub(super) fn new() -> Self {
        let zero = AtomicUsize::new(0);
        let requests = AtomicUsize::new(0);
        Self { begun: Instant::now(), open: zero, changed: AtomicU64::new(0), requests }
    }

    pub(super) fn begin(self: &Arc<Self>) -> Underway {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        Underway(Arc::clone(self))
    }

    /// Since when there is no request under way; `None` while there is one.
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

impl Drop for Underway {
    fn drop(&mut self) {
        let after = self.0.begun.elapsed().as_millis();
        self.0.changed.store(u64::try_from(after).unwrap_or(u64::MAX), Ordering::Release);
        self.0.open.fetch_sub(1, Ordering::Release);
    }
}

/// The body of a response, which ends its request when it is dropped.
pub(super) struct Tracked<B> {
    body: B,
    _underway: Underway,
}

impl<B> Tracked<B> {
    pub(super) fn new(body: B, underway: Underway) -> Self {
        Self { body, _underway: underway }
    }
}

impl<B: Body + Unpin> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
