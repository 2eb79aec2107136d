//! What a token shows: identity, API, scopes, revocation.

use http::{Method, StatusCode};
use serde_json::json;

use super::{FORM, ask, basic, forge, get, post, refresh, sign_in, text};
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
async fn an_account_that_is_not_let_in_gets_words_from_the_api_and_pages_elsewhere() {
    let forge = forge(ForgeOptions::default()).await;
    let body = sign_in(&forge, "ada", "read:user").await;
    let (token, refresh_token) = (text(&body, "access_token"), text(&body, "refresh_token"));
    let header = bearer(&token);
    let own = basic("broker", "hush");
    let set = async |flag: &str, value: bool| {
        let body = json!({ "name": "ada", flag: value }).to_string();
        assert_eq!(post(&forge, "/_test/users", &[], &body).await.status, StatusCode::OK);
    };
    for (flag, words) in [
        ("prohibited", "This account is prohibited from signing in"),
        ("inactive", "not activated"),
        ("must_change_password", "You must change your password. Change it at: http"),
    ] {
        set(flag, true).await;
        for path in ["/api/v1/user", "/api/v1/version", "/api/v1/repos/ada/engine"] {
            let reply = get(&forge, path, &[("authorization", &header)]).await;
            assert_eq!(reply.status, StatusCode::FORBIDDEN, "{flag} {path}");
            assert!(text(&reply.json(), "message").contains(words), "{flag} {path}");
        }
        let headers = [FORM, ("authorization", &*own)];
        let form = format!("token={token}");
        for reply in [
            get(&forge, USERINFO, &[("authorization", &header)]).await,
            post(&forge, "/login/oauth/introspect", &headers, &form).await,
        ] {
            assert_eq!(reply.status, StatusCode::OK, "{flag}");
            assert!(reply.header("content-type").starts_with("text/html"), "{flag}");
        }
        set(flag, false).await;
    }
    set("prohibited", true).await;
    let renewed = refresh(&forge, &refresh_token).await;
    assert_eq!(renewed.status, StatusCode::OK, "the token endpoint goes on");
    set("prohibited", false).await;
    let version = get(&forge, "/api/v1/version", &[("authorization", &header)]).await;
    assert_eq!(version.status, StatusCode::OK, "the account is let in again");
}

#[tokio::test]
async fn a_renamed_account_keeps_its_number_and_its_tokens() {
    let forge = forge(ForgeOptions::default()).await;
    let header = bearer(&forge.token_for("ada", "").unwrap());
    let body = json!({ "name": "ada", "login": "ada-l" }).to_string();
    post(&forge, "/_test/users", &[], &body).await;
    let told = get(&forge, USERINFO, &[("authorization", &header)]).await.json();
    assert_eq!((&told["sub"], &told["preferred_username"]), (&json!("7"), &json!("ada-l")));
}

#[tokio::test]
async fn each_route_needs_its_own_scopes_in_the_words_of_gitea() {
    let forge = forge(ForgeOptions::preset("gitea").unwrap()).await;
    let scope = "read:user write:repository write:issue read:organization";
    let header = bearer(&forge.token_for("ada", scope).unwrap());
    let careful = async |method: Method, path: &str, body: &str| {
        let headers = [("authorization", &*header), ("content-type", "application/json")];
        ask(&forge, method, &format!("/api/v1/{path}"), &headers, body).await.unwrap()
    };
    for (method, path, status) in [
        (Method::GET, "user", 200),
        (Method::GET, "user/repos", 200),
        (Method::GET, "user/orgs", 200),
        (Method::POST, "repos/ada/engine/issues", 201),
        (Method::POST, "user/repos", 403),
        (Method::POST, "orgs", 403),
        (Method::GET, "notifications", 403),
        (Method::PUT, "notifications", 403),
        (Method::GET, "repos/ada/engine/notifications", 403),
        (Method::GET, "admin/users", 403),
    ] {
        let reply = careful(method.clone(), path, "{}").await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
    }
    let reply = careful(Method::POST, "user/repos", "{\"name\":\"x\"}").await;
    assert_eq!(
        reply.json()["message"],
        "token does not have at least one of required scope(s), required=[write:user \
         write:repository], token scope=read:user,write:repository,write:issue,read:organization"
    );
}

#[tokio::test]
async fn an_administrator_makes_locks_renames_and_removes_people() {
    let forge = forge(ForgeOptions::default()).await;
    let root = basic("root", "root-password");
    let headers = [("authorization", &*root), ("content-type", "application/json")];
    let call = async |method: Method, path: &str, body: serde_json::Value| {
        let path = format!("/api/v1/admin/users{path}");
        ask(&forge, method, &path, &headers, &body.to_string()).await.unwrap()
    };
    let new = json!({
        "username": "eve", "password": "eve-password", "email": "eve@example.org",
        "must_change_password": false,
    });
    assert_eq!(call(Method::POST, "", new).await.status, StatusCode::CREATED);
    let eve = sign_in(&forge, "eve", "read:user").await;
    let header = bearer(&text(&eve, "access_token"));
    let user = async || get(&forge, "/api/v1/user", &[("authorization", &header)]).await.status;
    assert_eq!(user().await, StatusCode::OK);
    call(Method::PATCH, "/eve", json!({ "prohibit_login": true })).await;
    assert_eq!(user().await, StatusCode::FORBIDDEN);
    call(Method::PATCH, "/eve", json!({ "prohibit_login": false })).await;
    call(Method::POST, "/eve/rename", json!({ "new_username": "eva" })).await;
    assert_eq!(user().await, StatusCode::OK);
    assert_eq!(call(Method::DELETE, "/eva", json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(user().await, StatusCode::UNAUTHORIZED);
    let bob = basic("bob", "bob-password");
    let refused = get(&forge, "/api/v1/admin/users", &[("authorization", &bob)]).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_password_with_a_second_factor_needs_the_code_beside_it() {
    let forge = forge(ForgeOptions::default()).await;
    post(&forge, "/_test/users", &[], "{\"name\":\"ada\",\"otp\":\"123456\"}").await;
    let own = basic("ada", "ada-password");
    let bare = get(&forge, "/api/v1/user", &[("authorization", &own)]).await;
    assert_eq!(bare.status, StatusCode::UNAUTHORIZED);
    let both = [("authorization", &*own), ("x-gitea-otp", "123456")];
    assert_eq!(get(&forge, "/api/v1/user", &both).await.status, StatusCode::OK);
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
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 1, "everybody sees their own");
    assert!(list.iter().all(|app| app["client_secret"] == ""));
}
