//! What every store of static tokens has to pass.

use std::{sync::Arc, time::Duration};

use super::{
    now,
    records::{no, race},
};
use crate::{
    TokenHash, TokenRecord, UnixTime,
    oauth::{AuthStore, CODE_MEMORY},
    static_tokens::store::{StaticTokenStore, TokenAdded},
};

const HOUR: Duration = Duration::from_secs(3600);

/// What holds for every store of static tokens. Both are the same store, and it is empty. The rules
/// stand in the documentation of [`StaticTokenStore`]; this plays them through, the atomic ones with
/// 50 calls at once. It needs a runtime with several threads to race for real.
///
/// # Panics
///
/// When one of them does not hold; the message says which.
pub async fn static_tokens_contract(tokens: Arc<dyn StaticTokenStore>, store: Arc<dyn AuthStore>) {
    let now = UnixTime::of(now());
    adding(&tokens, now).await;
    listing(&*tokens, now).await;
    revoking(&*tokens, now).await;
    sweeping(&*tokens, &*store, now).await;
}

/// A token called `name` that never expires; its id and its hash follow from `secret`.
fn record(name: &str, secret: &str, now: UnixTime) -> TokenRecord {
    TokenRecord {
        id: TokenHash::of(secret).to_hex()[..12].to_owned(),
        name: name.into(),
        sha256: TokenHash::of(secret),
        created: now,
        expires: None,
        revoked: None,
    }
}

async fn add(tokens: &dyn StaticTokenStore, record: &TokenRecord, now: UnixTime) -> TokenAdded {
    tokens.add_static_token(record.clone(), now).await.unwrap_or_else(no)
}

async fn find(tokens: &dyn StaticTokenStore, secret: &str) -> Option<TokenRecord> {
    tokens.static_token(&TokenHash::of(secret)).await.unwrap_or_else(no)
}

async fn named(tokens: &dyn StaticTokenStore, name: &str) -> Option<TokenRecord> {
    tokens.static_token_named(name).await.unwrap_or_else(no)
}

async fn names(tokens: &dyn StaticTokenStore, after: &str, limit: usize) -> Vec<String> {
    let all = tokens.static_tokens(after, limit).await.unwrap_or_else(no);
    all.into_iter().map(|own| own.name).collect()
}

async fn adding(tokens: &Arc<dyn StaticTokenStore>, now: UnixTime) {
    assert_eq!(find(&**tokens, "laptop").await, None);
    let laptop = record("laptop", "laptop", now);
    assert_eq!(add(&**tokens, &laptop, now).await, TokenAdded::New);
    assert_eq!(
        find(&**tokens, "laptop").await,
        Some(laptop.clone()),
        "it comes back as it was given"
    );
    for other in ["Laptop", "laptop ", "", &laptop.id, &laptop.sha256.to_hex()] {
        assert_eq!(find(&**tokens, other).await, None, "{other:?} is another token");
    }

    let again = TokenRecord { name: "renamed".into(), ..laptop.clone() };
    assert_eq!(add(&**tokens, &again, now).await, TokenAdded::Known, "the token was added before");
    assert_eq!(find(&**tokens, "laptop").await, Some(laptop.clone()), "and is as it was");
    let taken = TokenAdded::NameTaken { id: laptop.id.clone() };
    assert_eq!(add(&**tokens, &record("laptop", "second", now), now).await, taken);
    assert_eq!(
        add(&**tokens, &record(&laptop.id, "second", now), now).await,
        taken,
        "a name that is an id"
    );
    let same_id = TokenRecord { id: laptop.id.clone(), ..record("second", "second", now) };
    assert_eq!(add(&**tokens, &same_id, now).await, TokenAdded::IdTaken);
    let id_is_name = TokenRecord { id: "laptop".into(), ..record("second", "second", now) };
    assert_eq!(add(&**tokens, &id_is_name, now).await, TokenAdded::IdTaken, "an id that is a name");
    assert_eq!(find(&**tokens, "second").await, None, "what was refused is not there");

    let end = now.plus(HOUR);
    let brief = TokenRecord { expires: Some(end), ..record("brief", "brief", now) };
    assert_eq!(add(&**tokens, &brief, now).await, TokenAdded::New);
    let next = record("brief", "next", end);
    let early = add(&**tokens, &next, UnixTime(end.0 - 1)).await;
    assert_eq!(early, TokenAdded::NameTaken { id: brief.id }, "it is in force to its last second");
    assert_eq!(add(&**tokens, &next, end).await, TokenAdded::New, "an expired token makes room");
    assert_eq!(find(&**tokens, "brief").await, None, "the expired one is gone");
    assert_eq!(find(&**tokens, "next").await, Some(next));

    let racer = |n: u8| {
        let (tokens, own) = (Arc::clone(tokens), record("raced", &format!("raced {n}"), now));
        async move { add(&*tokens, &own, now).await }
    };
    let outcomes = race(racer).await;
    let winners = outcomes.iter().filter(|own| **own == TokenAdded::New).count();
    assert_eq!(winners, 1, "a name is given once");
}

