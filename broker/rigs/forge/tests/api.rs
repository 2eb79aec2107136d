//! What a token shows: identity, API, scopes, revocation.

use http::StatusCode;
use serde_json::json;

use super::{FORM, basic, forge, get, post, sign_in, text};
use crate::forge::ForgeOptions;

const USERINFO: &str = "/login/oauth/userinfo";

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[tokio::test]
async fn userinfo_tells_who_it_is_whatever_the_scope() {
    let forge = forge(ForgeOptions::default()).await;
    let ada = forge.token_for("ada", "read:issue").unwrap();
    let body = get(&forge, USERINFO, &[("authorization", &bearer(&ada))]).await.json();
    assert_eq!(
        body,
        json!({
            "sub": "7", "name": "Ada L", "preferred_username": "ada", "email": "ada@example.org",
            "picture": format!("{}/avatars/ada", forge.root()),
            "groups": ["engines", "engines:owners"],
        })
    );
    let bob = forge.token_for("bob", "read:issue").unwrap();
    let header = format!("token {bob}");
    let body = get(&forge, USERINFO, &[("authorization", &header)]).await.json();
    assert_eq!(body["name"], "bob", "the login, for want of a full name");
    assert_eq!(body.get("groups"), None);
    forge.change_options(|options| options.null_groups = true);
    let body = get(&forge, USERINFO, &[("authorization", &header)]).await.json();
    assert_eq!(body.get("groups"), Some(&json!(null)));
}

#[tokio::test]
async fn userinfo_without_a_token_is_plain_text_and_a_challenge() {
    let forge = forge(ForgeOptions::default()).await;
    let reply = get(&forge, USERINFO, &[("authorization", "Bearer no")]).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(reply.text(), "no valid authorization");
    assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"\"");
    assert!(reply.header("content-type").starts_with("text/plain"));
}

#[tokio::test]
async fn introspection_wants_the_application_and_tells_its_scope() {
    let forge = forge(ForgeOptions::default()).await;
    let body = sign_in(&forge, "ada", "read:user write:issue").await;
    let path = "/login/oauth/introspect";
    let form = format!("token={}", text(&body, "access_token"));
    assert_eq!(post(&forge, path, &[FORM], &form).await.status, StatusCode::UNAUTHORIZED);
    let header = basic("broker", "hush");
    let told = post(&forge, path, &[FORM, ("authorization", &header)], &form).await.json();
    assert_eq!(
        told,
        json!({
            "active": true, "scope": "read:user write:issue", "username": "ada",
            "iss": forge.root(), "sub": "7", "aud": ["broker"],
        })
    );
    let refresh = format!("token={}", text(&body, "refresh_token"));
    let told = post(&forge, path, &[FORM, ("authorization", &header)], &refresh).await.json();
    assert_eq!(told["active"], true);
    let told = post(&forge, path, &[FORM, ("authorization", &header)], "token=x").await.json();
    assert_eq!(told, json!({ "active": false }));
}

#[tokio::test]
async fn the_api_takes_a_token_in_every_way_a_forge_does() {
    let forge = forge(ForgeOptions::default()).await;
    let ada = forge.token_for("ada", "all").unwrap();
    for header in
        [format!("token {ada}"), bearer(&ada), basic(&ada, "x-oauth-basic"), basic("x", &ada)]
    {
        let reply = get(&forge, "/api/v1/user", &[("authorization", &header)]).await;
        assert_eq!(reply.json()["login"], "ada", "{header}");
    }
    let reply = get(&forge, &format!("/api/v1/user?access_token={ada}"), &[]).await;
    let user = reply.json();
    for name in ["id", "login", "login_name", "source_id", "full_name", "is_admin", "username"] {
        assert!(user.get(name).is_some(), "no {name}");
    }
    assert_eq!(user.as_object().unwrap().len(), 24);
}

#[tokio::test]
async fn a_bad_token_is_refused_even_for_the_version() {
    let forge = forge(ForgeOptions::default()).await;
    let version = get(&forge, "/api/v1/version", &[]).await.json();
    assert_eq!(version, json!({ "version": "15.0.1+gitea-1.22.0" }));
    let reply = get(&forge, "/api/v1/version", &[("authorization", "token no")]).await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    assert_eq!(reply.json()["message"], "user does not exist [uid: 0, name: ]");
    assert_eq!(get(&forge, "/api/v1/settings/api", &[]).await.json()["max_response_items"], 50);
}

