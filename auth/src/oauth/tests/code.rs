//! Codes and what they are exchanged for.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use serde_json::json;
use tokio::task::JoinSet;

use super::harness::*;
use crate::{
    TokenHash, UnixTime,
    oauth::{AuthStore, AuthorizeRequest, Code, Consent, NewToken, Rate, User},
};

const OK: StatusCode = StatusCode::OK;
const BAD: StatusCode = StatusCode::BAD_REQUEST;

#[tokio::test]
async fn a_client_gets_from_nothing_to_a_token_that_opens_the_gate() {
    let harness = harness();
    let answer = Visitor::new(&harness).authorize(&query(&[])).await;
    assert!(location(&answer).unwrap().starts_with("https://client.example/cb?code=mcpac_"));
    assert_eq!(field(&answer, "state").as_deref(), Some("the state"));
    assert_eq!(field(&answer, "iss").as_deref(), Some(ISSUER));
    let (status, body) = harness.redeem(&field(&answer, "code").unwrap()).await;
    assert_eq!(status, OK, "{body}");
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 3600);
    assert_eq!(body["scope"], "mcp:read mcp:call");
    let (access, refresh) = pair(&body);
    assert!(access.starts_with("mcpat_") && refresh.starts_with("mcprt_"));

    let verified = harness.admit(&access).await.unwrap();
    assert_eq!(&*verified.issuer, "https://forge.example");
    assert_eq!((&*verified.subject, &*verified.client), ("ada", "web"));
    verified.require("mcp:call").unwrap();
    verified.meant_for("https://mcp.example.org/forgejo/mcp").unwrap();
    assert!(verified.meant_for("https://mcp.example.org/files/mcp").is_err());
    assert_eq!(
        harness.server.resource_at("/mcp").as_deref(),
        Some("https://mcp.example.org/forgejo/mcp")
    );
    let kept = harness.credentials.kept();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].1.subject, "ada");
}

#[tokio::test]
async fn the_store_has_no_secret_in_it() {
    let harness = harness();
    let mut visitor = Visitor::new(&harness);
    let answer = visitor.authorize(&query(&[])).await;
    let code = field(&answer, "code").unwrap();
    let (_, body) = harness.redeem(&code).await;
    let (access, refresh) = pair(&body);
    let dump = format!("{} {:?} {:?}", harness.store.dump(), harness.server, harness.tokens);
    for secret in [&code, &access, &refresh].into_iter().chain(visitor.cookies.values()) {
        assert!(!dump.contains(secret.as_str()));
    }
    assert!(!dump.contains("upstream-of-ada"));
}

#[tokio::test]
async fn a_wrong_verifier_gets_no_token_and_spends_the_code() {
    let harness = harness();
    let long = "a".repeat(129);
    for wrong in ["wrong-but-of-a-length-that-would-be-accepted-0", "short", &long, &challenge()] {
        let code = harness.code().await;
        let form = |verifier| {
            vec![
                ("grant_type", "authorization_code"),
                ("client_id", "web"),
                ("code", &*code),
                ("code_verifier", verifier),
            ]
        };
        let (status, body) = harness.token(&form(wrong)).await;
        assert_eq!((status, &body["error"]), (BAD, &json!("invalid_grant")), "{wrong}");
        let (status, body) = harness.token(&form(VERIFIER)).await;
        assert_eq!((status, &body["error"]), (BAD, &json!("invalid_grant")), "the code is burned");
    }
    let code = harness.code().await;
    let form = [("grant_type", "authorization_code"), ("client_id", "web"), ("code", &*code)];
    let (status, body) = harness.token(&form).await;
    assert_eq!((status, &body["error"]), (BAD, &json!("invalid_request")), "no verifier at all");
    assert_eq!(harness.redeem(&code).await.0, OK, "a request that says nothing spends nothing");
}

#[tokio::test]
async fn a_code_without_a_challenge_does_not_exist() {
    let harness = harness();
    for changes in [&[("code_challenge", "")][..], &[("code_challenge_method", "")]] {
        let answer = Visitor::new(&harness).authorize(&query(changes)).await;
        assert_eq!(field(&answer, "error").as_deref(), Some("invalid_request"));
        assert_eq!(field(&answer, "code"), None);
    }
}

