//! Metadata, revocation and introspection.

use http::{Request, StatusCode, header};
use serde_json::{Value, json};

use super::harness::*;
use crate::{
    UnixTime,
    oauth::{AuthStore, Client, Secret, User},
};

#[tokio::test]
async fn every_servers_metadata_is_found_at_the_root_and_below_its_path() {
    let harness = harness();
    for (path, resource) in [
        ("", "https://mcp.example.org/mcp"),
        ("/mcp", "https://mcp.example.org/mcp"),
        ("/forgejo/mcp", "https://mcp.example.org/forgejo/mcp"),
        ("/files/mcp", "https://mcp.example.org/files/mcp"),
    ] {
        let answer = harness.get(&format!("/.well-known/oauth-protected-resource{path}")).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
        let body = json(answer);
        assert_eq!(body["resource"], resource);
        assert_eq!(body["authorization_servers"], json!([ISSUER]));
        assert_eq!(body["bearer_methods_supported"], json!(["header"]));
        assert!(!body["scopes_supported"].to_string().contains("offline_access"));
    }
    assert!(!harness.server.claims("/.well-known/oauth-protected-resource/other"));
    assert!(!harness.server.claims("/mcp") && !harness.server.claims("/oauth/tokens"));
    assert_eq!(
        harness.server.resource_metadata_url("/mcp"),
        "https://mcp.example.org/.well-known/oauth-protected-resource/mcp"
    );
}

