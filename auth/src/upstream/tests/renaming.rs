//! A provider that has another name from now on.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_renamed_providers_credential_opens_under_the_new_name_and_no_longer_under_the_old() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    let token = harness.token(&vault).await;
    vault.put_user_token("wiki", ISSUER, "ada", Secret::new("own"), harness.now()).await.unwrap();
    assert_eq!(vault.providers().await.unwrap(), ["forge"], "a server is no provider");

    let renamed = vault.rename_provider("forge", "work").await.unwrap();
    assert_eq!(renamed, Renamed { moved: 1, left: 0 });
    assert_eq!(vault.providers().await.unwrap(), ["work"]);
    let credential = vault.credential("work", ISSUER, "ada", harness.now(), MINUTE).await.unwrap();
    assert_eq!(credential.access_token.expose(), token);
    let former = harness.ask(&vault).await;
    assert!(matches!(former, Err(CredentialError::Missing)), "{former:?}");
    assert!(vault.user_token("wiki", ISSUER, "ada").await.is_ok(), "a server's token stays");
    assert_eq!(vault.rename_provider("forge", "work").await.unwrap(), Renamed::default(), "once");
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_under_the_new_name_is_not_replaced_by_what_stood_under_the_old() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    let newer = harness.forge.sign_in(Some(HOUR), harness.now());
    vault.keep("work", &ada(), &newer, harness.now()).await.unwrap();
    vault.rename_provider("forge", "work").await.unwrap();
    let credential = vault.credential("work", ISSUER, "ada", harness.now(), MINUTE).await.unwrap();
    assert_eq!(credential.access_token.expose(), newer.access_token.expose());
    assert_eq!(vault.providers().await.unwrap(), ["work"]);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_does_not_open_is_left_where_it_is() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    let key = CredentialKey { subject: "forged".into(), ..ada_key() };
    let stored = crate::UnixTime::of(harness.now());
    let put = harness.store.put_credential(&key, "unknown", b"bytes".into(), None, stored).await;
    put.unwrap();
    let renamed = vault.rename_provider("forge", "work").await.unwrap();
    assert_eq!(renamed, Renamed { moved: 1, left: 1 });
    assert_eq!(vault.providers().await.unwrap(), ["forge", "work"]);
}
