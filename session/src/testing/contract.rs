//! What every [`Backend`] must do, as a suite that its implementation's tests run.
//!
//! Each check gets a function that makes a fresh, healthy backend. The checks wait at most
//! [`TIMEOUT`] by tokio's clock, which may be paused or real.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::backend::Backend;
use crate::reason::StopReason;

/// How long a backend may take to end after it was stopped.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// How long a call of `stop` may take. It asks and does not wait, so this is generous, also for a machine
/// that lets the test itself wait.
pub const AT_ONCE: Duration = Duration::from_secs(5);

/// Runs every check.
///
/// # Panics
/// When the backend breaks the contract; the message says how.
pub async fn all<B: Backend>(make: impl AsyncFn() -> B) {
    a_fresh_backend_has_not_ended(make().await).await;
    stop_returns_at_once_and_is_idempotent(make().await).await;
    ended_resolves_for_every_waiter(make().await).await;
    ended_resolves_for_a_late_waiter(make().await).await;
    a_dropped_waiter_changes_nothing(make().await).await;
    stop_after_the_end_does_nothing(make().await).await;
}

/// `ended` does not resolve before a healthy backend is stopped.
pub async fn a_fresh_backend_has_not_ended<B: Backend>(backend: B) {
    let ended = timeout(Duration::from_millis(10), backend.ended()).await;
    assert!(ended.is_err(), "the backend ended though it was not stopped");
    backend.stop(StopReason::Deleted);
    end(&backend).await;
}

/// `stop` neither waits nor minds being called again, and `ended` resolves after it.
pub async fn stop_returns_at_once_and_is_idempotent<B: Backend>(backend: B) {
    for why in [StopReason::Idle, StopReason::Shutdown, StopReason::Idle] {
        let asked = Instant::now();
        backend.stop(why);
        assert!(asked.elapsed() < AT_ONCE, "stop took {:?}", asked.elapsed());
    }
    end(&backend).await;
}

/// Several waiters, some from before the stop and some from after, all see the end.
pub async fn ended_resolves_for_every_waiter<B: Backend>(backend: B) {
    let (first, second) = (backend.ended(), backend.ended());
    backend.stop(StopReason::Deleted);
    let third = backend.ended();
    let all = timeout(TIMEOUT, async { tokio::join!(first, second, third) });
    assert!(all.await.is_ok(), "the backend did not end for every waiter");
}

/// `ended` resolves for a waiter that asks long after the end, every time.
pub async fn ended_resolves_for_a_late_waiter<B: Backend>(backend: B) {
    let early = backend.ended();
    backend.stop(StopReason::Deleted);
    end(&backend).await;
    for late in [backend.ended(), backend.ended(), early] {
        let now = timeout(AT_ONCE, late).await;
        assert!(now.is_ok(), "the backend did not end for a late waiter");
    }
}

/// Neither polling and dropping `ended` nor never polling it stops or breaks anything.
pub async fn a_dropped_waiter_changes_nothing<B: Backend>(backend: B) {
    drop(backend.ended());
    let _ = timeout(Duration::from_millis(10), backend.ended()).await;
    let ended = timeout(Duration::from_millis(10), backend.ended()).await;
    assert!(ended.is_err(), "dropping a waiter ended the backend");
    backend.stop(StopReason::Deleted);
    end(&backend).await;
}

/// A backend that has ended may be stopped again.
pub async fn stop_after_the_end_does_nothing<B: Backend>(backend: B) {
    backend.stop(StopReason::Deleted);
    end(&backend).await;
    backend.stop(StopReason::Shutdown);
    end(&backend).await;
}

async fn end<B: Backend>(backend: &B) {
    let ended = timeout(TIMEOUT, backend.ended()).await;
    assert!(ended.is_ok(), "the backend did not end within {TIMEOUT:?} of its stop");
}
