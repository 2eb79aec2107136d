//! Every page that a person can come to, with its headers.

use url::Url;

use super::{deployment::Deployment, forge::ForgeOptions};
use crate::{
    browser::{Browser, Page},
    harness::with_timeout,
};

/// What every page carries (O17 of `docs/THREATS.md`), whatever its status.
const HEADERS: [(&str, &str); 6] = [
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "no-store"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; \
         frame-ancestors 'none'",
    ),
];

/// Asserts that a page has all of them, once.
pub(crate) fn assert_headers(page: &Page) {
    for (name, value) in HEADERS {
        let found: Vec<_> =
            page.answer.headers.iter().filter(|(own, _)| own == name).map(|(_, v)| v).collect();
        assert_eq!(found, [value], "{name} of {}", page.seen());
    }
    assert_eq!(page.answer.header("access-control-allow-origin"), None, "{}", page.seen());
    let text = page.answer.text();
    for no in ["<script", "javascript:", " onclick", "style=\""] {
        assert!(!text.contains(no), "{no} in {}", page.seen());
    }
}

/// A deployment with two ways to sign in, and somebody who went everywhere.
async fn walk(deployment: &Deployment) -> Browser {
    let application = deployment.application("/mcp").await;
    let mut browser = Browser::default();
    let root = deployment.root();
    browser.open(&format!("{root}/")).await;

    let link = deployment.setup.clone().expect("a link");
    let form = browser.open(&link).await;
    let fields = |again| [("name", "ada"), ("password", "ada-password"), ("again", again)];
    let form = browser.press(&form, ("name", ""), &fields("something else")).await;
    assert_eq!(form.answer.status, 422, "{}", form.seen());
    browser.press(&form, ("name", ""), &fields("ada-password")).await;
    browser.open(&link).await;

    for bad in [
        format!("{root}/oauth/authorize"),
        format!("{root}/oauth/authorize?client_id=nobody"),
        application.question(&[]).replace("back", "elsewhere"),
        format!("{root}/login?t=unknown"),
        format!("{root}/callback/forgejo?state=unknown&code=x"),
        format!("{root}/callback/nobody?state=unknown&code=x"),
    ] {
        let page = browser.open(&bad).await;
        assert_eq!(page.answer.status, 400, "{}", page.seen());
    }

    // The application's server needs the forge; the broker's own pages offer both.
    let choice = browser.open(&format!("{root}/account")).await;
    let form = browser.press(&choice, ("provider", "local"), &[]).await;
    let wrong = [("name", "ada"), ("password", "wrong")];
    let mut page = form;
    while page.answer.status != 429 {
        page = browser.press(&page, ("step", "finish"), &wrong).await;
        assert!([401, 429].contains(&page.answer.status), "{}", page.seen());
    }
    let stolen = Browser::default().open(page.url.as_str()).await;
    browser.history.push(stolen);
    let consent = browser.open(&application.question(&[])).await;
    let begin = browser.press(&consent, ("choice", "approve"), &[]).await;
    let back = deployment.credentials(&mut browser, &begin, "ada").await;
    deployment.credentials(&mut browser, &back, "ada").await;

    let mut account = browser.open(&format!("{root}/account")).await;
    assert_eq!(account.answer.status, 200, "{}", account.seen());
    account = browser.press(&account, ("action", "disconnect"), &[]).await;
    for path in ["/consent", "/login", "/account", "/login/setup"] {
        let url = Url::parse(&format!("{root}{path}")).expect("an address");
        let forged = browser.request("POST", &url, "cross-site", None, "t=x&csrf=x").await;
        assert!(forged.status >= 400, "{path}: {forged:?}");
        browser.history.push(Page { url, answer: forged });
    }
    browser.press(&account, ("action", "sign_out"), &[]).await;
    browser
}

async fn deployment() -> Deployment {
    let top = "auth.identity = [\"local\", \"forgejo\"]";
    Deployment::at_forge(ForgeOptions::default(), top, "").await
}

#[test]
fn every_page_has_every_header_and_no_script() {
    with_timeout(async {
        let deployment = deployment().await;
        let browser = walk(&deployment).await;
        let root = deployment.root();
        let of_broker = |page: &&Page| page.url.as_str().starts_with(&root);
        let is_html = |page: &&Page| {
            page.answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html"))
        };
        let pages: Vec<_> = browser.history.iter().filter(of_broker).filter(is_html).collect();
        let mut statuses: Vec<_> = pages.iter().map(|page| page.answer.status).collect();
        pages.iter().for_each(|page| assert_headers(page));
        statuses.sort_unstable();
        statuses.dedup();
        assert_eq!(statuses, [200, 400, 401, 403, 410, 422, 429], "all kinds of pages were seen");
        assert!(pages.len() > 20, "{}", pages.len());
        // Whatever a person can be shown is a page: nobody gets bare JSON.
        for page in browser.history.iter().filter(of_broker) {
            let redirects = page.answer.header("location").is_some();
            assert!(redirects || is_html(&page), "{}", page.seen());
        }
    });
}

#[test]
fn whatever_redirects_does_it_with_303_and_keeps_to_itself() {
    with_timeout(async {
        let deployment = deployment().await;
        let browser = walk(&deployment).await;
        let root = deployment.root();
        let redirects: Vec<_> = browser
            .history
            .iter()
            .filter(|page| page.url.as_str().starts_with(&root))
            .filter(|page| page.answer.header("location").is_some())
            .collect();
        assert!(redirects.len() >= 4, "{}", redirects.len());
        for page in redirects {
            assert_eq!(page.answer.status, 303, "{}", page.seen());
            assert_eq!(page.answer.header("cache-control"), Some("no-store"), "{}", page.seen());
            assert_eq!(page.answer.header("referrer-policy"), Some("no-referrer"));
            let location = page.answer.header("location").unwrap();
            assert!(!location.contains("password"), "{location}");
        }
    });
}

#[test]
fn every_cookie_is_out_of_reach_of_scripts_and_of_other_sites() {
    with_timeout(async {
        let deployment = deployment().await;
        let browser = walk(&deployment).await;
        let root = deployment.root();
        let own = browser.history.iter().filter(|page| page.url.as_str().starts_with(&root));
        let cookies = own.flat_map(|page| &page.answer.headers);
        let cookies: Vec<_> = cookies.filter(|(name, _)| name == "set-cookie").collect();
        assert!(cookies.len() > 4, "{cookies:?}");
        for (_, line) in cookies {
            for part in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Max-Age="] {
                assert!(line.contains(part), "{part} in {line}");
            }
            assert!(!line.contains("Domain"), "{line}");
        }
    });
}
