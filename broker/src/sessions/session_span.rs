//! What the log lines of a child carry: the session that has it now.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use tracing::Span;

/// The span of the session that a child works for, which another one takes when the child goes to the
/// next session. Clones are handles to the same.
#[derive(Debug, Clone)]
pub(super) struct SessionSpan(Arc<ArcSwap<Span>>);

impl SessionSpan {
    pub(super) fn new(span: Span) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(span)))
    }

    /// The child works for the session of `span` from here on.
    pub(super) fn set(&self, span: Span) {
        self.0.store(Arc::new(span));
    }

    /// Runs `work` in the span of now.
    pub(super) fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.load().in_scope(work)
    }

    /// The same future, polled in the span of that moment each time.
    pub(super) fn follow<F: Future>(&self, future: F) -> Followed<F> {
        Followed { span: self.clone(), future: Box::pin(future) }
    }
}

/// A future that lasts as long as a child.
pub(super) struct Followed<F> {
    span: SessionSpan,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Followed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { span, future } = &mut *self;
        span.in_scope(|| future.as_mut().poll(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, task::Waker};

    use tracing::{callsite, info_span, subscriber::set_default};

    use super::*;

    #[test]
    fn what_a_child_logs_carries_the_session_that_has_it_at_that_moment() {
        let _subscriber = set_default(tracing_subscriber::registry());
        let session = || info_span!("session");
        session();
        // Another test's thread may have met it first.
        callsite::rebuild_interest_cache();
        let (first, second) = (session(), session());
        let span = SessionSpan::new(first.clone());
        let mut seen = Vec::new();
        let mut child = pin!(span.follow(poll_fn(|_| {
            seen.push(Span::current().id());
            Poll::<()>::Pending
        })));
        let mut context = Context::from_waker(Waker::noop());
        assert!(child.as_mut().poll(&mut context).is_pending());
        span.set(second.clone());
        assert!(child.as_mut().poll(&mut context).is_pending());
        assert_ne!(first.id(), None);
        assert_eq!(seen, [first.id(), second.id()]);
    }
}