#[tokio::test]
async fn the_servers_metadata_has_two_names_and_one_issuer() {
    let harness = harness();
    let mut bodies = Vec::new();
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/mcp",
    ] {
        bodies.push(json(harness.get(path).await));
    }
    assert!(bodies.iter().all(|own| *own == bodies[0]));
    let body = &bodies[0];
    assert_eq!(body["issuer"], ISSUER);
    assert_eq!(body["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(body["response_types_supported"], json!(["code"]));
    assert_eq!(body["authorization_response_iss_parameter_supported"], true);
    assert_eq!(body["client_id_metadata_document_supported"], true);
    assert_eq!(body["registration_endpoint"], "https://mcp.example.org/oauth/register");
    let answer = harness.send(post("/.well-known/oauth-authorization-server", &[])).await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_public_address_with_a_path_moves_everything_below_it() {
    let harness = harness_with(config(), 1, |config| {
        config.public_url = "https://example.org/tools/".into();
    });
    assert_eq!(harness.server.issuer(), "https://example.org/tools");
    for path in [
        "/.well-known/oauth-authorization-server/tools",
        "/.well-known/openid-configuration/tools",
        "/tools/.well-known/openid-configuration",
    ] {
        assert_eq!(json(harness.get(path).await)["issuer"], "https://example.org/tools", "{path}");
    }
    let body = json(harness.get("/.well-known/oauth-protected-resource/tools/mcp").await);
    assert_eq!(body["resource"], "https://example.org/tools/mcp");
    assert!(harness.server.claims("/tools/oauth/token") && !harness.server.claims("/oauth/token"));
    let answer = harness.get(&format!("/tools{}", query(&[]))).await;
    assert_eq!(Visitor::hidden(&answer).0, "/tools/consent");
}

#[tokio::test]
async fn no_header_decides_where_anything_leads() {
    let harness = harness();
    let evil = |path: &str| {
        Request::get(path)
            .header("host", "evil.example")
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "http")
            .header("x-forwarded-prefix", "/evil")
            .header("forwarded", "host=evil.example;proto=http")
            .header("x-original-url", "/evil")
            .body(bytes::Bytes::new())
            .unwrap()
    };
    for path in
        ["/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource/mcp"]
    {
        let (with, without) = (json(harness.send(evil(path)).await), json(harness.get(path).await));
        assert_eq!(with, without);
        assert!(!with.to_string().contains("evil"));
    }
    let answer = harness.send(evil(&query(&[("code_challenge", "")]))).await;
    assert_eq!(field(&answer, "iss").as_deref(), Some(ISSUER));
    let answer = harness.send(evil(&query(&[]))).await;
    assert!(!format!("{answer:?}").contains("evil"));
}

#[tokio::test]
async fn a_revoked_refresh_token_takes_its_family_along() {
    let harness = harness();
    let (access, refresh) = harness.pair().await;
    harness.admit(&access).await.expect("good, and remembered");
    let form = [("token", &*refresh), ("client_id", "web")];
    assert_eq!(harness.post("/oauth/revoke", &form).await.status(), StatusCode::OK);
    assert_eq!(harness.admit(&access).await.unwrap_err(), "revoked_token");
    assert_eq!(harness.refresh(&refresh).await.1["error"], "invalid_grant");
    assert_eq!(harness.heard(), 1);
    assert_eq!(harness.post("/oauth/revoke", &form).await.status(), StatusCode::OK, "once more");
    assert_eq!(harness.heard(), 1);
}

#[tokio::test]
async fn a_revoked_access_token_goes_alone() {
    let harness = harness();
    let (access, refresh) = harness.pair().await;
    harness.admit(&access).await.expect("good, and remembered");
    let form = [("token", &*access), ("client_id", "web"), ("token_type_hint", "refresh_token")];
    assert_eq!(harness.post("/oauth/revoke", &form).await.status(), StatusCode::OK);
    assert_eq!(harness.admit(&access).await.unwrap_err(), "revoked_token");
    assert_eq!(harness.heard(), 0, "its children live on");
    assert_eq!(harness.refresh(&refresh).await.0, StatusCode::OK);
}

#[tokio::test]
async fn unknown_and_other_clients_tokens_are_answered_alike_and_kept() {
    let harness = harness();
    let (access, refresh) = harness.pair().await;
    for token in ["mcprt_unknown", "mcpat_unknown", "whatever", &access, &refresh] {
        let form = [("token", token), ("client_id", "two")];
        let answer = harness.post("/oauth/revoke", &form).await;
        assert_eq!(answer.status(), StatusCode::OK, "{token}");
    }
    harness.admit(&access).await.expect("it was somebody else who asked");
    assert_eq!(harness.refresh(&refresh).await.0, StatusCode::OK);
    let answer = harness.post("/oauth/revoke", &[("client_id", "web")]).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let answer = harness.post("/oauth/revoke", &[("token", "x"), ("client_id", "nobody")]).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_store_that_fails_is_never_a_successful_revocation() {
    let harness = harness();
    let (_, refresh) = harness.pair().await;
    for call in 1..=2 {
        harness.store.fail_at(call, crate::testing::Fault::Before);
        let answer =
            harness.post("/oauth/revoke", &[("token", &refresh), ("client_id", "web")]).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(answer.headers().contains_key(header::RETRY_AFTER));
    }
}

async fn introspect(harness: &Harness, token: &str) -> Value {
    let form = [("token", token), ("client_id", "machine"), ("client_secret", SECRET)];
    let answer = harness.post("/oauth/introspect", &form).await;
    assert_eq!(answer.status(), StatusCode::OK);
    json(answer)
}

#[tokio::test]
async fn introspection_tells_what_a_token_is_worth() {
    let harness = harness();
    let (access, refresh) = harness.pair().await;
    let body = introspect(&harness, &access).await;
    assert_eq!(body["active"], true);
    assert_eq!((&body["sub"], &body["client_id"]), (&json!("ada"), &json!("web")));
    assert_eq!(body["aud"], "https://mcp.example.org/forgejo/mcp");
    assert_eq!(body["exp"].as_u64().unwrap() - body["iat"].as_u64().unwrap(), 3600);
    assert_eq!(introspect(&harness, &refresh).await["active"], true);
    harness.refresh(&refresh).await;
    assert_eq!(introspect(&harness, &refresh).await, json!({ "active": false }), "it was used");
    for other in ["mcpat_unknown", "x", "mcprt_x"] {
        assert_eq!(introspect(&harness, other).await, json!({ "active": false }));
    }
    harness.pass(3600);
    assert_eq!(introspect(&harness, &access).await, json!({ "active": false }));
}

#[tokio::test]
async fn a_client_that_the_operator_added_with_a_secret_may_introspect() {
    let harness = harness_with(config(), 1, |config| config.clients.retain(Client::is_public));
    let (access, _) = harness.pair().await;
    let is_advertised = async || {
        let metadata = json(harness.get("/.well-known/oauth-authorization-server").await);
        let endpoint = metadata["introspection_endpoint"].is_string();
        let methods = metadata["introspection_endpoint_auth_methods_supported"].is_array();
        assert_eq!(endpoint, methods, "{metadata}");
        endpoint
    };
    assert!(!is_advertised().await, "nobody could use it");

    // One that registered itself has a secret too, and proves nothing with it.
    let body = json!({ "client_name": "x", "redirect_uris": [WEB] });
    let (_, stranger) = super::registration::register(&harness, &body).await;
    let now = UnixTime::of(harness.now());
    let public = Client::public("added-public", vec![WEB.into()]);
    harness.store.register_client(public, None, 9, now).await.unwrap();
    harness.pass(10);
    assert!(!is_advertised().await);
    let text = |name: &str| stranger[name].as_str().unwrap();
    for (id, secret) in
        [(text("client_id"), text("client_secret")), ("added-public", ""), ("added", SECRET)]
    {
        let form = [("token", &*access), ("client_id", id), ("client_secret", secret)];
        let answer = harness.post("/oauth/introspect", &form).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{id}");
    }

    let added = Client::confidential("added", &Secret::new(SECRET), vec![WEB.into()]);
    harness.store.register_client(added, None, 9, now).await.unwrap();
    harness.pass(10);
    assert!(is_advertised().await);
    let form = [("token", &*access), ("client_id", "added"), ("client_secret", SECRET)];
    let answer = json(harness.post("/oauth/introspect", &form).await);
    assert_eq!((&answer["active"], &answer["sub"]), (&json!(true), &json!("ada")));

    harness.store.remove_client("added", now).await.unwrap();
    assert!(is_advertised().await, "what the store said serves for a few seconds");
    harness.pass(10);
    assert!(!is_advertised().await);
    harness.pass(10);
    harness.store.fail(true);
    assert!(!is_advertised().await, "metadata do not depend on the store");
}

#[tokio::test]
async fn introspection_is_for_the_operators_confidential_clients() {
    let harness = harness();
    let (access, _) = harness.pair().await;
    for form in [
        vec![("client_id", "web")],
        vec![("client_id", "machine")],
        vec![("client_id", "machine"), ("client_secret", "wrong")],
        vec![],
    ] {
        let mut form = form;
        form.push(("token", &access));
        let answer = harness.post("/oauth/introspect", &form).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{form:?}");
    }
}

#[tokio::test]
async fn a_user_sees_and_ends_what_was_authorized() {
    let harness = harness();
    let mut visitor = Visitor::new(&harness);
    let answer = visitor.get("/login").await;
    let answer = visitor.come_back(&answer).await;
    assert_eq!(location(&answer).unwrap(), "https://mcp.example.org/account");
    let cookies: Vec<_> =
        visitor.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut headers = http::HeaderMap::new();
    headers.insert(header::COOKIE, cookies.join("; ").parse().unwrap());
    let user = harness.server.signed_in(&headers, harness.now()).await.unwrap().expect("signed in");
    assert_eq!(user.user.subject, "ada");
    let (access, _) = harness.pair().await;
    let grants = harness.server.grants(&user.user, None, 9).await.unwrap();
    assert_eq!(grants.len(), 1);
    let form: crate::oauth::Params = [("csrf", user.csrf.expose())].into_iter().collect();
    let mut request = post("/account/revoke", &[]);
    *request.headers_mut() = headers.clone();
    let sender = harness.server.own_form(&request, &form, harness.now()).await.unwrap();
    assert!(sender.is_some_and(|own| own.is(&user.user)));
    let revoke = async |user: &User| {
        harness.server.revoke_own_grant(user, &grants[0].grant_id, harness.now()).await.unwrap()
    };
    let other = User { subject: "bob".into(), ..user.user.clone() };
    assert_eq!(revoke(&other).await, None, "somebody else's grant does not exist");
    harness.admit(&access).await.expect("nothing was changed");
    assert!(revoke(&user.user).await.is_some());
    assert_eq!(revoke(&user.user).await, None, "once");
    assert_eq!(harness.admit(&access).await.unwrap_err(), "revoked_token");
    let mut cleared = http::HeaderMap::new();
    harness.server.sign_out(&headers, &mut cleared).await.unwrap();
    assert!(harness.server.signed_in(&headers, harness.now()).await.unwrap().is_none());
    for next in ["//evil.example", "https://evil.example", "/\\evil.example", "/a?b"] {
        let mut visitor = Visitor::new(&harness);
        let next = encode(&[("next", next)]);
        let answer = visitor.get(&format!("/login?{next}")).await;
        let answer = visitor.come_back(&answer).await;
        assert_eq!(location(&answer).unwrap(), "https://mcp.example.org/account", "{next}");
    }
}
