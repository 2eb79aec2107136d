//! What every store has to keep to about grants.

use super::records::{HOUR, MINUTE, hash, issue, issue_to, no, rotation, sign_in, token};
use crate::{
    UnixTime,
    oauth::{AuthStore, Code, Grant, Redeemed, Rotated},
};

pub(super) async fn grants(store: &dyn AuthStore, now: UnixTime) {
    let older = sign_in(store, "a1", "bob", now).await;
    let newer = sign_in(store, "a2", "bob", now.plus(MINUTE)).await;
    let issuer = "https://forge.example";
    let grant_ids = |all: Vec<Grant>| all.into_iter().map(|own| own.grant_id).collect::<Vec<_>>();
    let all = grant_ids(store.grants_of(issuer, "bob", None, 10).await.unwrap_or_else(no));
    assert_eq!(all, [newer.clone(), older.clone()], "a user's grants, newest first");
    let others = store.grants_of("https://other.example", "bob", None, 10).await.unwrap_or_else(no);
    assert!(others.is_empty(), "another issuer's bob is somebody else");
    assert!(store.revoke_access(&hash("a1-access")).await.unwrap_or_else(no));
    assert!(!store.revoke_access(&hash("a1-access")).await.unwrap_or_else(no), "once");
    let found = store.access_token(&hash("a1-access")).await.unwrap_or_else(no);
    assert!(found.is_some_and(|own| own.revoked && own.grant.revoked.is_none()));
    let at = now.plus(2 * MINUTE);
    assert!(store.revoke_grant(&older, at).await.unwrap_or_else(no).is_some());
    assert_eq!(store.revoke_grant(&older, at).await.unwrap_or_else(no), None, "once");
    let all = grant_ids(store.grants_of(issuer, "bob", None, 10).await.unwrap_or_else(no));
    assert_eq!(all, std::slice::from_ref(&newer), "revoked grants are not listed");
    let walked = grant_ids(store.grants("", 1000).await.unwrap_or_else(no));
    assert!(walked.is_sorted() && walked.contains(&newer) && !walked.contains(&older));
    let beyond = grant_ids(store.grants(&newer, 1000).await.unwrap_or_else(no));
    assert!(!beyond.contains(&newer), "a page begins after the last one's end");
    let since = grant_ids(store.revoked_since(at, 1000).await.unwrap_or_else(no));
    assert!(since.contains(&older) && !since.contains(&newer), "revocations can be followed");
    let pending = issue(store, "pending", "bob", at).await;
    let other = issue_to(store, "contract-fixed", "pending of another", "bob", at).await;
    let removed = store.remove_client("contract-client", at).await.unwrap_or_else(no);
    assert!(
        removed.iter().any(|own| own.grant_id == newer),
        "a removed client's grants are revoked"
    );
    assert_eq!(store.client("contract-client", at).await.unwrap_or_else(no), None);
    let redeem = async |code: &Code| {
        let access = token(&format!("{}-access", code.grant_id), at.plus(HOUR));
        store.redeem_code(&code.hash, access, None, at).await.unwrap_or_else(no)
    };
    let gone = redeem(&pending).await;
    assert_eq!(gone, Redeemed::Gone, "a code on its way makes no grant of a client that is gone");
    let fresh = redeem(&other).await;
    assert!(matches!(fresh, Redeemed::Fresh(_)), "that is another client's code: {fresh:?}");
}

pub(super) async fn many_grants(store: &dyn AuthStore, now: UnixTime) {
    let issuer = "https://forge.example";
    let mut ids = Vec::new();
    for n in 0..6 {
        // Two of the same second, told apart by their ids.
        let at = now.plus(MINUTE * (n / 2));
        ids.push(sign_in(store, &format!("many-{n}"), "mia", at).await);
    }
    let newest_first: Vec<&str> = [4, 5, 2, 3, 0, 1].map(|n: usize| &*ids[n]).into();
    let mut walked: Vec<Grant> = Vec::new();
    loop {
        let page = store.grants_of(issuer, "mia", walked.last(), 2).await.unwrap_or_else(no);
        assert!(page.len() <= 2, "a page is bounded");
        if page.is_empty() {
            break;
        }
        walked.extend(page);
    }
    let found: Vec<_> = walked.iter().map(|own| &*own.grant_id).collect();
    assert_eq!(found, newest_first, "page by page nothing is missing and nothing comes twice");

    // The oldest of them is the one that was used last.
    let later = now.plus(10 * MINUTE);
    let rotated =
        store.rotate_refresh(rotation("many-0-refresh", "many-0b", 1, later), later).await;
    assert!(matches!(rotated, Ok(Rotated::Fresh(_))), "{rotated:?}");
    sign_in(store, "other-person", "max", now).await;
    let code = issue_to(store, "contract-other", "other-client", "mia", now).await;
    let access = token("other-client-access", now.plus(HOUR));
    store.redeem_code(&code.hash, access, None, now).await.unwrap_or_else(no);
    let newest = &walked[0];
    let surplus = store.revoke_surplus(newest, 6, later).await.unwrap_or_else(no);
    assert_eq!(surplus, [], "six are not too many, whatever else there is");
    let mut surplus: Vec<_> = (store.revoke_surplus(newest, 3, later).await.unwrap_or_else(no))
        .into_iter()
        .map(|own| own.grant_id)
        .collect();
    surplus.sort_unstable();
    assert_eq!(surplus, [&*ids[1], &*ids[2], &*ids[3]], "those go that were idle longest");
    let alone = store.revoke_surplus(newest, 0, later).await.unwrap_or_else(no);
    assert_eq!(alone.len(), 2, "the new one stays in any case");
    let found = store.grant(&newest.grant_id).await.unwrap_or_else(no);
    assert_eq!(found.as_ref(), Some(newest));
    let gone = store.grant(&ids[1]).await.unwrap_or_else(no).expect("it is kept for a while");
    assert_eq!(gone.revoked, Some(later));
    assert_eq!(store.grant("never").await.unwrap_or_else(no), None);

    let pending = issue(store, "many-pending", "mia", later).await;
    let revoked = store.revoke_user(issuer, "mia", later).await.unwrap_or_else(no);
    assert_eq!(revoked.len(), 2, "of every client");
    let access = token("many-pending-access", later.plus(HOUR));
    let redeemed = store.redeem_code(&pending.hash, access, None, later).await.unwrap_or_else(no);
    assert_eq!(redeemed, Redeemed::Gone, "a code on its way makes no grant");
    let others = store.grants_of(issuer, "max", None, 9).await.unwrap_or_else(no);
    assert_eq!(others.len(), 1, "that is somebody else");
}
