//! Which dummies live, and whose they are.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use auth::oauth::Secret;
use sha2::{Digest, Sha256};

use super::holder::Holder;

/// Random bytes of a dummy. In hex it has the shape of a forge's own tokens, for programs that check it.
const BYTES: usize = 20;

/// Dummies by their hash, so that how long a look takes tells nothing of them.
#[derive(Default)]
pub(super) struct Dummies(RwLock<HashMap<[u8; 32], Arc<Holder>>>);

/// A dummy that lives until this is dropped.
#[derive(Debug)]
pub(super) struct Living {
    dummies: Arc<Dummies>,
    hash: [u8; 32],
}

/// Another dummy, which is not in force yet.
pub(super) fn mint() -> Result<Secret, getrandom::Error> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(Secret::new(hex::encode(bytes)))
}

impl Dummies {
    /// Puts the dummy of `holder` in force.
    pub(super) fn enter(self: &Arc<Self>, holder: Arc<Holder>) -> Living {
        let hash = hash(holder.dummy.expose());
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(hash, holder);
        Living { dummies: Arc::clone(self), hash }
    }

    /// Who holds this, if it is a living dummy.
    pub(super) fn holder(&self, text: &str) -> Option<Arc<Holder>> {
        if text.len() != 2 * BYTES {
            return None;
        }
        let dummies = self.0.read().unwrap_or_else(PoisonError::into_inner);
        dummies.get(&hash(text)).cloned()
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        let mut dummies = self.dummies.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(holder) = dummies.remove(&self.hash) {
            holder.gone.cancel();
        }
    }
}

impl fmt::Debug for Dummies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dummies = self.0.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_tuple("Dummies").field(&dummies.len()).finish()
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
