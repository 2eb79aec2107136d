//! What every store of credentials has to pass.

use std::{sync::Arc, time::Duration};

use super::{
    now,
    records::{no, race},
};
use crate::{
    UnixTime,
    upstream::{CredentialKey, CredentialRealm, CredentialStore, Sealed},
};

const MINUTE: Duration = Duration::from_secs(60);

/// What holds for every store of credentials; `store` holds none. The rules stand in the
/// documentation of [`CredentialStore`]; this plays them through, the atomic ones with 50 calls at
/// once. It needs a runtime with several threads to race for real.
///
/// # Panics
///
/// When one of them does not hold; the message says which.
pub async fn credentials_contract(store: Arc<dyn CredentialStore>) {
    let now = UnixTime::of(now());
    keeping(&*store, now).await;
    versions(&store, now).await;
    claims(&store, now).await;
    keys_and_users(&*store, now).await;
}

fn key(realm: &str, subject: &str) -> CredentialKey {
    CredentialKey {
        realm: CredentialRealm::from_stored(realm),
        issuer: "https://forge.example/'; DROP TABLE credentials; --".into(),
        subject: subject.into(),
    }
}

async fn put(
    store: &dyn CredentialStore,
    key: &CredentialKey,
    bytes: &[u8],
    replaces: Option<u64>,
    now: UnixTime,
) -> Option<u64> {
    store.put_credential(key, "key-1", bytes.to_vec(), replaces, now).await.unwrap_or_else(no)
}

async fn get(store: &dyn CredentialStore, key: &CredentialKey) -> Option<Sealed> {
    store.credential(key).await.unwrap_or_else(no)
}

async fn keeping(store: &dyn CredentialStore, now: UnixTime) {
    assert_eq!(store.sealing_keys().await.unwrap_or_else(no), [""; 0], "nothing is sealed yet");
    let ada = key("forge", "ada");
    assert_eq!(get(store, &ada).await, None);
    let every_byte: Vec<u8> = (0..=255).collect();
    let version = put(store, &ada, &every_byte, None, now).await.expect("nothing to replace");
    let sealed = Sealed { version, key_id: "key-1".into(), bytes: every_byte, stored: now };
    assert_eq!(get(store, &ada).await, Some(sealed), "a credential comes back as it was given");
    for other in [
        key("forg", "eada"),
        key("Forge", "ada"),
        key("forge", "ADA"),
        key("forge", "ada "),
        key("server:forge", "ada"),
        CredentialKey { issuer: "https://forge.example".into(), ..ada.clone() },
    ] {
        assert_eq!(get(store, &other).await, None, "{other:?} is somebody else");
        assert!(!store.remove_credential(&other).await.unwrap_or_else(no));
        let claimed = store.claim_renewal(&other, version, now.plus(MINUTE), now).await;
        assert!(!claimed.unwrap_or_else(no), "what is not there cannot be claimed");
        let replaced = put(store, &other, b"x", Some(version), now).await;
        assert_eq!(replaced, None, "what is not there cannot be replaced");
    }
    assert!(store.remove_credential(&ada).await.unwrap_or_else(no));
    assert!(!store.remove_credential(&ada).await.unwrap_or_else(no), "it went already");
    assert_eq!(get(store, &ada).await, None);
}

async fn versions(store: &Arc<dyn CredentialStore>, now: UnixTime) {
    let ada = key("versions", "ada");
    let first = put(&**store, &ada, b"first", None, now).await.expect("nothing to replace");
    assert!(first > 0, "versions begin above zero");
    let login = put(&**store, &ada, b"login", None, now).await.expect("it overwrites");
    assert!(login > first, "versions grow");
    assert_eq!(put(&**store, &ada, b"late", Some(first), now).await, None, "somebody was faster");
    assert_eq!(get(&**store, &ada).await.map(|own| own.bytes), Some(b"login".into()));

    let replace = |n: u8| {
        let (store, ada) = (Arc::clone(store), ada.clone());
        async move { put(&*store, &ada, &[n], Some(login), now).await }
    };
    let outcomes = race(replace).await;
    let winners: Vec<_> = outcomes.into_iter().flatten().collect();
    let [winner] = winners[..] else { panic!("{} callers replaced one version", winners.len()) };
    let kept = get(&**store, &ada).await.expect("it was just stored");
    assert_eq!(kept.version, winner, "what is kept is the winner's");

    let racers = race(|n: u8| {
        let (store, ada) = (Arc::clone(store), ada.clone());
        async move { put(&*store, &ada, &[n], None, now).await.expect("unconditional") }
    });
    let mut given = racers.await;
    let count = given.len();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), count, "no version is given twice");
    let last = given.last().copied().unwrap_or_default();
    assert_eq!(get(&**store, &ada).await.map(|own| own.version), Some(last), "the last one stays");

    assert!(store.remove_credential(&ada).await.unwrap_or_else(no));
    assert_eq!(put(&**store, &ada, b"late", Some(last), now).await, None, "it was removed");
    let again = put(&**store, &ada, b"again", None, now).await.expect("nothing to replace");
    assert!(again > last, "a removal does not start the versions again");
}

