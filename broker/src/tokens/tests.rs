use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use auth::{TokenHash, testing::MemoryStore};
use tempfile::TempDir;

use super::*;
use crate::store::Store;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)
}

/// A data directory with the store and a place for the token file.
struct Data {
    directory: TempDir,
    store: Store,
}

impl Data {
    async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a place for temporary files");
        let store = Store::open(directory.path()).await.expect("the store opens");
        Self { directory, store }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("tokens.json")
    }

    fn write(&self, content: &str) {
        fs::write(self.file(), content).expect("a file");
        fs::set_permissions(self.file(), PermissionsExt::from_mode(0o600)).expect("ours");
    }

    async fn import(&self) -> Result<(), ImportError> {
        import(&self.store, &self.file(), now()).await
    }

    async fn names(&self) -> Vec<String> {
        let all = self.store.static_tokens("", 100).await.expect("the store answers");
        all.into_iter().map(|record| record.name).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.directory.path().join(name).exists()
    }
}

/// The file that an earlier version wrote for tokens of these names, whose secrets are the names.
fn content(names: &[&str]) -> String {
    let line = |name: &&str| {
        let hash = TokenHash::of(name).to_hex();
        format!(
            "{{\"id\":\"{}\",\"name\":\"{name}\",\"sha256\":\"{hash}\",\"created\":1,\
             \"expires\":null}}",
            &hash[..12]
        )
    };
    let lines: Vec<_> = names.iter().map(line).collect();
    format!("{{\"version\":1,\"tokens\":[{}]}}\n", lines.join(","))
}

#[tokio::test]
async fn a_live_name_is_taken_and_an_expired_one_makes_room() {
    let store = MemoryStore::new();
    let end = UnixTime::of(now() + Duration::from_secs(60));
    let (first, _) = add(&store, "laptop", Some(end), now()).await.expect("it is new");
    let error = add(&store, "laptop", None, now()).await.expect_err("it is taken");
    assert!(matches!(&error, AddTokenError::NameTaken { id, .. } if *id == first.id), "{error}");
    let late = now() + Duration::from_secs(60);
    let (second, token) = add(&store, "laptop", None, late).await.expect("the first one is over");
    assert_eq!(second.sha256, TokenHash::of(token.expose()));
}

#[tokio::test]
async fn names_that_would_confuse_a_reader_are_refused() {
    let store = MemoryStore::new();
    let long = "a".repeat(65);
    for bad in ["", " ", "a b", "a\n", "a\u{202e}b", "a\u{200b}", "../x", "a\"b", &long] {
        let error = add(&store, bad, None, now()).await.expect_err("it is refused");
        assert!(matches!(error, AddTokenError::BadName { .. }), "{bad:?}: {error}");
        assert!(!error.to_string().contains(char::is_control), "{error}");
    }
    for good in ["ada", "ada.l@example.org", "CI+nightly-2", "Zoë", &"a".repeat(64)] {
        let added = add(&store, good, None, now()).await;
        added.unwrap_or_else(|error| panic!("{good}: {error}"));
    }
}

#[tokio::test]
async fn no_file_is_nothing_to_import() {
    let data = Data::new().await;
    data.import().await.expect("there is none");
    assert!(data.names().await.is_empty());
}

#[tokio::test]
async fn a_file_is_imported_once_and_renamed() {
    let data = Data::new().await;
    data.write(&content(&["ada", "bob"]));
    fs::write(data.directory.path().join("tokens.json.lock"), "").expect("a file");
    data.import().await.expect("it is good");
    assert_eq!(data.names().await, ["ada", "bob"]);
    let found = data.store.static_token(&TokenHash::of("ada")).await.expect("it answers");
    assert_eq!(found.expect("by its hash").created, UnixTime(1));
    assert!(data.has("tokens.json.imported") && !data.has("tokens.json"));
    assert!(!data.has("tokens.json.lock"), "nor what it was locked with");
    data.import().await.expect("there is nothing left to do");
}

