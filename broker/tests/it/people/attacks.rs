//! What somebody tries who is not supposed to.

use url::Url;

use super::{deployment::Deployment, forge::ForgeOptions, pages::assert_headers};
use crate::{
    application::Application,
    browser::{Browser, Page, body},
    harness::{until, with_timeout},
    wire::{Answer, initialize},
};

/// The address at the forge to which the broker sent this browser.
fn upstream(browser: &Browser) -> String {
    let sent = browser.history.iter().find(|page| page.url.path() == "/login/oauth/authorize");
    sent.expect("it was sent to the forge").url.to_string()
}

#[test]
fn a_link_to_the_forge_is_worth_nothing_in_another_browser() {
    with_timeout(async {
        let deployment = Deployment::at_forge(ForgeOptions::default(), "", "").await;
        let application = deployment.application("/mcp").await;
        let mut attacker = Browser::default();
        let consent = attacker.open(&application.question(&[])).await;
        attacker.press(&consent, ("choice", "approve"), &[]).await;
        let link = upstream(&attacker);

        let mut victim = Browser::default();
        let mut page = victim.open(&link).await;
        while page.url.path() != "/callback/forgejo" {
            page = deployment.credentials(&mut victim, &page, "ada").await;
        }
        assert_eq!(page.answer.status, 403, "{}", page.seen());
        assert_eq!(page.answer.header("location"), None);
        assert_eq!(page.answer.header("set-cookie"), None, "nobody is signed in by it");
        assert_headers(&page);
        assert_eq!(deployment.forge().counters().token_calls, 0, "the forge's code was not used");

        let again = attacker.open(page.url.as_str()).await;
        assert_eq!(again.answer.status, 400, "the attempt is burned: {}", again.seen());
        assert_eq!(deployment.forge().counters().token_calls, 0);
    });
}

#[test]
fn a_mistake_in_a_question_leads_no_browser_to_the_address_of_a_stranger() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let address = "https://evil.example/looks-like-ours";
        let evil = Application::connect_from(deployment.client(), "/mcp", address).await;
        let mut browser = Browser::default();
        for (wrong, error) in
            [(("scope", "unknown"), "invalid_scope"), (("prompt", "none"), "login_required")]
        {
            let page = browser.open(&evil.question(&[wrong])).await;
            assert_eq!(page.answer.status, 400, "{}", page.seen());
            assert_eq!(page.answer.header("location"), None);
            assert_headers(&page);
            let link = format!("{address}?error={error}&#38;error_description=");
            assert!(page.answer.text().contains(&link), "{}", page.seen());
            assert!(page.answer.text().contains("state=its-state"), "{}", page.seen());
        }
        let local = deployment.application("/mcp").await;
        let page = browser.open(&local.question(&[("scope", "unknown")])).await;
        assert!(page.is_away(), "{}", page.seen());
        assert_eq!(page.query("error").as_deref(), Some("invalid_scope"));
    });
}

#[test]
fn only_the_host_cookie_counts_behind_https() {
    with_timeout(async {
        let top = "public_url = \"https://mcp.example.org\"";
        let deployment = Deployment::at_forge(ForgeOptions::default(), top, "").await;
        let address = deployment.client().address;
        deployment.forge().state().apps[0].redirect_uris =
            vec!["https://mcp.example.org/callback/forgejo".to_owned()];
        let mut browser = Browser::default();
        browser.find("mcp.example.org", address);
        let broker = deployment.client().with("host", "mcp.example.org");
        let application = Application::connect(&broker, "/mcp").await;
        assert_eq!(application.resource, "https://mcp.example.org/mcp");
        let consent = browser.open(&application.question(&[])).await;
        assert!(browser.cookie("__Host-mcpb-browser").is_some(), "{}", consent.seen());
        let form = consent.form("choice", "approve");
        let sent = form.filled(("choice", "approve"), &[]);
        let url = consent.url.join(&form.action).unwrap();
        // The neighbour under the same domain that plants a cookie has no such name to plant.
        let value = browser.cookie("__Host-mcpb-browser").unwrap().to_owned();
        let planted = broker
            .at(url.path())
            .with("content-type", "application/x-www-form-urlencoded")
            .with("sec-fetch-site", "same-origin");
        let with = |name: &str| planted.with("cookie", &format!("{name}={value}"));
        assert_eq!(with("mcpb-browser").post(&sent).await.status, 403);
        let approved = with("__Host-mcpb-browser").post(&sent).await;
        assert_eq!(approved.status, 303, "{approved:?}");
        let bound = approved.header("set-cookie").expect("a cookie");
        assert!(bound.starts_with("__Host-mcpb-bind-") && bound.contains("; Secure"), "{bound}");
        assert!(approved.header("location").unwrap().starts_with("https://mcp.example.org/login"));
    });
}

