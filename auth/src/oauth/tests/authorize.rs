//! The authorization endpoint.

use http::{StatusCode, header};

use super::harness::*;
use crate::{
    UnixTime,
    oauth::{Answer, AuthStore, Page, Standing, Warning},
};

#[tokio::test]
async fn without_s256_there_is_no_code() {
    let harness = harness();
    let long = "a".repeat(44);
    let cases: [&[(&str, &str)]; 7] = [
        &[("code_challenge", "")],
        &[("code_challenge_method", "")],
        &[("code_challenge_method", "plain")],
        &[("code_challenge_method", "s256")],
        &[("code_challenge", "short")],
        &[("code_challenge", &long)],
        &[("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-c=")],
    ];
    for changes in cases {
        let answer = Visitor::new(&harness).get(&query(changes)).await;
        assert_eq!(field(&answer, "error").as_deref(), Some("invalid_request"), "{changes:?}");
        assert_eq!(field(&answer, "state").as_deref(), Some("the state"));
        assert_eq!(field(&answer, "code"), None);
    }
}

#[tokio::test]
async fn nothing_is_redirected_to_an_address_the_client_did_not_register() {
    let harness = harness();
    let mut cases = vec![
        ("web", "https://client.example/cb/"),
        ("web", "https://client.example/CB"),
        ("web", "https://CLIENT.example/cb"),
        ("web", "https://client.example/%63b"),
        ("web", "https://client.example/cb?x=1"),
        ("web", "https://client.example/cb#x"),
        ("web", "https://user@client.example/cb"),
        ("web", "https://client.example\\@evil.example/cb"),
        ("web", "https://client.example/cb\t"),
        ("web", "https://client.example:444/cb"),
        ("web", "http://client.example/cb"),
        ("web", "https://evil.example"),
        ("web", "//client.example/cb"),
        ("web", "javascript:alert(1)"),
        ("native", "http://localhost@evil.example/callback"),
        ("native", "http://127.0.0.1.evil.example/callback"),
        ("native", "http://127.0.0.1:80@evil.example/callback"),
        ("native", "http://127.0.0.1:1/callback?x"),
        ("native", "http://localhost:1/callback"),
        ("two", ""),
    ];
    cases.extend([("nobody", WEB), ("WEB", WEB), ("", WEB)]);
    for (client, redirect_uri) in cases {
        let changes = [("client_id", client), ("redirect_uri", redirect_uri)];
        let answer = Visitor::new(&harness).get(&query(&changes)).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{client} {redirect_uri}");
        assert!(!answer.headers().contains_key(header::LOCATION));
        assert_eq!(answer.headers()[header::CACHE_CONTROL], "no-store");
        let code = error_code(&answer);
        let known = ["invalid_redirect_uri", "unknown_client", "invalid_request"];
        assert!(known.contains(&code), "{code}");
    }
    let twice = format!("{}&client_id=web", query(&[]));
    assert_eq!(error_code(&Visitor::new(&harness).get(&twice).await), "invalid_request");
    let twice = format!("{}&redirect_uri=https%3A%2F%2Fevil.example", query(&[]));
    assert_eq!(error_code(&Visitor::new(&harness).get(&twice).await), "invalid_request");
}

#[tokio::test]
async fn other_mistakes_are_told_to_the_client() {
    let harness = harness();
    let huge = "s".repeat(5000);
    for (changes, error) in [
        ([("response_type", "")], "invalid_request"),
        ([("response_type", "token")], "unsupported_response_type"),
        ([("response_mode", "fragment")], "invalid_request"),
        ([("request", "x")], "request_not_supported"),
        ([("request_uri", "https://x")], "request_uri_not_supported"),
        ([("scope", "mcp:admin")], "invalid_scope"),
        ([("prompt", "none")], "login_required"),
        ([("state", &*huge)], "invalid_request"),
    ] {
        let answer = Visitor::new(&harness).get(&query(&changes)).await;
        assert_eq!(field(&answer, "error").as_deref(), Some(error), "{changes:?}");
        assert_eq!(field(&answer, "iss").as_deref(), Some(ISSUER));
    }
    let answer = Visitor::new(&harness).get(&format!("{}&scope=a&scope=b", query(&[]))).await;
    assert_eq!(field(&answer, "error").as_deref(), Some("invalid_request"));
}

