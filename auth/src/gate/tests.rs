use http::{HeaderValue, header::AUTHORIZATION};

use super::*;
use crate::{
    NoSignIn, Scopes,
    testing::{self, now},
};

fn bearing(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[tokio::test]
async fn the_first_verifier_that_claims_a_bearer_decides() {
    let (first, first_handle) = testing::verifier("first");
    let (second, second_handle) = testing::verifier("second");
    first_handle.accept("ours", testing::principal("ada"));
    first_handle.refuse("stale", Refusal::Expired);
    second_handle.accept("theirs", testing::principal("bob"));
    second_handle.accept("stale", testing::principal("mallory"));
    let gate = Gate::new(vec![first, second]);

    let ada = gate.admit(&bearing(&["Bearer ours"]), now()).await.unwrap();
    assert_eq!(&*ada.subject, "ada");
    assert_eq!(second_handle.judged(), 0, "nobody else is asked after an acceptance");
    let bob = gate.admit(&bearing(&["Bearer theirs"]), now()).await.unwrap();
    assert_eq!(&*bob.subject, "bob");
    let stale = gate.admit(&bearing(&["Bearer stale"]), now()).await.unwrap_err();
    assert!(matches!(stale, Denied::Refused(Refusal::Expired)), "a refusal is final: {stale:?}");
    assert_eq!(second_handle.judged(), 1, "nor after a refusal");
}

#[tokio::test]
async fn a_bearer_nobody_claims_and_one_for_another_audience_are_both_refused() {
    let (verifier, handle) = testing::verifier("fake");
    handle.refuse("upstream-own-token", Refusal::WrongAudience);
    let gate = Gate::new(vec![verifier]);
    let foreign = gate.admit(&bearing(&["Bearer upstream-own-token"]), now()).await.unwrap_err();
    assert_eq!(foreign.reason(), "wrong_audience");
    let unclaimed = gate.admit(&bearing(&["Bearer whatever"]), now()).await.unwrap_err();
    assert!(matches!(unclaimed, Denied::Refused(Refusal::Unknown)), "{unclaimed:?}");
}

#[tokio::test]
async fn requests_without_a_readable_bearer_reach_no_verifier() {
    let (verifier, handle) = testing::verifier("fake");
    let gate = Gate::new(vec![verifier]);
    let oversized = format!("Bearer {}", "a".repeat(Bearer::MAX_LEN + 1));
    let cases: [(&[&str], &str); 5] = [
        (&[], "no_credentials"),
        (&["Basic YTpi"], "no_credentials"),
        (&["Bearer a", "Bearer b"], "several_credentials"),
        (&["Bearer a b"], "malformed_credentials"),
        (&[&oversized], "malformed_credentials"),
    ];
    for (values, reason) in cases {
        let denied = gate.admit(&bearing(values), now()).await.unwrap_err();
        assert_eq!(denied.reason(), reason, "{values:?}");
    }
    assert_eq!(handle.judged(), 0, "the flood never gets to the costly part");
}

#[tokio::test]
async fn a_verifier_that_cannot_tell_makes_the_denial_temporary_and_final() {
    let (first, first_handle) = testing::verifier("first");
    let (second, second_handle) = testing::verifier("second");
    second_handle.accept("token", testing::principal("ada"));
    first_handle.fail("the key server is down");
    let gate = Gate::new(vec![first, second]);
    let denied = gate.admit(&bearing(&["Bearer token"]), now()).await.unwrap_err();
    assert!(
        matches!(&denied, Denied::VerifierUnavailable { verifier, .. } if **verifier == *"first"),
        "{denied:?}"
    );
    assert_eq!(second_handle.judged(), 0);

    first_handle.recover();
    gate.admit(&bearing(&["Bearer token"]), now()).await.expect("the outage is over");
}

#[tokio::test]
async fn without_a_bearer_only_an_anonymous_principal_gets_in() {
    let (strict, _handle) = testing::verifier("strict");
    let gate = Gate::new(vec![strict.clone()]);
    let denied = gate.admit(&HeaderMap::new(), now()).await.unwrap_err();
    assert!(matches!(denied, Denied::NoCredentials), "{denied:?}");

    let gate = Gate::new(vec![strict, Arc::new(NoSignIn::new())]);
    let local = gate.admit(&HeaderMap::new(), now()).await.unwrap();
    assert_eq!(&*local.issuer, "none");
    let unreadable = gate.admit(&bearing(&["Bearer a", "Bearer b"]), now()).await.unwrap_err();
    assert!(matches!(unreadable, Denied::BadRequest(_)), "even where nobody signs in");
}

#[tokio::test]
async fn a_gate_without_verifiers_denies_everybody() {
    let gate = Gate::new(Vec::new());
    let without = gate.admit(&HeaderMap::new(), now()).await.unwrap_err();
    assert!(matches!(without, Denied::NoCredentials), "{without:?}");
    let with = gate.admit(&bearing(&["Bearer a"]), now()).await.unwrap_err();
    assert!(matches!(with, Denied::Refused(Refusal::Unknown)), "{with:?}");
}

#[tokio::test]
async fn a_missing_scope_names_everything_that_is_needed() {
    let (verifier, handle) = testing::verifier("fake");
    let narrow = Principal { scopes: Scopes::listed("mcp:read"), ..testing::principal("ada") };
    handle.accept("token", narrow);
    let gate = Gate::new(vec![verifier]);
    let verified = gate.admit(&bearing(&["Bearer token"]), now()).await.unwrap();
    verified.require("mcp:read").expect("granted");
    let Err(Denied::InsufficientScope { needed }) = verified.require("mcp:read mcp:call") else {
        panic!("mcp:call was never granted");
    };
    assert_eq!(&*needed, "mcp:read mcp:call");
}

#[tokio::test]
async fn neither_the_gate_nor_a_denial_shows_a_token() {
    let (verifier, handle) = testing::verifier("fake");
    handle.refuse("canary-5d1e", Refusal::Revoked);
    let gate = Gate::new(vec![verifier]);
    let denied = gate.admit(&bearing(&["Bearer canary-5d1e"]), now()).await.unwrap_err();
    let shown = format!("{gate:?} {denied:?} {denied}");
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn every_denial_has_a_word_of_its_own_and_the_list_has_them_all() {
    let refused = [
        Refusal::Unknown,
        Refusal::Expired,
        Refusal::Revoked,
        Refusal::Blocked,
        Refusal::WrongAudience,
    ];
    let unreadable = [BearerError::Several, BearerError::Malformed, BearerError::TooLong];
    let mut words: Vec<_> = refused.map(|own| Denied::Refused(own).reason()).to_vec();
    words.extend(unreadable.map(|own| Denied::BadRequest(own).reason()));
    words.push(Denied::NoCredentials.reason());
    words.push(Denied::InsufficientScope { needed: "mcp".into() }.reason());
    words.push(
        Denied::VerifierUnavailable {
            verifier: "fake".into(),
            source: VerifierUnavailable::new("down"),
        }
        .reason(),
    );
    let mut listed = Denied::REASONS.to_vec();
    for list in [&mut words, &mut listed] {
        list.sort_unstable();
        list.dedup();
    }
    assert_eq!(words, listed);
}
