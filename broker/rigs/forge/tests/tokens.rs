//! The token endpoint: words, forms, and the counter.

use http::StatusCode;
use serde_json::json;

use super::{
    BACK, Browser, FORM, VERIFIER, basic, exchange, forge, form, get, post, refresh, sign_in, text,
    token,
};
use crate::forge::{ForeignRefresh, Forge, ForgeOptions};

const PATH: &str = "/login/oauth/access_token";

async fn fresh_code(forge: &Forge) -> String {
    let mut browser = Browser::default();
    browser.log_in(forge, "ada").await;
    browser.code(forge, &[("scope", "read:user")]).await
}

#[tokio::test]
async fn an_answer_has_four_keys_or_five_with_openid() {
    let forge = forge(ForgeOptions::default()).await;
    let code = fresh_code(&forge).await;
    let reply = exchange(&forge, &code).await;
    assert_eq!(reply.header("content-type"), "application/json;charset=utf-8");
    let body = reply.json();
    assert_eq!(body.as_object().unwrap().len(), 4, "{body}");
    assert_eq!(body["token_type"], "bearer");
    assert_eq!(body["expires_in"], 3600);
    let body = sign_in(&forge, "bob", "openid profile email").await;
    assert_eq!(body.as_object().unwrap().len(), 5, "{body}");
    let claims = claims(&text(&body, "id_token"));
    assert_eq!(claims["sub"], "8");
    assert_eq!(claims["aud"], json!(["broker"]));
    assert_eq!(claims["preferred_username"], "bob");
    let access = claims_of(&text(&body, "access_token"));
    assert_eq!(access, ["exp", "gnt", "iat", "tt"]);
    let refresh = claims_of(&text(&body, "refresh_token"));
    assert_eq!(refresh, ["cnt", "exp", "gnt", "iat", "tt"]);
    let keys = get(&forge, "/login/oauth/keys", &[]).await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 1);
    assert_eq!(keys["keys"][0]["use"], "sig");
}

#[tokio::test]
async fn body_and_header_may_name_the_client_and_have_to_agree() {
    let forge = forge(ForgeOptions::default()).await;
    let header = basic("broker", "hush");
    let with = |fields: Vec<(&'static str, String)>| {
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>();
        form(&fields)
    };
    let code = fresh_code(&forge).await;
    let fields = vec![
        ("grant_type", "authorization_code".to_owned()),
        ("code", code),
        ("code_verifier", VERIFIER.to_owned()),
    ];
    let reply = post(&forge, PATH, &[FORM, ("authorization", &header)], &with(fields)).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    // JSON does as well.
    let code = fresh_code(&forge).await;
    let body = json!({
        "grant_type": "authorization_code", "client_id": "broker", "client_secret": "hush",
        "code": code, "code_verifier": VERIFIER, "redirect_uri": BACK,
    });
    let kind = ("content-type", "application/json");
    let reply = post(&forge, PATH, &[kind], &body.to_string()).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text());
    for what in ["client_id", "client_secret"] {
        let fields = vec![("grant_type", "refresh_token".to_owned()), (what, "x".to_owned())];
        let reply = post(&forge, PATH, &[FORM, ("authorization", &header)], &with(fields)).await;
        let words = format!("{what} in request body inconsistent with Authorization header");
        reply.refused("invalid_request", &words);
    }
}

