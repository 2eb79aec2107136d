//! The upstream granted less than the operator configured.

use super::harness::{Harness, Visitor, error_code, field, harness, location, query};
use crate::oauth::{Answer, FewerRightsPage, Form, Page, SignInError};

fn page(answer: &Answer) -> FewerRightsPage {
    let Answer::Page(shown) = answer else { panic!("not a page: {answer:?}") };
    let Page::FewerRights(page) = &shown.page else { panic!("another page: {shown:?}") };
    (**page).clone()
}

async fn submit(visitor: &mut Visitor<'_>, form: &Form) -> Answer {
    let fields: Vec<_> = form.hidden.iter().map(|(name, value)| (*name, value.as_str())).collect();
    visitor.submit(&form.action, &fields).await
}

/// A visitor who has just signed in with rights missing, before the page that says so.
async fn with_fewer(harness: &Harness) -> (Visitor<'_>, Answer) {
    harness.credentials.lack(&["write:issue", "read:organization"]);
    let mut visitor = Visitor::new(harness);
    let answer = visitor.authorize(&query(&[])).await;
    (visitor, answer)
}

#[tokio::test]
async fn whoever_gets_fewer_rights_sees_which_and_may_go_on_without_and_is_not_asked_again() {
    let harness = harness();
    let (mut visitor, answer) = with_fewer(&harness).await;
    let shown = page(&answer);
    assert_eq!(shown.missing, ["write:issue", "read:organization"]);
    assert_eq!(shown.provider, "forge");
    let on = submit(&mut visitor, &shown.go_on.expect("a way on")).await;
    let code = field(&on, "code").expect("a code");
    assert_eq!(harness.redeem(&code).await.0, 200);
    let again = Visitor::new(&harness).authorize(&query(&[])).await;
    assert!(field(&again, "code").is_some(), "the choice is remembered: {again:?}");
}

#[tokio::test]
async fn whoever_withdraws_the_earlier_consent_tries_again_from_the_page() {
    let harness = harness();
    let (mut visitor, answer) = with_fewer(&harness).await;
    let again = page(&answer).again;
    let upstream = submit(&mut visitor, &again).await;
    assert!(location(&upstream).unwrap().starts_with("https://forge.example/authorize"));
    harness.credentials.lack(&[]);
    let answer = visitor.come_back(&upstream).await;
    assert!(field(&answer, "code").is_some(), "{answer:?}");
}

#[tokio::test]
async fn an_earlier_consent_in_the_way_gets_the_page_instead_of_a_fault_of_the_operator() {
    let harness = harness();
    harness.provider.fail(Some(|| SignInError::EarlierConsent));
    let mut visitor = Visitor::new(&harness);
    let answer = visitor.authorize(&query(&[])).await;
    assert_eq!(answer.status(), 200);
    let shown = page(&answer);
    assert_eq!((shown.missing.len(), shown.go_on), (0, None));
    harness.provider.fail(None);
    let upstream = submit(&mut visitor, &shown.again).await;
    let answer = visitor.come_back(&upstream).await;
    assert!(field(&answer, "code").is_some(), "{answer:?}");
}

#[tokio::test]
async fn the_way_on_is_of_one_sign_in_in_one_browser_and_serves_once() {
    let harness = harness();
    let (mut visitor, answer) = with_fewer(&harness).await;
    let form = page(&answer).go_on.expect("a way on");
    let mut other = Visitor::new(&harness);
    other.authorize(&query(&[])).await;
    assert_eq!(error_code(&submit(&mut other, &form).await), "cross_site");
    for name in ["fewer", "t"] {
        let mut forged = form.clone();
        for (own, value) in &mut forged.hidden {
            if *own == name {
                *value = "made-up".into();
            }
        }
        let answer = submit(&mut visitor, &forged).await;
        assert!(["expired", "cross_site"].contains(&error_code(&answer)), "{name}");
    }
    let on = submit(&mut visitor, &form).await;
    assert!(field(&on, "code").is_some(), "{on:?}");
    assert_eq!(error_code(&submit(&mut visitor, &form).await), "expired");
}

#[tokio::test]
async fn a_browser_whose_account_is_refused_upstream_authorizes_nothing_until_it_is_let_in() {
    let harness = harness();
    let mut visitor = Visitor::new(&harness);
    let first = visitor.authorize(&query(&[])).await;
    assert!(field(&first, "code").is_some());
    harness.credentials.refuse(Some("This account is locked."));
    let answer = visitor.get(&query(&[])).await;
    assert_eq!((answer.status().as_u16(), error_code(&answer)), (403, "account_refused"));
    harness.credentials.refuse(None);
    let answer = visitor.get(&query(&[])).await;
    assert!(field(&answer, "code").is_some(), "{answer:?}");
}
