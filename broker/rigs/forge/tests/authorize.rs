//! Browsers: login, consent, and the ways back.

use http::{Method, StatusCode};

use super::{BACK, Browser, VERIFIER, exchange, forge, form, get, returned, token};
use crate::forge::ForgeOptions;

#[tokio::test]
async fn discovery_has_these_keys_and_no_other() {
    let forge = forge(ForgeOptions::default()).await;
    let body = get(&forge, "/.well-known/openid-configuration", &[]).await.json();
    let mut keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "authorization_endpoint",
            "claims_supported",
            "code_challenge_methods_supported",
            "grant_types_supported",
            "id_token_signing_alg_values_supported",
            "introspection_endpoint",
            "issuer",
            "jwks_uri",
            "response_types_supported",
            "scopes_supported",
            "subject_types_supported",
            "token_endpoint",
            "userinfo_endpoint",
        ]
    );
    assert_eq!(body["claims_supported"].as_array().unwrap().len(), 15);
    assert_eq!(body["issuer"], forge.root());
    forge.change_options(|options| options.issuer_slash = true);
    let body = get(&forge, "/.well-known/openid-configuration", &[]).await.json();
    assert_eq!(body["issuer"], format!("{}/", forge.root()));
}

#[tokio::test]
async fn who_is_not_signed_in_comes_back_after_the_login() {
    let forge = forge(ForgeOptions::default()).await;
    let mut browser = Browser::default();
    let reply = browser.authorize(&forge, &[("scope", "read:user")]).await;
    assert_eq!((reply.status, reply.header("location")), (StatusCode::SEE_OTHER, "/user/login"));
    let wrong = form(&[("user_name", "ada"), ("password", "no")]);
    let reply = browser.go(&forge, Method::POST, "/user/login", &wrong).await;
    assert!(reply.text().contains("incorrect"), "{}", reply.text());
    let reply = browser.log_in(&forge, "ada").await;
    let back = reply.header("location").to_owned();
    assert!(back.starts_with("/login/oauth/authorize?client_id=broker"), "{back}");
    let page = browser.go(&forge, Method::GET, &back, "").await;
    assert!(page.text().contains("Authorize Application"), "{}", page.text());
    let reply = browser.answer(&forge, &page, "true").await;
    assert!(reply.header("location").starts_with(BACK));
    assert_eq!(returned(&reply, "state"), "s1");
    assert!(returned(&reply, "code").starts_with("gta_"));
    assert!(!reply.header("location").contains("iss="));
    assert_eq!(forge.counters().logins["ada"], 1);
}

#[tokio::test]
async fn a_denial_goes_back_with_its_state() {
    let forge = forge(ForgeOptions::default()).await;
    let mut browser = Browser::default();
    browser.log_in(&forge, "ada").await;
    let page = browser.authorize(&forge, &[]).await;
    let reply = browser.answer(&forge, &page, "false").await;
    assert_eq!(returned(&reply, "error"), "access_denied");
    assert_eq!(returned(&reply, "error_description"), "the%20request%20is%20denied");
    assert_eq!(returned(&reply, "state"), "s1");
}

#[tokio::test]
async fn nobody_is_sent_to_an_address_that_is_not_registered() {
    let forge = forge(ForgeOptions::default()).await;
    let mut browser = Browser::default();
    browser.log_in(&forge, "ada").await;
    for (fields, text) in [
        ([("client_id", "nobody"), ("state", "")], "Client ID not registered"),
        (
            [("redirect_uri", "http://127.0.0.1:9/other"), ("state", "")],
            "Unregistered Redirect URI",
        ),
        // A port only goes unlooked at for an application without a secret.
        ([("redirect_uri", "http://127.0.0.1:10/callback"), ("state", "")], "Unregistered"),
    ] {
        let reply = browser.authorize(&forge, &fields).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert!(reply.text().contains(text), "{}", reply.text());
    }
    for same in ["HTTP://127.0.0.1:9/CallBack", "http://127.0.0.1:9/callback/"] {
        let reply = browser.authorize(&forge, &[("redirect_uri", same)]).await;
        assert_eq!(reply.status, StatusCode::OK, "{same}");
    }
    for (uri, status) in [
        ("http://127.0.0.1:4711/callback", StatusCode::OK),
        ("http://127.0.0.1/callback", StatusCode::OK),
        ("http://127.0.0.1:4711/other", StatusCode::BAD_REQUEST),
        ("http://localhost:9/callback", StatusCode::BAD_REQUEST),
        ("http://127.0.0.1.example.org/callback", StatusCode::BAD_REQUEST),
    ] {
        let fields = [("client_id", "tool"), ("redirect_uri", uri)];
        assert_eq!(browser.authorize(&forge, &fields).await.status, status, "{uri}");
    }
}

