//! What stays of a consent: its scope, and the page on which it is withdrawn.

use http::{Method, StatusCode};

use super::{Browser, FORM, basic, exchange, forge, form, post, returned, sign_in, text, token};
use crate::forge::{Forge, ForgeOptions};

/// The scope that the forge says a fresh token has.
async fn scope(forge: &Forge, access_token: &str) -> String {
    let own = basic("broker", "hush");
    let headers = [FORM, ("authorization", &*own)];
    let form = form(&[("token", access_token)]);
    let told = post(forge, "/login/oauth/introspect", &headers, &form).await;
    text(&told.json(), "scope")
}

#[tokio::test]
async fn a_confidential_application_silently_gets_the_scope_of_the_first_consent() {
    let forge = forge(ForgeOptions::default()).await;
    sign_in(&forge, "ada", "read:user").await;
    let again = sign_in(&forge, "ada", "read:user write:issue").await;
    assert_eq!(scope(&forge, &text(&again, "access_token")).await, "read:user");
    assert_eq!(forge.counters().consents, 1, "nobody was asked again");
}

#[tokio::test]
async fn a_withdrawn_consent_makes_room_for_another_scope() {
    let forge = forge(ForgeOptions::default()).await;
    sign_in(&forge, "ada", "read:user").await;
    let mut browser = Browser::default();
    browser.log_in(&forge, "ada").await;
    let page = browser.go(&forge, Method::GET, "/user/settings/applications", "").await.text();
    let action = page.split("<form action=\"").nth(1).and_then(|rest| rest.split('"').next());
    let action = action.expect("a button").to_owned();
    let reply = browser.go(&forge, Method::POST, &action, "").await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    let wider = "read:user write:issue";
    let code = browser.code(&forge, &[("scope", wider)]).await;
    let again = exchange(&forge, &code).await.json();
    assert_eq!(scope(&forge, &text(&again, "access_token")).await, wider);
    // Somebody else's is not there.
    let mut other = Browser::default();
    other.log_in(&forge, "bob").await;
    let reply = other.go(&forge, Method::POST, &action, "").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_public_application_with_another_scope_is_asked_and_then_refused() {
    let forge = forge(ForgeOptions::default()).await;
    forge.set_confidential("broker", false);
    let mut browser = Browser::default();
    browser.log_in(&forge, "ada").await;
    browser.code(&forge, &[("scope", "read:user")]).await;
    let page = browser.authorize(&forge, &[("scope", "read:user write:issue")]).await;
    assert_eq!(page.status, StatusCode::OK, "the consent page comes all the same");
    let reply = browser.answer(&forge, &page, "true").await;
    assert_eq!(returned(&reply, "error"), "server_error");
    assert_eq!(
        returned(&reply, "error_description"),
        "a%20grant%20exists%20with%20different%20scope"
    );
}

#[tokio::test]
async fn an_empty_secret_and_a_made_up_code_tell_whether_an_application_is_public() {
    let forge = forge(ForgeOptions::default()).await;
    let probe = async || {
        let fields =
            [("grant_type", "authorization_code"), ("client_id", "broker"), ("code", "made-up")];
        token(&forge, &fields).await
    };
    probe().await.refused("unauthorized_client", "invalid empty client secret");
    forge.set_confidential("broker", false);
    probe().await.refused("unauthorized_client", "client is not authorized");
    let form = form(&[("token", "x")]);
    let own = basic("broker", "hush");
    let headers = [FORM, ("authorization", &*own)];
    let told = post(&forge, "/login/oauth/introspect", &headers, &form).await;
    assert_eq!(told.status, StatusCode::OK, "its secret is good for introspection all the same");
}