#[tokio::test]
async fn a_file_that_is_there_again_is_refused_and_brings_no_revoked_token_back() {
    let data = Data::new().await;
    data.write(&content(&["ada"]));
    data.import().await.expect("it is good");
    let revoked = data.store.revoke_static_token("ada", UnixTime::of(now())).await;
    revoked.expect("it answers").expect("it is there");
    // With what was renamed and without it, the same file and another one.
    for (names, imported) in [(["ada"], true), (["eve"], true), (["eve"], false)] {
        data.write(&content(&names));
        if !imported {
            fs::remove_file(data.directory.path().join("tokens.json.imported")).expect("a file");
        }
        let error = data.import().await.expect_err("it is refused");
        assert!(matches!(error, ImportError::Reappeared { .. }), "{error}");
        assert!(error.to_string().contains("remove the file"), "{error}");
        assert_eq!(check_moved(&data.file()).is_err(), imported);
        assert!(data.names().await.is_empty() && data.has("tokens.json"));
    }
}

#[tokio::test]
async fn an_import_that_was_cut_off_before_the_rename_is_caught_up_with() {
    let data = Data::new().await;
    data.write(&content(&["ada"]));
    data.import().await.expect("it is good");
    let renamed = data.directory.path().join("tokens.json.imported");
    fs::rename(renamed, data.file()).expect("as if it had not been");
    data.import().await.expect("it is the same file");
    assert_eq!(data.names().await, ["ada"]);
    assert!(data.has("tokens.json.imported") && !data.has("tokens.json"));
}

#[tokio::test]
async fn a_name_that_the_store_has_for_another_token_is_told_and_nothing_is_imported() {
    let data = Data::new().await;
    add(&data.store, "bob", None, now()).await.expect("it is new");
    data.write(&content(&["ada", "bob"]));
    let error = data.import().await.expect_err("bob is there");
    assert!(matches!(&error, ImportError::Taken { name, .. } if name == "bob"), "{error}");
    assert_eq!(data.names().await, ["bob"], "all of it or nothing");
    assert!(data.has("tokens.json"));
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_not_imported() {
    let data = Data::new().await;
    data.write(r#"{ "version": 2, "tokens": { "sorted": "otherwise" } }"#);
    let error = data.import().await.expect_err("it is newer");
    let ImportError::File(TokenFileError::Malformed { source, .. }) = error else {
        panic!("{error:?}");
    };
    assert!(matches!(source, FormatError::Newer { found: 2, .. }), "{source}");
    assert!(data.has("tokens.json"));
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_an_error_that_shows_no_value() {
    let data = Data::new().await;
    let pasted = r#"{"version":1,"tokens":[
        {"id":"x","name":"ada","sha256":"mcpb_canary","created":1}]}"#;
    let twice = content(&["ada", "ada"]);
    for content in [
        "",
        "[]",
        "{}",
        r#"{"version":1}"#,
        r#"{"version":1,"tokens":[],"more":1}"#,
        pasted,
        &twice,
    ] {
        data.write(content);
        let error = data.import().await.expect_err("it is not ours");
        let malformed = ImportError::File(TokenFileError::Malformed {
            path: data.file(),
            source: FormatError::TooLarge { max_bytes: 0 },
        });
        assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&malformed));
        assert!(!format!("{error:?} {error}").contains("canary"), "{error:?}");
    }
}

#[tokio::test]
async fn a_file_others_may_write_is_not_trusted() {
    let data = Data::new().await;
    data.write(&content(&["ada"]));
    let open = |mode| fs::set_permissions(data.file(), PermissionsExt::from_mode(mode));
    open(0o620).expect("ours");
    let error = data.import().await.expect_err("its group may write it");
    let untrusted = TokenFileError::WritableByOthers { path: PathBuf::new(), mode: 0 };
    let ImportError::File(found) = error else { panic!("{error:?}") };
    assert_eq!(std::mem::discriminant(&found), std::mem::discriminant(&untrusted));
    open(0o644).expect("ours");
    data.import().await.expect("hashes may be read by others");
}
