//! The plug point that keeps static tokens.

use std::fmt;

use crate::{TokenHash, UnixTime, oauth::Stored, token::TokenRecord};

/// Keeps the tokens that the operator hands out. What holds for every method of
/// [`AuthStore`](crate::oauth::AuthStore) holds here: atomic, durable before it returns, no clock.
///
/// Of the records that are not revoked no two have the same name, and no name is another one's id.
/// A revoked record stays until [`AuthStore::sweep`](crate::oauth::AuthStore::sweep) of the same
/// store removes it, [`CODE_MEMORY`](crate::oauth::CODE_MEMORY) after it was revoked. No two records,
/// revoked ones included, have the same id or the same hash.
///
/// Every implementation runs `auth::testing::static_tokens_contract`.
pub trait StaticTokenStore: fmt::Debug + Send + Sync {
    /// Adds a token; see [`TokenAdded`]. An expired token of the same name makes room: its record is
    /// removed.
    fn add_static_token(&self, record: TokenRecord, now: UnixTime) -> Stored<'_, TokenAdded>;

    /// The token with this hash, expired and revoked ones included; `None` when it was never added,
    /// was replaced or was swept.
    fn static_token<'a>(&'a self, hash: &'a TokenHash) -> Stored<'a, Option<TokenRecord>>;

    /// The token with this name, if it is not revoked; it may have expired.
    fn static_token_named<'a>(&'a self, name: &'a str) -> Stored<'a, Option<TokenRecord>>;

    /// At most `limit` tokens with a name above `after`, in order of their names: expired ones
    /// included, revoked ones not.
    fn static_tokens<'a>(&'a self, after: &'a str, limit: usize) -> Stored<'a, Vec<TokenRecord>>;

    /// Revokes the token with this id, or else the one with this name, and returns its record as it
    /// is from now on. `None` when no such token is left to be revoked.
    fn revoke_static_token<'a>(
        &'a self,
        id_or_name: &'a str,
        now: UnixTime,
    ) -> Stored<'a, Option<TokenRecord>>;

    /// Tokens revoked at or after `since`, oldest first, at most `limit`: how a running broker learns
    /// what another one, or the command line, revoked.
    fn static_tokens_revoked_since(
        &self,
        since: UnixTime,
        limit: usize,
    ) -> Stored<'_, Vec<TokenRecord>>;
}

/// The outcome of [`StaticTokenStore::add_static_token`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenAdded {
    /// The token is good from now on.
    New,
    /// A record with this hash is there already, revoked or not, and nothing was changed: the same
    /// token was added before. Importing a list of tokens twice ends here.
    Known,
    /// Nothing was added: the name is the name of a token in force, or its id.
    NameTaken {
        /// [`TokenRecord::id`] of the token in the way.
        id: String,
    },
    /// Nothing was added: the id is another token's id or name. A caller that drew the id at random
    /// draws another one.
    IdTaken,
}