#[test]
fn a_state_serves_once_and_only_if_it_is_ours() {
    with_timeout(async {
        let deployment = Deployment::at_forge(ForgeOptions::default(), "", "").await;
        let application = deployment.application("/mcp").await;
        let mut browser = Browser::default();
        let consent = browser.open(&application.question(&[])).await;
        deployment.approve(&mut browser, &consent, "ada").await.code();
        let callback = browser.history.iter().find(|page| page.url.path().starts_with("/callback"));
        let callback = callback.expect("it came back").url.to_string();
        let calls = deployment.forge().counters().token_calls;
        let (start, _) = callback.split_once("state=").unwrap();
        for bad in [callback.as_str(), start, &format!("{start}state=forged")] {
            let page = browser.open(bad).await;
            assert_eq!(page.answer.status, 400, "{}", page.seen());
            assert_headers(&page);
        }
        assert_eq!(deployment.forge().counters().token_calls, calls);
    });
}

#[test]
fn a_forged_consent_or_login_changes_nothing() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let application = deployment.application("/mcp").await;
        let mut browser = Browser::default();
        let consent = browser.open(&application.question(&[])).await;
        forged(&mut browser, &consent, ("choice", "approve"), &[]).await;
        let login = browser.press(&consent, ("choice", "approve"), &[]).await;
        let fields = [("name", "ada"), ("password", "ada-password")];
        forged(&mut browser, &login, ("step", "finish"), &fields).await;
        assert_eq!(browser.cookie("mcpb-session"), None, "nobody was signed in");
        browser.press(&login, ("step", "finish"), &fields).await.code();
    });
}

/// Sends the form of `page` in every way but the right one.
async fn forged(browser: &mut Browser, page: &Page, button: (&str, &str), fields: &[(&str, &str)]) {
    let form = page.form(button.0, button.1);
    let url = page.url.join(&form.action).expect("an address");
    let good = form.filled(button, fields);
    let other = good.replace(form.hidden("csrf"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    for (why, site, origin, body) in [
        ("another site", "cross-site", Some("https://evil.example.com"), &good),
        ("another site that hides", "cross-site", Some("null"), &good),
        ("a neighbour", "same-site", Some("null"), &good),
        ("a made-up form token", "same-origin", Some("null"), &other),
    ] {
        let answer = browser.request("POST", &url, site, origin, body).await;
        assert_eq!(answer.status, 403, "{why}: {answer:?}");
        assert_eq!(answer.header("location"), None, "{why}");
    }
    let of_another = Browser::default().request("POST", &url, "same-origin", None, &good).await;
    assert_eq!(of_another.status, 403, "another browser: {of_another:?}");
    let old = browser.client(&url).with("content-type", "application/x-www-form-urlencoded");
    let hidden = old.with("origin", "null").post(&good).await;
    assert_eq!(hidden.status, 403, "null, and no word about the site: {hidden:?}");
}

#[test]
fn a_remembered_consent_is_asked_again_when_another_site_sends_the_browser() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let redirect = "https://app.example.org/back";
        let application = Application::connect_from(deployment.client(), "/mcp", redirect).await;
        let mut browser = Browser::default();
        let question = Url::parse(&application.question(&[])).unwrap();
        let consent = browser.open(question.as_str()).await;
        let page = deployment.approve(&mut browser, &consent, "ada").await;
        assert_eq!(page.url.host_str(), Some("app.example.org"), "{}", page.seen());

        let silent = browser.request("GET", &question, "none", None, "").await;
        assert!(leads_to(&silent).starts_with(redirect), "{silent:?}");
        for site in ["cross-site", "same-site"] {
            let asked = browser.request("GET", &question, site, None, "").await;
            assert_eq!(asked.status, 200, "{site}: {asked:?}");
        }
        let unsaid = browser.client(&question).ask("GET", "").await;
        assert_eq!(unsaid.status, 200, "a browser that does not say is asked: {unsaid:?}");
    });
}