#[tokio::test]
async fn the_issuer_stands_exactly_once_in_every_answer() {
    let odd = "https://client.example/cb?iss=https%3A%2F%2Fevil.example&x=%2F&state=old";
    let harness =
        harness_with(config(), 1, |config| config.clients[0].redirect_uris = vec![odd.into()]);
    let changes = [("redirect_uri", odd)];
    let good = Visitor::new(&harness).authorize(&query(&changes)).await;
    assert!(field(&good, "code").is_some());
    let bad = Visitor::new(&harness).get(&query(&[changes[0], ("scope", "x")])).await;
    let consent = Visitor::new(&harness).get(&query(&changes)).await;
    drop(consent);
    let mut visitor = Visitor::new(&harness);
    let page = visitor.get(&query(&changes)).await;
    let denied = visitor.press(&page, &[("choice", "deny")]).await;
    assert_eq!(field(&denied, "error").as_deref(), Some("access_denied"));
    for answer in [good, bad, denied] {
        assert_eq!(field(&answer, "iss").as_deref(), Some(ISSUER));
        assert_eq!(field(&answer, "state").as_deref(), Some("the state"));
        assert_eq!(field(&answer, "x").as_deref(), Some("/"));
    }
}

#[tokio::test]
async fn the_page_says_who_asks_for_what_and_where_the_answer_goes() {
    let harness = harness();
    let answer = Visitor::new(&harness).get(&query(&[("scope", "mcp:read")])).await;
    let Answer::Page(page) = &answer else { panic!("{answer:?}") };
    let Page::Consent(consent) = &page.page else { panic!("{page:?}") };
    assert_eq!(consent.client.redirect, "client.example");
    assert_eq!(consent.client.standing, Standing::Operator);
    assert_eq!(consent.server.title, "The forgejo server");
    assert_eq!(consent.scopes.len(), 1);
    assert_eq!(consent.user, None);
    assert!(consent.warnings.is_empty());
    assert!(harness.provider.attempts().is_empty(), "nothing upstream before the approval");

    let changes = [("client_id", "native"), ("redirect_uri", "http://127.0.0.1:9/callback")];
    let answer = Visitor::new(&harness).get(&query(&changes)).await;
    let Answer::Page(page) = &answer else { panic!("{answer:?}") };
    let Page::Consent(consent) = &page.page else { panic!("{page:?}") };
    assert_eq!(consent.client.redirect, "127.0.0.1:9");
    assert_eq!(consent.warnings, [Warning::Loopback]);
}

#[tokio::test]
async fn consent_is_remembered_for_user_client_address_scope_and_server_together() {
    let harness = harness();
    let mut visitor = Visitor::new(&harness);
    let first = visitor.authorize(&query(&[("scope", "mcp:read")])).await;
    assert!(field(&first, "code").is_some());
    let silent = visitor.get(&query(&[("scope", "mcp:read")])).await;
    assert!(field(&silent, "code").is_some(), "the same again needs no page");
    let other = "https://client.example/other";
    for changes in [
        &[("scope", "mcp:read mcp:call")][..],
        &[("scope", "mcp:read"), ("client_id", "two")],
        &[("scope", "mcp:read"), ("client_id", "two"), ("redirect_uri", other)],
        &[("scope", "mcp:read"), ("resource", "https://mcp.example.org/files/mcp")],
        &[("scope", "mcp:read"), ("prompt", "consent")],
        &[("scope", "mcp:read"), ("prompt", "login")],
    ] {
        let answer = visitor.get(&query(changes)).await;
        assert_eq!(location(&answer), None, "a page for {changes:?}");
        Visitor::hidden(&answer);
    }
    let answer = visitor.get(&query(&[("scope", "mcp:call"), ("prompt", "none")])).await;
    assert_eq!(field(&answer, "error").as_deref(), Some("consent_required"));
}

#[tokio::test]
async fn programs_on_the_users_computer_are_always_asked_about() {
    let harness = harness();
    let mut visitor = Visitor::new(&harness);
    let changes = [("client_id", "native"), ("redirect_uri", "http://127.0.0.1:9/callback")];
    let first = visitor.authorize(&query(&changes)).await;
    assert!(field(&first, "code").is_some());
    let again = visitor.get(&query(&changes)).await;
    assert_eq!(location(&again), None, "any program there could say it is this client");
}