async fn listing(tokens: &dyn StaticTokenStore, now: UnixTime) {
    let expired = TokenRecord { expires: Some(now), ..record("expired", "expired", now) };
    assert_eq!(add(tokens, &expired, now).await, TokenAdded::New);
    assert_eq!(names(tokens, "", 9).await, ["brief", "expired", "laptop", "raced"]);
    assert_eq!(
        names(tokens, "brief", 2).await,
        ["expired", "laptop"],
        "listing goes on after a name"
    );
    assert_eq!(named(tokens, "expired").await, Some(expired.clone()), "by its name alone");
    assert_eq!(named(tokens, "Expired").await, None);
    assert_eq!(
        find(tokens, "expired").await,
        Some(expired),
        "whether it expired is for the verifier"
    );
}

async fn revoking(tokens: &dyn StaticTokenStore, now: UnixTime) {
    let revoke =
        async |what: &str, now| tokens.revoke_static_token(what, now).await.unwrap_or_else(no);
    let since = async |since, limit| {
        let all = tokens.static_tokens_revoked_since(since, limit).await.unwrap_or_else(no);
        all.into_iter().map(|own| own.name).collect::<Vec<_>>()
    };
    assert_eq!(revoke("nothing", now).await, None);
    assert_eq!(since(UnixTime(0), 9).await, [""; 0]);

    let laptop = record("laptop", "laptop", now);
    let (first, second) = (now.plus(HOUR), now.plus(2 * HOUR));
    let revoked = TokenRecord { revoked: Some(first), ..laptop.clone() };
    assert_eq!(revoke(&laptop.id, first).await, Some(revoked.clone()), "by its id");
    assert_eq!(find(tokens, "laptop").await, Some(revoked), "a revoked token is known for a while");
    assert_eq!(revoke(&laptop.id, second).await, None, "once");
    assert_eq!(revoke("laptop", second).await, None, "nor by its name");
    assert_eq!(named(tokens, "laptop").await, None, "no token has it now");
    assert!(
        revoke("raced", second).await.is_some_and(|own| own.revoked == Some(second)),
        "by its name"
    );
    assert_eq!(names(tokens, "", 9).await, ["brief", "expired"], "revoked tokens are not listed");
    assert_eq!(since(first, 9).await, ["laptop", "raced"], "revocations can be followed");
    assert_eq!(since(first, 1).await, ["laptop"], "oldest first");
    assert_eq!(since(UnixTime(first.0 + 1), 9).await, ["raced"]);

    assert_eq!(
        add(tokens, &laptop, second).await,
        TokenAdded::Known,
        "no import makes it good again"
    );
    let successor = record("laptop", "successor", second);
    assert_eq!(add(tokens, &successor, second).await, TokenAdded::New, "its name is free");
    assert_eq!(revoke("laptop", second).await.map(|own| own.id), Some(successor.id));
}

async fn sweeping(tokens: &dyn StaticTokenStore, store: &dyn AuthStore, now: UnixTime) {
    let revoked = now.plus(HOUR);
    let end = revoked.plus(CODE_MEMORY);
    store.sweep(UnixTime(end.0 - 1), 100).await.unwrap_or_else(no);
    assert!(find(tokens, "laptop").await.is_some(), "a revocation is told for a while");
    assert!(store.sweep(end, 100).await.unwrap_or_else(no) > 0);
    assert_eq!(find(tokens, "laptop").await, None, "and then it is forgotten");
    store.sweep(now.plus(1000 * HOUR), 100).await.unwrap_or_else(no);
    assert_eq!(names(tokens, "", 9).await, ["brief", "expired"], "what was not revoked stays");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryStore;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_store_in_memory_keeps_the_contract_of_static_tokens() {
        let store = Arc::new(MemoryStore::new());
        static_tokens_contract(store.clone(), store).await;
    }
}
