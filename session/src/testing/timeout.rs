//! How long a fake's handle waits.

use std::time::Duration;

use tokio::time::timeout;

/// How long a handle waits, by tokio's clock, before it panics: a test that waits for what never
/// comes must fail and not hang.
pub const TIMEOUT: Duration = Duration::from_secs(60);

pub(super) async fn with_timeout<T>(failure: &str, awaited: impl Future<Output = T>) -> T {
    timeout(TIMEOUT, awaited).await.unwrap_or_else(|_| panic!("{failure} in {TIMEOUT:?}"))
}
