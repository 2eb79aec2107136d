//! The store passes what every store has to pass, also with many callers and two processes.

use std::{sync::Arc, time::Duration};

use auth::{
    TokenHash,
    oauth::{AuthStore, NewToken, Purpose, Redeemed, Rotated, Rotation, Transaction},
    testing::{accounts_contract, credentials_contract, static_tokens_contract, store_contract},
};
use broker::store::Store;
use http::StatusCode;
use tokio::task::JoinSet;

use crate::{
    harness::with_timeout,
    store_harness::{
        DAY, HOUR, MINUTE, StoreHarness, code, json, now, redemption, refreshment, server, text,
        token,
    },
};

#[test]
fn the_store_keeps_the_contract_of_the_authorization_server() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        store_contract(harness.store).await;
    });
}

#[test]
fn the_store_keeps_the_contract_of_credentials() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        credentials_contract(harness.store).await;
    });
}

#[test]
fn the_store_keeps_the_contract_of_accounts() {
    with_timeout(async {
        let StoreHarness { store, directory: _directory, .. } = StoreHarness::open().await;
        accounts_contract(store.clone(), store.clone(), store).await;
    });
}

#[test]
fn the_store_keeps_the_contract_of_static_tokens() {
    with_timeout(async {
        let StoreHarness { store, directory: _directory, .. } = StoreHarness::open().await;
        static_tokens_contract(store.clone(), store).await;
    });
}

#[test]
fn a_flood_of_sign_ins_leaves_as_many_as_there_may_be_and_the_newest_among_them() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        let name = |n: u8, from: u8| TokenHash::of(&format!("{n} from {from}"));
        let open = async |n: u8, from: u8| {
            let transaction = Transaction {
                handle: name(n, from),
                purpose: Purpose::Page("/account".into()),
                binding: None,
                upstream: None,
                peer: [192, 0, 2, from].into(),
                expires: now().plus(MINUTE * (1 + u32::from(n))),
            };
            assert!(harness.store.open_transaction(transaction, 100, now()).await.unwrap());
        };
        let is_there = async |n: u8, from: u8| {
            harness.store.transaction(&name(n, from), now()).await.unwrap().is_some()
        };
        open(0, 9).await;
        for n in 0..110 {
            open(n, 1).await;
            open(n, 2).await;
        }
        let mut left = 0;
        for n in 0..110 {
            left += u32::from(is_there(n, 1).await) + u32::from(is_there(n, 2).await);
        }
        // One that is alone there, and one in a hundred that went for the next ones.
        assert!((98..=99).contains(&left), "{left}");
        assert!(is_there(109, 2).await && is_there(0, 9).await);
    });
}

/// Two stores on one file, as two processes have them.
async fn two(harness: &StoreHarness) -> [Arc<Store>; 2] {
    let other = Store::open(harness.directory.path()).await.expect("the store answers");
    [Arc::clone(&harness.store), Arc::new(other)]
}

#[test]
fn of_two_processes_one_redeems_a_code_and_one_rotates_a_token() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        let stores = two(&harness).await;
        for round in 0..10 {
            let (code, consent) = code(&format!("code-{round}"), "web", "ada", now());
            let hash = code.hash;
            harness.store.issue_code(code, consent).await.unwrap();
            let name = format!("rt-{round}");
            let new = |name: String, life| NewToken {
                hash: TokenHash::of(&name),
                expires: now().plus(life),
            };
            let redeemed = race(&stores, |store, n| {
                let access = new(format!("at-{round}-{n}"), HOUR);
                let refresh = new(if n == 0 { name.clone() } else { format!("{name}-{n}") }, DAY);
                async move { store.redeem_code(&hash, access, Some(refresh), now()).await.unwrap() }
            });
            let fresh = redeemed.await.into_iter().filter(|own| matches!(own, Redeemed::Fresh(_)));
            assert_eq!(fresh.count(), 1, "one redemption over both processes");

            let from = format!("rotated-{round}");
            sign_in(&stores[0], &from).await;
            let rotated = race(&stores, |store, n| {
                let rotation = Rotation {
                    token: TokenHash::of(&from),
                    salt: [n; 32],
                    access: new(format!("{from}-at-{n}"), HOUR),
                    scope: "mcp".into(),
                    refresh: new(format!("{from}-rt-{n}"), DAY),
                    grace: MINUTE,
                };
                async move { store.rotate_refresh(rotation, now()).await.unwrap() }
            });
            let rotated = rotated.await;
            let fresh = rotated.iter().filter(|own| matches!(own, Rotated::Fresh(_))).count();
            let repeated = rotated.iter().filter(|own| matches!(own, Rotated::Repeated(_))).count();
            assert_eq!((fresh, repeated), (1, 19), "one successor over both processes");
        }
    });
}