#[tokio::test]
async fn every_refusal_of_a_code_has_its_own_words() {
    let forge = forge(ForgeOptions::default()).await;
    let code = fresh_code(&forge).await;
    let right = [
        ("grant_type", "authorization_code"),
        ("client_id", "broker"),
        ("client_secret", "hush"),
        ("redirect_uri", BACK),
        ("code", &code),
        ("code_verifier", VERIFIER),
    ];
    let but = |name: &'static str, value: &'static str| {
        right.map(|(field, kept)| if field == name { (field, value) } else { (field, kept) })
    };
    for (fields, error, words) in [
        (
            but("grant_type", "password"),
            "unsupported_grant_type",
            "Only refresh_token or authorization_code grant type is supported",
        ),
        (but("client_id", "???"), "invalid_client", "cannot load client with client id: '???'"),
        (but("client_secret", "no"), "unauthorized_client", "invalid client secret"),
        (but("client_secret", ""), "unauthorized_client", "invalid empty client secret"),
        (but("redirect_uri", "http://x/"), "unauthorized_client", "unexpected redirect URI"),
        (but("code", "???"), "unauthorized_client", "client is not authorized"),
        (but("code_verifier", "no"), "unauthorized_client", "failed PKCE code challenge"),
        (but("code_verifier", ""), "unauthorized_client", "failed PKCE code challenge"),
        (but("client_id", "tool"), "invalid_grant", "invalid grant"),
    ] {
        token(&forge, &fields).await.refused(error, words);
    }
    assert_eq!(token(&forge, &right).await.status, StatusCode::OK, "none of these used it up");
    exchange(&forge, &code).await.refused("unauthorized_client", "client is not authorized");
    assert_eq!(forge.counters().exchanges["ada"], 1);
    assert_eq!(forge.counters().refused["invalid_grant"], 1);
}

#[tokio::test]
async fn newer_forges_want_the_same_redirect_address_and_give_codes_a_lifetime() {
    let forge = forge(ForgeOptions::preset("gitea").unwrap()).await;
    let code = fresh_code(&forge).await;
    let fields = [
        ("grant_type", "authorization_code"),
        ("client_id", "broker"),
        ("client_secret", "hush"),
        ("code", &code),
        ("code_verifier", VERIFIER),
    ];
    let words = "redirect_uri differs from the original authorization request";
    token(&forge, &fields).await.refused("invalid_grant", words);
    forge.change_options(|options| options.clock_skew = 600);
    exchange(&forge, &code).await.refused("invalid_grant", "authorization code expired");
}

#[tokio::test]
async fn every_refusal_of_a_refresh_has_its_own_words() {
    let forge = forge(ForgeOptions::default()).await;
    let body = sign_in(&forge, "ada", "read:user").await;
    let kept = text(&body, "refresh_token");
    let ask = async |id: &str, secret: &str, refresh_token: &str| {
        token(
            &forge,
            &[
                ("grant_type", "refresh_token"),
                ("client_id", id),
                ("client_secret", secret),
                ("refresh_token", refresh_token),
            ],
        )
        .await
    };
    let words = "cannot load client with client id: \"???\"";
    ask("???", "hush", &kept).await.refused("invalid_client", words);
    ask("broker", "no", &kept).await.refused("invalid_client", "invalid client secret");
    ask("broker", "", &kept).await.refused("invalid_client", "invalid empty client secret");
    let words = "unable to parse refresh token";
    ask("broker", "hush", "garbled").await.refused("unauthorized_client", words);
    let access = text(&body, "access_token");
    let words = "token is not a refresh token";
    ask("broker", "hush", &access).await.refused("unauthorized_client", words);
    let words = "refresh token was not issued to this client";
    ask("tool", "", &kept).await.refused("invalid_grant", words);
    forge.change_options(|options| options.foreign_refresh = ForeignRefresh::Gitea);
    let words = "refresh token belongs to a different client";
    ask("tool", "", &kept).await.refused("invalid_grant", words);
    assert_eq!(refresh(&forge, &kept).await.status, StatusCode::OK);
    refresh(&forge, &kept).await.refused("unauthorized_client", "token was already used");
    forge.state().revoke(7, None);
    refresh(&forge, &kept).await.refused("invalid_grant", "grant does not exist");
}

#[tokio::test]
async fn an_expired_refresh_token_is_one_that_cannot_be_parsed() {
    let forge = forge(ForgeOptions::default()).await;
    let kept = text(&sign_in(&forge, "ada", "").await, "refresh_token");
    forge.change_options(|options| options.clock_skew = 730 * 3600 + 1);
    refresh(&forge, &kept).await.refused("unauthorized_client", "unable to parse refresh token");
}

