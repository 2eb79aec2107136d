//! Stories about GitHub.

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use super::*;
use crate::{
    admission::Wanted,
    jwt::signer::{answer, page},
    oauth::IdentityProvider,
    providers::tests::{
        CANARY, after, bearer, begin, field, finish, renew, renew_class, reply, sign_in_class,
        signed_in, standing, trouble_of_the_upstream_is_temporary,
    },
    testing::{self, FetchHandle, now, provider_contract},
};

const TOKEN: &str = "https://github.com/login/oauth/access_token";
const USER: &str = "https://api.github.com/user";

fn config() -> GitHubConfig {
    GitHubConfig {
        name: GitHub::NAME.into(),
        label: "GitHub".into(),
        web: GitHub::WEB.into(),
        api: GitHub::API.into(),
        client_id: "Iv1.0123456789abcdef".into(),
        client_secret: Secret::new(format!("secret-{CANARY}")),
        scopes: vec!["repo".into(), "read:user".into()],
    }
}

fn tokens() -> Value {
    json!({ "access_token": format!("gho_{CANARY}"), "token_type": "bearer", "scope": "repo,gist" })
}

fn github() -> (Arc<GitHub>, FetchHandle) {
    let (fetch, web) = testing::fetch();
    web.put(TOKEN, page(&tokens()));
    let expected = format!("gho_{CANARY}");
    web.serve(USER, move |request| {
        let has_agent = request.headers().contains_key("user-agent");
        if !has_agent {
            return answer(StatusCode::FORBIDDEN, &json!({ "message": "user agent required" }));
        }
        match bearer(request) {
            Some(token) if token == expected => {
                page(&json!({ "id": 583_231, "login": "ada", "name": null, "type": "User" }))
            }
            _ => answer(StatusCode::UNAUTHORIZED, &json!({ "message": "Bad credentials" })),
        }
    });
    (Arc::new(GitHub::new(config(), fetch).unwrap()), web)
}

