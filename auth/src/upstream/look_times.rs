//! When credentials were looked at, so that a failing server does not have the upstream asked at each
//! call.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::CredentialKey;

/// Looks at one credential within a pause, if it is renewed before each further one.
const MOST: u32 = 4;

/// Remembers the looks at each credential for one pause. At most `capacity` of them; when there are
/// more within one pause, the others are not looked at.
#[derive(Debug)]
pub(super) struct LookTimes {
    pause: Duration,
    capacity: usize,
    last: Mutex<HashMap<CredentialKey, Looks>>,
}

/// The looks at one credential within a pause.
#[derive(Debug)]
struct Looks {
    first: Instant,
    count: u32,
    /// It was renewed since the last one.
    is_renewed: bool,
}

impl LookTimes {
    pub(super) fn new(pause: Duration, capacity: usize) -> Self {
        Self { pause, capacity, last: Mutex::default() }
    }

    /// Whether it may be looked at now; noted as a look if so.
    pub(super) fn begin(&self, key: &CredentialKey) -> bool {
        let now = Instant::now();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |looks: &Looks| now.duration_since(looks.first) < self.pause;
        if let Some(looks) = last.get_mut(key).filter(|looks| recent(looks)) {
            let may = looks.is_renewed && looks.count < MOST;
            if may {
                (looks.count, looks.is_renewed) = (looks.count + 1, false);
            }
            return may;
        }
        if last.len() >= self.capacity && !last.contains_key(key) {
            last.retain(|_, looks| recent(looks));
            if last.len() >= self.capacity {
                return false;
            }
        }
        last.insert(key.clone(), Looks { first: now, count: 1, is_renewed: false });
        true
    }

    /// What was learned is of a token that is not sent any more. An upstream that calls every token dead
    /// is still not asked without end.
    pub(super) fn renewed(&self, key: &CredentialKey) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(looks) = last.get_mut(key) {
            looks.is_renewed = true;
        }
    }

    /// Forgets the look: there is another credential.
    pub(super) fn forget(&self, key: &CredentialKey) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::CredentialRealm;

    fn key(subject: &str) -> CredentialKey {
        let realm = CredentialRealm::Provider("p".into());
        CredentialKey { realm, issuer: "i".into(), subject: subject.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_credential_is_looked_at_once_in_a_pause_and_another_one_at_once() {
        let times = LookTimes::new(Duration::from_secs(30), 2);
        assert!(times.begin(&key("ada")) && !times.begin(&key("ada")));
        assert!(times.begin(&key("bob")));
        assert!(!times.begin(&key("eve")), "so many are remembered, and no more");
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(times.begin(&key("eve")) && times.begin(&key("ada")));
        times.forget(&key("ada"));
        assert!(times.begin(&key("ada")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_credential_is_looked_at_again_and_not_without_end() {
        let times = LookTimes::new(Duration::from_secs(30), 2);
        assert!(times.begin(&key("ada")) && !times.begin(&key("ada")));
        for _ in 1..MOST {
            times.renewed(&key("ada"));
            assert!(times.begin(&key("ada")) && !times.begin(&key("ada")));
        }
        times.renewed(&key("ada"));
        assert!(!times.begin(&key("ada")));
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(times.begin(&key("ada")));
    }
}
