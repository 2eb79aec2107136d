//! Records of sessions in SQLite: their contract, their place in the file, their end with an account.

use std::{
    fs,
    sync::Arc,
    time::{Duration, SystemTime},
};

use auth::{
    local::{Account, Accounts, ISSUER},
    oauth::AuthStore,
};
use broker::store::Store;
use session::{
    Owner, Record, RecordKey, Records, Selection, SessionId, Use, testing::records_contract,
};
use sqlx::{Connection, Executor, Row, query};

use crate::{
    harness::with_timeout,
    store_harness::{StoreHarness, database, now, stranger},
};

/// The schema of the first release, which no migration of ours changes any more.
const VERSION_1: &str = include_str!("../../migrations/sqlite/0001_authorization.sql");

fn at(seconds: u64) -> SystemTime {
    auth::testing::now() + Duration::from_secs(seconds)
}

pub(crate) fn record(number: u64, owner: Owner) -> Record {
    let mut id = [0; 24];
    id[..8].copy_from_slice(&number.to_be_bytes());
    Record {
        key: SessionId::from_bytes(id).key(),
        owner,
        kind: "forgejo".into(),
        snapshot: Arc::from(*br#"{"clientInfo":{"name":"editor"}}"#),
        created: at(number),
        active: at(number),
        asleep: None,
    }
}

#[test]
fn the_store_keeps_the_contract_of_session_records() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        records_contract(harness.store).await;
    });
}

#[test]
fn a_database_of_version_1_is_migrated_and_keeps_what_it_has() {
    with_timeout(async {
        let directory = tempfile::tempdir().unwrap();
        fs::write(database(directory.path()), b"").unwrap();
        let mut old = stranger(directory.path()).await;
        old.execute(VERSION_1).await.unwrap();
        // "mcpb" in ASCII.
        old.execute("PRAGMA application_id = 1835233378; PRAGMA user_version = 1").await.unwrap();
        old.execute(
            "INSERT INTO accounts VALUES ('subject-of-ada', 'ada', '$argon2id$', 1800000000); \
             INSERT INTO grants VALUES ('family', 'web', 'Web', 'local', 'subject-of-ada', 'ada', \
               'local', 'https://mcp.example.org', 'mcp', 1800000000, 1800000000, NULL, 1900000000)",
        )
        .await
        .unwrap();
        old.close().await.unwrap();

        for round in 0..2 {
            let store = Store::open(directory.path()).await.expect("it is brought up to date");
            store.ready().await.unwrap();
            let account = store.account("ada").await.unwrap().expect("the account is there");
            assert_eq!(account.subject, "subject-of-ada");
            let grants = store.grants("", 10).await.unwrap();
            assert_eq!(grants.iter().map(|grant| &*grant.grant_id).collect::<Vec<_>>(), ["family"]);
            let record = record(round, Owner::new(ISSUER, "subject-of-ada", "web"));
            assert!(store.create(record).await.unwrap());
            let kept = store.count(&Selection::All).await.unwrap();
            assert_eq!(kept as u64, round + 1, "sessions outlive the process");
            store.close().await;
        }
        let mut db = stranger(directory.path()).await;
        let version: i64 = query("PRAGMA user_version").fetch_one(&mut db).await.unwrap().get(0);
        assert_eq!(version, 8);
    });
}

#[test]
fn an_account_takes_its_session_records_along_and_nobody_elses() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        for (subject, name) in [("1", "ada"), ("2", "bob")] {
            let (subject, name) = (subject.to_owned(), name.to_owned());
            let account = Account { subject, name, password: "$argon2id$".into(), created: now() };
            assert!(harness.store.add_account(account).await.unwrap());
        }
        let owners = [
            Owner::new(ISSUER, "1", "web"),
            Owner::new(ISSUER, "1", "editor"),
            Owner::new(ISSUER, "2", "web"),
            Owner::new("https://forge.example", "1", "web"),
        ];
        for (number, owner) in (0..).zip(owners.clone()) {
            assert!(harness.store.create(record(number, owner)).await.unwrap());
        }
        harness.store.remove_account("ada", now()).await.unwrap().expect("the account was there");
        let left = harness.store.list(&Selection::All, None, 10).await.unwrap();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left.iter().all(|each| owners[2..].contains(&each.owner)), "{left:?}");
    });
}

#[test]
fn no_session_id_lies_in_the_files() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        let id = SessionId::from_bytes(*b"canary-session-id-24-cha");
        let record = Record { key: id.key(), ..record(0, Owner::new(ISSUER, "ada", "web")) };
        assert!(harness.store.create(record.clone()).await.unwrap());
        let holds = |what: &[u8]| {
            let read = |end: &str| fs::read(harness.directory.path().join(end)).expect("a file");
            [read("broker.db"), read("broker.db-wal")]
                .iter()
                .any(|bytes| memchr::memmem::find(bytes, what).is_some())
        };
        assert!(holds(record.key.as_bytes()), "the search finds what is there");
        assert!(!holds(b"canary-session-id-24-cha") && !holds(id.to_string().as_bytes()));
    });
}

#[test]
fn every_question_about_sessions_has_its_index() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        let mut db = harness.stranger().await;
        for (asked, index) in [
            (
                "issuer = 'i' AND subject = 's' AND client = 'c' ORDER BY active, key",
                "sessions_owner",
            ),
            ("issuer = 'i' AND subject = 's'", "sessions_owner"),
            ("client = 'c'", "sessions_client"),
            ("family = 'f'", "sessions_family"),
            ("TRUE ORDER BY active, key LIMIT 1", "sessions_active"),
        ] {
            let sql = format!("EXPLAIN QUERY PLAN SELECT key FROM sessions WHERE {asked}");
            let rows = query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut db).await.unwrap();
            let plan: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
            assert!(plan.len() == 1 && plan[0].contains(index), "{asked}: {plan:?}");
        }
    });
}

#[test]
fn of_two_processes_one_makes_a_record_and_a_removed_one_stays_removed() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        let other = Store::open(harness.directory.path()).await.unwrap();
        let (ada, bob) = (
            record(1, Owner::new(ISSUER, "ada", "web")),
            record(1, Owner::new(ISSUER, "bob", "web")),
        );
        let key: RecordKey = ada.key;
        let (first, second) = tokio::join!(harness.store.create(ada), other.create(bob));
        assert!(first.unwrap() != second.unwrap());
        assert_eq!(other.remove(&[key]).await.unwrap(), 1);
        assert!(!harness.store.save(&key, Arc::from([1]), at(9)).await.unwrap());
        harness.store.touch(&[Use { key, active: at(9), asleep: None }]).await.unwrap();
        assert_eq!(harness.store.find(&key).await.unwrap(), None);
    });
}
