//! What is kept, how it looks at rest, and with which keys.

use tokio::time::sleep;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_later_sign_in_takes_the_place_of_an_earlier_one() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    let first = harness.ask(&vault).await.unwrap();
    harness.sign_in(&vault).await;
    let second = harness.ask(&vault).await.unwrap();
    assert_eq!(second.access_token.expose(), "access-2");
    assert!(second.version > first.version);
    assert_eq!(harness.store.records(), 1, "one credential for a user and a provider");
    assert!(vault.remove("forge", ISSUER, "ada").await.unwrap());
    assert!(!vault.remove("forge", ISSUER, "ada").await.unwrap());
    harness.sign_in(&vault).await;
    assert!(harness.ask(&vault).await.unwrap().version > second.version);
    let heard = harness.heard.take();
    assert_eq!(heard, ["forge Kept", "forge Kept", "forge Removed", "forge Kept"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_the_user_gave_is_kept_for_that_user_and_server_alone() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    let put = |server, text| {
        vault.put_user_token(server, ISSUER, "ada", Secret::new(text), harness.now())
    };
    put("wiki", "first").await.unwrap();
    put("wiki", "second").await.unwrap();
    put("forge", "another").await.unwrap();
    let wiki = vault.user_token("wiki", ISSUER, "ada").await.unwrap();
    assert_eq!((wiki.access_token.expose(), wiki.expires), ("second", None));
    for (server, issuer, subject) in
        [("wiki", ISSUER, "bob"), ("wiki", "local", "ada"), ("none", ISSUER, "ada")]
    {
        let other = vault.user_token(server, issuer, subject).await;
        assert!(matches!(other, Err(CredentialError::Missing)), "{other:?}");
    }
    assert!(matches!(harness.ask(&vault).await, Err(CredentialError::Missing)), "no provider's");
    assert!(vault.remove_user_token("wiki", ISSUER, "ada").await.unwrap());
    assert!(!vault.remove_user_token("wiki", ISSUER, "ada").await.unwrap());
    assert!(vault.user_token("forge", ISSUER, "ada").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_token_the_user_gave_that_has_ended_is_given_to_nobody_until_there_is_another() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    let put = async |text| {
        let token = Secret::new(text);
        vault.put_user_token("wiki", ISSUER, "ada", token, harness.now()).await.unwrap();
    };
    let realm = CredentialRealm::Server("wiki".into());
    let key = CredentialKey { realm, issuer: ISSUER.into(), subject: "ada".into() };
    let end =
        async |key: &CredentialKey, version| vault.end_user_token(key, version).await.unwrap();
    let token = async || vault.user_token("wiki", ISSUER, "ada").await;
    assert!(!end(&key, 1).await, "there is none");
    put("first").await;
    let first = token().await.unwrap().version;
    assert!(!end(&key, first + 1).await, "it is another one that has ended");
    harness.heard.take();
    assert!(end(&key, first).await);
    assert!(!end(&key, first).await, "it is known");
    assert_eq!(harness.heard.take(), [format!("server:wiki Died {{ version: {first} }}")]);
    assert!(matches!(token().await, Err(CredentialError::SignInAgain)));
    let all = vault.connections(ISSUER, "ada", harness.now()).await.unwrap();
    assert_eq!(all[0].state, ConnectionState::SignInAgain { works_until: None });

    put("second").await;
    let second = token().await.unwrap();
    assert_eq!(second.access_token.expose(), "second");
    assert!(!end(&key, first).await, "what comes late is said of the first one");
    assert!(token().await.is_ok());

    // What a provider gave is for the provider to judge.
    harness.sign_in(&vault).await;
    let version = harness.ask(&vault).await.unwrap().version;
    assert!(!end(&ada_key(), version).await);
    assert!(harness.ask(&vault).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_look_tells_one_broker_of_a_token_that_has_ended_by_the_word_of_another() {
    let mut harness = Harness::new();
    let (one, other) = (harness.vault(), harness.vault());
    let token = Secret::new("token");
    one.put_user_token("wiki", ISSUER, "ada", token, harness.now()).await.unwrap();
    let realm = CredentialRealm::Server("wiki".into());
    let key = CredentialKey { realm, issuer: ISSUER.into(), subject: "ada".into() };
    assert_eq!(one.look(&key, harness.now()).await, Look::Unknown);
    let version = one.user_token("wiki", ISSUER, "ada").await.unwrap().version;
    assert!(one.end_user_token(&key, version).await.unwrap());
    assert_eq!(other.look(&key, harness.now()).await, Look::Dead);
}

#[tokio::test(start_paused = true)]
async fn the_account_page_learns_how_every_connection_stands() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    let start = crate::UnixTime::of(harness.now());
    harness.sign_in(&vault).await;
    let token = Secret::new("token");
    vault.put_user_token("wiki", ISSUER, "ada", token, harness.now()).await.unwrap();
    let states = async || {
        let all = vault.connections(ISSUER, "ada", harness.now()).await.unwrap();
        all.into_iter().map(|own| (own.realm, own.state)).collect::<Vec<_>>()
    };
    let all = vault.connections(ISSUER, "ada", harness.now()).await.unwrap();
    let expires = Some(now() + HOUR);
    let forge = Connection {
        realm: CredentialRealm::Provider("forge".into()),
        username: Some("ada-at-the-forge".into()),
        state: ConnectionState::Fine { expires, renews: true },
        scope: Some("read:user".into()),
        missing: Vec::new(),
        account_refused: None,
        stored: start,
    };
    let wiki = Connection {
        realm: CredentialRealm::Server("wiki".into()),
        username: None,
        state: ConnectionState::Fine { expires: None, renews: false },
        scope: None,
        missing: Vec::new(),
        account_refused: None,
        stored: start,
    };
    assert_eq!(all, [forge, wiki]);
    assert_eq!(vault.connections(ISSUER, "bob", harness.now()).await.unwrap(), []);

    harness.forge.revoke();
    sleep(DUE).await;
    harness.ask(&vault).await.expect("it still serves");
    assert_eq!(states().await[0].1, ConnectionState::SignInAgain { works_until: expires });
    sleep(HOUR).await;
    assert_eq!(states().await[0].1, ConnectionState::SignInAgain { works_until: None });

    let stranger =
        harness.vault_with(harness.parts(5, KeyRing::mint(&mut ChaCha20Rng::seed_from_u64(1))));
    let all = stranger.connections(ISSUER, "ada", harness.now()).await.unwrap();
    assert!(all.iter().all(|own| own.state == ConnectionState::Unreadable), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn no_token_can_be_read_from_the_store_or_a_log() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    let token = Secret::new("canary-of-ada");
    vault.put_user_token("wiki", ISSUER, "ada", token, harness.now()).await.unwrap();
    let rows = harness.store.credentials_of(ISSUER, "ada").await.unwrap();
    assert_eq!(rows.len(), 2);
    for (_, sealed) in rows {
        for word in ["access", "refresh", "canary", "ada"] {
            let found = sealed.bytes.windows(word.len()).any(|own| own == word.as_bytes());
            assert!(!found, "{word} stands in the store");
        }
    }
    let credential = vault.user_token("wiki", ISSUER, "ada").await.unwrap();
    let shown = format!("{vault:?} {credential:?} {:?}", harness.store.dump());
    assert!(!shown.contains("canary") && !shown.contains("access-1"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_row_that_was_moved_to_another_user_is_not_given_out() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    let stolen = harness.store.credential(&ada_key()).await.unwrap().unwrap();
    let bob = CredentialKey { subject: "bob".into(), ..ada_key() };
    let put = harness.store.put_credential(&bob, &stolen.key_id, stolen.bytes, None, stolen.stored);
    put.await.unwrap();
    let outcome = vault.credential("forge", ISSUER, "bob", harness.now(), MINUTE).await;
    assert!(matches!(outcome, Err(CredentialError::SignInAgain)), "{outcome:?}");
    assert_eq!(harness.forge.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_ring_without_a_key_in_use_is_named_before_anybody_is_signed_out() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    vault.check_keys().await.expect("nothing is sealed yet");
    harness.sign_in(&vault).await;
    vault.check_keys().await.expect("the ring that sealed it");
    let stranger =
        harness.vault_with(harness.parts(5, KeyRing::mint(&mut ChaCha20Rng::seed_from_u64(1))));
    match stranger.check_keys().await {
        Err(RingError::MissingKey { id }) => assert_eq!(id, ring().primary()),
        other => panic!("{other:?}"),
    }
    let outcome = harness.ask(&stranger).await;
    assert!(matches!(outcome, Err(CredentialError::Misconfigured)), "{outcome:?}");
    harness.store.fail(true);
    assert!(matches!(vault.check_keys().await, Err(RingError::Store(_))));
}

#[tokio::test(start_paused = true)]
async fn after_a_rotation_everything_is_sealed_anew_bit_by_bit_and_nobody_notices() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    for n in 0..10 {
        let token = Secret::new(format!("token-{n}"));
        vault.put_user_token(&format!("s{n}"), ISSUER, "ada", token, harness.now()).await.unwrap();
    }
    let before = harness.ask(&vault).await.unwrap();
    let stored = vault.connections(ISSUER, "ada", harness.now()).await.unwrap();
    sleep(MINUTE).await;

    let mut turned = ring();
    turned.rotate(&mut ChaCha20Rng::seed_from_u64(3));
    let (old, new) = (ring().primary().to_owned(), turned.primary().to_owned());
    let vault = harness.vault_with(harness.parts(7, turned));
    vault.check_keys().await.expect("the old key is still on the ring");
    let mut batches = Vec::new();
    loop {
        let resealed = vault.reseal(4, harness.now()).await.unwrap();
        assert_eq!(resealed.left, 0);
        batches.push(resealed.sealed);
        if resealed.sealed == 0 {
            break;
        }
    }
    assert_eq!(batches, [4, 4, 3, 0]);
    assert_eq!(harness.store.sealing_keys().await.unwrap(), [new], "{old} may go");
    let after = harness.ask(&vault).await.unwrap();
    assert_eq!(after.access_token.expose(), before.access_token.expose());
    assert_eq!(after.version, before.version, "no child has to start again");
    assert_eq!(vault.connections(ISSUER, "ada", harness.now()).await.unwrap(), stored);
    sleep(DUE).await;
    let renewed = harness.ask(&vault).await.unwrap();
    assert_eq!(renewed.access_token.expose(), "access-2");
    assert!(renewed.version > after.version);
}

#[tokio::test(start_paused = true)]
async fn sealing_anew_leaves_alone_what_is_being_renewed() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    sleep(DUE).await;
    let mut turned = ring();
    turned.rotate(&mut ChaCha20Rng::seed_from_u64(3));
    let other = harness.vault_with(harness.parts(7, turned));
    harness.forge.close();
    let asking = async { harness.token(&vault).await };
    let sealing = async {
        sleep(SECOND).await;
        let resealed = other.reseal(10, harness.now()).await.unwrap();
        assert_eq!(resealed, Resealed { sealed: 0, left: 1 });
        harness.forge.open();
    };
    let (token, ()) = tokio::join!(asking, sealing);
    assert_eq!(token, "access-2");
    let resealed = other.reseal(10, harness.now()).await.unwrap();
    assert_eq!(resealed, Resealed { sealed: 1, left: 0 });
    assert_eq!(harness.token(&other).await, "access-2");
    assert_eq!(harness.forge.calls(), 1);
}
