//! What every store of local accounts has to pass.

use std::{sync::Arc, time::Duration};

use super::{
    now,
    records::{no, race},
};
use crate::{
    TokenHash, UnixTime,
    local::{Account, Accounts, ISSUER},
    oauth::{AuthStore, AuthorizeRequest, Browser, Code, Consent, NewToken, Redeemed, User},
    upstream::{CredentialKey, CredentialRealm, CredentialStore},
};

const HOUR: Duration = Duration::from_secs(3600);

/// What holds for every store of local accounts. All three are the same store, and it is empty. The
/// rules stand in the documentation of [`Accounts`]; this plays them through, the atomic ones with
/// 50 calls at once. It needs a runtime with several threads to race for real.
///
/// # Panics
///
/// When one of them does not hold; the message says which.
pub async fn accounts_contract(
    accounts: Arc<dyn Accounts>,
    store: Arc<dyn AuthStore>,
    credentials: Arc<dyn CredentialStore>,
) {
    let now = UnixTime::of(now());
    setting_up(&accounts, now).await;
    keeping(&accounts, now).await;
    passwords(&*accounts, &*store, now).await;
    removing(&*accounts, &*store, &*credentials, now).await;
}

fn hash(what: &str) -> TokenHash {
    TokenHash::of(what)
}

fn account(name: &str, subject: &str, now: UnixTime) -> Account {
    Account {
        subject: subject.into(),
        name: name.into(),
        password: format!("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$of-{subject}"),
        created: now,
    }
}

fn user(issuer: &str, subject: &str) -> User {
    User {
        issuer: issuer.into(),
        subject: subject.into(),
        display_name: subject.to_uppercase(),
        provider: "local".into(),
    }
}

async fn setting_up(accounts: &Arc<dyn Accounts>, now: UnixTime) {
    let is =
        async |secret: &str, now| accounts.is_setup(&hash(secret), now).await.unwrap_or_else(no);
    assert!(!is("nothing", now).await, "no link was offered");
    let expires = now.plus(HOUR);
    for secret in ["first link", "link"] {
        accounts.offer_setup(hash(secret), expires).await.unwrap_or_else(no);
    }
    assert!(is("link", now).await && !is("Link", now).await);
    assert!(!is("first link", now).await, "a later link takes the place of an earlier one");
    assert!(is("link", UnixTime(expires.0 - 1)).await && !is("link", expires).await, "a link ends");
    for (secret, now) in [("link", expires), ("first link", now), ("forged", now)] {
        let root = account("root", "subject-of-root", now);
        assert!(!accounts.set_up(&hash(secret), root, now).await.unwrap_or_else(no), "{secret}");
    }
    assert_eq!(accounts.account("root").await.unwrap_or_else(no), None);

    let racer = |n: u8| {
        let accounts = Arc::clone(accounts);
        async move {
            let own = account(&format!("root-{n}"), &format!("subject-{n}"), now);
            accounts.set_up(&hash("link"), own, now).await.unwrap_or_else(no)
        }
    };
    let winners = race(racer).await.into_iter().filter(|own| *own).count();
    assert_eq!(winners, 1, "a set-up link is spent once");
    let all = accounts.accounts("", 100).await.unwrap_or_else(no);
    assert_eq!(all.len(), 1, "the winner's account is there, and no other");
    assert!(!is("link", now).await, "a spent link is no link");

    accounts.offer_setup(hash("second"), expires).await.unwrap_or_else(no);
    let late = accounts.set_up(&hash("second"), account("late", "subject-late", now), now).await;
    assert!(!late.unwrap_or_else(no), "the first account is there already");
    assert_eq!(accounts.account("late").await.unwrap_or_else(no), None);
    accounts.remove_account(&all[0].name, now).await.unwrap_or_else(no).expect("it is there");
}

