//! Errors that would lead a browser to an address of a stranger's.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::json;

use super::{harness::*, registration::register};
use crate::oauth::{Answer, LeavePage, Page};

const EVIL: &str = "https://evil.example/looks-like-ours";
const APP: &str = "cursor://anysphere.cursor-mcp/oauth/callback";
const DOCUMENT: &str = "https://evil.example/client.json";

/// A client that registered itself with these addresses.
async fn stranger(harness: &Harness, addresses: &[&str]) -> String {
    let body = json!({
        "client_name": "Evil", "redirect_uris": addresses, "token_endpoint_auth_method": "none",
    });
    let (status, answer) = register(harness, &body).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    answer["client_id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn leave(answer: &Answer) -> &LeavePage {
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let Answer::Page(shown) = answer else { panic!("it redirects: {answer:?}") };
    let Page::Leave(page) = &shown.page else { panic!("{:?}", shown.page) };
    page
}

#[tokio::test]
async fn no_error_sends_a_browser_to_an_address_that_a_stranger_registered() {
    let harness = harness();
    let id = stranger(&harness, &[EVIL, APP]).await;
    let document = json!({
        "client_id": DOCUMENT, "client_name": "Evil", "redirect_uris": [EVIL],
    });
    harness.web.put(DOCUMENT, Response::new(Bytes::from(document.to_string())));
    for (client, address, place) in
        [(&*id, EVIL, "evil.example"), (&id, APP, "cursor:"), (DOCUMENT, EVIL, "evil.example")]
    {
        for (change, error) in [
            (("prompt", "none"), "login_required"),
            (("scope", "unknown"), "invalid_scope"),
            (("response_type", "token"), "unsupported_response_type"),
            (("code_challenge", ""), "invalid_request"),
            (("resource", "https://evil.example/"), "invalid_target"),
        ] {
            let changes = [("client_id", client), ("redirect_uri", address), change];
            let answer = Visitor::new(&harness).get(&query(&changes)).await;
            let page = leave(&answer);
            assert_eq!((page.code, &*page.place, &*page.client), (error, place, "Evil"));
            let link = url::Url::parse(&page.link).unwrap();
            assert!(page.link.starts_with(address), "{}", page.link);
            let one = |name: &str| {
                let mut values = link.query_pairs().filter(|(own, _)| own == name);
                let value = values.next().map(|(_, value)| value.into_owned());
                assert_eq!(values.next(), None, "{name} twice in {link}");
                value
            };
            assert_eq!(one("error").as_deref(), Some(error));
            assert_eq!(one("state").as_deref(), Some("the state"));
            assert_eq!(one("iss").as_deref(), Some(ISSUER));
            assert_eq!(one("code"), None);
        }
    }
}

#[tokio::test]
async fn a_client_that_the_user_approved_before_hears_of_errors_by_a_redirect() {
    let harness = harness();
    let id = stranger(&harness, &[EVIL, "https://evil.example/other"]).await;
    let asked = [("client_id", &*id), ("redirect_uri", EVIL)];
    let mut visitor = Visitor::new(&harness);
    assert!(field(&visitor.authorize(&query(&asked)).await, "code").is_some());
    let wrong = |address| {
        let changes = [("client_id", &*id), ("redirect_uri", address), ("scope", "unknown")];
        query(&changes)
    };
    let answer = visitor.get(&wrong(EVIL)).await;
    assert_eq!(field(&answer, "error").as_deref(), Some("invalid_scope"));
    let silent = [asked[0], asked[1], ("prompt", "none"), ("scope", "mcp:read mcp:call")];
    visitor.site = Some("cross-site");
    let answer = visitor.get(&query(&silent)).await;
    assert_eq!(field(&answer, "error").as_deref(), Some("consent_required"));
    visitor.site = Some("none");
    leave(&visitor.get(&wrong("https://evil.example/other")).await);
    leave(&Visitor::new(&harness).get(&wrong(EVIL)).await);
}

#[tokio::test]
async fn programs_on_the_users_computer_and_the_operators_clients_hear_of_errors_at_once() {
    let harness = harness();
    let local = "http://127.0.0.1:7777/cb";
    let id = stranger(&harness, &[local, EVIL]).await;
    for (client, address) in [(&*id, local), ("web", WEB)] {
        let changes = [("client_id", client), ("redirect_uri", address), ("scope", "unknown")];
        let answer = Visitor::new(&harness).get(&query(&changes)).await;
        assert_eq!(field(&answer, "error").as_deref(), Some("invalid_scope"), "{address}");
    }
}

#[tokio::test]
async fn deny_on_our_own_page_redirects_whoever_asked() {
    let harness = harness();
    let id = stranger(&harness, &[EVIL]).await;
    let mut visitor = Visitor::new(&harness);
    let consent = visitor.get(&query(&[("client_id", &id), ("redirect_uri", EVIL)])).await;
    let answer = visitor.press(&consent, &[("choice", "deny")]).await;
    assert_eq!(field(&answer, "error").as_deref(), Some("access_denied"));
    assert!(location(&answer).unwrap().starts_with(EVIL));
}
