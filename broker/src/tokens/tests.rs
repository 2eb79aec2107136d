use std::{
    collections::HashSet,
    os::unix::fs::{PermissionsExt, symlink},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use super::*;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)
}

/// A token file that does not exist yet, in a directory that does not exist yet.
fn fresh() -> (TempDir, TokenFile) {
    let home = tempfile::tempdir().expect("a place for temporary files");
    let file = TokenFile::new(home.path().join("data/tokens.json"));
    (home, file)
}

fn names(file: &TokenFile) -> Vec<String> {
    file.list().expect("readable").into_iter().map(|record| record.name).collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").mode() & 0o777
}

#[test]
fn no_file_is_no_tokens_and_looking_creates_nothing() {
    let (_home, file) = fresh();
    assert!(file.list().unwrap().is_empty());
    assert!(file.load().unwrap().is_empty());
    assert!(!file.directory().exists());
}

#[test]
fn an_added_token_is_listed_by_its_hash_and_the_file_never_holds_the_token() {
    let (_home, file) = fresh();
    let (record, token) = file.add("laptop", now()).unwrap();
    assert_eq!(file.list().unwrap(), std::slice::from_ref(&record));
    assert_eq!(record.sha256, auth::TokenHash::of(token.expose()));
    let text = fs::read_to_string(&file.path).unwrap();
    assert!(!text.contains(token.expose()), "{text}");
    assert!(text.contains(&record.sha256.to_hex()), "{text}");
}

#[test]
fn only_the_owner_may_open_the_directory_and_the_files() {
    let (_home, file) = fresh();
    file.add("laptop", now()).unwrap();
    assert_eq!(mode(file.directory()), 0o700);
    assert_eq!(mode(&file.path), 0o600);
    assert_eq!(mode(&file.beside("lock")), 0o600);
}

#[test]
fn a_live_name_is_taken_and_an_expired_one_makes_room() {
    let (_home, file) = fresh();
    let (first, _) = file.add_expiring("laptop", now() + Duration::from_secs(60), now()).unwrap();
    let error = file.add("laptop", now()).unwrap_err();
    assert!(matches!(&error, TokenFileError::NameTaken { id, .. } if *id == first.id), "{error}");
    file.add("laptop", now() + Duration::from_secs(60)).expect("the first one is over");
    assert_eq!(names(&file), ["laptop"], "and the expired record is gone");
}

#[test]
fn a_name_that_is_another_tokens_id_is_taken() {
    let (_home, file) = fresh();
    let (record, _) = file.add("laptop", now()).unwrap();
    let error = file.add(&record.id, now()).unwrap_err();
    assert!(matches!(error, TokenFileError::NameTaken { .. }), "{error}");
}

#[test]
fn names_that_would_confuse_a_reader_are_refused() {
    let (_home, file) = fresh();
    let long = "a".repeat(65);
    for bad in ["", " ", "a b", "a\n", "a\u{202e}b", "a\u{200b}", "../x", "a\"b", &long] {
        let error = file.add(bad, now()).unwrap_err();
        assert!(matches!(error, TokenFileError::BadName { .. }), "{bad:?}: {error}");
        assert!(!error.to_string().contains(char::is_control), "{error}");
    }
    for good in ["ada", "ada.l@example.org", "CI+nightly-2", "Zoë", &"a".repeat(64)] {
        file.add(good, now()).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
}

#[test]
fn a_token_is_revoked_by_its_id_or_its_name() {
    let (_home, file) = fresh();
    let (ada, _) = file.add("ada", now()).unwrap();
    file.add("bob", now()).unwrap();
    file.add("eve", now()).unwrap();
    assert_eq!(file.revoke(&ada.id).unwrap(), ada);
    assert_eq!(file.revoke("bob").unwrap().name, "bob");
    assert_eq!(names(&file), ["eve"]);
    let error = file.revoke("bob").unwrap_err();
    assert!(matches!(error, TokenFileError::NoSuchToken { .. }), "{error}");
}

#[test]
fn many_writers_at_once_lose_nothing_and_readers_see_whole_files() {
    let (_home, file) = fresh();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let file = file.clone();
                scope.spawn(move || {
                    for n in 0..10 {
                        file.add(&format!("writer{writer}-{n}"), now()).expect("added");
                    }
                })
            })
            .collect();
        let mut most = 0;
        while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
            let found = file.load().expect("whole").len();
            assert!(found >= most, "a token came and went");
            most = found;
        }
    });
    let names: HashSet<_> = names(&file).into_iter().collect();
    assert_eq!(names.len(), 40);
}

