//! Removing from a store what has served its time.

use std::time::SystemTime;

use super::{store::AuthStore, stored::StoreError};
use crate::unix_time::UnixTime;

/// How many records one step removes, and how many steps there are at a time.
const STEP: usize = 500;
const MAX_STEPS: usize = 200;

/// Removes from `store` what has served its time, in small steps, and says how many records those were.
/// To be called every few minutes, also where no client signs in here: revoked static tokens go this way.
///
/// # Errors
///
/// [`StoreError`]; what was removed until then stays removed.
///
/// # Cancel safety
///
/// Dropping the future leaves the rest for the next time.
pub async fn sweep(store: &dyn AuthStore, now: SystemTime) -> Result<usize, StoreError> {
    let now = UnixTime::of(now);
    let mut total = 0;
    for _ in 0..MAX_STEPS {
        let swept = store.sweep(now, STEP).await?;
        total += swept;
        if swept < STEP {
            break;
        }
    }
    Ok(total)
}