#[tokio::test]
async fn a_code_is_bound_to_the_loopback_port_that_was_asked_for() {
    let harness = harness();
    let requested = "http://127.0.0.1:51234/callback";
    let changes = [("client_id", "native"), ("redirect_uri", requested)];
    for (redirect_uri, expected) in [
        (requested, OK),
        ("http://127.0.0.1:51235/callback", BAD),
        ("http://127.0.0.1/callback", BAD),
        ("http://127.0.0.1:51234/other", BAD),
    ] {
        let answer = Visitor::new(&harness).authorize(&query(&changes)).await;
        assert!(location(&answer).unwrap().starts_with(requested));
        let code = field(&answer, "code").unwrap();
        let (status, body) = harness
            .token(&[
                ("grant_type", "authorization_code"),
                ("client_id", "native"),
                ("code", &code),
                ("redirect_uri", redirect_uri),
                ("code_verifier", VERIFIER),
            ])
            .await;
        assert_eq!(status, expected, "{redirect_uri}");
        assert!(expected == OK || body["error"] == "invalid_grant");
    }
    let changes = [("client_id", "machine-local"), ("redirect_uri", requested)];
    let answer = Visitor::new(&harness).get(&query(&changes)).await;
    assert_eq!(error_code(&answer), "invalid_redirect_uri", "confidential clients have one port");
}

#[tokio::test]
async fn the_redirect_address_may_be_left_out_and_must_not_differ() {
    let harness = harness();
    for (redirect_uri, expected) in
        [(None, OK), (Some(WEB), OK), (Some("https://client.example/cb/"), BAD)]
    {
        let code = harness.code().await;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", "web"),
            ("code", &*code),
            ("code_verifier", VERIFIER),
        ];
        form.extend(redirect_uri.map(|own| ("redirect_uri", own)));
        let (status, body) = harness.token(&form).await;
        assert_eq!(status, expected, "{redirect_uri:?} {body}");
        assert!(expected == OK || body["error"] == "invalid_grant");
    }
}

#[tokio::test]
async fn a_client_that_redeems_its_code_twice_at_once_keeps_the_token_it_got() {
    let harness = harness();
    let code = harness.code().await;
    let (_, body) = harness.redeem(&code).await;
    let (access, refresh) = pair(&body);
    for wait in [0, 9] {
        harness.pass(wait);
        let (status, body) = harness.redeem(&code).await;
        assert_eq!((status, &body["error"]), (BAD, &json!("invalid_grant")));
        assert!(body.get("access_token").is_none(), "no second answer: {body}");
    }
    harness.admit(&access).await.expect("the token is good");
    assert_eq!(harness.refresh(&refresh).await.0, OK);
    assert_eq!(harness.heard(), 0, "no child is told to end");
}

#[tokio::test]
async fn whoever_else_presents_a_redeemed_code_ends_what_it_gave_at_once() {
    let harness = harness();
    let wrong = "wrong-but-of-a-length-that-would-be-accepted-0";
    for (client, verifier) in [("two", VERIFIER), ("web", wrong), ("two", wrong)] {
        let code = harness.code().await;
        let (_, body) = harness.redeem(&code).await;
        let (access, _) = pair(&body);
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", &*code),
            ("code_verifier", verifier),
        ];
        let (status, body) = harness.token(&form).await;
        assert_eq!((status, &body["error"]), (BAD, &json!("invalid_grant")), "{client}");
        let denied = harness.admit(&access).await.unwrap_err();
        assert_eq!(denied, "revoked_token", "{client} {verifier}");
    }
    assert_eq!(harness.heard(), 3);
}

