//! Every text of every page, written by an attacker.

use auth::oauth::{ErrorPage, Page, Secret, SignInPage, Standing, UserView, Warning, Withdrawal};

use super::super::{
    AccountPage, AuthMode, EndpointView, FrontPage, Notice, Pages, SetupForm, SetupPage, samples,
};
use super::{assert_inert, html::Document};

/// Every page with `text` wherever an untrusted text can stand, and `inner` where a name of ours
/// stands that is not displayed.
fn filled(text: &str, inner: &str) -> Vec<(&'static str, String)> {
    let site = Pages::at("https://mcp.example.org");
    let user = UserView { display_name: text.into(), provider: text.into() };
    let mut all = Vec::new();
    for standing in [Standing::Operator, Standing::Host(text.into()), Standing::Nobody] {
        let warnings = [Warning::Loopback, Warning::InstalledApp, Warning::UnverifiedName];
        let mut page = samples::consent(text, standing, text, &warnings, Some(user.clone()));
        page.client.uri = Some(text.into());
        page.form.hidden[0].1 = inner.into();
        page.server.title = text.into();
        page.server.address = text.into();
        page.scopes[0].name = text.into();
        page.scopes[0].description = text.into();
        all.push(("consent", site.render(&Page::Consent(Box::new(page)))));
    }
    for (_, page) in samples::pages() {
        let Page::SignIn(page) = page else { continue };
        let SignInPage { mut choices, mut ask, .. } = *page;
        for choice in &mut choices {
            choice.label = text.into();
            choice.form.hidden[0].1 = inner.into();
        }
        if let Some(ask) = &mut ask {
            ask.label = text.into();
            ask.fields[0].label = text.into();
            ask.fields[0].name = inner.into();
        }
        let page = SignInPage { client: Some(text.into()), choices, ask };
        all.push(("sign-in", site.render(&Page::SignIn(Box::new(page)))));
    }
    for (_, page) in samples::pages() {
        let Page::FewerRights(mut page) = page else { continue };
        (page.provider, page.client) = (text.into(), Some(text.into()));
        page.missing = vec![text.into()];
        page.withdrawal =
            page.withdrawal.map(|own| Withdrawal { application: Some(text.into()), ..own });
        page.again.hidden[0].1 = inner.into();
        all.push(("fewer-rights", site.render(&Page::FewerRights(page))));
    }
    let fault = ErrorPage { code: "code", title: "Title", detail: text.into(), advice: "Advice." };
    all.push(("error", site.render(&Page::Error(fault))));
    all.push(("leave", site.render(&samples::leave(text, text, text))));
    for notice in [Notice::Done(text.into()), Notice::Problem(text.into())] {
        all.push(("account", site.account(&account(text, inner, &user, notice))));
    }
    let form = SetupForm {
        secret: Secret::new(inner),
        name: text.into(),
        min_password: 12,
        problems: Vec::new(),
    };
    all.push(("setup", site.setup(&SetupPage::Form(form))));
    all.push(("setup", site.setup(&SetupPage::Done { name: text.into() })));
    let endpoint = EndpointView { name: inner.into(), title: text.into(), address: inner.into() };
    let front = FrontPage { endpoints: vec![endpoint.clone(), endpoint], auth: AuthMode::Token };
    all.push(("front", site.front(&front)));
    all
}

fn account(text: &str, inner: &str, user: &UserView, notice: Notice) -> AccountPage {
    let mut page = samples::account(Some(notice));
    page.user = user.clone();
    page.csrf = Secret::new(inner);
    for grant in &mut page.clients {
        grant.grant_id = inner.into();
        grant.client = text.into();
        grant.server = text.into();
        grant.scope = text.into();
    }
    for session in &mut page.sessions {
        session.id = text.into();
        session.handle = inner.into();
        session.server = text.into();
        session.client = text.into();
    }
    for connection in &mut page.connections {
        connection.provider = inner.into();
        connection.label = text.into();
        connection.username = text.into();
        connection.refused = Some(text.into());
        connection.missing = vec![text.into()];
    }
    for token in &mut page.user_tokens {
        token.server = inner.into();
        token.title = text.into();
    }
    page
}

#[test]
fn markup_in_any_text_stays_text() {
    let text = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;";
    for (name, html) in filled(text, text) {
        let document = Document::parse(&html);
        assert_inert(name, &document);
        assert!(!html.contains("<script") && !html.contains("<img"), "{name}");
        let shown = document.one("main").text.contains("<script>alert(1)</script>");
        let typed = document.all("input").any(|input| input.get("value") == Some(text));
        assert!(shown || typed, "{name}: it is shown as what it is");
    }
}

#[test]
fn no_text_turns_the_direction_of_ours() {
    let text = "Pay\u{202e}lap\u{2066}x\u{200f}y\u{0}z\nnew\u{200b}";
    for (name, html) in filled(text, "inner") {
        let deceives = ['\u{202e}', '\u{2066}', '\u{200f}', '\u{200b}', '\0'];
        assert!(!html.contains(deceives), "{name}");
        assert!(html.contains("Paylapxyz new"), "{name}");
    }
}

#[test]
fn a_name_of_a_megabyte_is_cut() {
    let text = "A".repeat(1 << 20);
    for (name, html) in filled(&text, "inner") {
        Document::parse(&html);
        assert!(html.len() < 64 << 10, "{name}: {}", html.len());
    }
}

#[test]
fn a_long_name_cannot_pass_for_a_sentence_of_ours() {
    let name = "Claude. This application was checked by the operator, and it is safe to approve it";
    let page = samples::consent(name, Standing::Nobody, "evil.example", &[], None);
    let pages = Pages::at("https://mcp.example.org");
    let document = Document::parse(&pages.render(&Page::Consent(Box::new(page))));
    assert!(!document.one("h1").text.contains("safe"), "{}", document.one("h1").text);
    // All of it stands where it is marked as a name, apart from the direction of ours.
    assert!(document.all("bdi").any(|bdi| bdi.text == name));
    assert!(document.one("dl").text.contains("name not verified"));
}
