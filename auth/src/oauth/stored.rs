//! What every question to a store gives: a value, or no judgement at all.

use std::error::Error;

use crate::BoxFuture;

/// What every method of a store gives: a value, or no judgement at all.
pub type Stored<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// The store could not be asked; the cause is the `source`. It goes to the log.
#[derive(Debug, thiserror::Error)]
#[error("the store is unavailable")]
pub struct StoreError(#[source] Box<dyn Error + Send + Sync>);

impl StoreError {
    /// Wraps what stood in the way. It must not carry secrets.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}