#[tokio::test]
async fn a_code_that_is_used_again_later_revokes_what_it_gave() {
    let harness = harness();
    let code = harness.code().await;
    let (_, body) = harness.redeem(&code).await;
    let (access, refresh) = pair(&body);
    harness.admit(&access).await.expect("the token is good, and remembered now");
    harness.pass(10);
    let (status, body) = harness.redeem(&code).await;
    assert_eq!((status, &body["error"]), (BAD, &json!("invalid_grant")));
    assert_eq!(harness.admit(&access).await.unwrap_err(), "revoked_token", "at once");
    assert_eq!(harness.refresh(&refresh).await.1["error"], "invalid_grant");
    let heard = harness.heard.0.lock().unwrap().clone();
    assert_eq!(heard.len(), 1, "the children are told to end, once");
    assert_eq!((&*heard[0].subject, &*heard[0].client), ("ada", "web"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_racing_redemptions_one_wins_and_its_token_lives() {
    let harness = Arc::new(harness());
    for _ in 0..5 {
        let code = harness.code().await;
        let before = harness.heard();
        let mut racers = JoinSet::new();
        for _ in 0..100 {
            let (harness, code) = (Arc::clone(&harness), code.clone());
            racers.spawn(async move { harness.redeem(&code).await });
        }
        let outcomes = racers.join_all().await;
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.iter().partition(|(status, _)| *status == OK);
        assert_eq!(won.len(), 1);
        for (status, body) in lost {
            assert_eq!((*status, &body["error"]), (BAD, &json!("invalid_grant")));
        }
        let (access, _) = pair(&won[0].1);
        harness.admit(&access).await.expect("the winner's token is good");
        assert_eq!(harness.heard() - before, 0);
    }
}

#[tokio::test]
async fn another_clients_code_an_old_one_and_another_resource_are_refused() {
    let harness = harness();
    let code = harness.code().await;
    let form = |client, extra: Vec<(&'static str, &'static str)>| {
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("code", &*code),
            ("code_verifier", VERIFIER),
        ];
        form.extend(extra);
        form
    };
    let (status, body) = harness.token(&form("two", vec![])).await;
    assert_eq!((status, &body["error"]), (BAD, &json!("invalid_grant")));
    harness.pass(59);
    assert_eq!(harness.redeem(&code).await.0, OK, "another client's try did not spend it");

    let code = harness.code().await;
    harness.pass(60);
    let (status, body) = harness.redeem(&code).await;
    assert_eq!((status, &body["error"]), (BAD, &json!("invalid_grant")));

    for (resource, expected) in [
        ("https://mcp.example.org/files/mcp", "invalid_target"),
        ("https://evil.example/", "invalid_target"),
        ("https://mcp.example.org/mcp/", ""),
        ("https://MCP.example.org", ""),
    ] {
        let code = harness.code().await;
        let (status, body) = harness
            .token(&[
                ("grant_type", "authorization_code"),
                ("client_id", "web"),
                ("code", &code),
                ("code_verifier", VERIFIER),
                ("resource", resource),
            ])
            .await;
        assert_eq!(status == OK, expected.is_empty(), "{resource}: {body}");
        assert!(expected.is_empty() || body["error"] == expected);
    }
}

#[tokio::test]
async fn the_token_endpoint_takes_forms_by_post_and_answers_each_mistake_by_its_name() {
    let harness = harness();
    let get = harness.get("/oauth/token?grant_type=refresh_token").await;
    assert_eq!(get.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(get.headers()[header::ALLOW], "POST");
    let request = Request::post("/oauth/token").header(header::CONTENT_TYPE, "application/json");
    let answer = harness.send(request.body(Bytes::from("{\"grant_type\":\"x\"}")).unwrap()).await;
    assert_eq!(answer.status(), BAD);

    let code = harness.code().await;
    let good = [
        ("grant_type", "authorization_code"),
        ("client_id", "web"),
        ("code", &*code),
        ("code_verifier", VERIFIER),
    ];
    for name in ["grant_type", "client_id", "code", "code_verifier"] {
        let mut form = good.to_vec();
        form.push(*good.iter().find(|(own, _)| *own == name).unwrap());
        let (status, body) = harness.token(&form).await;
        assert_eq!((status, &body["error"]), (BAD, &json!("invalid_request")), "{name} twice");
    }
    for (grant_type, error) in [
        ("", "invalid_request"),
        ("password", "unsupported_grant_type"),
        ("CODE", "unsupported_grant_type"),
    ] {
        let (status, body) =
            harness.token(&[("grant_type", grant_type), ("client_id", "web")]).await;
        assert_eq!((status, &body["error"]), (BAD, &json!(error)), "{grant_type}");
    }
    for (client, secret) in
        [("", ""), ("nobody", ""), ("machine", ""), ("machine", "wrong"), ("web", "any")]
    {
        let form =
            [("grant_type", "refresh_token"), ("client_id", client), ("client_secret", secret)];
        let (status, body) = harness.token(&form).await;
        let expected = (StatusCode::UNAUTHORIZED, &json!("invalid_client"));
        assert_eq!((status, &body["error"]), expected, "{client} {secret}");
    }
}

#[tokio::test]
async fn a_confidential_client_proves_itself_in_one_way() {
    let harness = harness();
    let encoded: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("machine:{encoded}")));
    let wrong = format!("Basic {}", BASE64_STANDARD.encode("machine:wrong"));
    let send = |authorization: Option<&str>, form: &[(&str, &str)]| {
        let mut request = post("/oauth/token", form);
        if let Some(value) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        request
    };
    let none = [("grant_type", "refresh_token"), ("refresh_token", "mcprt_x")];
    let posted = [none[0], none[1], ("client_id", "machine"), ("client_secret", SECRET)];
    let named = [none[0], none[1], ("client_id", "web")];
    for (authorization, form, status, error) in [
        (Some(&*basic), &none[..], BAD, "invalid_grant"),
        (None, &posted[..], BAD, "invalid_grant"),
        (Some(&*basic), &posted[..], BAD, "invalid_request"),
        (Some(&*basic), &named[..], BAD, "invalid_request"),
        (Some(&*wrong), &none[..], StatusCode::UNAUTHORIZED, "invalid_client"),
        (Some("Bearer x"), &none[..], StatusCode::UNAUTHORIZED, "invalid_client"),
    ] {
        let answer = harness.send(send(authorization, form)).await;
        let challenged = answer.headers().contains_key(header::WWW_AUTHENTICATE);
        assert_eq!(challenged, status == StatusCode::UNAUTHORIZED);
        assert_eq!(answer.status(), status, "{authorization:?}");
        assert_eq!(json(answer)["error"], error, "{authorization:?} {form:?}");
    }
}

#[tokio::test]
async fn of_many_grants_to_one_client_the_oldest_idle_one_makes_room() {
    let harness = harness_with(config(), 1, |config| {
        config.max_grants = 3;
        config.silent_rate = Rate { burst: 1000, every: Duration::from_secs(1) };
    });
    let mut visitor = Visitor::new(&harness);
    let mut pairs = Vec::new();
    for _ in 0..3 {
        let answer = visitor.authorize(&query(&[])).await;
        let (_, body) = harness.redeem(&field(&answer, "code").unwrap()).await;
        pairs.push(pair(&body));
        harness.pass(1);
    }
    let (_, body) = harness.refresh(&pairs[0].1).await;
    pairs[0] = pair(&body);
    harness.pass(1);
    let files = [("resource", "https://mcp.example.org/files/mcp")];
    let answer = visitor.authorize(&query(&files)).await;
    assert_eq!(harness.redeem(&field(&answer, "code").unwrap()).await.0, OK);
    assert_eq!(harness.heard(), 0, "another server is counted apart");
    let answer = visitor.authorize(&query(&[])).await;
    let (_, body) = harness.redeem(&field(&answer, "code").unwrap()).await;
    harness.admit(&pair(&body).0).await.expect("the new one is good");
    harness.admit(&pairs[0].0).await.expect("it is the oldest, and in use");
    assert_eq!(harness.admit(&pairs[1].0).await.unwrap_err(), "revoked_token");
    harness.admit(&pairs[2].0).await.expect("it was used later");
    assert_eq!(harness.heard(), 1, "its sessions are told to end");
}

#[tokio::test]
async fn a_signed_in_browser_gets_no_codes_without_end() {
    let harness = harness();
    let mut visitor = Visitor::new(&harness);
    visitor.authorize(&query(&[])).await;
    let mut statuses = Vec::new();
    for _ in 0..100 {
        let answer = visitor.get(&query(&[])).await;
        statuses.push(answer.status());
        assert!(
            answer.status() != StatusCode::TOO_MANY_REQUESTS
                || answer.headers().contains_key(header::RETRY_AFTER)
        );
    }
    assert_eq!(statuses.iter().filter(|own| **own == StatusCode::SEE_OTHER).count(), 20);
    assert_eq!(statuses[99], StatusCode::TOO_MANY_REQUESTS);
    let mut other = Visitor::new(&harness);
    other.authorize(&query(&[])).await;
    assert_eq!(other.get(&query(&[])).await.status(), StatusCode::SEE_OTHER, "browser by browser");
    harness.pass(3);
    assert_eq!(visitor.get(&query(&[])).await.status(), StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn an_account_with_more_grants_than_a_page_can_end_the_oldest() {
    let harness = harness();
    let user = testing_user();
    let mut ids = Vec::new();
    for n in 0..520 {
        let now = UnixTime::of(harness.now());
        let id = format!("{n:032x}");
        let request = AuthorizeRequest {
            client: format!("client-{n}"),
            client_name: "A client".into(),
            redirect_uri: WEB.into(),
            state: None,
            challenge: challenge(),
            resource: "https://mcp.example.org/forgejo/mcp".into(),
            scope: "mcp:read".into(),
            refreshes: false,
            reauthenticate: false,
        };
        let consent = Consent::of(&user, &request, now);
        let hash = TokenHash::of(&id);
        let expires = now.plus(Duration::from_secs(60));
        let (user, grant_id) = (user.clone(), id.clone());
        let code = Code { hash, grant_id, user, request, issued: now, expires, used: false };
        harness.store.issue_code(code, consent).await.unwrap();
        let access = NewToken { hash: TokenHash::of(&format!("{id} access")), expires };
        harness.store.redeem_code(&hash, access, None, now).await.unwrap();
        ids.push(id);
    }
    let mut seen = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = harness.server.grants(&user, after.as_deref(), 50).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.grant_id.clone());
        seen.extend(page.into_iter().map(|own| own.grant_id));
    }
    assert_eq!(seen, ids, "all of them, page by page");
    let oldest = harness.server.revoke_own_grant(&user, &ids[519], harness.now()).await.unwrap();
    assert!(oldest.is_some());
    let stranger = harness.server.grants(&user, Some("no-such-grant"), 50).await.unwrap();
    assert_eq!(stranger.len(), 50, "an unknown place is the beginning");
}

fn testing_user() -> User {
    User {
        issuer: "https://forge.example".into(),
        subject: "ada".into(),
        display_name: "Ada".into(),
        provider: "forge".into(),
    }
}