/// A refresh token called `name`.
async fn sign_in(store: &Store, name: &str) {
    let (code, consent) = code(&format!("code-of-{name}"), "web", "ada", now());
    let hash = code.hash;
    store.issue_code(code, consent).await.expect("the store answers");
    let access = NewToken { hash: TokenHash::of(&format!("{name}-at")), expires: now().plus(HOUR) };
    let refresh = NewToken { hash: TokenHash::of(name), expires: now().plus(DAY) };
    store.redeem_code(&hash, access, Some(refresh), now()).await.expect("the store answers");
}

/// Ten calls at once to each of the stores.
async fn race<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    stores: &[Arc<Store>; 2],
    call: impl Fn(Arc<Store>, u8) -> F,
) -> Vec<T> {
    let mut racers = JoinSet::new();
    for n in 0..20 {
        racers.spawn(call(Arc::clone(&stores[usize::from(n % 2)]), n));
    }
    racers.join_all().await
}

#[test]
fn a_hundred_token_requests_at_once_see_no_busy_database() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        // The other process asks at the same time.
        let stores = two(&harness).await;
        let servers = stores.map(|store| Arc::new(server(store)));
        for n in 0..100 {
            let (code, consent) = code(&format!("code-{n}"), "web", "ada", now());
            harness.store.issue_code(code, consent).await.unwrap();
        }
        let ask = async |forms: Vec<String>| {
            let mut asking = JoinSet::new();
            for (n, form) in forms.into_iter().enumerate() {
                let server = Arc::clone(&servers[n % 2]);
                asking.spawn(async move { json(&token(&server, &form).await) });
            }
            asking.join_all().await
        };
        let answers = ask((0..100).map(|n| redemption(&format!("code-{n}"))).collect()).await;
        assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK), "{answers:?}");
        let tokens = answers.iter().map(|(_, body)| text(body, "refresh_token"));
        let answers = ask(tokens.map(|token| refreshment(&token)).collect()).await;
        assert!(answers.iter().all(|(status, _)| *status == StatusCode::OK), "{answers:?}");
    });
}

#[test]
fn a_caller_who_leaves_leaves_nothing_half_done() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        let mut callers = JoinSet::new();
        for n in 0..100 {
            let (code, consent) = code(&format!("code-{n}"), "web", "ada", now());
            let hash = code.hash;
            harness.store.issue_code(code, consent).await.unwrap();
            let store = Arc::clone(&harness.store);
            callers.spawn(async move {
                let access =
                    NewToken { hash: TokenHash::of(&format!("at-{n}")), expires: now().plus(HOUR) };
                let refresh =
                    NewToken { hash: TokenHash::of(&format!("rt-{n}")), expires: now().plus(DAY) };
                let call = store.redeem_code(&hash, access, Some(refresh), now());
                // Some leave before the change, some in its middle, some hear of it.
                let _ = tokio::time::timeout(Duration::from_micros(n * 50), call).await;
            });
        }
        callers.join_all().await;
        // Whatever goes on without its caller stands before this one in the queue.
        harness.store.revoke_grant("nobody", now()).await.unwrap();
        let mut made = 0;
        for n in 0..100 {
            let code =
                harness.store.code(&TokenHash::of(&format!("code-{n}"))).await.unwrap().unwrap();
            let access =
                harness.store.access_token(&TokenHash::of(&format!("at-{n}"))).await.unwrap();
            let refresh =
                harness.store.refresh_token(&TokenHash::of(&format!("rt-{n}"))).await.unwrap();
            assert_eq!(
                (code.used, code.used),
                (access.is_some(), refresh.is_some()),
                "half done: {n}"
            );
            made += usize::from(code.used);
        }
        println!("{made} of 100 changes were made for callers who left early or not");
    });
}
