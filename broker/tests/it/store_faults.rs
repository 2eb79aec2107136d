//! What happens when the database is locked, full, damaged, or of another version.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use auth::{
    TokenHash,
    oauth::{AuthStore, Browser, NewToken, Rotated, Rotation},
};
use broker::{
    Clock, Control, Listener,
    config::{Config, Sources},
    store::{Limits, OpenError, Store},
};
use http::StatusCode;
use sqlx::{Connection, Executor};

use crate::{
    harness::{OBLIGING, with_timeout},
    store_harness::{
        DAY, HOUR, MINUTE, StoreHarness, code, database, now, refreshment, stranger, text, token,
        user,
    },
};

/// What a stranger can make a test wait, and still enough for a busy machine.
const SHORT: Duration = Duration::from_secs(2);

#[test]
fn a_locked_database_is_a_temporary_failure_and_recovers() {
    with_timeout(async {
        let harness = StoreHarness::with(Limits { patience: SHORT, ..Limits::default() }).await;
        let (_, pair) = harness.sign_in("code").await;
        let (access, refresh) = (text(&pair, "access_token"), text(&pair, "refresh_token"));
        harness.store.ready().await.unwrap();

        let mut stranger = harness.stranger().await;
        stranger.execute("BEGIN IMMEDIATE").await.unwrap();
        let response = token(&harness.server, &refreshment(&refresh)).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "never 401, never 200");
        assert!(response.headers().contains_key("retry-after"));
        assert!(harness.store.ready().await.is_err(), "and /readyz says so");
        let found = harness.store.access_token(&TokenHash::of(&access)).await.unwrap();
        assert!(found.is_some(), "looking up goes on");

        stranger.execute("ROLLBACK").await.unwrap();
        harness.store.ready().await.expect("without a restart");
        let (status, _) = harness.refresh(&refresh).await;
        assert_eq!(status, StatusCode::OK, "the token was not spent by the failure");
    });
}

#[test]
fn a_full_database_changes_nothing_and_recovers() {
    with_timeout(async {
        // An empty one has about 50 pages.
        let limits = Limits { max_pages: Some(80), patience: SHORT, ..Limits::default() };
        let harness = StoreHarness::with(limits).await;
        let (code, consent) = code("code", "web", "ada", now());
        let hash = code.hash;
        harness.store.issue_code(code, consent).await.unwrap();
        let new = |name: &str| NewToken { hash: TokenHash::of(name), expires: now().plus(DAY) };
        harness.store.redeem_code(&hash, new("at"), Some(new("rt")), now()).await.unwrap();

        let mut kept = 0;
        let full = loop {
            let mut user = user("ada");
            user.display_name = "a".repeat(3000);
            let cookie = TokenHash::of(&format!("cookie-{kept}"));
            let browser = Browser { cookie, user, expires: now().plus(HOUR) };
            match harness.store.open_browser(browser).await {
                Ok(()) => kept += 1,
                Err(error) => break error,
            }
            assert!(kept < 1000, "the limit of pages is in force");
        };
        let cause = std::error::Error::source(&full).expect("the cause").to_string();
        assert!(cause.contains("full"), "{cause}");
        assert!(harness.store.ready().await.is_err(), "and /readyz says so");

        let rotation = || Rotation {
            token: TokenHash::of("rt"),
            salt: [1; 32],
            access: new("at-2"),
            scope: "mcp ".repeat(3000),
            refresh: new("rt-2"),
            grace: MINUTE,
        };
        assert!(harness.store.rotate_refresh(rotation(), now()).await.is_err());
        let token = harness.store.refresh_token(&TokenHash::of("rt")).await.unwrap().unwrap();
        assert_eq!(token.used, None, "no half rotation");
        assert_eq!(harness.store.access_token(&TokenHash::of("at-2")).await.unwrap(), None);

        let swept = harness.store.sweep(now().plus(HOUR), 1000).await.unwrap();
        assert!(swept >= kept, "what has served its time makes room");
        let rotated = harness.store.rotate_refresh(rotation(), now()).await.unwrap();
        assert!(matches!(rotated, Rotated::Fresh(_)), "{rotated:?}");
        harness.store.ready().await.expect("without a restart");
    });
}

#[test]
fn a_closed_store_refuses_and_its_file_opens_again() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        harness.sign_in("code").await;
        harness.store.close().await;
        assert!(harness.store.ready().await.is_err());
        assert!(harness.store.revoke_grant("any", now()).await.is_err());
        let mut log = database(harness.directory.path()).into_os_string();
        log.push("-wal");
        assert!(!fs::exists(log).unwrap(), "the log was emptied into the database");
        let store = Store::open(harness.directory.path()).await.unwrap();
        let (grants, code) = (store.grants("", 10).await.unwrap(), TokenHash::of("code"));
        assert!(grants.len() == 1 && store.code(&code).await.unwrap().unwrap().used);
    });
}

