//! The keys beside the database.

use std::{fs, os::unix::fs::PermissionsExt};

use auth::upstream::{CredentialKey, CredentialRealm, CredentialStore, KeyRing};
use broker::store::{Keys, KeysError, Store};

use crate::{
    harness::with_timeout,
    store_harness::{StoreHarness, now},
};

fn key() -> CredentialKey {
    let [name, issuer, subject] = ["forge", "https://forge.example", "ada"].map(str::to_owned);
    CredentialKey { realm: CredentialRealm::Provider(name), issuer, subject }
}

/// Keeps a credential that the first key of `ring` sealed.
async fn seal(store: &Store, ring: &KeyRing) {
    let mut rng = auth::os_rng().expect("randomness");
    let (id, bytes) = ring.seal(&key(), b"the credential", &mut rng);
    let put = store.put_credential(&key(), id, bytes, None, now()).await;
    assert_eq!(put.expect("the store answers"), Some(1));
}

#[test]
fn keys_are_made_once_and_only_their_owner_reads_them() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        let directory = harness.directory.path();
        let keys = Keys::open(directory, &*harness.store).await.unwrap();
        for name in ["server.key", "keyring"] {
            let metadata = fs::metadata(directory.join(name)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
        }
        let server = fs::read(directory.join("server.key")).unwrap();
        seal(&harness.store, &keys.ring).await;
        let again = Keys::open(directory, &*harness.store).await.unwrap();
        assert_eq!(fs::read(directory.join("server.key")).unwrap(), server, "the same key");
        let sealed = harness.store.credential(&key()).await.unwrap().unwrap();
        let opened = again.ring.open(&key(), &sealed.key_id, &sealed.bytes).unwrap();
        assert_eq!(&*opened, b"the credential");
        let left: Vec<_> =
            fs::read_dir(directory).unwrap().map(|own| own.unwrap().file_name()).collect();
        assert_eq!(left.len(), 5, "no draft stays behind: {left:?}");
    });
}

#[test]
fn a_missing_key_refuses_to_start_and_makes_no_new_one() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        let directory = harness.directory.path();
        let keys = Keys::open(directory, &*harness.store).await.unwrap();
        seal(&harness.store, &keys.ring).await;
        let path = directory.join("keyring");
        let backup = fs::read(&path).unwrap();

        fs::remove_file(&path).unwrap();
        let error = Keys::open(directory, &*harness.store).await.unwrap_err();
        assert!(error.to_string().contains(keys.ring.primary()), "which key: {error}");
        assert!(!path.exists(), "an empty ring in its place would hide the loss");

        let other = KeyRing::mint(&mut auth::os_rng().unwrap());
        Keys::save_ring(directory, &other).unwrap();
        let error = Keys::open(directory, &*harness.store).await.unwrap_err();
        let KeysError::Missing { missing, .. } = error else { panic!("{error:?}") };
        assert_eq!(missing, [keys.ring.primary()]);

        fs::write(&path, backup).unwrap();
        Keys::open(directory, &*harness.store).await.expect("the backup in its place");

        assert!(harness.store.remove_credential(&key()).await.unwrap());
        Keys::save_ring(directory, &other).unwrap();
        Keys::open(directory, &*harness.store).await.expect("nothing needs the old key any more");
    });
}

#[test]
fn a_rotated_ring_still_opens_what_the_old_key_sealed() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        let directory = harness.directory.path();
        let mut keys = Keys::open(directory, &*harness.store).await.unwrap();
        seal(&harness.store, &keys.ring).await;
        keys.ring.rotate(&mut auth::os_rng().unwrap());
        Keys::save_ring(directory, &keys.ring).unwrap();
        let again = Keys::open(directory, &*harness.store).await.unwrap();
        assert_eq!(again.ring.primary(), keys.ring.primary());
        let others = harness.store.sealed_otherwise(again.ring.primary(), 9).await.unwrap();
        let [(key, sealed)] = &others[..] else { panic!("{others:?}") };
        assert!(again.ring.open(key, &sealed.key_id, &sealed.bytes).is_ok());
        let mode = fs::metadata(directory.join("keyring")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "a saved ring is as private as the first one");
    });
}

#[test]
fn keys_that_are_damaged_are_named_and_not_shown() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        let directory = harness.directory.path();
        Keys::open(directory, &*harness.store).await.unwrap();
        fs::write(directory.join("server.key"), "canary").unwrap();
        let error = Keys::open(directory, &*harness.store).await.unwrap_err();
        assert!(matches!(error, KeysError::ServerKey { .. }), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("canary"));
        fs::remove_file(directory.join("server.key")).unwrap();
        Keys::open(directory, &*harness.store).await.expect("a new one is made");
        fs::write(directory.join("keyring"), "canary").unwrap();
        let error = Keys::open(directory, &*harness.store).await.unwrap_err();
        assert!(matches!(error, KeysError::KeyRing { .. }), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("canary"));
    });
}

#[test]
fn processes_that_start_at_once_agree_on_the_keys() {
    with_timeout(async {
        let harness = StoreHarness::open().await;
        let mut starting = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (store, directory) = (harness.store.clone(), harness.directory.path().to_owned());
            starting.spawn(async move { Keys::open(&directory, &*store).await });
        }
        let names = starting
            .join_all()
            .await
            .into_iter()
            .map(|keys| keys.expect("each one has keys").ring.primary().to_owned());
        let names: std::collections::BTreeSet<_> = names.collect();
        assert_eq!(names.len(), 1, "all of them have one ring");
    });
}
