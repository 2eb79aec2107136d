//! The tracing spans of one call: one per floor that it passes.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use tokio::runtime;
use tracing::{
    Subscriber, callsite,
    span::{Attributes, Id},
    subscriber::set_default,
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

use crate::harness::Harness;

/// The targets of our own crates' spans, in the order in which the spans began.
#[derive(Debug, Clone, Default)]
struct Targets(Arc<Mutex<Vec<&'static str>>>);

impl Targets {
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Targets {
    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        const OURS: [&str; 6] = ["auth", "bridge", "broker", "http", "session", "supervisor"];
        let target = span.metadata().target();
        if OURS.contains(&target.split("::").next().unwrap_or_default()) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(target);
        }
    }
}

#[test]
fn a_call_of_an_awake_session_has_one_span_on_each_floor() {
    // One thread, so that the subscriber of this test sees this broker alone.
    let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let targets = Targets::default();
    let _subscriber = set_default(Registry::default().with(targets.clone()));
    runtime.block_on(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        // A span that another test's thread meets for the first time just now may miss this test's
        // subscriber; after a first call all of them are known.
        session.call("echo", json!({})).await;
        callsite::rebuild_interest_cache();
        targets.take();
        let answer = session.call("echo", json!({})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(targets.take(), ["http", "auth", "session", "bridge"]);
    });
}
