//! Signing in for a server that requires one of several providers.

use super::harness::*;
use crate::oauth::{Answer, AuthServer, ConfigError, Page, Parts, ServerKey};

const FILES: &str = "https://mcp.example.org/files/mcp";

/// Two ways to sign in; the server `forgejo` requires `forge`, the server `files` none.
fn two_providers() -> Harness {
    harness_with(config(), 3, |config| config.resources[0].provider = Some("forge".into()))
}

/// Signs in with the provider `local`, for the server `files`.
async fn sign_in_locally(visitor: &mut Visitor<'_>) -> Answer {
    let consent = visitor.get(&query(&[("resource", FILES)])).await;
    let login = visitor.press(&consent, &[("choice", "approve")]).await;
    let choices = visitor.follow(&login).await;
    let Answer::Page(shown) = &choices else { panic!("not a page: {choices:?}") };
    let Page::SignIn(page) = &shown.page else { panic!("no choice: {shown:?}") };
    let local = page.choices.iter().find(|own| own.provider == "local").expect("it is offered");
    let hidden: Vec<_> =
        local.form.hidden.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let form = visitor.submit(&local.form.action, &hidden).await;
    visitor.press(&form, &[("username", "ada"), ("password", "open sesame")]).await
}

#[tokio::test]
async fn a_server_that_requires_a_provider_offers_it_alone() {
    let harness = two_providers();
    let mut visitor = Visitor::new(&harness);
    let consent = visitor.get(&query(&[])).await;
    let login = visitor.press(&consent, &[("choice", "approve")]).await;
    let upstream = visitor.follow(&login).await;
    assert!(field(&upstream, "state").is_some(), "no choice is shown: {upstream:?}");
    let answer = visitor.come_back(&upstream).await;
    assert!(field(&answer, "code").is_some(), "{answer:?}");
}

#[tokio::test]
async fn a_form_that_names_another_provider_is_not_followed() {
    let harness = two_providers();
    let mut visitor = Visitor::new(&harness);
    let consent = visitor.get(&query(&[])).await;
    visitor.press(&consent, &[("choice", "approve")]).await;
    let (_, hidden) = Visitor::hidden(&consent);
    let mut form: Vec<_> = hidden.iter().map(|(name, value)| (*name, value.as_str())).collect();
    form.extend([("provider", "local"), ("step", "begin")]);
    let answer = visitor.submit("/login", &form).await;
    assert_eq!(error_code(&answer), "unknown_provider");
}

#[tokio::test]
async fn a_browser_that_is_signed_in_elsewhere_is_sent_to_the_required_provider() {
    let harness = two_providers();
    let mut visitor = Visitor::new(&harness);
    let elsewhere = sign_in_locally(&mut visitor).await;
    assert!(field(&elsewhere, "code").is_some(), "{elsewhere:?}");
    let consent = visitor.get(&query(&[])).await;
    let Answer::Page(shown) = &consent else { panic!("not a page: {consent:?}") };
    let Page::Consent(page) = &shown.page else { panic!("no consent: {shown:?}") };
    assert!(page.user.is_none(), "the user of the other provider is not the one who approves");
    let login = visitor.press(&consent, &[("choice", "approve")]).await;
    let upstream = visitor.follow(&login).await;
    assert!(field(&upstream, "state").is_some(), "{upstream:?}");
    let answer = visitor.come_back(&upstream).await;
    assert!(field(&answer, "code").is_some(), "{answer:?}");

    let again = visitor.get(&query(&[])).await;
    assert!(field(&again, "code").is_some(), "now nothing has to be asked: {again:?}");
}

#[tokio::test]
async fn a_server_that_requires_none_takes_users_of_every_provider() {
    let harness = two_providers();
    let mut visitor = Visitor::new(&harness);
    sign_in_locally(&mut visitor).await;
    let again = visitor.get(&query(&[("resource", FILES)])).await;
    assert!(field(&again, "code").is_some(), "{again:?}");
}

#[test]
fn a_server_cannot_require_a_provider_that_does_not_exist() {
    let mut config = config();
    config.resources[0].provider = Some("codeberg".into());
    let harness = harness();
    let parts = Parts {
        store: harness.store.clone(),
        providers: Vec::new(),
        fetch: None,
        credentials: None,
        admission: None,
        listeners: Vec::new(),
        key: ServerKey::new([7; 32]),
        rng: crate::os_rng().unwrap(),
    };
    let refused = AuthServer::new(config, parts);
    assert!(matches!(refused, Err(ConfigError::Resources(_))), "{refused:?}");
}