#[test]
fn what_a_dead_writer_left_is_in_nobodys_way() {
    let (home, file) = fresh();
    file.add("ada", now()).unwrap();
    let elsewhere = home.path().join("elsewhere");
    fs::write(&elsewhere, "precious").unwrap();
    symlink(&elsewhere, file.beside("tmp")).unwrap();
    file.add("bob", now()).unwrap();
    assert_eq!(names(&file), ["ada", "bob"]);
    assert_eq!(fs::read_to_string(elsewhere).unwrap(), "precious", "no link is followed");
    assert!(!file.beside("tmp").exists());
}

#[test]
fn a_symbolic_link_stays_one_and_its_target_is_replaced() {
    let (home, file) = fresh();
    file.add("ada", now()).unwrap();
    let link = home.path().join("link.json");
    symlink(&file.path, &link).unwrap();
    TokenFile::new(&link).add("bob", now()).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(names(&file), ["ada", "bob"]);
}

#[test]
fn a_file_of_a_newer_version_is_neither_read_nor_written() {
    let (_home, file) = fresh();
    file.add("ada", now()).unwrap();
    let newer = r#"{ "version": 2, "tokens": { "sorted": "otherwise" } }"#;
    fs::write(&file.path, newer).unwrap();
    for error in [file.list().unwrap_err(), file.add("bob", now()).unwrap_err()] {
        let TokenFileError::Malformed { source: FormatError::Newer { found: 2, .. }, .. } = error
        else {
            panic!("{error:?}");
        };
    }
    assert_eq!(fs::read_to_string(&file.path).unwrap(), newer);
}

#[test]
fn a_file_that_is_not_ours_is_an_error_that_shows_no_value() {
    let (_home, file) = fresh();
    file.add("ada", now()).unwrap();
    let pasted = r#"{"version":1,"tokens":[
        {"id":"x","name":"ada","sha256":"mcpb_canary","created":1}]}"#;
    for content in
        ["", "[]", "{}", r#"{"version":1}"#, r#"{"version":1,"tokens":[],"more":1}"#, pasted]
    {
        fs::write(&file.path, content).unwrap();
        let error = file.load().unwrap_err();
        assert!(matches!(error, TokenFileError::Malformed { .. }), "{content}: {error:?}");
        assert!(!format!("{error:?} {error}").contains("canary"), "{error:?}");
    }
}

#[test]
fn a_file_others_may_write_is_not_trusted() {
    let (_home, file) = fresh();
    file.add("ada", now()).unwrap();
    fs::set_permissions(&file.path, PermissionsExt::from_mode(0o620)).unwrap();
    let error = file.load().unwrap_err();
    assert!(matches!(error, TokenFileError::WritableByOthers { mode: 0o620, .. }), "{error:?}");
    fs::set_permissions(&file.path, PermissionsExt::from_mode(0o644)).unwrap();
    file.load().expect("hashes may be read by others");
}

#[test]
fn one_token_in_two_records_is_an_error() {
    let (_home, file) = fresh();
    file.add("ada", now()).unwrap();
    let text = fs::read_to_string(&file.path).unwrap();
    let (head, rest) = text.split_once('[').unwrap();
    let (record, tail) = rest.rsplit_once(']').unwrap();
    fs::write(&file.path, format!("{head}[{record},{record}]{tail}")).unwrap();
    assert!(matches!(file.load().unwrap_err(), TokenFileError::Table { .. }));
}

#[test]
fn a_running_broker_learns_of_every_change_once() {
    let (_home, file) = fresh();
    let (table, mut watch) = file.watch().unwrap();
    assert!(table.is_empty());
    assert!(watch.changed().unwrap().is_none(), "nothing happened yet");
    for expected in 1..=20 {
        file.add(&format!("token{expected}"), now()).unwrap();
        assert_eq!(watch.changed().unwrap().expect("noticed").len(), expected);
        assert!(watch.changed().unwrap().is_none());
    }
    file.revoke("token7").unwrap();
    assert_eq!(watch.changed().unwrap().expect("noticed").len(), 19);
    fs::remove_file(&file.path).unwrap();
    assert!(watch.changed().unwrap().expect("noticed").is_empty(), "no file, no tokens");
    assert!(watch.changed().unwrap().is_none());
}

#[test]
fn a_broken_file_is_reported_once_and_its_repair_is_noticed() {
    let (_home, file) = fresh();
    file.add("ada", now()).unwrap();
    let good = fs::read(&file.path).unwrap();
    let (_, mut watch) = file.watch().unwrap();
    fs::write(&file.path, "{").unwrap();
    watch.changed().expect_err("that is no JSON");
    assert!(watch.changed().unwrap().is_none(), "said once");
    fs::write(&file.path, good).unwrap();
    assert_eq!(watch.changed().unwrap().expect("repaired").len(), 1);
}
