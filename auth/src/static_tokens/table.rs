//! A table of static tokens that is replaced as a whole.

use std::{
    fmt,
    future::ready,
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use tracing::debug;

use crate::{
    Audience, Bearer, BoxFuture, Principal, Refusal, Scopes, TokenHash, TokenRecord, TokenVerifier,
    UnixTime, Verdict, VerifierUnavailable,
    token::{PREFIX, expired},
};

/// Judges tokens against a table in memory, which can be replaced while requests run.
///
/// A token without our prefix is somebody else's: abstain. With the prefix it is ours or forged, so
/// it is looked up by its SHA-256 and accepted or refused. The principal has issuer `static`, the
/// record's name as subject, client `static`, and every scope.
pub struct TableTokens {
    table: RwLock<TokenTable>,
}

impl TableTokens {
    /// The issuer of every principal it accepts.
    pub const ISSUER: &str = "static";

    /// A verifier for the tokens of `table`.
    #[must_use]
    pub fn new(table: TokenTable) -> Self {
        Self { table: RwLock::new(table) }
    }

    /// Puts `table` in the place of the current one. Requests judged from now on see all of it and
    /// nothing of the old one.
    pub fn replace(&self, table: TokenTable) {
        debug!(tokens = table.len(), "static tokens replaced");
        let old = {
            let mut current = self.table.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, table)
        };
        // Freed only after the lock: a long table must not hold up requests.
        drop(old);
    }

    fn verdict(&self, token: &Bearer, now: SystemTime) -> Verdict {
        if !token.expose().starts_with(PREFIX) {
            return Verdict::Abstain;
        }
        let hash = TokenHash::of(token.expose());
        // Nothing in here panics half-way through a change, so a poisoned table is a whole one.
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        match table.find(&hash) {
            None => Verdict::Refuse(Refusal::Unknown),
            Some(entry) if expired(entry.expires, now) => Verdict::Refuse(Refusal::Expired),
            Some(entry) => Verdict::Accept(entry.principal.clone()),
        }
    }
}

impl TokenVerifier for TableTokens {
    fn name(&self) -> &str {
        "static"
    }

    fn judge<'a>(
        &'a self,
        token: &'a Bearer,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<Verdict, VerifierUnavailable>> {
        Box::pin(ready(Ok(self.verdict(token, now))))
    }
}

impl fmt::Debug for TableTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tokens = self.table.read().unwrap_or_else(PoisonError::into_inner).len();
        f.debug_struct("TableTokens").field("tokens", &tokens).finish()
    }
}

/// The tokens of a [`TableTokens`], ready to be looked up.
#[derive(Clone, Default)]
pub struct TokenTable {
    /// Sorted by the hash's bucket. A hash map would compare whole hashes with `==`, which stops at
    /// the first difference; here eight bytes say where to look and `TokenHash` compares the rest.
    entries: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    hash: TokenHash,
    expires: Option<UnixTime>,
    principal: Principal,
}

impl TokenTable {
    /// A table of `records`.
    ///
    /// # Errors
    ///
    /// [`TableError::Twice`] when two records share a hash: whose token would it be?
    pub fn new(records: impl IntoIterator<Item = TokenRecord>) -> Result<Self, TableError> {
        let mut records: Vec<_> = records.into_iter().collect();
        records.sort_by_cached_key(|record| record.sha256.to_hex());
        if let Some([first, second]) =
            records.array_windows().find(|[first, second]| first.sha256 == second.sha256)
        {
            return Err(TableError::Twice { first: first.id.clone(), second: second.id.clone() });
        }
        let issuer: Arc<str> = TableTokens::ISSUER.into();
        let entries = records
            .into_iter()
            .map(|record| Entry {
                hash: record.sha256,
                expires: record.expires,
                principal: Principal {
                    issuer: issuer.clone(),
                    subject: record.name.into(),
                    client: issuer.clone(),
                    scopes: Scopes::everything(),
                    audience: Audience::anywhere(),
                    grant_id: None,
                },
            })
            .collect();
        Ok(Self { entries })
    }

    /// How many tokens there are, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no token at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The subjects of all tokens, expired ones included.
    pub fn subjects(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.principal.subject)
    }

    fn find(&self, hash: &TokenHash) -> Option<&Entry> {
        let bucket = hash.bucket();
        let from = self.entries.partition_point(|entry| entry.hash.bucket() < bucket);
        self.entries[from..]
            .iter()
            .take_while(|entry| entry.hash.bucket() == bucket)
            .find(|entry| entry.hash == *hash)
    }
}

impl fmt::Debug for TokenTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenTable").field("tokens", &self.len()).finish()
    }
}

/// Why records do not make a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// Two records are of the same token.
    #[error("the records {first} and {second} are of the same token")]
    Twice {
        /// [`TokenRecord::id`] of one.
        first: String,
        /// And of the other.
        second: String,
    },
}

#[cfg(test)]
mod tests;