#[test]
fn a_file_that_was_replaced_is_noticed() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        harness.store.ready().await.unwrap();
        let path = harness.store.path();
        let aside = path.with_extension("aside");
        fs::rename(path, &aside).unwrap();
        assert!(harness.store.ready().await.is_err(), "removed");
        fs::copy(&aside, path).unwrap();
        assert!(harness.store.ready().await.is_err(), "another file of the same name");
        fs::rename(&aside, path).unwrap();
        harness.store.ready().await.unwrap();
    });
}

/// Opens a store, which must fail, and returns what the operator reads.
async fn refusal(harness: &StoreHarness) -> (OpenError, String) {
    let error = Store::open(harness.directory.path()).await.expect_err("it must not open");
    let words = error.to_string();
    assert!(words.contains("broker.db"), "which file it is: {words}");
    (error, words)
}

#[test]
fn a_newer_schema_refuses_to_open() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        harness.sign_in("code").await;
        harness.store.close().await;
        let mut later = stranger(harness.directory.path()).await;
        later.execute("PRAGMA user_version = 99").await.unwrap();
        later.close().await.unwrap();
        let before = fs::read(database(harness.directory.path())).unwrap();
        let (error, words) = refusal(&harness).await;
        assert!(matches!(error, OpenError::Newer { found: 99, .. }), "{error:?}");
        assert!(words.contains("99") && words.contains("newer program"), "{words}");
        let after = fs::read(database(harness.directory.path())).unwrap();
        assert!(before == after, "the file is as it was");
    });
}

#[test]
fn a_damaged_file_refuses_to_open() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        harness.sign_in("code").await;
        harness.store.close().await;
        let path = database(harness.directory.path());
        let good = fs::read(&path).unwrap();

        let mut damaged = good.clone();
        // The pages of some tables; the first page stays good.
        damaged[8192..40960].fill(0x5a);
        fs::write(&path, &damaged).unwrap();
        let (error, words) = refusal(&harness).await;
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");
        assert!(words.contains("backup"), "what to do: {words}");

        fs::write(&path, b"certainly not a database, but long enough to be looked at. ".repeat(20))
            .unwrap();
        let (error, _) = refusal(&harness).await;
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error:?}");

        fs::write(&path, &good).unwrap();
        Store::open(harness.directory.path()).await.expect("the backup in its place");
    });
}

#[test]
fn a_database_of_another_program_refuses_to_open() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        harness.store.close().await;
        fs::remove_file(database(harness.directory.path())).unwrap();
        fs::write(database(harness.directory.path()), b"").unwrap();
        let mut theirs = stranger(harness.directory.path()).await;
        theirs.execute("CREATE TABLE theirs (a TEXT)").await.unwrap();
        theirs.close().await.unwrap();
        let (error, _) = refusal(&harness).await;
        assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
    });
}

#[test]
fn a_locked_file_says_who_is_to_stop() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        harness.store.close().await;
        let mut stranger = stranger(harness.directory.path()).await;
        stranger.execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").await.unwrap();
        let limits = Limits { patience: SHORT, ..Limits::default() };
        let error = Store::open_with(harness.directory.path(), &limits).await.unwrap_err();
        assert!(matches!(error, OpenError::Locked { .. }), "{error:?}");
    });
}

#[test]
fn processes_that_start_at_once_make_one_database() {
    with_timeout(async {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("deeper/data");
        let mut starting = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let data = data.clone();
            starting.spawn(async move { Store::open(&data).await });
        }
        for store in starting.join_all().await {
            store.expect("each one opens").ready().await.unwrap();
        }
        let mode = fs::metadata(&data).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "a directory we make is private");
    });
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    with_timeout(async {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), b"").unwrap();
        let error = Store::open(&directory.path().join("file/data")).await.unwrap_err();
        assert!(matches!(error, OpenError::File { .. }), "{error:?}");
        assert!(error.to_string().contains("file/data"), "{error}");
    });
}

#[test]
fn a_broker_that_has_drained_has_closed_its_store() {
    with_timeout(async {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        let environment: BTreeMap<String, String> = BTreeMap::new();
        let mut sources = Sources::new(&environment);
        sources.listen = Some("127.0.0.1:0".to_owned());
        let server = format!("server.main.command={OBLIGING}");
        sources.set = vec![format!("data_dir={}", data.display()), server];
        let config = Config::load(&sources).unwrap_or_else(|mistakes| panic!("{mistakes}")).config;
        let listener = Listener::bind(&config).await.expect("a port");
        let control = Control::start(config, Arc::new(environment), &listener, Clock::system())
            .await
            .expect("it starts");
        assert!(data.join("broker.db-wal").exists(), "the store is open");
        // Somebody still has the broker in hand, so dropping it is not what closes the store.
        broker::serve(listener, control.clone(), std::future::ready(())).await;
        assert!(!data.join("broker.db-wal").exists(), "the log is worked off");
        let link = control.setup_link().await;
        assert!(link.is_err(), "nothing is kept in it any more");
    });
}
