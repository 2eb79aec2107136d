//! How local accounts let people in, and keep them out.

use std::{net::IpAddr, sync::Arc, time::Duration};

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tokio::task::JoinSet;

use super::*;
use crate::{
    UnixTime,
    admission::Wanted,
    oauth::{
        Attempt, AuthStore, Begin, Browser, FieldKind, Identity, IdentityProvider, Params, Secret,
        SignInError, User,
    },
    testing::{MemoryStore, now, provider_contract},
};

const SECOND: Duration = Duration::from_secs(1);
const CHEAP: HashCost = HashCost { memory_kib: 8, passes: 1, lanes: 1 };
const SESAME: &str = "open sesame";

fn local_with(store: &Arc<MemoryStore>, limits: LocalLimits) -> Local {
    Local::new(store.clone(), limits, ChaCha20Rng::seed_from_u64(7))
}

/// A provider at which `ada` has the password [`SESAME`].
async fn local() -> (Local, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    let local = local_with(&store, LocalLimits { cost: CHEAP, ..LocalLimits::default() });
    local.add("Ada", &Secret::new(SESAME), now()).await.expect("the name is free");
    (local, store)
}

fn attempt(peer: u8) -> Attempt {
    Attempt {
        callback: "https://mcp.example.org/callback/local".into(),
        state: Secret::new("state"),
        nonce: Secret::new("nonce"),
        code_verifier: Secret::new("verifier"),
        peer: IpAddr::from([192, 0, 2, peer]),
        wanted: Wanted::default(),
    }
}

fn form(name: &str, password: &str) -> Params {
    [("name", name), ("password", password)].into_iter().collect()
}

