//! Looks at credentials after something failed with them.

use super::{
    forge::{LOCKED, Standing},
    *,
};

fn refusal(outcome: Result<Credential, CredentialError>) -> String {
    match outcome {
        Err(CredentialError::AccountRefused { message }) => message,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_died_early_is_renewed_once_for_all_who_need_one() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    assert_eq!(harness.token(&vault).await, "access-1");
    harness.heard.take();
    harness.forge.say(Some(Standing::Dead));
    assert_eq!(vault.look(&ada_key(), harness.now()).await, Look::Dead);
    assert_eq!(harness.heard.take(), ["forge Died { version: 1 }"]);
    harness.forge.say(None);
    for outcome in harness.race(std::slice::from_ref(&vault)).await {
        assert_eq!(outcome.unwrap().access_token.expose(), "access-2");
    }
    assert_eq!(harness.forge.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_dies_right_after_it_was_renewed_is_renewed_again() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    for number in 2..5 {
        harness.forge.say(Some(Standing::Dead));
        assert_eq!(vault.look(&ada_key(), harness.now()).await, Look::Dead);
        harness.forge.say(None);
        assert_eq!(harness.token(&vault).await, format!("access-{number}"));
    }
    assert_eq!(vault.look(&ada_key(), harness.now()).await, Look::Stands);
    assert_eq!(vault.look(&ada_key(), harness.now()).await, Look::Paused);
}

#[tokio::test(start_paused = true)]
async fn a_grant_withdrawn_at_the_forge_wants_a_sign_in_at_once_and_is_healed_by_it() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    harness.forge.say(Some(Standing::Dead));
    harness.forge.revoke();
    assert_eq!(vault.look(&ada_key(), harness.now()).await, Look::Dead);
    let outcome = harness.ask(&vault).await;
    assert!(matches!(outcome, Err(CredentialError::SignInAgain)), "{outcome:?}");
    let all = vault.connections(ISSUER, "ada", harness.now()).await.unwrap();
    assert_eq!(all[0].state, ConnectionState::SignInAgain { works_until: None });
    harness.forge.say(None);
    harness.sign_in(&vault).await;
    assert_eq!(harness.token(&vault).await, harness.forge.newest());
}

#[tokio::test(start_paused = true)]
async fn a_dead_token_that_cannot_be_renewed_is_given_to_nobody() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    // As from a provider without refresh tokens: its access tokens have no end.
    let bare = UpstreamCredential {
        refresh_token: None,
        expires: None,
        ..harness.forge.sign_in(None, harness.now())
    };
    vault.keep("forge", &ada(), &bare, harness.now()).await.unwrap();
    harness.forge.say(Some(Standing::Dead));
    assert_eq!(vault.look(&ada_key(), harness.now()).await, Look::Dead);
    let outcome = harness.ask(&vault).await;
    assert!(matches!(outcome, Err(CredentialError::SignInAgain)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn a_locked_account_is_told_in_the_forges_words_until_the_forge_lets_it_in_again() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    harness.forge.say(Some(Standing::Locked));
    let look = vault.look(&ada_key(), harness.now()).await;
    assert_eq!(look, Look::AccountRefused(LOCKED.into()));
    for _ in 0..5 {
        assert_eq!(refusal(harness.ask(&vault).await), LOCKED);
    }
    assert_eq!(harness.forge.looks(), 1, "once in 30 seconds");
    let all = vault.connections(ISSUER, "ada", harness.now()).await.unwrap();
    assert_eq!(all[0].account_refused.as_deref(), Some(LOCKED));
    harness.forge.say(None);
    assert_eq!(refusal(harness.ask(&vault).await), LOCKED, "it was looked at a moment ago");
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!(harness.token(&vault).await, "access-1");
    let all = vault.connections(ISSUER, "ada", harness.now()).await.unwrap();
    assert_eq!(all[0].account_refused, None);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_of_a_locked_account_does_not_let_it_in() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in_for(&vault, Some(40 * SECOND)).await;
    harness.forge.say(Some(Standing::Locked));
    vault.look(&ada_key(), harness.now()).await;
    tokio::time::sleep(39 * SECOND).await;
    assert_eq!(refusal(harness.ask(&vault).await), LOCKED);
    harness.forge.say(None);
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!(harness.token(&vault).await, harness.forge.newest());
}

#[tokio::test(start_paused = true)]
async fn an_account_that_was_locked_for_longer_than_its_token_lives_is_let_in_again() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in_for(&vault, Some(40 * SECOND)).await;
    harness.forge.say(Some(Standing::Locked));
    vault.look(&ada_key(), harness.now()).await;
    harness.forge.say(None);
    tokio::time::sleep(41 * SECOND).await;
    // Nothing but the page of a person who wants to authorize an application asks.
    let refused = vault.account_refused("forge", ISSUER, "ada", harness.now()).await.unwrap();
    assert_eq!(refused, None, "the renewed token is asked about");
    assert_eq!(harness.token(&vault).await, harness.forge.newest());
    // The same with a call: the token ended while the account was locked.
    harness.forge.say(Some(Standing::Locked));
    tokio::time::sleep(30 * SECOND).await;
    vault.look(&ada_key(), harness.now()).await;
    tokio::time::sleep(41 * SECOND).await;
    assert_eq!(refusal(harness.ask(&vault).await), LOCKED, "a renewal lets nobody in");
    harness.forge.say(None);
    tokio::time::sleep(71 * SECOND).await;
    assert_eq!(harness.token(&vault).await, harness.forge.newest());
}

#[tokio::test(start_paused = true)]
async fn a_locked_account_whose_grant_is_gone_is_asked_to_sign_in() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in_for(&vault, Some(40 * SECOND)).await;
    harness.forge.say(Some(Standing::Locked));
    vault.look(&ada_key(), harness.now()).await;
    harness.forge.revoke();
    tokio::time::sleep(41 * SECOND).await;
    let outcome = harness.ask(&vault).await;
    assert!(matches!(outcome, Err(CredentialError::SignInAgain)), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_says_nothing_changes_nothing() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    harness.forge.say(Some(Standing::Page));
    assert_eq!(vault.look(&ada_key(), harness.now()).await, Look::Unknown);
    assert_eq!(harness.token(&vault).await, "access-1");
    harness.forge.say(None);
    tokio::time::sleep(30 * SECOND).await;
    harness.forge.close();
    let slow = vault.look(&ada_key(), harness.now()).await;
    assert_eq!(slow, Look::Unknown, "a forge that does not answer is not waited for");
    assert_eq!(harness.token(&vault).await, "access-1");
}

#[tokio::test(start_paused = true)]
async fn a_choice_to_go_on_with_fewer_rights_outlives_renewals_and_sign_ins() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    let user = User {
        issuer: ISSUER.into(),
        subject: "ada".into(),
        provider: "forge".into(),
        display_name: "Ada".into(),
    };
    let narrow = |credential| UpstreamCredential { scope: Some("read:issue".into()), ..credential };
    let sign_in = async || {
        let credential = narrow(harness.forge.sign_in(Some(HOUR), harness.now()));
        vault.keep("forge", &ada(), &credential, harness.now()).await.unwrap();
    };
    sign_in().await;
    assert_eq!(harness.heard.take(), ["forge Kept", "forge lacks read:user"]);
    assert_eq!(vault.missing_rights(&user).await.unwrap(), ["read:user"]);
    vault.accept_missing(&user).await.unwrap();
    assert!(vault.missing_rights(&user).await.unwrap().is_empty());
    sign_in().await;
    assert!(vault.missing_rights(&user).await.unwrap().is_empty());
    let all = vault.connections(ISSUER, "ada", harness.now()).await.unwrap();
    assert_eq!(all[0].missing, ["read:user"], "it is missing all the same");
    assert_eq!(all[0].scope.as_deref(), Some("read:issue"));
    tokio::time::sleep(DUE).await;
    harness.token(&vault).await;
    let all = vault.connections(ISSUER, "ada", harness.now()).await.unwrap();
    assert!(all[0].missing.is_empty(), "the renewal told of another scope");
}

#[tokio::test(start_paused = true)]
async fn many_failures_at_once_have_the_forge_asked_once() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    let mut racers = JoinSet::new();
    for _ in 0..RACERS {
        let (vault, now) = (vault.clone(), harness.now());
        racers.spawn(async move { vault.look(&ada_key(), now).await });
    }
    let looks = racers.join_all().await;
    assert!(looks.contains(&Look::Stands), "{looks:?}");
    assert_eq!(harness.forge.looks(), 1);
    let unknown = CredentialKey { subject: "nobody".into(), ..ada_key() };
    assert_eq!(vault.look(&unknown, harness.now()).await, Look::Unknown);
}