fn leads_to(answer: &Answer) -> &str {
    answer.header("location").unwrap_or_default()
}

#[test]
fn a_token_in_the_address_is_no_token_and_is_written_nowhere() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "log.level = \"trace\"", "").await;
        let application = deployment.application("/mcp").await;
        let tokens = deployment.sign_in(&application, "ada").await;
        let path = format!("/mcp?access_token={}", tokens.access);
        let refused = deployment.client().at(&path).post(initialize("1", "2025-11-25")).await;
        assert_eq!(refused.status, 401, "{refused:?}");
        let challenge = refused.header("www-authenticate").expect("a challenge");
        assert!(challenge.starts_with("Bearer resource_metadata=\""), "{challenge}");
        assert!(!challenge.contains("error="), "{challenge}");
        let bad = deployment.client().bearer("nonsense").post(initialize("1", "2025-11-25")).await;
        let challenge = bad.header("www-authenticate").expect("a challenge");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");

        let twice = application.with(&tokens);
        let more = format!("authorization: Bearer {}\r\ncontent-length: 0\r\n", tokens.access);
        let mut wire = crate::wire::Wire::connect(deployment.client().address).await;
        wire.send(twice.head("POST", &more)).await;
        assert_eq!(wire.answer().await.status, 400, "two tokens are none");
        assert!(!deployment.broker.log().contains(&tokens.access));
    });
}

#[test]
fn no_header_of_a_request_gets_into_an_address_that_the_broker_hands_out() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let application = deployment.application("/mcp").await;
        let evil = "evil.example.com";
        let poisoned = deployment
            .client()
            .with("x-forwarded-host", evil)
            .with("x-forwarded-proto", "https")
            .with("x-forwarded-uri", "https://evil.example.com/")
            .with("x_forwarded_host", evil)
            .with("x-original-url", "https://evil.example.com/")
            .with("forwarded", "host=evil.example.com;proto=https");
        let question = Url::parse(&application.question(&[])).unwrap();
        let question = format!("{}?{}", question.path(), question.query().unwrap());
        for path in [
            "/.well-known/oauth-protected-resource/mcp",
            "/.well-known/oauth-authorization-server",
            "/.well-known/openid-configuration",
            "/",
            "/account",
            &question,
        ] {
            let answer = poisoned.at(path).with("accept", "text/html").ask("GET", "").await;
            assert!(answer.status < 400, "{path}: {answer:?}");
            let plain =
                deployment.client().at(path).with("accept", "text/html").ask("GET", "").await;
            assert_eq!(plain.status, answer.status, "{path}");
            assert!(!format!("{answer:?}").contains(evil), "{path}: {answer:?}");
            assert!(!answer.text().contains(evil), "{path}: {}", answer.text());
            let foreign = deployment.client().at(path).with("host", evil).ask("GET", "").await;
            assert_eq!(foreign.status, 403, "{path}: {foreign:?}");
        }
        let challenged = poisoned.at("/mcp").post(initialize("1", "2025-11-25")).await;
        let challenge = challenged.header("www-authenticate").expect("a challenge");
        assert!(challenge.contains(&deployment.root()) && !challenge.contains(evil), "{challenge}");
    });
}

/// Guesses until the person of this name has to wait, and returns the page that says so.
async fn guess(deployment: &Deployment, browser: &mut Browser, name: &str) -> Page {
    let mut page = browser.open(&format!("{}/login", deployment.root())).await;
    let mut seen = Vec::new();
    let refused = loop {
        let fields = [("name", name), ("password", "a guess")];
        page = browser.press(&page, ("step", "finish"), &fields).await;
        seen.push(page.answer.status);
        if page.answer.status == 429 {
            break page;
        }
        assert!(seen.len() < 10, "{seen:?}");
    };
    refused.answer.assert_retry();
    assert_headers(&refused);
    assert!(!refused.answer.text().contains("a guess"), "{}", refused.seen());
    // As many as are free, and those for which the machine took longer than the wait.
    assert!(seen.len() > 3, "{name}: {seen:?}");
    seen.dedup();
    assert_eq!(seen, [401, 429], "{name} is answered like any other");
    refused
}

