//! How much a vault does at once, and how long it waits.

use std::{num::NonZeroUsize, time::Duration};

/// Limits of a [`Vault`](super::Vault).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaultLimits {
    /// So many renewals run at once; 32.
    pub max_renewals: NonZeroUsize,
    /// So many more wait for their turn; whoever comes after them waits for a place. 1024.
    pub max_waiting: NonZeroUsize,
    /// How long the upstream has for one answer; 20 s. A renewal asks twice at most.
    pub renew_timeout: Duration,
    /// Between the two questions; 250 ms.
    pub retry_pause: Duration,
    /// How long a request waits for a renewal while the old access token still serves, and how long
    /// a broker waits for another one's renewal when it does not; 10 s.
    pub wait_timeout: Duration,
    /// How long nobody asks after a first failure; each further one doubles it. 5 s.
    pub first_back_off: Duration,
    /// The longest that nobody asks; 5 min.
    pub longest_back_off: Duration,
    /// Between two looks at one credential after something failed with it; 30 s.
    pub look_pause: Duration,
    /// How long a look may take; 10 s.
    pub look_timeout: Duration,
    /// So many failures are remembered; 10 000.
    pub max_back_offs: NonZeroUsize,
}

impl Default for VaultLimits {
    fn default() -> Self {
        let number = |number| NonZeroUsize::new(number).expect("not zero");
        Self {
            max_renewals: number(32),
            max_waiting: number(1024),
            renew_timeout: Duration::from_secs(20),
            retry_pause: Duration::from_millis(250),
            wait_timeout: Duration::from_secs(10),
            first_back_off: Duration::from_secs(5),
            longest_back_off: Duration::from_secs(5 * 60),
            look_pause: Duration::from_secs(30),
            look_timeout: Duration::from_secs(10),
            max_back_offs: number(10_000),
        }
    }
}
