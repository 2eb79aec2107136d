//! The store in memory as one for static tokens.

use super::memory_store::MemoryStore;
use crate::{StaticTokenStore, TokenAdded, TokenHash, TokenRecord, UnixTime, oauth::Stored};

impl StaticTokenStore for MemoryStore {
    fn add_static_token(&self, record: TokenRecord, now: UnixTime) -> Stored<'_, TokenAdded> {
        self.call(move |tables| {
            let all = &mut tables.static_tokens;
            if all.iter().any(|own| own.sha256 == record.sha256) {
                return TokenAdded::Known;
            }
            let in_force = |own: &TokenRecord| !own.expires.is_some_and(|end| now.is_past(end));
            let mut left = all.iter().filter(|own| own.revoked.is_none());
            let in_the_way = left
                .find(|own| own.id == record.name || (own.name == record.name && in_force(own)));
            if let Some(own) = in_the_way {
                return TokenAdded::NameTaken { id: own.id.clone() };
            }
            let id = &record.id;
            if all.iter().any(|own| own.id == *id || (own.revoked.is_none() && own.name == *id)) {
                return TokenAdded::IdTaken;
            }
            all.retain(|own| own.revoked.is_some() || own.name != record.name);
            all.push(record);
            TokenAdded::New
        })
    }

    fn static_token<'a>(&'a self, hash: &'a TokenHash) -> Stored<'a, Option<TokenRecord>> {
        self.call(move |tables| {
            tables.static_tokens.iter().find(|own| own.sha256 == *hash).cloned()
        })
    }

    fn static_token_named<'a>(&'a self, name: &'a str) -> Stored<'a, Option<TokenRecord>> {
        self.call(move |tables| {
            let mut left = tables.static_tokens.iter().filter(|own| own.revoked.is_none());
            left.find(|own| own.name == name).cloned()
        })
    }

    fn static_tokens<'a>(&'a self, after: &'a str, limit: usize) -> Stored<'a, Vec<TokenRecord>> {
        self.call(move |tables| {
            let left = tables.static_tokens.iter().filter(|own| own.revoked.is_none());
            let mut above: Vec<_> = left.filter(|own| own.name.as_str() > after).cloned().collect();
            above.sort_by(|one, other| one.name.cmp(&other.name));
            above.truncate(limit);
            above
        })
    }

    fn revoke_static_token<'a>(
        &'a self,
        id_or_name: &'a str,
        now: UnixTime,
    ) -> Stored<'a, Option<TokenRecord>> {
        self.call(move |tables| {
            let mut left = tables.static_tokens.iter_mut().filter(|own| own.revoked.is_none());
            // No name is another token's id, so that there is one at most.
            let own = left.find(|own| own.id == id_or_name || own.name == id_or_name)?;
            own.revoked = Some(now);
            Some(own.clone())
        })
    }

    fn static_tokens_revoked_since(
        &self,
        since: UnixTime,
        limit: usize,
    ) -> Stored<'_, Vec<TokenRecord>> {
        self.call(move |tables| {
            let all = tables.static_tokens.iter();
            let mut revoked: Vec<_> =
                all.filter(|own| own.revoked.is_some_and(|at| at >= since)).cloned().collect();
            revoked.sort_by_key(|own| own.revoked);
            revoked.truncate(limit);
            revoked
        })
    }
}