async fn claims(store: &Arc<dyn CredentialStore>, now: UnixTime) {
    let ada = key("claims", "ada");
    let version = put(&**store, &ada, b"one", None, now).await.expect("nothing to replace");
    let until = now.plus(MINUTE);
    let claim = async |version, until, now| {
        store.claim_renewal(&ada, version, until, now).await.unwrap_or_else(no)
    };
    assert!(!claim(version + 1, until, now).await, "a version that is not there");

    let racer = |_| {
        let (store, ada) = (Arc::clone(store), ada.clone());
        async move { store.claim_renewal(&ada, version, until, now).await.unwrap_or_else(no) }
    };
    let winners = race(racer).await.into_iter().filter(|own| *own).count();
    assert_eq!(winners, 1, "one caller renews");
    assert!(!claim(version, until, now.plus(MINUTE / 2)).await, "the claim holds");
    let last = UnixTime(until.0 - 1);
    assert!(!claim(version, until, last).await, "the claim holds to its end");
    let later = until.plus(MINUTE);
    assert!(claim(version, later, until).await, "a claim ends");

    store.release_renewal(&ada, version + 1).await.unwrap_or_else(no);
    assert!(!claim(version, later, until).await, "that was another version's claim");
    store.release_renewal(&ada, version).await.unwrap_or_else(no);
    assert!(claim(version, later, until).await, "a claim can be given back");
    assert_eq!(get(&**store, &ada).await.map(|own| own.bytes), Some(b"one".into()));

    let next = put(&**store, &ada, b"two", Some(version), until).await.expect("still the same");
    assert!(!claim(version, later, until).await, "the old version is gone");
    assert!(claim(next, later, until).await, "storing ends the claim");
    let login = put(&**store, &ada, b"login", None, until).await.expect("it overwrites");
    assert!(claim(login, later, until).await, "so does overwriting");
    assert!(store.remove_credential(&ada).await.unwrap_or_else(no));
    assert!(!claim(login, later, later).await, "a removed credential is not renewed");
    store.release_renewal(&ada, login).await.unwrap_or_else(no);
    let back = put(&**store, &ada, b"back", None, until).await.expect("nothing to replace");
    assert!(claim(back, later, until).await, "a claim goes with what it was for");
}

async fn keys_and_users(store: &dyn CredentialStore, now: UnixTime) {
    let (bob, eve) = ("keys-bob", "keys-eve");
    let stored = [("forge-b", bob, "old"), ("forge-a", bob, "new"), ("forge-a", eve, "older")];
    for (provider, subject, key_id) in stored {
        let key = key(provider, subject);
        let put = store.put_credential(&key, key_id, b"bytes".into(), None, now).await;
        put.unwrap_or_else(no);
    }
    // Other parts of the contract leave "key-1" behind.
    let mut keys = store.sealing_keys().await.unwrap_or_else(no);
    keys.sort_unstable();
    assert_eq!(keys, ["key-1", "new", "old", "older"], "each key in use, once");

    let others = store.sealed_otherwise("new", 100).await.unwrap_or_else(no);
    assert!(others.iter().all(|(_, own)| own.key_id != "new"));
    let find = |subject| others.iter().find(|(key, _)| key.subject == subject);
    let (found, sealed) = find(bob).expect("what another key sealed is found");
    assert_eq!((found, &sealed.key_id[..]), (&key("forge-b", bob), "old"));
    assert!(find(eve).is_some());
    let some = store.sealed_otherwise("new", 1).await.unwrap_or_else(no);
    assert_eq!(some.len(), 1, "the list is bounded");

    let issuer = key("", "").issuer;
    let of_bob = store.credentials_of(&issuer, bob).await.unwrap_or_else(no);
    let names: Vec<_> = of_bob.iter().map(|(key, _)| key.realm.to_string()).collect();
    assert_eq!(names, ["forge-a", "forge-b"], "a user's credentials come by provider");
    assert_eq!(Some(&of_bob[0].1), get(store, &of_bob[0].0).await.as_ref());
    let elsewhere = store.credentials_of("https://other.example", bob).await.unwrap_or_else(no);
    assert_eq!(elsewhere, [], "another issuer's user is another person");

    let forge_a = CredentialRealm::Provider("forge-a".to_owned());
    let at_a = async |after, limit| {
        let all = store.credentials_at(&forge_a, after, limit).await.unwrap_or_else(no);
        all.into_iter().map(|(key, _)| key.subject).collect::<Vec<_>>()
    };
    assert_eq!(at_a(("", ""), 9).await, [bob, eve], "a provider's credentials come by user");
    assert_eq!(at_a(("", ""), 1).await, [bob]);
    assert_eq!(at_a((&issuer, bob), 9).await, [eve], "listing goes on after a user");
    let realms = store.credential_realms().await.unwrap_or_else(no);
    assert!(
        realms.is_sorted_by_key(ToString::to_string) && realms.contains(&forge_a),
        "{realms:?}"
    );
    assert_eq!(realms.iter().filter(|own| **own == forge_a).count(), 1, "each realm once");

    assert!(store.remove_credential(&key("forge-a", eve)).await.unwrap_or_else(no));
    let keys = store.sealing_keys().await.unwrap_or_else(no);
    assert!(!keys.contains(&"older".to_owned()), "a key nothing is sealed with is not needed");
    assert_eq!(store.credentials_of(&issuer, eve).await.unwrap_or_else(no), []);
    assert!(store.remove_credential(&key("forge-b", bob)).await.unwrap_or_else(no));
    let realms = store.credential_realms().await.unwrap_or_else(no);
    assert!(!realms.contains(&key("forge-b", bob).realm), "what was removed is not there");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryStore;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_store_in_memory_keeps_the_contract_of_credentials() {
        credentials_contract(Arc::new(MemoryStore::new())).await;
    }
}
