//! What a token is for: which server, and what there.

use super::deployment::Deployment;
use crate::{
    application::{Application, Tokens, refusal},
    browser::Browser,
    harness::{OBLIGING, with_timeout},
    wire::{PING, initialize},
};

async fn deployment() -> Deployment {
    let server = |name: &str, more: &str| {
        format!(
            "[server.{name}]\ncommand = \"{OBLIGING}\"\nargs = [\"$W\"]\n\
             isolation.level = \"none\"\n{more}\n"
        )
    };
    let tables = server("notes", "scope = \"notes\"") + &server("plain", "");
    Deployment::of(&["ada"], "", &tables).await
}

#[test]
fn a_token_without_the_servers_scope_is_told_which_and_a_step_up_gives_it() {
    with_timeout(async {
        let deployment = deployment().await;
        let application = deployment.application("/notes/mcp").await;
        let mut browser = Browser::default();
        // A client that asks for what it knows from elsewhere.
        let asked = [("scope", "mcp")];
        let small = deployment.sign_in_with(&mut browser, &application, "ada", &asked).await;
        assert_eq!(small.scope, "mcp");
        let refused = application.with(&small).post(initialize("1", "2025-11-25")).await;
        assert_eq!(refused.status, 403, "{refused:?}");
        let challenge = refused.header("www-authenticate").expect("a challenge");
        let metadata =
            format!("{}/.well-known/oauth-protected-resource/notes/mcp", deployment.root());
        let expected = format!(
            "Bearer error=\"insufficient_scope\", scope=\"notes\", resource_metadata=\"{metadata}\""
        );
        assert_eq!(challenge, expected);

        let asked = [("scope", "mcp notes")];
        let question = browser.open(&application.question(&asked)).await;
        assert!(question.answer.text().contains("notes"), "{}", question.seen());
        let page = deployment.approve(&mut browser, &question, "ada").await;
        let enough = Tokens::of(&application.redeem(&page.code()).await);
        assert_eq!(enough.scope, "mcp notes");
        application.with(&enough).open().await;
        // And whoever asks for nothing in particular gets what the server needs.
        let plain = deployment.sign_in_with(&mut browser, &application, "ada", &[]).await;
        application.with(&plain).open().await;
    });
}

#[test]
fn a_refresh_may_ask_for_less_and_not_for_more() {
    with_timeout(async {
        let deployment = deployment().await;
        let application = deployment.application("/notes/mcp").await;
        let tokens = deployment.sign_in(&application, "ada").await;
        let asked = |scope| {
            let fields =
                [("grant_type", "refresh_token"), ("refresh_token", &*tokens.refresh), scope];
            let application = application.clone();
            async move { application.ask("token_endpoint", &fields).await }
        };
        assert_eq!(refusal(&asked(("scope", "notes mcp")).await).1, "invalid_scope");
        assert_eq!(Tokens::of(&asked(("scope", "notes")).await).scope, "notes");
    });
}

#[test]
fn a_token_for_one_server_opens_no_other() {
    with_timeout(async {
        let deployment = deployment().await;
        let application = deployment.application("/plain/mcp").await;
        let tokens = deployment.sign_in(&application, "ada").await;
        application.with(&tokens).open().await;
        for path in ["/mcp", "/main/mcp", "/notes/mcp"] {
            let refused = application.with(&tokens).at(path).post(PING).await;
            assert_eq!(refused.status, 401, "{path}: {refused:?}");
            let challenge = refused.header("www-authenticate").expect("a challenge");
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
            let own = format!("/.well-known/oauth-protected-resource{path}\"");
            assert!(challenge.contains(&own), "{path}: {challenge}");
        }
        for other in [tokens.refresh.as_str(), "gta_of-the-forge", "e30.e30.e30"] {
            let refused = application.server.bearer(other).post(PING).await;
            assert_eq!(refused.status, 401, "{other}");
        }
    });
}

#[test]
fn a_resource_that_is_none_of_ours_goes_back_to_the_application_as_an_error() {
    with_timeout(async {
        let deployment = deployment().await;
        let application = deployment.application("/notes/mcp").await;
        let other = format!("{}/other/mcp", deployment.root());
        let wrong = Application { resource: other, ..application.clone() };
        let page = Browser::default().open(&wrong.question(&[])).await;
        assert_eq!(page.query("error").as_deref(), Some("invalid_target"), "{}", page.seen());
        assert_eq!(page.query("iss"), Some(deployment.root()));
        let capital = Application {
            resource: application.resource.replace("http:", "HTTP:"),
            ..application.clone()
        };
        let page = Browser::default().open(&capital.question(&[])).await;
        assert!(page.has_form("choice", "approve"), "scheme and host have no case");
    });
}
