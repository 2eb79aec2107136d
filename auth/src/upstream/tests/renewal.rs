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
    let mut rig = Rig::new();
    let vault = rig.vault();
    assert!(matches!(rig.ask(&vault).await, Err(CredentialError::Missing)));
    rig.sign_in(&vault).await;
    sleep(DUE - SECOND).await;
    let credential = rig.ask(&vault).await.unwrap();
    assert_eq!(credential.access_token.expose(), "access-1");
    assert_eq!(credential.username.as_deref(), Some("ada-at-the-forge"));
    assert_eq!(credential.scope.as_deref(), Some("read:user"));
    assert_eq!(credential.expires, Some(now() + HOUR));
    assert_eq!(rig.forge.calls(), 0);
    sleep(SECOND).await;
    let renewed = rig.ask(&vault).await.unwrap();
    assert_eq!(renewed.access_token.expose(), "access-2");
    assert_eq!(renewed.expires, Some(rig.now() + HOUR), "its life began with the renewal");
    assert!(renewed.version > credential.version);
    assert_eq!(rig.heard.take(), ["forge Kept", "forge renewed", "forge Renewed"]);
    let other = vault.credential("forge", ISSUER, "bob", rig.now(), MINUTE).await;
    assert!(matches!(other, Err(CredentialError::Missing)), "i4: nobody gets another one's");
}

