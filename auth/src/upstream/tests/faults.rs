//! What a renewal survives: an upstream that fails, and a store that fails.

use tokio::time::sleep;

use super::{forge::Mood, *};
use crate::testing::Fault;

#[tokio::test(start_paused = true)]
async fn one_lost_question_is_asked_again() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    sleep(HOUR).await;
    harness.forge.be(&[Mood::NoAnswer]);
    assert_eq!(harness.token(&vault).await, "access-2");
    assert_eq!(harness.forge.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_a_lost_chain_and_only_the_upstream_can_say_so() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    sleep(HOUR).await;
    harness.forge.be(&[Mood::AnswerLost]);
    let outcome = harness.ask(&vault).await;
    assert!(matches!(outcome, Err(CredentialError::SignInAgain)), "{outcome:?}");
    assert_eq!(harness.forge.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_is_down_is_asked_less_and_less_while_the_old_token_serves() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    sleep(DUE).await;
    harness.forge.be(&[Mood::NoAnswer; 1000]);
    for _ in 0..10 * 60 {
        assert_eq!(harness.token(&vault).await, "access-1");
        sleep(SECOND).await;
    }
    // Failures at 0, 5, 15, 35, 75, 155 and 315 seconds, two questions each.
    assert_eq!(harness.forge.calls(), 14);
    sleep(MINUTE).await;
    match harness.ask(&vault).await {
        Err(CredentialError::Unavailable { retry_after }) => {
            assert!(retry_after >= SECOND && retry_after <= 5 * MINUTE, "{retry_after:?}");
            harness.forge.be(&[]);
            sleep(retry_after).await;
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(harness.token(&vault).await, "access-2", "it came back");
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_outlasts_the_token_is_over_for_its_user_seconds_after_it() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    sleep(DUE).await;
    harness.forge.be(&[Mood::NoAnswer; 2000]);
    for _ in 0..30 * 60 {
        let outcome = harness.ask(&vault).await;
        assert!(!matches!(outcome, Err(CredentialError::SignInAgain)), "{outcome:?}");
        sleep(SECOND).await;
    }
    let outcome = harness.ask(&vault).await;
    let Err(CredentialError::Unavailable { retry_after }) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(retry_after <= 5 * SECOND, "{retry_after:?}");
    harness.forge.be(&[]);
    sleep(5 * SECOND).await;
    assert_eq!(harness.token(&vault).await, "access-2");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_hangs_holds_up_nobody_for_long() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    sleep(DUE).await;
    harness.forge.be(&[Mood::Hangs; 2]);
    let asked = Instant::now();
    assert_eq!(harness.token(&vault).await, "access-1", "the old one still serves");
    assert_eq!(asked.elapsed(), VaultLimits::default().wait_timeout);
    sleep(HOUR - DUE).await;
    harness.forge.be(&[Mood::Hangs; 2]);
    let asked = Instant::now();
    let outcome = harness.ask(&vault).await;
    assert!(matches!(outcome, Err(CredentialError::Unavailable { .. })), "{outcome:?}");
    assert!(asked.elapsed() < 41 * SECOND, "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wrong_client_secret_signs_nobody_out() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    sleep(DUE).await;
    harness.forge.be(&[Mood::UnknownClient; 100]);
    assert_eq!(harness.token(&vault).await, "access-1");
    assert_eq!(harness.token(&vault).await, "access-1");
    assert_eq!(harness.forge.calls(), 1, "nobody asks again at once");
    sleep(HOUR - DUE).await;
    let outcome = harness.ask(&vault).await;
    assert!(matches!(outcome, Err(CredentialError::Misconfigured)), "{outcome:?}");
    harness.forge.be(&[]);
    sleep(5 * MINUTE).await;
    assert_eq!(harness.token(&vault).await, "access-2", "the operator mended it");
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_panics_takes_nothing_down() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    sleep(HOUR).await;
    harness.forge.be(&[Mood::Panics]);
    let outcome = harness.ask(&vault).await;
    assert!(matches!(outcome, Err(CredentialError::Unavailable { .. })), "{outcome:?}");
    sleep(MINUTE).await;
    assert_eq!(harness.token(&vault).await, "access-2", "once the claim is over");
}

#[tokio::test(start_paused = true)]
async fn without_the_provider_the_token_serves_to_its_end() {
    let mut harness = Harness::new();
    let mut parts = harness.parts(1, ring());
    parts.providers.clear();
    let vault = harness.vault_with(parts);
    harness.sign_in(&vault).await;
    sleep(DUE).await;
    assert_eq!(harness.token(&vault).await, "access-1");
    sleep(HOUR - DUE).await;
    let outcome = harness.ask(&vault).await;
    assert!(matches!(outcome, Err(CredentialError::Misconfigured)), "{outcome:?}");
}

/// The store fails at every call of a renewal in turn, before and after doing its work: the old
/// pair or the new one is there, and the next renewal finds it.
#[tokio::test(start_paused = true)]
async fn a_store_that_fails_at_any_step_loses_no_pair() {
    let steps = {
        let mut harness = Harness::new();
        let vault = harness.vault();
        harness.sign_in(&vault).await;
        sleep(DUE).await;
        let before = harness.store.calls();
        harness.token(&vault).await;
        harness.store.calls() - before
    };
    assert!(steps >= 4, "read, read again, claim, store: {steps} calls");
    for fault in [Fault::Before, Fault::After] {
        for step in 1..=steps {
            let mut harness = Harness::new();
            let vault = harness.vault();
            harness.sign_in(&vault).await;
            sleep(DUE).await;
            let before = harness.store.calls();
            harness.store.fail_at(step, fault);
            match harness.ask(&vault).await {
                Ok(credential) => {
                    let token = credential.access_token.expose().to_owned();
                    assert!(["access-1", "access-2"].contains(&&*token), "{token}");
                }
                Err(CredentialError::Store(_)) => assert_eq!(step, 1, "{fault:?}"),
                Err(other) => panic!("step {step}, {fault:?}: {other}"),
            }
            assert!(harness.store.calls() - before >= step, "the fault was met");
            // Long enough for a claim whose answer was lost to end.
            sleep(MINUTE).await;
            assert_eq!(harness.token(&vault).await, "access-2", "step {step}, {fault:?}");
            sleep(HOUR).await;
            assert_eq!(harness.token(&vault).await, "access-3", "step {step}, {fault:?}");
            assert_eq!(harness.forge.calls(), 2, "step {step}, {fault:?}: no call too many");
            let heard = harness.heard.take();
            let renewed = heard.iter().filter(|own| *own == "forge Renewed").count();
            assert_eq!(renewed, 2, "step {step}, {fault:?}: {heard:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_pair_waits_for_the_store_and_is_given_to_nobody_before() {
    let mut harness = Harness::new();
    let vault = harness.vault();
    harness.sign_in(&vault).await;
    sleep(HOUR).await;
    harness.forge.close();
    let asking = async { harness.ask(&vault).await };
    let outage = async {
        sleep(SECOND).await;
        harness.store.fail(true);
        harness.forge.open();
    };
    let (outcome, ()) = tokio::join!(asking, outage);
    assert!(matches!(outcome, Err(CredentialError::Store(_))), "{outcome:?}");
    sleep(10 * MINUTE).await;
    let outcome = harness.ask(&vault).await;
    assert!(matches!(outcome, Err(CredentialError::Store(_))), "{outcome:?}");
    harness.store.fail(false);
    sleep(10 * SECOND).await;
    assert_eq!(harness.token(&vault).await, "access-2");
    assert_eq!(harness.forge.calls(), 1, "the pair was kept all the time");
}

#[tokio::test(start_paused = true)]
async fn who_comes_too_late_with_a_spent_token_does_not_end_the_other_ones_chain() {
    let mut harness = Harness::new();
    let (slow, late) = (harness.vault(), harness.vault());
    harness.sign_in(&slow).await;
    sleep(HOUR).await;
    // The first broker has a new pair and cannot store it, until its claim is over.
    harness.forge.close();
    let mut waiting = JoinSet::new();
    let (vault, at) = (slow.clone(), harness.now());
    waiting.spawn(async move { vault.credential("forge", ISSUER, "ada", at, MINUTE).await });
    sleep(SECOND).await;
    harness.store.fail(true);
    harness.forge.open();
    let outcome = waiting.join_next().await.unwrap().unwrap();
    assert!(matches!(outcome, Err(CredentialError::Store(_))), "{outcome:?}");
    sleep(57 * SECOND).await;
    // The store is back for a moment, in which the second broker asks with the spent token.
    harness.store.fail(false);
    let outcome = harness.ask(&late).await;
    assert!(matches!(outcome, Err(CredentialError::SignInAgain)), "{outcome:?}");
    assert_eq!(harness.heard.take().last().map(String::as_str), Some("forge Refused"));
    sleep(10 * SECOND).await;
    assert_eq!(harness.token(&late).await, "access-2", "the good pair replaced the mark");
    assert_eq!(harness.token(&slow).await, "access-2");
}
