//! What every store has to keep to about people who are blocked, and about their logins.

use super::records::{HOUR, MINUTE, issue, no, sign_in, token};
use crate::{
    UnixTime,
    oauth::{AuthStore, Redeemed},
};

pub(super) async fn people(store: &dyn AuthStore, now: UnixTime) {
    let issuer = "https://forge.example";
    let grant = sign_in(store, "eve-1", "eve", now).await;
    sign_in(store, "eva-1", "eva", now).await;
    let pending = issue(store, "eve-pending", "eve", now).await;
    assert!(!store.is_blocked(issuer, "eve").await.unwrap_or_else(no));
    let later = now.plus(MINUTE);
    let revoked = store.block_person(issuer, "eve", now).await.unwrap_or_else(no);
    assert_eq!(revoked.iter().map(|own| &*own.grant_id).collect::<Vec<_>>(), [&*grant]);
    assert!(store.is_blocked(issuer, "eve").await.unwrap_or_else(no));
    assert!(!store.is_blocked("https://other.example", "eve").await.unwrap_or_else(no));
    assert!(!store.is_blocked(issuer, "eva").await.unwrap_or_else(no));
    let others = store.grants_of(issuer, "eva", None, 9).await.unwrap_or_else(no);
    assert_eq!(others.len(), 1, "that is somebody else");
    let access = token("eve-pending-access", now.plus(HOUR));
    let redeemed = store.redeem_code(&pending.hash, access, None, later).await.unwrap_or_else(no);
    assert_eq!(redeemed, Redeemed::Gone, "a code on its way makes no grant");
    let again = store.block_person(issuer, "eve", later).await.unwrap_or_else(no);
    assert_eq!(again, [], "there was nothing left");
    let all = store.blocked_people().await.unwrap_or_else(no);
    let eve = all.iter().find(|own| own.subject == "eve").expect("she is listed");
    assert_eq!((&*eve.issuer, eve.since), (issuer, now), "the first time counts");
    assert!(store.unblock_person(issuer, "eve").await.unwrap_or_else(no));
    assert!(!store.unblock_person(issuer, "eve").await.unwrap_or_else(no), "once");
    assert!(!store.is_blocked(issuer, "eve").await.unwrap_or_else(no));

    assert_eq!(store.facts(issuer, "eve").await.unwrap_or_else(no), None);
    for (facts, at) in [("{}", now), ("{\"login\":\"eve\"}", later)] {
        store.keep_facts(issuer, "eve", facts.to_owned(), at).await.unwrap_or_else(no);
        let kept = store.facts(issuer, "eve").await.unwrap_or_else(no);
        assert_eq!(kept, Some((facts.to_owned(), at)));
    }
    assert_eq!(store.facts(issuer, "eva").await.unwrap_or_else(no), None);

    for (login, claims, owner) in
        [("eve", "eve-id", "eve-id"), ("eve", "thief", "eve-id"), ("e2", "eve-id", "eve-id")]
    {
        let owns = store.claim_login(issuer, login, claims).await.unwrap_or_else(no);
        assert_eq!(owns, owner, "the first who came with {login}");
    }
    let mut claimed = store.claimed_logins(issuer, "eve-id").await.unwrap_or_else(no);
    claimed.sort_unstable();
    assert_eq!(claimed, ["e2", "eve"]);
    assert!(store.claimed_logins(issuer, "thief").await.unwrap_or_else(no).is_empty());
}
