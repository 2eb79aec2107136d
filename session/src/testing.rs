//! Fakes, as pairs of a thing and the handle that drives it, and the contract of [`Backend`](crate::Backend).
//!
//! ```
//! use session::{Limits, StopReason, testing};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let (registry, mut backends) = testing::registry(Limits::default());
//! let lease = registry.open(testing::owner("ada"), ()).await.expect("there is room");
//! let backend = backends.next().await;
//! registry.end(lease.id(), lease.owner(), testing::KIND, StopReason::Deleted).await.expect("it is ada's");
//! assert_eq!(backend.asked_to_stop().await, StopReason::Deleted);
//! assert_eq!(registry.stopping(), 1);
//! backend.end();
//! # });
//! ```

use std::sync::Arc;

use crate::limits::Limits;
use crate::owner::Owner;
use crate::registry::Registry;

mod backend;
mod backends;
mod census;
pub mod contract;
mod records;
mod records_contract;
mod spawner;
mod timeout;

pub use backend::{BackendHandle, FakeBackend, KIND};
pub use backends::{Backends, fakes};
pub use records::MemoryRecords;
pub use records_contract::records_contract;
pub use spawner::{Answer, FakeError, FakeSpawner, HeldSpawn, NEWER};
pub use timeout::TIMEOUT;

/// A registry of fake backends.
pub type FakeRegistry = Registry<(), FakeBackend, FakeError>;

/// The owner `name`, vouched for by the same issuer and through the same client each time.
pub fn owner(name: &str) -> Owner {
    Owner::new("https://issuer.example", name, "test-client")
}

/// A registry of fake backends whose driver runs until the `Backends` are dropped.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn registry(limits: Limits) -> (FakeRegistry, Backends) {
    let (spawner, mut backends) = fakes();
    let (registry, driver) = Registry::new(Arc::new(spawner), limits);
    backends.tasks.spawn(driver.run());
    (registry, backends)
}

/// The same with records: a second one over the same records is what a restart leads to.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn recorded(limits: Limits, records: &MemoryRecords) -> (FakeRegistry, Backends) {
    let (spawner, mut backends) = fakes();
    let (registry, driver) = Registry::with_records(
        Arc::new(spawner),
        limits,
        Arc::new(records.clone()),
        records.calendar(),
    );
    backends.tasks.spawn(driver.run());
    (registry, backends)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Spawn;

    #[tokio::test(start_paused = true)]
    async fn the_fake_backend_keeps_the_contract() {
        let (spawner, backends) = fakes();
        backends.answer(Answer::SucceedAndObey);
        contract::all(async || {
            spawner.spawn(&owner("ada"), ()).await.expect("the spawner was told to succeed")
        })
        .await;
        assert_eq!(backends.alive(), 0);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "did not end")]
    async fn a_backend_that_ignores_stop_breaks_the_contract() {
        let (spawner, _backends) = fakes();
        contract::all(async || {
            spawner.spawn(&owner("ada"), ()).await.expect("the spawner was told to succeed")
        })
        .await;
    }
}