async fn keeping(accounts: &Arc<dyn Accounts>, now: UnixTime) {
    let racer = |n: u8| {
        let accounts = Arc::clone(accounts);
        async move {
            let own = account("ada", &format!("subject-{n}"), now);
            accounts.add_account(own).await.unwrap_or_else(no)
        }
    };
    let outcomes = race(racer).await;
    assert_eq!(outcomes.iter().filter(|own| **own).count(), 1, "a name is given once");
    let found = accounts.account("ada").await.unwrap_or_else(no).expect("it was added");
    assert_eq!(found, account("ada", &found.subject, now), "an account comes back as it was given");
    for other in ["Ada", "ad", "ada ", ""] {
        assert_eq!(accounts.account(other).await.unwrap_or_else(no), None, "{other:?}");
    }
    for name in ["carol", "bob"] {
        let added = accounts.add_account(account(name, &format!("subject-of-{name}"), now)).await;
        assert!(added.unwrap_or_else(no));
    }
    let names = async |after: &str, limit| -> Vec<String> {
        let all = accounts.accounts(after, limit).await.unwrap_or_else(no);
        all.into_iter().map(|own| own.name).collect()
    };
    assert_eq!(names("", 9).await, ["ada", "bob", "carol"], "accounts come in order");
    assert_eq!(names("ada", 1).await, ["bob"], "listing goes on after a name");
}

async fn open_browser(store: &dyn AuthStore, cookie: &str, user: User, now: UnixTime) {
    let browser = Browser { cookie: hash(cookie), user, expires: now.plus(HOUR) };
    store.open_browser(browser).await.unwrap_or_else(no);
}

async fn is_open(store: &dyn AuthStore, cookie: &str, now: UnixTime) -> bool {
    store.browser(&hash(cookie), now).await.unwrap_or_else(no).is_some()
}

/// The subject of `bob`, and one of the same name whom somebody else vouches for.
const BOB: &str = "subject-of-bob";
const ELSEWHERE: &str = "https://forge.example";

async fn passwords(accounts: &dyn Accounts, store: &dyn AuthStore, now: UnixTime) {
    open_browser(store, "bob", user(ISSUER, BOB), now).await;
    open_browser(store, "other bob", user(ELSEWHERE, BOB), now).await;
    open_browser(store, "carol", user(ISSUER, "subject-of-carol"), now).await;
    assert!(accounts.set_password("bob", "another".into()).await.unwrap_or_else(no));
    let bob = accounts.account("bob").await.unwrap_or_else(no).expect("it is there");
    let before = account("bob", BOB, now);
    assert_eq!(
        bob,
        Account { password: "another".into(), ..before.clone() },
        "nothing else changes"
    );
    assert!(!is_open(store, "bob", now).await, "a new password ends the user's sign-ins");
    assert!(is_open(store, "other bob", now).await && is_open(store, "carol", now).await);
    assert!(!accounts.set_password("nobody", "x".into()).await.unwrap_or_else(no));
    assert_eq!(accounts.account("nobody").await.unwrap_or_else(no), None);

    open_browser(store, "bob", user(ISSUER, BOB), now).await;
    let rehash = async |name, from, to: &str| {
        accounts.rehash(name, from, to.into()).await.unwrap_or_else(no)
    };
    assert!(!rehash("bob", &before.password, "late").await, "that password was changed");
    assert!(!rehash("carol", "another", "late").await, "that is somebody else's");
    assert!(!rehash("nobody", "another", "late").await, "there is no such account");
    assert!(rehash("bob", "another", "another, hashed anew").await, "the hash is renewed");
    assert!(!rehash("bob", "another", "late").await, "of two renewals one is made");
    let bob = accounts.account("bob").await.unwrap_or_else(no).expect("it is there");
    assert_eq!(bob, Account { password: "another, hashed anew".into(), ..before });
    assert!(is_open(store, "bob", now).await, "the password is the same, so sign-ins go on");
}

/// A code of `user` that nobody has redeemed yet, with the consent behind it.
async fn issue(store: &dyn AuthStore, grant_id: &str, user: User, now: UnixTime) -> Consent {
    let request = AuthorizeRequest {
        client: "contract-client".into(),
        client_name: "A client".into(),
        redirect_uri: "https://client.example/cb".into(),
        state: None,
        challenge: "c".repeat(43),
        resource: "https://mcp.example.org/mcp".into(),
        scope: "mcp:read".into(),
        refreshes: false,
        reauthenticate: false,
    };
    let consent = Consent::of(&user, &request, now);
    let code = Code {
        hash: hash(grant_id),
        grant_id: grant_id.into(),
        user,
        request,
        issued: now,
        expires: now.plus(HOUR),
        used: false,
    };
    store.issue_code(code, consent.clone()).await.unwrap_or_else(no);
    consent
}

async fn redeem(store: &dyn AuthStore, grant_id: &str, now: UnixTime) -> Redeemed {
    let access = NewToken { hash: hash(&format!("access-{grant_id}")), expires: now.plus(HOUR) };
    store.redeem_code(&hash(grant_id), access, None, now).await.unwrap_or_else(no)
}