#[tokio::test(start_paused = true)]
async fn sixty_callers_of_one_vault_make_one_call_and_get_the_same() {
    let mut rig = Rig::new();
    let vault = rig.vault();
    rig.sign_in(&vault).await;
    sleep(DUE).await;
    assert_eq!(tokens(rig.race(&[vault]).await), ["access-2"]);
    assert_eq!(rig.forge.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn two_vaults_with_sixty_callers_make_one_call_for_each_end() {
    let mut rig = Rig::new();
    let vaults = [rig.vault(), rig.vault()];
    rig.sign_in(&vaults[0]).await;
    for round in 1..=5 {
        // Past the end, so that everybody has to wait for the new one.
        sleep(HOUR).await;
        let expected = format!("access-{}", round + 1);
        assert_eq!(tokens(rig.race(&vaults).await), [expected]);
        assert_eq!(rig.forge.calls(), round);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_holds_with_threads() {
    let mut rig = Rig::new();
    let vaults = [rig.vault(), rig.vault()];
    // The clock runs here, so the token is old from the beginning.
    let credential = rig.forge.sign_in(Some(HOUR), now() - HOUR);
    vaults[0].keep("forge", &ada(), &credential, now() - HOUR).await.unwrap();
    assert_eq!(tokens(rig.race(&vaults).await), ["access-2"]);
    assert_eq!(rig.forge.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn while_another_broker_renews_the_old_token_serves() {
    let mut rig = Rig::new();
    let (here, there) = (rig.vault(), rig.vault());
    rig.sign_in(&here).await;
    sleep(DUE).await;
    rig.forge.close();
    let mut waiting = JoinSet::new();
    let (vault, at) = (here.clone(), rig.now());
    waiting.spawn(async move { vault.credential("forge", ISSUER, "ada", at, MINUTE).await });
    sleep(SECOND).await;
    assert_eq!(rig.token(&there).await, "access-1", "nobody has the new one yet");
    rig.forge.open();
    let renewed = waiting.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!(renewed.access_token.expose(), "access-2");
    assert_eq!(rig.token(&there).await, "access-2");
    assert_eq!(rig.forge.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_omitted_refresh_token_keeps_the_old_one() {
    let mut rig = Rig::new();
    let vault = rig.vault();
    rig.sign_in(&vault).await;
    for _ in 0..3 {
        rig.forge.be(&[Mood::OmitsRefresh]);
        sleep(DUE).await;
        let credential = rig.ask(&vault).await.unwrap();
        assert_eq!(credential.access_token.expose(), rig.forge.newest());
        assert_eq!(credential.username.as_deref(), Some("ada-at-the-forge"));
    }
    assert_eq!(rig.forge.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_dead_credential_is_given_to_its_end_and_not_asked_for_again() {
    let mut rig = Rig::new();
    let vaults = [rig.vault(), rig.vault()];
    rig.sign_in(&vaults[0]).await;
    rig.forge.revoke();
    let version = rig.ask(&vaults[0]).await.unwrap().version;
    sleep(DUE).await;
    assert_eq!(tokens(rig.race(&vaults).await), ["access-1"], "it still serves");
    assert_eq!(rig.forge.calls(), 1);
    let heard = rig.heard.take();
    assert_eq!(heard, ["forge Kept", "forge sign_in_again", "forge Refused"]);
    assert_eq!(rig.ask(&vaults[0]).await.unwrap().version, version, "the token is the same");
    sleep(HOUR - DUE - MINUTE + SECOND).await;
    let later = [rig.vault(), vaults[0].clone(), vaults[1].clone()];
    for outcome in rig.race(&later).await {
        assert!(matches!(outcome, Err(CredentialError::SignInAgain)), "{outcome:?}");
    }
    assert_eq!(rig.forge.calls(), 1, "o39: nobody asks again, a new broker neither");

    rig.sign_in(&vaults[1]).await;
    assert_eq!(tokens(rig.race(&later).await), ["access-2"], "a new sign-in heals it");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_during_the_renewal_takes_no_token_along() {
    let mut rig = Rig::new();
    let vault = rig.vault();
    rig.sign_in(&vault).await;
    sleep(DUE).await;
    rig.forge.close();
    let asking = tokio::time::timeout(SECOND, rig.ask(&vault));
    assert!(asking.await.is_err(), "it waits, and then goes away");
    assert_eq!(rig.forge.calls(), 1);
    rig.forge.open();
    sleep(SECOND).await;
    assert_eq!(rig.heard.take().last().map(String::as_str), Some("forge Renewed"));
    assert_eq!(rig.token(&vault).await, "access-2");
    assert_eq!(rig.forge.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_login_during_a_renewal_wins() {
    let mut rig = Rig::new();
    let vault = rig.vault();
    rig.sign_in(&vault).await;
    sleep(DUE).await;
    rig.forge.close();
    let asking = async { rig.token(&vault).await };
    let login = async {
        sleep(SECOND).await;
        rig.sign_in(&vault).await;
        rig.forge.open();
    };
    let (token, ()) = tokio::join!(asking, login);
    assert_eq!(token, "access-3", "what the login stored, not what the renewal got");
    sleep(DUE).await;
    assert_eq!(rig.token(&vault).await, "access-4", "and its refresh token is the good one");
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_was_taken_back_during_its_renewal_stays_away() {
    let mut rig = Rig::new();
    let vault = rig.vault();
    rig.sign_in(&vault).await;
    sleep(DUE).await;
    rig.forge.close();
    let asking = async { rig.ask(&vault).await };
    let removal = async {
        sleep(SECOND).await;
        assert!(vault.remove("forge", ISSUER, "ada").await.unwrap());
        rig.forge.open();
    };
    let (outcome, ()) = tokio::join!(asking, removal);
    assert!(matches!(outcome, Err(CredentialError::Missing)), "{outcome:?}");
    assert_eq!(rig.store.records(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_needs_a_token_for_longer_gets_a_new_one_earlier() {
    let mut rig = Rig::new();
    let vault = rig.vault();
    rig.sign_in(&vault).await;
    sleep(31 * MINUTE).await;
    let ask = |need| vault.credential("forge", ISSUER, "ada", rig.now(), need);
    assert_eq!(ask(29 * MINUTE).await.unwrap().access_token.expose(), "access-1");
    assert_eq!(ask(30 * MINUTE).await.unwrap().access_token.expose(), "access-2");
    assert_eq!(
        ask(24 * HOUR).await.unwrap().access_token.expose(),
        "access-2",
        "the best there is"
    );
    assert_eq!(rig.forge.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_of_seconds_is_renewed_once_in_its_life_and_one_without_end_never() {
    let mut rig = Rig::new();
    let vault = rig.vault();
    rig.sign_in_for(&vault, Some(4 * SECOND)).await;
    for at in 0..40 {
        rig.token(&vault).await;
        assert!(rig.forge.calls() <= at / 2 + 1, "{} calls in {at} s", rig.forge.calls());
        sleep(SECOND).await;
    }
    assert!(rig.forge.calls() >= 10);
    let before = rig.forge.calls();
    rig.sign_in_for(&vault, None).await;
    sleep(10_000 * HOUR).await;
    assert_eq!(rig.token(&vault).await, rig.forge.newest());
    assert_eq!(rig.forge.calls(), before);
}

#[tokio::test(start_paused = true)]
async fn stopping_ends_what_was_begun_and_begins_nothing_more() {
    let rig = Rig::new();
    let (vault, driver) = Vault::new(rig.parts(1, ring()));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut drivers = JoinSet::new();
    drivers.spawn(driver.run(async { stopped.await.unwrap_or(()) }));
    rig.sign_in(&vault).await;
    sleep(HOUR).await;
    rig.forge.close();
    let asking = async { rig.token(&vault).await };
    let stopping = async {
        sleep(SECOND).await;
        stop.send(()).unwrap();
        sleep(SECOND).await;
        rig.forge.open();
    };
    let (token, ()) = tokio::join!(asking, stopping);
    assert_eq!(token, "access-2");
    drivers.join_next().await.unwrap().unwrap();
    sleep(HOUR).await;
    let refused = rig.ask(&vault).await;
    assert!(matches!(refused, Err(CredentialError::Unavailable { .. })), "{refused:?}");
    assert_eq!(rig.forge.calls(), 1);
}