#[test]
fn who_guesses_passwords_waits_and_learns_nothing() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        guess(&deployment, &mut Browser::default(), "nobody-of-this-name").await;
        let mut browser = Browser::default();
        let mut refused = guess(&deployment, &mut browser, "ada").await;
        // Also with the right password: a guess that is right must not be told from the others. The wait is a
        // second at first, which a busy machine may outlast: then she is in, and is guessed anew.
        for round in 0.. {
            let page = deployment.credentials(&mut browser, &refused, "ada").await;
            if page.answer.status == 429 {
                break;
            }
            assert!(round < 2, "the right password is let in at once: {}", page.seen());
            browser = Browser::default();
            refused = guess(&deployment, &mut browser, "ada").await;
        }
        let page = until("the wait is over", async || {
            let page = deployment.credentials(&mut browser, &refused, "ada").await;
            (page.answer.status != 429).then_some(page)
        })
        .await;
        assert_eq!(page.url.path(), "/account", "{}", page.seen());
    });
}

#[test]
fn a_cookie_that_somebody_planted_is_replaced_at_the_sign_in() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let mut browser = Browser::default();
        deployment.account_page(&mut browser, "ada").await;
        let first = browser.cookie("mcpb-session").expect("a session").to_owned();
        let page = browser.open(&format!("{}/login?next=/account", deployment.root())).await;
        let page = deployment.credentials(&mut browser, &page, "ada").await;
        assert_eq!(page.url.path(), "/account", "{}", page.seen());
        let second = browser.cookie("mcpb-session").expect("a session").to_owned();
        assert_ne!(first, second);
        let account = Url::parse(&format!("{}/account", deployment.root())).unwrap();
        let old = Browser::default().client(&account);
        let cookies = format!("mcpb-session={first}; {}", {
            let (name, value) = browser.cookies("mcpb-browser").remove(0);
            format!("{name}={value}")
        });
        let answer = old.with("cookie", &cookies).ask("GET", "").await;
        assert_eq!(answer.status, 303, "the old one is dead: {answer:?}");
    });
}

#[test]
fn a_form_that_is_sent_twice_leads_to_the_same_place() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let application = deployment.application("/mcp").await;
        let mut browser = Browser::default();
        let consent = browser.open(&application.question(&[])).await;
        let first = browser.press(&consent, ("choice", "approve"), &[]).await;
        let second = browser.press(&consent, ("choice", "approve"), &[]).await;
        assert_eq!(first.url, second.url, "{}", second.seen());
        let t = body(&[("t", consent.form("choice", "approve").hidden("t"))]);
        let stolen = format!("{}/login?{t}", deployment.root());
        let page = Browser::default().open(&stolen).await;
        assert_eq!(page.answer.status, 403, "not in another browser: {}", page.seen());
    });
}

#[test]
fn a_packed_body_is_415_and_not_nonsense_on_every_route_that_reads_one() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let application = deployment.application("/mcp").await;
        let tokens = deployment.sign_in(&application, "ada").await;
        let client = application.with(&tokens);
        for path in
            ["/mcp", "/oauth/token", "/oauth/register", "/oauth/revoke", "/login", "/account"]
        {
            for coding in ["gzip", "identity, br", "x-gzip", "deflate,"] {
                let client = client.at(path).with("content-encoding", coding);
                let answer = client.post(initialize("1", "2025-11-25")).await;
                assert_eq!(answer.status, 415, "{path} {coding}: {answer:?}");
                assert_eq!(answer.header("accept-encoding"), Some("identity"), "{path} {coding}");
                assert!(answer.text().contains("Content-Encoding"), "{path} {coding}: {answer:?}");
            }
        }
        for plain in ["identity", "Identity", "", " , identity"] {
            let client = client.with("content-encoding", plain);
            assert_eq!(client.post(initialize("1", "2025-11-25")).await.status, 200, "{plain}");
        }
        let nothing = client.at("/account").with("content-encoding", "gzip").ask("GET", "").await;
        assert_ne!(nothing.status, 415, "there is no body: {nothing:?}");
    });
}