#[tokio::test]
async fn a_request_that_is_wrong_goes_back_with_the_reason() {
    let forge = forge(ForgeOptions::default()).await;
    let mut browser = Browser::default();
    browser.log_in(&forge, "ada").await;
    for (fields, error, description) in [
        (
            [("response_type", "token"), ("state", "")],
            "unsupported_response_type",
            "Only%20code%20response%20type%20is%20supported.",
        ),
        (
            [("client_id", "tool"), ("code_challenge_method", "")],
            "invalid_request",
            "PKCE%20is%20required%20for%20public%20clients",
        ),
        (
            [("code_challenge_method", "S512"), ("state", "")],
            "invalid_request",
            "unsupported%20code%20challenge%20method",
        ),
    ] {
        let reply = browser.authorize(&forge, &fields).await;
        assert_eq!(returned(&reply, "error"), error);
        assert_eq!(returned(&reply, "error_description"), description);
        // Always there, if need be empty.
        returned(&reply, "state");
    }
}

#[tokio::test]
async fn a_confidential_application_asks_once_and_keeps_the_first_scope() {
    let forge = forge(ForgeOptions::default()).await;
    let mut browser = Browser::default();
    browser.log_in(&forge, "ada").await;
    browser.code(&forge, &[("scope", "read:user")]).await;
    let reply = browser.authorize(&forge, &[("scope", "write:repository")]).await;
    assert!(returned(&reply, "code").starts_with("gta_"));
    assert_eq!(forge.counters().consents, 1);
    let scopes: Vec<_> = forge.state().grants.iter().map(|grant| grant.scope.clone()).collect();
    assert_eq!(scopes, ["read:user"]);
}

#[tokio::test]
async fn a_public_application_asks_each_time_and_cannot_change_its_scope() {
    let forge = forge(ForgeOptions::default()).await;
    let mut browser = Browser::default();
    browser.log_in(&forge, "ada").await;
    let tool = |scope| [("client_id", "tool"), ("scope", scope)];
    browser.code(&forge, &tool("read:user")).await;
    browser.code(&forge, &tool("read:user")).await;
    assert_eq!(forge.counters().consents, 2);
    let page = browser.authorize(&forge, &tool("read:user write:issue")).await;
    let reply = browser.answer(&forge, &page, "true").await;
    assert_eq!(returned(&reply, "error"), "server_error");
    let text = "a%20grant%20exists%20with%20different%20scope";
    assert_eq!(returned(&reply, "error_description"), text);
}

#[tokio::test]
async fn the_second_tab_spoils_the_first() {
    let forge = forge(ForgeOptions::default()).await;
    let mut browser = Browser::default();
    browser.log_in(&forge, "ada").await;
    let first = browser.authorize(&forge, &[("state", "one")]).await;
    let second = browser.authorize(&forge, &[("state", "two"), ("code_challenge", "x")]).await;
    let reply = browser.answer(&forge, &first, "true").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    let reply = browser.answer(&forge, &second, "true").await;
    assert_eq!(returned(&reply, "state"), "two");
    // With one state for both, the page works, and the challenge is the other tab's.
    forge.state().revoke(7, None);
    let first = browser.authorize(&forge, &[]).await;
    browser.authorize(&forge, &[("code_challenge", "x")]).await;
    let reply = browser.answer(&forge, &first, "true").await;
    let reply = exchange(&forge, &returned(&reply, "code")).await;
    reply.refused("unauthorized_client", "failed PKCE code challenge");
}

#[tokio::test]
async fn an_old_forge_forgets_the_challenge_on_the_consent_page() {
    let options = ForgeOptions { keep_s256: false, ..ForgeOptions::default() };
    let forge = forge(options).await;
    let mut browser = Browser::default();
    browser.log_in(&forge, "ada").await;
    let trade = async |code: &str| {
        token(
            &forge,
            &[
                ("grant_type", "authorization_code"),
                ("client_id", "broker"),
                ("client_secret", "hush"),
                ("code", code),
                ("code_verifier", "wrong"),
            ],
        )
        .await
    };
    let code = browser.code(&forge, &[]).await;
    assert_eq!(trade(&code).await.status, StatusCode::OK, "nobody checked the verifier");
    // Without the page in between, the challenge comes straight from the request.
    let code = browser.code(&forge, &[]).await;
    trade(&code).await.refused("unauthorized_client", "failed PKCE code challenge");
    assert_ne!(VERIFIER, "wrong");
}

#[tokio::test]
async fn somebody_prohibited_does_not_get_past_the_login() {
    let forge = forge(ForgeOptions::default()).await;
    forge.state().users[0].prohibited = true;
    let mut browser = Browser::default();
    assert!(browser.log_in(&forge, "ada").await.text().contains("prohibited"));
    let reply = browser.authorize(&forge, &[]).await;
    assert_eq!(reply.header("location"), "/user/login");
}