async fn sign_in(local: &Local, name: &str, password: &str) -> Result<Identity, SignInError> {
    local.finish(&attempt(1), &form(name, password), now()).await
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_provider() {
    let (local, _store) = local().await;
    provider_contract(Arc::new(local), now()).await;
}

#[tokio::test]
async fn name_and_password_let_in_and_the_subject_is_not_the_name() {
    let (local, store) = local().await;
    let Begin::Form(fields) = local.begin(&attempt(1), now()).await.unwrap() else {
        panic!("a form");
    };
    let fields: Vec<_> =
        fields.iter().map(|own| (own.name.as_str(), own.kind, own.autocomplete)).collect();
    let expected = [
        ("name", FieldKind::Text, "username"),
        ("password", FieldKind::Password, "current-password"),
    ];
    assert_eq!(fields, expected);
    let ada = sign_in(&local, " ADA ", SESAME).await.expect("that is the password");
    assert_eq!((ada.issuer.as_str(), ada.display_name.as_str()), (ISSUER, "ada"));
    assert!(ada.credential.is_none());
    let account = store.account("ada").await.unwrap().unwrap();
    assert_eq!(ada.subject, account.subject);
    assert_eq!(ada.subject.len(), 32);
    assert!(account.password.starts_with("$argon2id$v=19$m=8,t=1,p=1$"));

    store.remove_account("ada", UnixTime::of(now())).await.unwrap();
    local.add("ada", &Secret::new(SESAME), now()).await.unwrap();
    let other = sign_in(&local, "ada", SESAME).await.unwrap();
    assert_ne!(other.subject, ada.subject, "a name that was made again is another person");
}

#[tokio::test]
async fn unknown_names_and_wrong_passwords_are_answered_alike_and_cost_one_hash() {
    let (local, store) = local().await;
    let mut answers = Vec::new();
    for (at, (name, password)) in
        [("ada", "wrong password"), ("nobody", SESAME), ("no such name!", SESAME), ("ada", "x")]
            .into_iter()
            .enumerate()
    {
        let (hashed, calls) = (local.hashed(), store.calls());
        let peer = u8::try_from(at).unwrap();
        let outcome = local.finish(&attempt(peer), &form(name, password), now()).await;
        answers.push(format!("{:?}", outcome.map(|_| ())));
        assert_eq!(local.hashed() - hashed, 1, "{name:?}: as much work for everybody");
        assert_eq!(store.calls() - calls, 1, "{name:?}: as many questions to the store");
    }
    answers.dedup();
    assert_eq!(answers, ["Err(WrongCredentials)"]);
}

#[tokio::test]
async fn incomplete_and_oversized_forms_cost_nothing() {
    let (local, store) = local().await;
    let (hashed, calls) = (local.hashed(), store.calls());
    let twice = [("name", "ada"), ("password", SESAME), ("password", "x")].into_iter().collect();
    for reply in
        [Params::default(), form("ada", &"x".repeat(1025)), twice, Params::parse(b"name=ada")]
    {
        let outcome = local.finish(&attempt(1), &reply, now()).await;
        assert!(matches!(outcome, Err(SignInError::WrongCredentials)), "{outcome:?}");
    }
    assert_eq!((local.hashed(), store.calls()), (hashed, calls));
}

#[tokio::test]
async fn guesses_wait_longer_and_longer_for_known_and_unknown_names_alike() {
    let (local, _store) = local().await;
    for name in ["ada", "nobody"] {
        let finish = async |password: &str, after: Duration, peer| {
            local.finish(&attempt(peer), &form(name, password), now() + after).await
        };
        for _ in 0..3 {
            let outcome = finish("wrong password", Duration::ZERO, 1).await;
            assert!(matches!(outcome, Err(SignInError::WrongCredentials)), "{outcome:?}");
        }
        let before = local.hashed();
        match finish(SESAME, Duration::ZERO, 1).await {
            Err(SignInError::TooMany { retry_after }) => assert_eq!(retry_after, SECOND),
            other => panic!("even the right one waits: {other:?}"),
        }
        assert_eq!(local.hashed(), before, "who waits costs nothing");
        let elsewhere = finish(SESAME, Duration::ZERO, 2).await;
        assert_eq!(elsewhere.is_ok(), name == "ada", "nobody locks anybody else out");
        let later = finish(SESAME, SECOND, 1).await;
        assert_eq!(later.is_ok(), name == "ada");
        if name == "ada" {
            for _ in 0..3 {
                let outcome = finish("wrong password", SECOND, 1).await;
                assert!(matches!(outcome, Err(SignInError::WrongCredentials)), "a fresh start");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_guesses_at_once_are_three() {
    let (local, _store) = local().await;
    let (local, before) = (Arc::new(local), 1);
    let mut guesses = JoinSet::new();
    for n in 0..50 {
        let local = local.clone();
        guesses.spawn(async move {
            sign_in(&local, "ada", &format!("wrong password {n}")).await.map(|_| ())
        });
    }
    let outcomes = guesses.join_all().await;
    let judged =
        outcomes.iter().filter(|own| matches!(own, Err(SignInError::WrongCredentials))).count();
    assert_eq!(judged, 3);
    assert_eq!(local.hashed() - before, 3);
}

#[tokio::test]
async fn a_flood_of_addresses_is_bounded_by_the_places_to_hash() {
    let store = Arc::new(MemoryStore::new());
    let limits = LocalLimits {
        cost: CHEAP,
        max_hashing: std::num::NonZeroUsize::MIN,
        max_waiting: 2,
        ..LocalLimits::default()
    };
    let local = Arc::new(local_with(&store, limits));
    let turn = local.hasher.take_turn().await;
    let mut flood = JoinSet::new();
    for peer in 0..50 {
        let local = local.clone();
        flood.spawn(async move {
            local.finish(&attempt(peer), &form("ada", "wrong password"), now()).await.map(|_| ())
        });
    }
    for _ in 0..47 {
        let outcome = flood.join_next().await.expect("50 came").unwrap();
        assert!(matches!(outcome, Err(SignInError::TooMany { .. })), "{outcome:?}");
    }
    drop(turn);
    for outcome in flood.join_all().await {
        assert!(matches!(outcome, Err(SignInError::WrongCredentials)), "{outcome:?}");
    }
    assert_eq!(local.hashed(), 3, "one hashes and two wait");
    // Being sent away counts for nothing.
    for _ in 0..3 {
        let outcome = local.finish(&attempt(49), &form("ada", "wrong"), now()).await;
        assert!(matches!(outcome, Err(SignInError::WrongCredentials)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_password_that_is_changed_during_the_hashing_lets_nobody_in() {
    let (local, store) = local().await;
    let bob = local.add("bob", &Secret::new("another password"), now()).await.unwrap();
    let before = local.hashed();
    // Each call to the store gives way once, so the sign-in has read the account when this writes.
    let changed = async {
        store.set_password("ada", bob.password).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(biased; sign_in(&local, "ada", SESAME), changed);
    assert!(matches!(outcome, Err(SignInError::WrongCredentials)), "{outcome:?}");
    assert_eq!(
        local.hashed() - before,
        2,
        "it was right when it was hashed, and was looked at again"
    );
    assert!(sign_in(&local, "ada", "another password").await.is_ok());
}

#[tokio::test]
async fn a_password_is_hashed_anew_when_the_cost_changed_and_sign_ins_go_on() {
    let (local, store) = local().await;
    let ada = sign_in(&local, "ada", SESAME).await.unwrap();
    let user = User {
        issuer: ISSUER.into(),
        subject: ada.subject,
        display_name: "ada".into(),
        provider: "local".into(),
    };
    let cookie = crate::TokenHash::of("cookie");
    let expires = UnixTime::of(now()).plus(SECOND);
    store.open_browser(Browser { cookie, user, expires }).await.unwrap();
    let cost = HashCost { memory_kib: 16, ..CHEAP };
    let dearer = local_with(&store, LocalLimits { cost, ..LocalLimits::default() });
    assert!(sign_in(&dearer, "ada", "wrong password").await.is_err());
    let kept = store.account("ada").await.unwrap().unwrap().password;
    assert!(kept.contains("m=8,"), "a wrong password changes nothing");
    assert!(sign_in(&dearer, "ada", SESAME).await.is_ok());
    let kept = store.account("ada").await.unwrap().unwrap().password;
    assert!(kept.contains("m=16,"), "{kept}");
    assert!(sign_in(&dearer, "ada", SESAME).await.is_ok());
    let again = store.account("ada").await.unwrap().unwrap().password;
    assert_eq!(again, kept, "and once is enough");
    assert!(store.browser(&cookie, UnixTime::of(now())).await.unwrap().is_some());
}

#[tokio::test]
async fn a_store_that_is_down_is_no_wrong_password() {
    let (local, store) = local().await;
    store.fail(true);
    for _ in 0..10 {
        let outcome = sign_in(&local, "ada", SESAME).await;
        assert!(matches!(outcome, Err(SignInError::Store(_))), "{outcome:?}");
    }
    store.fail(false);
    assert!(sign_in(&local, "ada", SESAME).await.is_ok(), "and it counts as no guess");
}

#[tokio::test]
async fn accounts_are_added_and_changed_by_the_rules() {
    let (local, store) = local().await;
    let (good, short) = (Secret::new("long enough"), Secret::new("short"));
    let add = async |name, password| local.add(name, password, now()).await.map(|own| own.name);
    assert!(matches!(add("ADA", &good).await, Err(AddError::Taken)));
    assert!(matches!(add("a b", &good).await, Err(AddError::Name(_))));
    assert!(matches!(add("bob", &short).await, Err(AddError::Password(_))));
    assert_eq!(add(" Bob ", &good).await.unwrap(), "bob");

    let set = async |name, password| local.set_password(name, password).await;
    assert!(matches!(set("nobody", &good).await, Err(ChangeError::Unknown)));
    assert!(matches!(set("bob", &short).await, Err(ChangeError::Password(_))));
    assert!(matches!(set("", &good).await, Err(ChangeError::Name(_))));
    let other = Secret::new("another one");
    set("Bob", &other).await.unwrap();
    assert!(sign_in(&local, "bob", "long enough").await.is_err());
    assert!(sign_in(&local, "bob", "another one").await.is_ok());
    store.fail(true);
    assert!(matches!(set("bob", &good).await, Err(ChangeError::Store(_))));
    assert!(matches!(add("eve", &good).await, Err(AddError::Store(_))));
}

#[tokio::test]
async fn the_set_up_link_makes_one_account_within_a_day() {
    let store = Arc::new(MemoryStore::new());
    let local = local_with(&store, LocalLimits { cost: CHEAP, ..LocalLimits::default() });
    let (first, good) = (local.offer_setup(now()).await.unwrap(), Secret::new(SESAME));
    let link = local.offer_setup(now()).await.unwrap();
    assert_eq!(link.expose().len(), 43);
    let day = Duration::from_secs(24 * 3600);
    assert!(local.is_setup(&link, now() + day - SECOND).await.unwrap());
    assert!(!local.is_setup(&link, now() + day).await.unwrap());
    assert!(!local.is_setup(&first, now()).await.unwrap(), "a later link replaces an earlier one");

    let set_up = async |link, name, password| local.set_up(link, name, password, now()).await;
    assert!(matches!(set_up(&first, "ada", &good).await, Err(SetUpError::Over)));
    let forged = Secret::new("forged");
    assert!(matches!(set_up(&forged, "", &forged).await, Err(SetUpError::Over)));
    assert_eq!(local.hashed(), 0, "a forged link costs no hash");
    assert!(matches!(set_up(&link, "a b", &good).await, Err(SetUpError::Name(_))));
    let short = Secret::new("short");
    assert!(matches!(set_up(&link, "ada", &short).await, Err(SetUpError::Password(_))));
    assert_eq!(
        set_up(&link, "Ada", &good).await.unwrap().name,
        "ada",
        "typing errors cost nothing"
    );
    assert!(matches!(set_up(&link, "bob", &good).await, Err(SetUpError::Over)));
    assert!(sign_in(&local, "ada", SESAME).await.is_ok());
    assert!(!store.dump().contains(link.expose()));
}

#[tokio::test]
async fn nothing_of_a_password_is_shown() {
    let (local, store) = local().await;
    sign_in(&local, "ada", SESAME).await.unwrap();
    let account = store.account("ada").await.unwrap();
    let shown = format!("{local:?} {account:?} {}", store.dump());
    assert!(!shown.contains("argon2id") && !shown.contains("sesame"), "{shown}");
}
