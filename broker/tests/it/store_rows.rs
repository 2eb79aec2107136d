//! What lies on the disk, for how long, and what a change costs.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, time::Instant};

use auth::{
    TokenHash, UnixTime,
    local::{Account, Accounts, ISSUER},
    oauth::{
        AuthStore, Browser, Client, NewToken, Origin, Purpose, Rotated, Rotation, Secret,
        Transaction,
    },
    upstream::{CredentialKey, CredentialRealm, CredentialStore},
};
use broker::store::Store;
use http::StatusCode;
use session::{Owner, Records};

use crate::{
    harness::with_timeout,
    store_harness::{DAY, HOUR, MINUTE, StoreHarness, code, now, rows, text, user},
    store_sessions::record,
};

/// Every file in a directory, by name.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries =
        fs::read_dir(directory).expect("the directory").map(|entry| entry.expect("an entry"));
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().expect("text");
        (name, fs::read(entry.path()).expect("a file"))
    };
    entries.map(read).collect()
}

#[test]
fn no_secret_lies_in_the_files_and_only_their_owner_reads_them() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        let mut secrets = vec!["mcpac_canary-code".to_owned()];
        let (status, pair) = harness.sign_in("mcpac_canary-code").await;
        assert_eq!(status, StatusCode::OK, "{pair}");
        secrets.push(text(&pair, "access_token"));
        let refresh = text(&pair, "refresh_token");
        let (_, pair) = harness.refresh(&refresh).await;
        secrets.extend([refresh, text(&pair, "access_token"), text(&pair, "refresh_token")]);

        let secret = |what: &str| Secret::new(format!("canary-{what}-0123456789"));
        let mut client =
            Client::confidential("c", &secret("client"), vec!["https://a.example/cb".into()]);
        client.unused_until = Some(now().plus(DAY));
        harness
            .store
            .register_client(client, Some(secret("print").hash()), 9, now())
            .await
            .unwrap();
        let transaction = Transaction {
            handle: secret("handle").hash(),
            purpose: Purpose::Page("/account".into()),
            binding: None,
            upstream: None,
            peer: [192, 0, 2, 1].into(),
            expires: now().plus(HOUR),
        };
        harness.store.open_transaction(transaction, 9, now()).await.unwrap();
        let handle = secret("handle").hash();
        harness.store.approve_transaction(&handle, secret("binding").hash(), now()).await.unwrap();
        let state = secret("state").hash();
        harness.store.begin_upstream(&handle, "forge", state, now()).await.unwrap();
        let cookie = secret("cookie").hash();
        let browser = Browser { cookie, user: user("ada"), expires: now().plus(HOUR) };
        harness.store.open_browser(browser).await.unwrap();
        harness.store.offer_setup(secret("setup").hash(), now().plus(HOUR)).await.unwrap();
        for what in ["client", "print", "handle", "binding", "state", "cookie", "setup"] {
            secrets.push(secret(what).expose().to_owned());
        }

        let files = files(harness.directory.path());
        assert!(files.contains_key("broker.db") && files.contains_key("broker.db-wal"));
        let holds = |what: &str| {
            files.values().any(|bytes| memchr::memmem::find(bytes, what.as_bytes()).is_some())
        };
        assert!(holds("family-of-mcpac"), "the search finds what is there");
        // The family's name carries the code's text in this test alone.
        for secret in secrets.iter().filter(|own| *own != "mcpac_canary-code") {
            assert!(!holds(secret), "{secret} lies in a file");
        }
        for name in files.keys() {
            let metadata = fs::metadata(harness.directory.path().join(name)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
        }
    });
}

#[test]
fn files_that_others_could_read_are_closed_again() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        let path = harness.store.path().to_owned();
        harness.store.close().await;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let store = Store::open(harness.directory.path()).await.unwrap();
        store.ready().await.unwrap();
        for name in files(harness.directory.path()).keys() {
            let metadata = fs::metadata(harness.directory.path().join(name)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
        }
    });
}

