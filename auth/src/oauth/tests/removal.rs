//! Who is removed keeps nothing, whatever was under way at that moment.

use std::cell::Cell;

use http::StatusCode;
use tokio::task::yield_now;

use super::harness::*;
use crate::{
    UnixTime,
    local::Accounts,
    oauth::{Answer, Page, Secret},
};

const PASSWORD: &str = "a password of ada's";

async fn harness_with_ada() -> Harness {
    let harness = harness_with(config(), 4, |_| {});
    local(&harness.store).add("ada", &Secret::new(PASSWORD), harness.now()).await.unwrap();
    harness
}

/// Asks for authorization and comes to the form for name and password.
async fn to_the_form(ada: &mut Visitor<'_>) -> Answer {
    let consent = ada.get(&query(&[])).await;
    let approved = ada.press(&consent, &[("choice", "approve")]).await;
    ada.follow(&approved).await
}

async fn fill_in(ada: &mut Visitor<'_>, form: &Answer) -> Answer {
    ada.press(form, &[("name", "ada"), ("password", PASSWORD)]).await
}

/// Removes `ada` when the store has been asked `at` times more, or when `work` is over.
async fn removed_during<T>(harness: &Harness, at: u64, work: impl Future<Output = T>) -> T {
    let (done, from) = (Cell::new(false), harness.store.calls());
    let working = async {
        let outcome = work.await;
        done.set(true);
        outcome
    };
    let removing = async {
        while harness.store.calls() < from + at && !done.get() {
            yield_now().await;
        }
        let removed = harness.store.remove_account("ada", UnixTime::of(harness.now())).await;
        assert!(removed.unwrap().is_some(), "there was an account");
    };
    tokio::join!(working, removing).0
}

/// Nothing that `ada` has got, or still knows, is of any use.
async fn has_nothing(harness: &Harness, ada: &mut Visitor<'_>, last: &Answer, at: u64) {
    if let Some(code) = field(last, "code") {
        let (status, body) = harness.redeem(&code).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "removed at {at}: the code is good: {body}");
    }
    match ada.get(&query(&[])).await {
        Answer::Page(page) => match page.page {
            Page::Consent(page) => assert_eq!(page.user, None, "removed at {at}: still signed in"),
            other => panic!("removed at {at}: {other:?}"),
        },
        Answer::Response(response) => panic!("removed at {at}: signed in silently: {response:?}"),
    }
}

#[tokio::test]
async fn whoever_is_removed_while_signing_in_is_out() {
    for at in 0..16 {
        let harness = harness_with_ada().await;
        let mut ada = Visitor::new(&harness);
        let form = to_the_form(&mut ada).await;
        let last = Box::pin(removed_during(&harness, at, fill_in(&mut ada, &form))).await;
        has_nothing(&harness, &mut ada, &last, at).await;
    }
}

#[tokio::test]
async fn whoever_is_removed_while_a_code_is_made_silently_is_out() {
    for at in 0..10 {
        let harness = harness_with_ada().await;
        let mut ada = Visitor::new(&harness);
        let form = to_the_form(&mut ada).await;
        let first = fill_in(&mut ada, &form).await;
        assert!(field(&first, "code").is_some(), "ada is signed in");
        let asked = query(&[]);
        let last = Box::pin(removed_during(&harness, at, ada.get(&asked))).await;
        has_nothing(&harness, &mut ada, &last, at).await;
    }
}

#[tokio::test]
async fn whoever_is_removed_while_approving_is_out() {
    for at in 0..12 {
        let harness = harness_with_ada().await;
        let mut ada = Visitor::new(&harness);
        let form = to_the_form(&mut ada).await;
        fill_in(&mut ada, &form).await;
        let consent = ada.get(&query(&[("prompt", "consent")])).await;
        let approve = [("choice", "approve")];
        let last = Box::pin(removed_during(&harness, at, ada.press(&consent, &approve))).await;
        has_nothing(&harness, &mut ada, &last, at).await;
    }
}

#[tokio::test]
async fn a_reply_of_an_upstream_does_not_come_by_a_form() {
    let harness = harness_with(config(), 3, |_| {});
    let mut visitor = Visitor::new(&harness);
    let consent = visitor.get(&query(&[])).await;
    let approved = visitor.press(&consent, &[("choice", "approve")]).await;
    let choice = visitor.follow(&approved).await;
    let (action, mut hidden) = Visitor::hidden(&choice);
    hidden.retain(|(name, _)| *name == "t" || *name == "csrf");
    let mut form: Vec<_> = hidden.iter().map(|(name, value)| (*name, value.as_str())).collect();
    form.extend([("provider", "forge"), ("step", "finish"), ("code", "of somebody else")]);
    let answer = visitor.submit(&action, &form).await;
    assert_eq!((answer.status(), error_code(&answer)), (StatusCode::BAD_REQUEST, "bad_form"));
}