/// GitHub's errors have status 200.
fn refusal(error: &str) -> Response<Bytes> {
    page(&json!({ "error": error, "error_description": "The words.", "error_uri": "https://docs" }))
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_provider() {
    let (github, web) = github();
    web.put(TOKEN, refusal("bad_verification_code"));
    provider_contract(github, now()).await;
}

#[tokio::test]
async fn ada_signs_in_under_her_number() {
    let (github, _web) = github();
    let sent = begin(&*github).await;
    assert_eq!(field(&sent, "scope"), Some("repo read:user"));
    assert_eq!(field(&sent, "code_challenge_method"), Some("S256"));
    let ada = signed_in(&*github).await;
    assert_eq!((ada.issuer.as_str(), ada.subject.as_str()), ("https://github.com", "583231"));
    assert_eq!(ada.display_name, "ada", "who has no name has a login");
    let credential = ada.credential.unwrap();
    assert_eq!(credential.expires, None, "tokens of an OAuth App live on");
    assert!(credential.refresh_token.is_none());
    assert_eq!(credential.scope.as_deref(), Some("repo gist"));
    assert_eq!(credential.username.as_deref(), Some("ada"));
}

#[tokio::test]
async fn an_id_that_is_no_number_is_no_key() {
    let (github, web) = github();
    for user in [json!({ "login": "ada" }), json!({ "id": "583231", "login": "ada" }), json!([])] {
        web.put(USER, page(&user));
        assert_eq!(sign_in_class(&finish(&*github, reply()).await), "unavailable", "{user}");
    }
}

#[tokio::test]
async fn tokens_that_expire_come_with_what_renews_them() {
    let (github, web) = github();
    let mut expiring = tokens();
    expiring["expires_in"] = 28_800.into();
    expiring["refresh_token"] = "ghr_new".into();
    web.put(TOKEN, page(&expiring));
    let credential = signed_in(&*github).await.credential.unwrap();
    assert_eq!(credential.expires, after(28_800));
    assert_eq!(credential.refresh_token.unwrap().expose(), "ghr_new");
    assert_eq!(renew(&*github).await.unwrap().refresh_token.unwrap().expose(), "ghr_new");
}

#[tokio::test]
async fn errors_with_status_200_are_errors() {
    let (github, web) = github();
    for (error, sign_in, renewal) in [
        ("bad_verification_code", "unacceptable", "sign in again"),
        ("bad_refresh_token", "unacceptable", "sign in again"),
        ("unverified_user_email", "unacceptable", "sign in again"),
        ("incorrect_client_credentials", "misconfigured", "misconfigured"),
        ("redirect_uri_mismatch", "misconfigured", "misconfigured"),
        ("unsupported_grant_type", "misconfigured", "misconfigured"),
    ] {
        web.put(TOKEN, refusal(error));
        assert_eq!(sign_in_class(&finish(&*github, reply()).await), sign_in, "{error}");
        assert_eq!(renew_class(&renew(&*github).await), renewal, "{error}");
    }
}

#[tokio::test]
async fn github_in_trouble_signs_nobody_out() {
    let (github, web) = github();
    trouble_of_the_upstream_is_temporary(github, &web, TOKEN).await;
}

#[tokio::test]
async fn a_rate_limit_is_temporary_whatever_its_status() {
    let (github, web) = github();
    let mut limited = answer(StatusCode::FORBIDDEN, &json!({ "message": "rate limit" }));
    web.put(USER, limited.clone());
    assert_eq!(sign_in_class(&finish(&*github, reply()).await), "misconfigured");
    limited.headers_mut().insert("x-ratelimit-remaining", "0".parse().unwrap());
    web.put(USER, limited);
    assert_eq!(sign_in_class(&finish(&*github, reply()).await), "unavailable");
}

#[tokio::test]
async fn an_enterprise_server_is_an_issuer_of_its_own() {
    let (fetch, web) = testing::fetch();
    web.put("https://ghes.example/login/oauth/access_token", page(&tokens()));
    web.put("https://ghes.example/api/v3/user", page(&json!({ "id": 1, "login": "bob" })));
    let (web_address, api) = ("https://ghes.example/".into(), "https://ghes.example/api/v3".into());
    let config = GitHubConfig { web: web_address, api, ..config() };
    let bob = signed_in(&GitHub::new(config, fetch).unwrap()).await;
    assert_eq!((bob.issuer.as_str(), bob.subject.as_str()), ("https://ghes.example", "1"));
}

#[test]
fn a_list_in_one_word_is_no_scope() {
    let (fetch, _web) = testing::fetch();
    for bad in ["repo,gist", "repo gist", ""] {
        let config = GitHubConfig { scopes: vec![bad.into()], ..config() };
        assert!(GitHub::new(config, Arc::clone(&fetch) as _).is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn only_what_github_says_of_the_token_or_of_a_suspension_counts() {
    let (github, web) = github();
    let of = |status: u16, message: &str| {
        answer(StatusCode::from_u16(status).unwrap(), &json!({ "message": message }))
    };
    let limited = |mut page: Response<Bytes>| {
        page.headers_mut().insert("x-ratelimit-remaining", "0".parse().unwrap());
        page
    };
    for (page, expected) in [
        (page(&json!({ "id": 1, "login": "ada", "name": null })), "stands"),
        (of(401, "Bad credentials"), "dead"),
        (of(403, "Sorry. Your account was suspended."), "refused"),
        (of(403, "Resource not accessible by integration"), "unknown"),
        (limited(of(403, "API rate limit exceeded; suspended")), "unknown"),
        (of(429, "slow down"), "unknown"),
        (of(502, "x"), "unknown"),
        (page(&json!({ "message": "no user" })), "unknown"),
    ] {
        let shown = format!("{page:?}");
        web.put(USER, page);
        assert_eq!(standing(&*github).await, expected, "{shown}");
    }
}

#[test]
fn a_scope_that_contains_another_counts_for_both_and_an_app_without_scopes_lacks_nothing() {
    let (fetch, _web) = testing::fetch();
    let scopes = ["public_repo", "read:org", "read:user"].map(String::from).to_vec();
    let github = GitHub::new(GitHubConfig { scopes, ..config() }, fetch).unwrap();
    assert!(github.missing("admin:org,repo,user").is_empty());
    assert_eq!(github.missing("repo read:user"), ["read:org"]);
    assert_eq!(spaced("repo,gist").as_deref(), Some("repo gist"));
    assert_eq!(spaced(""), None, "GitHub Apps have none, which says nothing");
    let page = github.withdrawal().unwrap().address;
    assert!(page.ends_with("/settings/connections/applications/Iv1.0123456789abcdef"), "{page}");
}

#[tokio::test]
async fn organizations_teams_and_addresses_are_asked_for_to_the_last_page_if_rules_want_them() {
    let (github, web) = github();
    let list = |path: &str, page: u32| format!("{USER}/{path}?per_page=100&page={page}");
    let many: Vec<_> = (0..100).map(|n| json!({ "login": format!("org-{n}") })).collect();
    web.put(&list("orgs", 1), page(&json!(many)));
    web.put(&list("orgs", 2), page(&json!([{ "login": "acme" }])));
    let team = json!({ "slug": "devs", "name": "Devs", "organization": { "login": "acme" } });
    web.put(&list("teams", 1), page(&json!([team])));
    let mail = json!({ "email": "ada@acme.example", "verified": true, "primary": true });
    web.put(&list("emails", 1), page(&json!([mail])));
    assert_eq!(signed_in(&*github).await.facts.groups, None);
    assert!(web.requests().iter().all(|own| !own.uri().path().contains("orgs")), "not wanted");

    let wanted = Wanted { login: true, groups: true, mails: true, claims: Vec::new() };
    let token = Secret::new(format!("gho_{CANARY}"));
    let facts = github.look_up(&token, &wanted, now()).await.unwrap().unwrap().facts;
    let groups = facts.groups.unwrap();
    assert_eq!(groups.len(), 102);
    assert!(groups.contains(&"acme".to_owned()) && groups.contains(&"acme/devs".to_owned()));
    assert!(facts.mails.unwrap()[0].verified);
    web.put(&list("teams", 1), answer(StatusCode::FORBIDDEN, &json!({ "message": "no scope" })));
    let failed = github.look_up(&token, &wanted, now()).await;
    assert!(failed.is_err(), "what GitHub does not tell is not taken for nothing");
}
