//! The life of one connection.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use hyper_util::server::graceful::GracefulConnection;
use tokio::{
    sync::watch,
    time::{Sleep, sleep},
};

use super::activity::Activity;

/// Moves a connection to its end; once signalled, only to the end of the responses under way. One that
/// has had no request for `patience` is closed: hyper's own timer knows heads of HTTP/1.1 alone, and a
/// client of HTTP/2 that answers pings, or one that never says which version it speaks, would stay for
/// ever.
///
/// The signal is asked for only when the task's waker is another one than before, and not at every
/// step of the connection: it would be a lock per request. The clock is looked at when the timer says
/// so, once for each `patience`.
pub(super) struct UntilClosing<C> {
    connection: Pin<Box<C>>,
    signal: watch::Receiver<bool>,
    signalled: Pin<Box<dyn Future<Output = ()> + Send>>,
    waiting: Option<Waker>,
    closes: bool,
    activity: Arc<Activity>,
    patience: Duration,
    /// When to look whether the connection is of use.
    look: Pin<Box<Sleep>>,
    /// It was asked to end at the last look.
    leaves: bool,
}

impl<C: GracefulConnection> UntilClosing<C> {
    pub(super) fn new(
        connection: C,
        signal: watch::Receiver<bool>,
        activity: Arc<Activity>,
        patience: Duration,
    ) -> Self {
        let mut closing = signal.clone();
        let signalled = Box::pin(async move {
            // An error means that the broker is gone, which is as good a reason.
            let _ = closing.wait_for(|closing| *closing).await;
        });
        Self {
            connection: Box::pin(connection),
            signal,
            signalled,
            waiting: None,
            closes: false,
            activity,
            patience,
            look: Box::pin(sleep(patience)),
            leaves: false,
        }
    }

    /// Whether the connection is of no use any more and has to go at once.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        while self.look.as_mut().poll(cx).is_ready() {
            let idle = self.activity.idle_since().map(|since| since + self.patience);
            let now = tokio::time::Instant::now();
            let next = match idle {
                // A client that has asked for nothing is owed no farewell, and one that does not hear
                // it gets no second one.
                Some(end) if end <= now && (self.leaves || !self.activity.was_used()) => {
                    return true;
                }
                Some(end) if end <= now => {
                    self.leaves = true;
                    self.connection.as_mut().graceful_shutdown();
                    now + self.patience
                }
                Some(end) => end,
                None => now + self.patience,
            };
            self.look.as_mut().reset(next);
        }
        false
    }
}

impl<C: GracefulConnection> Future for UntilClosing<C> {
    type Output = Result<(), C::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let registered = this.waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !this.closes && (!registered || this.signal.has_changed().unwrap_or(true)) {
            this.waiting = Some(cx.waker().clone());
            if this.signalled.as_mut().poll(cx).is_ready() {
                this.closes = true;
                this.connection.as_mut().graceful_shutdown();
            }
        }
        // A timer keeps the waker that it was given.
        if (!registered || this.look.is_elapsed()) && this.is_over(cx) {
            return Poll::Ready(Ok(()));
        }
        this.connection.as_mut().poll(cx)
    }
}
