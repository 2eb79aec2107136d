//! A subscription that lasts as long as its client is let in.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bridge::Source;
use bytes::Bytes;

/// The messages of a subscription. It ends at once when its client's access is revoked, and with its
/// result when it is over: the client's token has expired, and it subscribes again with another, or the child
/// is to leave (MCP 2026-07-28, "Subscriptions").
pub(super) struct Admitted {
    /// Dropped at the end, so that the child hears of it.
    source: Option<Box<dyn Source>>,
    over: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    revoked: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    /// The result that ends it.
    result: Bytes,
}

impl Admitted {
    /// `source` until `over` or `revoked` resolves.
    pub(super) fn new(
        source: Box<dyn Source>,
        over: impl Future<Output = ()> + Send + Sync + 'static,
        revoked: impl Future<Output = ()> + Send + Sync + 'static,
        result: Bytes,
    ) -> Self {
        let (over, revoked) = (Box::pin(over), Box::pin(revoked));
        Self { source: Some(source), over, revoked, result }
    }
}

impl Source for Admitted {
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        if self.revoked.as_mut().poll(cx).is_ready() {
            self.source = None;
            return Poll::Ready(None);
        }
        if self.over.as_mut().poll(cx).is_ready() {
            self.source = None;
            return Poll::Ready(Some(std::mem::take(&mut self.result)));
        }
        let next = ready!(source.poll_message(cx));
        if next.is_none() {
            self.source = None;
        }
        Poll::Ready(next)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::{
        sync::{mpsc, oneshot},
        time::{Instant, sleep_until},
    };

    use super::*;

    struct Messages(mpsc::UnboundedReceiver<Bytes>);

    impl Source for Messages {
        fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
            self.0.poll_recv(cx)
        }
    }

    async fn next(admitted: &mut Admitted) -> Option<Bytes> {
        poll_fn(|cx| admitted.poll_message(cx)).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscription_ends_with_its_result_when_the_token_has_expired() {
        let (child, messages) = mpsc::unbounded_channel();
        let until = Instant::now() + Duration::from_secs(60);
        let never = std::future::pending();
        let source = Box::new(Messages(messages));
        let mut admitted = Admitted::new(source, sleep_until(until), never, "the end".into());
        child.send("news".into()).expect("it listens");
        assert_eq!(next(&mut admitted).await.as_deref(), Some(&b"news"[..]));
        assert_eq!(next(&mut admitted).await.as_deref(), Some(&b"the end"[..]));
        assert_eq!(Instant::now(), until, "not before");
        assert_eq!(next(&mut admitted).await, None);
        assert!(child.is_closed(), "the child hears of it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_subscription_whose_client_lost_its_access_says_nothing_more() {
        let (child, messages) = mpsc::unbounded_channel();
        let (revoke, revoked) = oneshot::channel::<()>();
        let source = Box::new(Messages(messages));
        let revoked = async { drop(revoked.await) };
        let never = std::future::pending();
        let mut admitted = Admitted::new(source, never, revoked, "the end".into());
        child.send("news".into()).expect("it listens");
        revoke.send(()).expect("it is waited for");
        assert_eq!(next(&mut admitted).await, None);
        assert_eq!(next(&mut admitted).await, None, "and it stays ended");
        assert!(child.is_closed(), "the child hears of it");
    }
}