#[tokio::test]
async fn a_second_login_kills_the_first_refresh_token() {
    let forge = forge(ForgeOptions::default()).await;
    let first = sign_in(&forge, "ada", "read:user").await;
    let second = sign_in(&forge, "ada", "read:user").await;
    let dead = refresh(&forge, &text(&first, "refresh_token")).await;
    dead.refused("unauthorized_client", "token was already used");
    // Its access token lives on until it expires.
    let header = format!("token {}", text(&first, "access_token"));
    let user = get(&forge, "/api/v1/user", &[("authorization", &header)]).await;
    assert_eq!(user.json()["login"], "ada");
    assert_eq!(refresh(&forge, &text(&second, "refresh_token")).await.status, StatusCode::OK);
    // Reuse ends nothing else.
    assert_eq!(forge.state().grants.len(), 1);
    assert_eq!(forge.state().grants[0].counter, 4);
    assert_eq!(forge.counters().refreshes["ada"], 1);
}

#[tokio::test]
async fn without_invalidation_refresh_tokens_stay_good() {
    let forge = forge(ForgeOptions { invalidate_refresh: false, ..ForgeOptions::default() }).await;
    let first = text(&sign_in(&forge, "ada", "").await, "refresh_token");
    sign_in(&forge, "ada", "").await;
    for _ in 0..2 {
        assert_eq!(refresh(&forge, &first).await.status, StatusCode::OK);
    }
    assert_eq!(forge.state().grants[0].counter, 1);
}

#[tokio::test]
async fn two_refreshes_at_once_both_succeed_and_one_is_dead() {
    let forge = forge(ForgeOptions::default()).await;
    let kept = text(&sign_in(&forge, "ada", "").await, "refresh_token");
    forge.change_options(|options| options.meet = 2);
    let (one, two) = tokio::join!(refresh(&forge, &kept), refresh(&forge, &kept));
    assert_eq!((one.status, two.status), (StatusCode::OK, StatusCode::OK));
    forge.change_options(|options| options.meet = 0);
    let mut again = Vec::new();
    for reply in [one, two] {
        again.push(refresh(&forge, &text(&reply.json(), "refresh_token")).await.status);
    }
    again.sort_unstable();
    assert_eq!(again, [StatusCode::OK, StatusCode::BAD_REQUEST]);
}

#[tokio::test]
async fn a_conditional_counter_lets_one_of_two_refreshes_through() {
    let forge = forge(ForgeOptions { conditional_counter: true, ..ForgeOptions::default() }).await;
    let kept = text(&sign_in(&forge, "ada", "").await, "refresh_token");
    forge.change_options(|options| options.meet = 2);
    let (one, two) = tokio::join!(refresh(&forge, &kept), refresh(&forge, &kept));
    let (won, lost) = if one.status == StatusCode::OK { (one, two) } else { (two, one) };
    assert_eq!(won.status, StatusCode::OK);
    lost.refused("invalid_grant", "cannot increase the grant counter");
}

#[tokio::test]
async fn two_tokens_of_one_second_are_the_same() {
    let forge = forge(ForgeOptions { invalidate_refresh: false, ..ForgeOptions::default() }).await;
    let kept = text(&sign_in(&forge, "ada", "").await, "refresh_token");
    // A second may turn between two requests, hardly between each two of five.
    let mut seen = Vec::new();
    for _ in 0..5 {
        seen.push(text(&refresh(&forge, &kept).await.json(), "access_token"));
    }
    assert!(seen.windows(2).any(|pair| pair[0] == pair[1]), "all differ");
}

fn claims(token: &str) -> serde_json::Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

fn claims_of(token: &str) -> Vec<String> {
    let mut names: Vec<_> = claims(token).as_object().unwrap().keys().cloned().collect();
    names.sort_unstable();
    names
}