/// A grant of `user`, with the consent behind it.
async fn approve(store: &dyn AuthStore, grant_id: &str, user: User, now: UnixTime) -> Consent {
    let consent = issue(store, grant_id, user, now).await;
    let redeemed = redeem(store, grant_id, now).await;
    assert!(matches!(redeemed, Redeemed::Fresh(_)), "a fresh code is redeemed: {redeemed:?}");
    consent
}

async fn removing(
    accounts: &dyn Accounts,
    store: &dyn AuthStore,
    credentials: &dyn CredentialStore,
    now: UnixTime,
) {
    let mut consents = Vec::new();
    for (grant_id, issuer) in [("one", ISSUER), ("two", ISSUER), ("other", ELSEWHERE)] {
        consents.push(approve(store, grant_id, user(issuer, BOB), now).await);
        open_browser(store, grant_id, user(issuer, BOB), now).await;
        let key = CredentialKey {
            realm: CredentialRealm::Server(grant_id.to_owned()),
            issuer: issuer.into(),
            subject: BOB.into(),
        };
        let put = credentials.put_credential(&key, "key", b"sealed".into(), None, now).await;
        put.unwrap_or_else(no);
    }
    store.revoke_grant("two", now).await.unwrap_or_else(no).expect("it was live");
    for (code, issuer) in [("coming", ISSUER), ("other coming", ELSEWHERE)] {
        issue(store, code, user(issuer, BOB), now).await;
    }

    issue(store, "pending", user(ISSUER, BOB), now).await;
    issue(store, "pending elsewhere", user(ELSEWHERE, BOB), now).await;

    let later = now.plus(HOUR / 2);
    let removed = accounts.remove_account("bob", later).await.unwrap_or_else(no);
    let removed = removed.expect("it was there");
    let grant_ids: Vec<_> = removed.iter().map(|own| own.grant_id.as_str()).collect();
    assert_eq!(grant_ids, ["one"], "those that were live, and those of the user, are returned");
    assert_eq!(removed[0].revoked, Some(later));
    assert_eq!(accounts.account("bob").await.unwrap_or_else(no), None);
    for (grant_id, live, consent) in
        [("one", false, &consents[0]), ("two", false, &consents[1]), ("other", true, &consents[2])]
    {
        let token = hash(&format!("access-{grant_id}"));
        let token = store.access_token(&token).await.unwrap_or_else(no).expect("not swept");
        assert_eq!(token.grant.revoked.is_none(), live, "the grant {grant_id}");
        assert_eq!(is_open(store, grant_id, later).await, live, "the browser of {grant_id}");
        assert_eq!(
            store.is_consented(consent).await.unwrap_or_else(no),
            live,
            "consent {grant_id}"
        );
    }
    for (code, redeems) in [("coming", false), ("other coming", true)] {
        let access = NewToken { hash: hash(&format!("late-{code}")), expires: later.plus(HOUR) };
        let redeemed = store.redeem_code(&hash(code), access, None, later).await;
        let fresh = matches!(redeemed.unwrap_or_else(no), Redeemed::Fresh(_));
        assert_eq!(fresh, redeems, "{code}: a code on its way goes with the user");
    }
    let of = async |issuer| credentials.credentials_of(issuer, BOB).await.unwrap_or_else(no).len();
    assert_eq!((of(ISSUER).await, of(ELSEWHERE).await), (0, 1), "credentials go with the user");

    let pending = redeem(store, "pending", later).await;
    assert_eq!(pending, Redeemed::Gone, "a code on its way makes no grant of somebody who is gone");
    let elsewhere = redeem(store, "pending elsewhere", later).await;
    assert!(matches!(elsewhere, Redeemed::Fresh(_)), "that is somebody else's: {elsewhere:?}");

    assert_eq!(accounts.remove_account("bob", later).await.unwrap_or_else(no), None);
    let again = accounts.add_account(account("bob", "another subject", later)).await;
    assert!(again.unwrap_or_else(no), "the name is free again");
    let left = accounts.accounts("", 9).await.unwrap_or_else(no);
    assert_eq!(left.len(), 3, "nobody else was touched");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::MemoryStore;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_store_in_memory_keeps_the_contract_of_accounts() {
        let store = Arc::new(MemoryStore::new());
        accounts_contract(store.clone(), store.clone(), store).await;
    }
}