/// What happens every three days: sign-ins of new and old clients, and much that leads nowhere.
async fn traffic(store: &Store, round: u64, now: UnixTime) {
    let new = |name: String, life| NewToken { hash: TokenHash::of(&name), expires: now.plus(life) };
    let client = |id: String| Client {
        id,
        origin: Origin::Registration,
        name: Some("Web".into()),
        uri: None,
        redirect_uris: vec!["https://client.example/cb".into()],
        secret: None,
        refreshes: true,
        created: now,
        unused_until: Some(now.plus(DAY)),
    };
    for what in ["used", "unused"] {
        let id = format!("{what}-{round}");
        store.register_client(client(id), None, 1000, now).await.expect("the store answers");
    }
    let (owned, consent) = code(&format!("code-{round}"), &format!("used-{round}"), "ada", now);
    let (hash, grant_id) = (owned.hash, owned.grant_id.clone());
    store.issue_code(owned, consent).await.expect("the store answers");
    let (access, refresh) =
        (new(format!("at-{round}"), HOUR), new(format!("rt-{round}"), 30 * DAY));
    store.redeem_code(&hash, access, Some(refresh), now).await.expect("the store answers");
    let rotation = Rotation {
        token: TokenHash::of(&format!("rt-{round}")),
        salt: [0; 32],
        access: new(format!("at2-{round}"), HOUR),
        scope: "mcp".into(),
        refresh: new(format!("rt2-{round}"), 30 * DAY),
        grace: MINUTE,
    };
    let rotated = store.rotate_refresh(rotation, now.plus(HOUR)).await.expect("the store answers");
    assert!(matches!(rotated, Rotated::Fresh(_)));
    if round.is_multiple_of(3) {
        store.revoke_grant(&grant_id, now.plus(2 * HOUR)).await.expect("the store answers");
    }
    let (lost, consent) =
        code(&format!("lost-{round}"), "web", &format!("user-{}", round % 7), now);
    store.issue_code(lost, consent).await.expect("the store answers");
    let transaction = Transaction {
        handle: TokenHash::of(&format!("handle-{round}")),
        purpose: Purpose::Page("/account".into()),
        binding: None,
        upstream: None,
        peer: [192, 0, 2, 1].into(),
        expires: now.plus(10 * MINUTE),
    };
    assert!(store.open_transaction(transaction, 10, now).await.expect("the store answers"));
    let cookie = TokenHash::of(&format!("cookie-{round}"));
    let browser = Browser { cookie, user: user("ada"), expires: now.plus(12 * HOUR) };
    store.open_browser(browser).await.expect("the store answers");
    store.offer_setup(TokenHash::of("setup"), now.plus(HOUR)).await.expect("the store answers");
    // Accounts that come and go, with their credentials.
    let subject = format!("local-{round}");
    let account = Account {
        subject: subject.clone(),
        name: "bob".into(),
        password: "$argon2id$".into(),
        created: now,
    };
    assert!(store.add_account(account).await.expect("the store answers"));
    let key = CredentialKey {
        realm: CredentialRealm::Server("forge".into()),
        issuer: "local".into(),
        subject,
    };
    store.put_credential(&key, "key", vec![1; 100], None, now).await.expect("the store answers");
    let record = record(round, Owner::new(ISSUER, format!("local-{round}"), "web"));
    assert!(store.create(record).await.expect("the store answers"));
    store.remove_account("bob", now).await.expect("the store answers").expect("it was there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn years_of_traffic_fill_no_table() {
    const STEP: std::time::Duration = std::time::Duration::from_secs(3 * 24 * 3600);
    let harness = StoreHarness::open().await;
    let mut stranger = harness.stranger().await;
    let mut time = now();
    let mut counts = BTreeMap::<u64, Vec<(String, i64)>>::new();
    for round in 0..=360 {
        traffic(&harness.store, round, time).await;
        time = time.plus(STEP);
        while harness.store.sweep(time, 50).await.unwrap() == 50 {}
        if round % 120 == 0 {
            counts.insert(round, rows(&mut stranger).await);
        }
    }
    println!("after one round: {:?}", counts[&0]);
    println!("after two years: {:?}\nafter three: {:?}", counts[&240], counts[&360]);
    assert_eq!(counts[&240], counts[&360], "what comes in a year goes in a year");
    let most = counts[&360].iter().max_by_key(|(_, count)| *count).unwrap();
    assert!(most.1 <= 200, "{most:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_rotation_is_measured() {
    const COUNT: u32 = 300;
    let harness = StoreHarness::open().await;
    let (_, pair) = harness.sign_in("code").await;
    let mut refresh = text(&pair, "refresh_token");
    #[expect(clippy::disallowed_methods, reason = "the time of a real disk is what is measured")]
    let begun = Instant::now();
    for _ in 0..COUNT {
        let (status, pair) = harness.refresh(&refresh).await;
        assert_eq!(status, StatusCode::OK, "{pair}");
        refresh = text(&pair, "refresh_token");
    }
    println!("one refresh at the token endpoint: {:?}", begun.elapsed() / COUNT);
}