#[tokio::test]
async fn scopes_are_kept_and_fail_open() {
    let forge = forge(ForgeOptions::default()).await;
    let ask = async |scope: &str, path: &str| {
        let token = forge.token_for("ada", scope).unwrap();
        get(&forge, path, &[("authorization", &bearer(&token))]).await
    };
    let reply = ask("read:user", "/api/v1/repos/ada/engine").await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    assert_eq!(
        reply.json()["message"],
        "token does not have at least one of required scope(s): [read:repository]"
    );
    for all in ["", "openid profile", "read:repositori", "read:user,read:issue", "all"] {
        let status = ask(all, "/api/v1/repos/ada/engine").await.status;
        assert_eq!(status, StatusCode::OK, "{all:?} should mean everything");
    }
    let status = ask("write:repository", "/api/v1/repos/ada/engine").await.status;
    assert_eq!(status, StatusCode::OK, "who may write may read");
    assert_eq!(ask("read:issue", "/api/v1/user").await.status, StatusCode::FORBIDDEN);
    let mixed = "read:user nonsense";
    let status = ask(mixed, "/api/v1/repos/ada/engine").await.status;
    assert_eq!(status, StatusCode::FORBIDDEN, "Forgejo leaves the unknown word out");
    forge.change_options(|options| options.strict_scope_words = true);
    let status = ask(mixed, "/api/v1/repos/ada/engine").await.status;
    assert_eq!(status, StatusCode::OK, "Gitea gives everything");
    let status = ask("public-only read:repository", "/api/v1/repos/ada/notes").await.status;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_private_is_not_there_for_others_and_issues_name_their_author() {
    let forge = forge(ForgeOptions::default()).await;
    let (ada, bob) = (forge.token_for("ada", "").unwrap(), forge.token_for("bob", "").unwrap());
    let (ada, bob) = (bearer(&ada), bearer(&bob));
    let notes = "/api/v1/repos/ada/notes";
    assert_eq!(get(&forge, notes, &[("authorization", &ada)]).await.status, StatusCode::OK);
    assert_eq!(get(&forge, notes, &[("authorization", &bob)]).await.status, StatusCode::NOT_FOUND);
    let issues = "/api/v1/repos/ada/engine/issues";
    let kind = ("content-type", "application/json");
    let reply = post(&forge, issues, &[kind, ("authorization", &bob)], "{\"title\":\"Hm\"}").await;
    assert_eq!(reply.status, StatusCode::CREATED);
    assert_eq!(reply.json()["user"]["login"], "bob");
    let list = get(&forge, issues, &[("authorization", &ada)]).await.json();
    assert_eq!(list[0]["title"], "Hm");
    assert_eq!(forge.counters().api["bob"], 2);
}

#[tokio::test]
async fn lists_come_in_pages_and_end() {
    let forge = forge(ForgeOptions::default()).await;
    let header = bearer(&forge.token_for("ada", "").unwrap());
    for (query, names) in [
        ("", vec!["engine", "notes"]),
        ("?limit=1&page=2", vec!["notes"]),
        ("?page=2", vec![]),
        ("?page=0&limit=0", vec!["engine", "notes"]),
    ] {
        let path = format!("/api/v1/user/repos{query}");
        let reply = get(&forge, &path, &[("authorization", &header)]).await;
        assert_eq!(reply.header("x-total-count"), "2");
        let list = reply.json();
        let found: Vec<_> = list.as_array().unwrap().iter().map(|repo| &repo["name"]).collect();
        assert_eq!(found, names, "{query}");
    }
}

#[tokio::test]
async fn a_revoked_grant_ends_its_tokens_at_once() {
    let forge = forge(ForgeOptions::default()).await;
    let body = sign_in(&forge, "ada", "").await;
    let header = bearer(&text(&body, "access_token"));
    assert_eq!(get(&forge, USERINFO, &[("authorization", &header)]).await.status, StatusCode::OK);
    let reply = post(&forge, "/_test/revoke", &[], "{\"user\":\"ada\"}").await;
    assert_eq!(reply.json()["revoked"], 1);
    for path in ["/api/v1/user", USERINFO] {
        let status = get(&forge, path, &[("authorization", &header)]).await.status;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn somebody_prohibited_is_told_so() {
    let forge = forge(ForgeOptions::default()).await;
    let header = bearer(&forge.token_for("ada", "").unwrap());
    let body = "{\"name\":\"ada\",\"prohibited\":true}";
    assert_eq!(post(&forge, "/_test/users", &[], body).await.status, StatusCode::OK);
    for path in ["/api/v1/user", USERINFO] {
        let reply = get(&forge, path, &[("authorization", &header)]).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
        assert!(text(&reply.json(), "message").contains("prohibited"));
    }
}

#[tokio::test]
async fn an_application_can_be_registered_over_the_api() {
    let forge = forge(ForgeOptions::default()).await;
    let header = basic("ada", "ada-password");
    let body = json!({
        "name": "other", "confidential_client": true, "redirect_uris": ["https://x.example/cb"],
    });
    let path = "/api/v1/user/applications/oauth2";
    let reply = post(&forge, path, &[("authorization", &header)], &body.to_string()).await;
    assert_eq!(reply.status, StatusCode::CREATED);
    assert!(text(&reply.json(), "client_secret").starts_with("gto_"));
    let list = get(&forge, path, &[("authorization", &header)]).await.json();
    assert!(list.as_array().unwrap().iter().all(|app| app["client_secret"] == ""));
}
