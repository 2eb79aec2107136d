//! A server for which every user keeps a token of the own.

use serde_json::json;

use super::deployment::{Deployment, environment};
use crate::{
    browser::{Browser, body},
    harness::{OBLIGING, with_timeout},
    wire::{PING, initialize},
};

const TOKEN: &str = "token-from-elsewhere-5d2c";

async fn deployment() -> Deployment {
    let table = format!(
        "[server.notes]\ncommand = \"{OBLIGING}\"\nargs = [\"$W\"]\nisolation.level = \"none\"\nupstream = \"user\"\n\
         title = \"Ada's notes\"\nenv = {{ NOTES_TOKEN = \"${{upstream.access_token}}\" }}\n"
    );
    Deployment::of(&["ada", "bob"], "", &table).await
}

#[test]
fn a_token_set_on_the_account_page_reaches_the_next_child_and_nothing_else() {
    with_timeout(async {
        let deployment = deployment().await;
        let application = deployment.application("/notes/mcp").await;
        let mut browser = Browser::default();
        let tokens = deployment.sign_in_with(&mut browser, &application, "ada", &[]).await;
        let client = application.with(&tokens);
        let refused = client.post(initialize("1", "2025-11-25")).await;
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(refused.text().contains("/account"), "it says where: {}", refused.text());
        assert_eq!(refused.header("www-authenticate"), None, "no other sign-in helps");

        let account = deployment.account_page(&mut browser, "ada").await;
        assert!(account.answer.text().contains("no token"), "{}", account.seen());
        let set = browser.press(&account, ("action", "set_token"), &[("token", TOKEN)]).await;
        assert_eq!(set.answer.status, 200, "{}", set.seen());
        assert!(set.answer.text().contains("token set"), "{}", set.seen());
        let session = client.open().await;
        assert_eq!(environment(&session).await["NOTES_TOKEN"], TOKEN);

        let account = deployment.account_page(&mut browser, "ada").await;
        for page in [&account, &set] {
            assert!(!page.answer.text().contains(TOKEN), "never shown again: {}", page.seen());
        }
        let bob = deployment.sign_in(&application, "bob").await;
        let bobs = application.with(&bob).post(initialize("1", "2025-11-25")).await;
        assert_eq!(bobs.status, 403, "it is hers alone");

        let gone = browser.press(&account, ("action", "remove_token"), &[]).await;
        assert!(gone.answer.text().contains("no token"), "{}", gone.seen());
        assert_eq!(client.post(initialize("1", "2025-11-25")).await.status, 403);
        let refused = session.post(PING).await;
        assert_eq!(refused.status, 403, "what ran with it was put to sleep: {refused:?}");
        assert!(refused.text().contains("/account"), "it says where: {}", refused.text());
        assert!(!deployment.broker.log().contains(TOKEN));
    });
}

#[test]
fn a_forged_form_sets_no_token() {
    with_timeout(async {
        let deployment = deployment().await;
        let application = deployment.application("/notes/mcp").await;
        let mut browser = Browser::default();
        let tokens = deployment.sign_in_with(&mut browser, &application, "ada", &[]).await;
        let account = deployment.account_page(&mut browser, "ada").await;
        let csrf = account.form("action", "set_token").hidden("csrf").to_owned();
        let form = |csrf: &str| {
            let fields = [("csrf", csrf), ("server", "notes"), ("token", TOKEN)];
            body(&fields) + "&action=set_token"
        };
        let mut bobs = Browser::default();
        let bobs_page = deployment.account_page(&mut bobs, "bob").await;
        let bobs_csrf = bobs_page.form("action", "set_token").hidden("csrf").to_owned();
        let url = account.url.clone();
        for (why, site, origin, csrf) in [
            ("no token", "same-origin", Some("null"), ""),
            ("somebody else's token", "same-origin", Some("null"), bobs_csrf.as_str()),
            ("another site", "cross-site", Some("https://evil.example.com"), csrf.as_str()),
            ("another site that hides", "cross-site", Some("null"), csrf.as_str()),
            ("a neighbour", "same-site", Some("null"), csrf.as_str()),
        ] {
            let sent = form(csrf);
            let answer = browser.request("POST", &url, site, origin, &sent).await;
            assert_eq!(answer.status, 403, "{why}: {answer:?}");
        }
        // An older browser that says nothing about where it comes from but "null".
        let old = browser.client(&url).with("origin", "null");
        let old = old.with("content-type", "application/x-www-form-urlencoded");
        assert_eq!(old.post(form(&csrf)).await.status, 403, "null alone proves nothing");
        let account = deployment.account_page(&mut browser, "ada").await;
        assert!(account.answer.text().contains("no token"), "{}", account.seen());

        let answer = browser.request("POST", &url, "same-origin", Some("null"), &form(&csrf)).await;
        assert_eq!(answer.status, 200, "and the real one works: {answer:?}");
        let session = application.with(&tokens).open().await;
        assert_eq!(environment(&session).await["NOTES_TOKEN"], json!(TOKEN));
    });
}
