//! When, how often and by whom a credential is renewed.

use tokio::time::sleep;

use super::{forge::Mood, *};

fn tokens(outcomes: Vec<Result<Credential, CredentialError>>) -> Vec<String> {
    let token = |own: Result<Credential, _>| own.expect("good").access_token.expose().to_owned();
    let mut tokens: Vec<_> = outcomes.into_iter().map(token).collect();
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

#[tokio::test(start_paused = true)]
async fn a_credential_is_given_as_it_is_until_it_is_due() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    assert!(matches!(harness.ask(&vault).await, Err(CredentialError::Missing)));
    harness.sign_in(&vault).await;
    sleep(DUE - SECOND).await;
    let credential = harness.ask(&vault).await.unwrap();
    assert_eq!(credential.access_token.expose(), "access-1");
    assert_eq!(credential.username.as_deref(), Some("ada-at-the-forge"));
    assert_eq!(credential.scope.as_deref(), Some("read:user"));
    assert_eq!(credential.expires, Some(now() + HOUR));
    assert_eq!(harness.forge.calls(), 0);
    sleep(SECOND).await;
    let renewed = harness.ask(&vault).await.unwrap();
    assert_eq!(renewed.access_token.expose(), "access-2");
    assert_eq!(renewed.expires, Some(harness.now() + HOUR), "its life began with the renewal");
    assert!(renewed.version > credential.version);
    assert_eq!(harness.heard.take(), ["forge Kept", "forge renewed", "forge Renewed"]);
    let other = vault.credential("forge", ISSUER, "bob", harness.now(), MINUTE).await;
    assert!(matches!(other, Err(CredentialError::Missing)), "nobody gets another one's");
}