#[tokio::test]
async fn a_remembered_consent_does_not_answer_another_site() {
    let harness = harness();
    let mut visitor = Visitor::new(&harness);
    visitor.authorize(&query(&[])).await;
    for site in [Some("cross-site"), Some("same-site"), None] {
        visitor.site = site;
        let answer = visitor.get(&query(&[])).await;
        assert_eq!(location(&answer), None, "{site:?}");
    }
    visitor.site = Some("none");
    assert!(field(&visitor.get(&query(&[])).await, "code").is_some());
}

#[tokio::test]
async fn an_address_that_is_no_longer_allowed_is_not_redirected_to() {
    let cursor = "cursor://anysphere.cursor-mcp/oauth/callback";
    let with = |schemes: &'static [&'static str]| {
        let mut config = config();
        config.redirect_schemes = schemes.iter().map(|&own| own.into()).collect();
        config
    };
    let harness = harness_with(with(&["cursor"]), 1, |_| {});
    let body = serde_json::json!({
        "redirect_uris": [cursor], "token_endpoint_auth_method": "none"
    });
    let id = super::registration::register(&harness, &body).await.1["client_id"].clone();
    let changes = [("client_id", id.as_str().unwrap()), ("redirect_uri", cursor)];
    let answer = Visitor::new(&harness).authorize(&query(&changes)).await;
    assert!(
        location(&answer)
            .unwrap()
            .starts_with("cursor://anysphere.cursor-mcp/oauth/callback?code=")
    );
    let known =
        harness.store.client(changes[0].1, UnixTime::of(harness.now())).await.unwrap().unwrap();
    let other = harness_with(with(&[]), 1, |_| {});
    other.store.register_client(known, None, 9, UnixTime::of(harness.now())).await.unwrap();
    let answer = Visitor::new(&other).get(&query(&changes)).await;
    assert_eq!(error_code(&answer), "unknown_scheme");
    assert!(!answer.headers().contains_key(header::LOCATION));
}

#[tokio::test]
async fn the_resource_is_read_tolerantly_and_no_other_one_is_granted() {
    let harness = harness();
    for (resource, audience) in [
        ("", "https://mcp.example.org/forgejo/mcp"),
        ("https://mcp.example.org", "https://mcp.example.org/forgejo/mcp"),
        ("https://mcp.example.org/mcp/", "https://mcp.example.org/forgejo/mcp"),
        ("HTTPS://MCP.EXAMPLE.ORG/files/mcp", "https://mcp.example.org/files/mcp"),
    ] {
        let answer = Visitor::new(&harness).authorize(&query(&[("resource", resource)])).await;
        let (_, body) = harness.redeem(&field(&answer, "code").unwrap()).await;
        let verified = harness.admit(&pair(&body).0).await.unwrap();
        verified.meant_for(audience).unwrap_or_else(|_| panic!("{resource}"));
    }
    for resource in [
        "https://evil.example/mcp",
        "https://mcp.example.org/mcp#x",
        "mcp",
        "https://mcp.example.org/no",
    ] {
        let answer = Visitor::new(&harness).get(&query(&[("resource", resource)])).await;
        assert_eq!(field(&answer, "error").as_deref(), Some("invalid_target"), "{resource}");
    }
    let two = format!(
        "{}&resource=https%3A%2F%2Fmcp.example.org%2Fmcp&resource=https%3A%2F%2Fmcp.example.org%2Ffiles%2Fmcp",
        query(&[])
    );
    let answer = Visitor::new(&harness).get(&two).await;
    assert_eq!(field(&answer, "error").as_deref(), Some("invalid_target"), "two servers");
}

#[tokio::test]
async fn the_conformance_suites_request_without_resource_and_scope_works() {
    let harness = harness();
    let changes = [
        ("client_id", "native"),
        ("redirect_uri", "http://127.0.0.1:40123/callback"),
        ("state", ""),
    ];
    let answer = Visitor::new(&harness).authorize(&query(&changes)).await;
    assert!(field(&answer, "code").is_some());
    assert_eq!(field(&answer, "state"), None, "nothing that was not sent comes back");
}
