//! Whom the operator has blocked. Every request is compared with it, whoever vouches for the person.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use auth::oauth::{PeopleStore, StoreError};
use tokio::time::interval;
use tracing::{info, warn};

use crate::error_chain::error_chain;

/// How often the store is looked at: the command line blocks while the broker runs.
const INTERVAL: Duration = Duration::from_secs(1);

/// Subjects by issuer.
type ByIssuer = HashMap<String, HashSet<String>>;

/// Whom the operator has blocked.
#[derive(Debug)]
pub(crate) struct BlockedPeople {
    people: ArcSwap<ByIssuer>,
    store: Arc<dyn PeopleStore>,
}

impl BlockedPeople {
    /// What the store says now.
    pub(super) async fn load(store: Arc<dyn PeopleStore>) -> Result<Arc<Self>, StoreError> {
        let people = ArcSwap::from_pointee(read(&*store).await?);
        Ok(Arc::new(Self { people, store }))
    }

    /// Whether this person is blocked. Costs no lock.
    pub(crate) fn contains(&self, issuer: &str, subject: &str) -> bool {
        self.people.load().get(issuer).is_some_and(|own| own.contains(subject))
    }

    /// Keeps up with what the command line changes.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut interval = interval(INTERVAL);
        loop {
            interval.tick().await;
            match read(&*self.store).await {
                Ok(people) if people == **self.people.load() => {}
                Ok(people) => {
                    let blocked: usize = people.values().map(HashSet::len).sum();
                    info!(blocked, "the list of blocked people has changed");
                    self.people.store(Arc::new(people));
                }
                Err(error) => {
                    let cause = error_chain(&error);
                    warn!(%error, %cause, "cannot read who is blocked; trying again");
                }
            }
        }
    }
}

async fn read(store: &dyn PeopleStore) -> Result<ByIssuer, StoreError> {
    let mut people = ByIssuer::new();
    for own in store.blocked_people().await? {
        people.entry(own.issuer).or_default().insert(own.subject);
    }
    Ok(people)
}