#[tokio::test(start_paused = true)]
async fn sixty_callers_of_one_vault_make_one_call_and_get_the_same() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    sleep(DUE).await;
    assert_eq!(tokens(harness.race(&[vault]).await), ["access-2"]);
    assert_eq!(harness.forge.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_vaults_with_sixty_callers_make_one_call_for_each_end() {
    let mut harness = Harness::new();
    let vaults = [harness.vault(), harness.vault()];
    harness.sign_in(&vaults[0]).await;
    for round in 1..=5 {
        // Past the end, so that everybody has to wait for the new one.
        sleep(HOUR).await;
        let expected = format!("access-{}", round + 1);
        assert_eq!(tokens(harness.race(&vaults).await), [expected]);
        assert_eq!(harness.forge.calls(), round);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_holds_with_threads() {
    let mut harness = Harness::new();
    let vaults = [harness.vault(), harness.vault()];
    // The clock runs here, so the token is old from the beginning.
    let credential = harness.forge.sign_in(Some(HOUR), now() - HOUR);
    vaults[0].keep("forge", &ada(), &credential, now() - HOUR).await.unwrap();
    assert_eq!(tokens(harness.race(&vaults).await), ["access-2"]);
    assert_eq!(harness.forge.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn while_another_broker_renews_the_old_token_serves() {
    let mut harness = Harness::new();
    let (here, there) = (harness.vault(), harness.vault());
    harness.sign_in(&here).await;
    sleep(DUE).await;
    harness.forge.close();
    let mut waiting = JoinSet::new();
    let (vault, at) = (here.clone(), harness.now());
    waiting.spawn(async move { vault.credential("forge", ISSUER, "ada", at, MINUTE).await });
    sleep(SECOND).await;
    assert_eq!(harness.token(&there).await, "access-1", "nobody has the new one yet");
    harness.forge.open();
    let renewed = waiting.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(renewed.access_token.expose(), "access-2");
    assert_eq!(harness.token(&there).await, "access-2");
    assert_eq!(harness.forge.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_omitted_refresh_token_keeps_the_old_one() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    for _ in 0..3 {
        harness.forge.be(&[Mood::OmitsRefresh]);
        sleep(DUE).await;
        let credential = harness.ask(&vault).await.unwrap();
        assert_eq!(credential.access_token.expose(), harness.forge.newest());
        assert_eq!(credential.username.as_deref(), Some("ada-at-the-forge"));
    }
    assert_eq!(harness.forge.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_dead_credential_is_given_to_its_end_and_not_asked_for_again() {
    let mut harness = Harness::new();
    let vaults = [harness.vault(), harness.vault()];
    harness.sign_in(&vaults[0]).await;
    harness.forge.revoke();
    let version = harness.ask(&vaults[0]).await.unwrap().version;
    sleep(DUE).await;
    assert_eq!(tokens(harness.race(&vaults).await), ["access-1"], "it still serves");
    assert_eq!(harness.forge.calls(), 1);
    let heard = harness.heard.take();
    assert_eq!(heard, ["forge Kept", "forge sign_in_again", "forge Refused"]);
    assert_eq!(harness.ask(&vaults[0]).await.unwrap().version, version, "the token is the same");
    sleep(HOUR - DUE - MINUTE + SECOND).await;
    let later = [harness.vault(), vaults[0].clone(), vaults[1].clone()];
    for outcome in harness.race(&later).await {
        assert!(matches!(outcome, Err(CredentialError::SignInAgain)), "{outcome:?}");
    }
    assert_eq!(harness.forge.calls(), 1, "nobody asks again, a new broker neither");

    harness.sign_in(&vaults[1]).await;
    assert_eq!(tokens(harness.race(&later).await), ["access-2"], "a new sign-in heals it");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_during_the_renewal_takes_no_token_along() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    sleep(DUE).await;
    harness.forge.close();
    let asking = tokio::time::timeout(SECOND, harness.ask(&vault));
    assert!(asking.await.is_err(), "it waits, and then goes away");
    assert_eq!(harness.forge.calls(), 1);
    harness.forge.open();
    sleep(SECOND).await;
    assert_eq!(harness.heard.take().last().map(String::as_str), Some("forge Renewed"));
    assert_eq!(harness.token(&vault).await, "access-2");
    assert_eq!(harness.forge.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_login_during_a_renewal_wins() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    sleep(DUE).await;
    harness.forge.close();
    let asking = async { harness.token(&vault).await };
    let login = async {
        sleep(SECOND).await;
        harness.sign_in(&vault).await;
        harness.forge.open();
    };
    let (token, ()) = tokio::join!(asking, login);
    assert_eq!(token, "access-3", "what the login stored, not what the renewal got");
    sleep(DUE).await;
    assert_eq!(harness.token(&vault).await, "access-4", "and its refresh token is the good one");
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_was_taken_back_during_its_renewal_stays_away() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    sleep(DUE).await;
    harness.forge.close();
    let asking = async { harness.ask(&vault).await };
    let removal = async {
        sleep(SECOND).await;
        assert!(vault.remove("forge", ISSUER, "ada").await.unwrap());
        harness.forge.open();
    };
    let (outcome, ()) = tokio::join!(asking, removal);
    assert!(matches!(outcome, Err(CredentialError::Missing)), "{outcome:?}");
    assert_eq!(harness.store.records(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_needs_a_token_for_longer_gets_a_new_one_earlier() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    sleep(31 * MINUTE).await;
    let ask = |need| vault.credential("forge", ISSUER, "ada", harness.now(), need);
    assert_eq!(ask(29 * MINUTE).await.unwrap().access_token.expose(), "access-1");
    assert_eq!(ask(30 * MINUTE).await.unwrap().access_token.expose(), "access-2");
    assert_eq!(
        ask(24 * HOUR).await.unwrap().access_token.expose(),
        "access-2",
        "the best there is"
    );
    assert_eq!(harness.forge.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_seconds_is_renewed_once_in_its_life_and_one_without_end_never() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in_for(&vault, Some(4 * SECOND)).await;
    for at in 0..40 {
        harness.token(&vault).await;
        assert!(harness.forge.calls() <= at / 2 + 1, "{} calls in {at} s", harness.forge.calls());
        sleep(SECOND).await;
    }
    assert!(harness.forge.calls() >= 10);
    let before = harness.forge.calls();
    harness.sign_in_for(&vault, None).await;
    sleep(10_000 * HOUR).await;
    assert_eq!(harness.token(&vault).await, harness.forge.newest());
    assert_eq!(harness.forge.calls(), before);
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_what_was_begun_and_begins_nothing_more() {
    let harness = Harness::new();
    let (vault, driver) = Vault::new(harness.parts(1, ring()));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut drivers = JoinSet::new();
    drivers.spawn(driver.run(async { stopped.await.unwrap_or(()) }));
    harness.sign_in(&vault).await;
    sleep(HOUR).await;
    harness.forge.close();
    let asking = async { harness.token(&vault).await };
    let stopping = async {
        sleep(SECOND).await;
        stop.send(()).unwrap();
        sleep(SECOND).await;
        harness.forge.open();
    };
    let (token, ()) = tokio::join!(asking, stopping);
    assert_eq!(token, "access-2");
    drivers.join_next().await.unwrap().unwrap();
    sleep(HOUR).await;
    let refused = harness.ask(&vault).await;
    assert!(matches!(refused, Err(CredentialError::Unavailable { .. })), "{refused:?}");
    assert_eq!(harness.forge.calls(), 1);
}
