//! The forge takes a token no more, and the child never had it.

use super::{
    super::{
        deployment::{Deployment, child},
        forge::ForgeOptions,
        standing::who,
    },
    by_hand::ByHand,
    given,
    raw_child::RawChild,
    recorder::Recorder,
    sessions, status,
};
use crate::{
    browser::Browser,
    harness::{OBLIGING, with_timeout},
    wire::PING,
};

async fn deployment() -> Deployment {
    Deployment::at_forge_by_egress(ForgeOptions::default(), "", "").await
}

#[test]
fn a_token_that_died_early_costs_no_call_and_no_child() {
    with_timeout(async {
        let deployment = deployment().await;
        let session = sessions(&deployment, &["ada"]).await.remove(0);
        let before = child(&session).await;
        assert_eq!(who(&session).await, (200, "ada".to_owned()));
        deployment.forge().state().forget_access_tokens();
        assert_eq!(who(&session).await, (200, "ada".to_owned()));
        assert_eq!(child(&session).await, before);
        assert_eq!(deployment.forge().counters().refreshes["ada"], 1);
    });
}

#[test]
fn a_grant_withdrawn_at_the_forge_is_a_challenge_at_the_call_behind_the_one_that_failed() {
    with_timeout(async {
        let deployment = deployment().await;
        let application = deployment.application("/mcp").await;
        let tokens = deployment.sign_in(&application, "ada").await;
        let session = application.with(&tokens).open().await;
        assert_eq!(who(&session).await, (200, "ada".to_owned()));
        deployment.forge().state().revoke(7, None);
        assert_eq!(who(&session).await.0, 200, "the server's own error");
        let (status, _) = who(&session).await;
        assert_eq!(status, 401);
        let again = deployment.sign_in(&application, "ada").await;
        let same = session.bearer(&again.access);
        assert_eq!(who(&same).await, (200, "ada".to_owned()), "the same session goes on");
    });
}

#[test]
fn an_upstream_that_repeats_the_token_of_an_earlier_request_tells_the_child_the_dummy() {
    with_timeout(async {
        let upstream = ByHand::start().await;
        let child = RawChild::of(&upstream.root()).await;
        let token = |head: &str| -> String {
            let (_, token) = head.split_once("authorization: Bearer ").expect("a token");
            token.lines().next().expect("a token").to_owned()
        };
        let ok = |text: &str| {
            let length = text.len();
            format!("HTTP/1.1 200 OK\r\nx-seen: {text}\r\ncontent-length: {length}\r\n\r\n{text}")
        };
        let fine = ok("fine");
        let (_, head) = tokio::join!(child.ask("GET /a", ""), upstream.answer(&fine));
        let first = token(&head);
        child.deployment.forge().state().forget_access_tokens();
        let (got, head) = tokio::join!(child.ask("GET /a", ""), async {
            upstream.answer("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").await;
            upstream.answer_to(|head| ok(&format!("{first} and {}", token(head)))).await
        });
        let (second, dummy) = (token(&head), &child.dummy);
        assert_ne!(first, second, "it was renewed");
        assert!(!got.contains(&first) && !got.contains(&second), "{got}");
        assert_eq!(got.matches(&format!("{dummy} and {dummy}")).count(), 2, "{got}");
    });
}

#[test]
fn a_token_that_the_user_gave_and_the_upstream_refused_twice_is_replaced_on_the_account_page() {
    with_timeout(async {
        let (recorder, uploads) = (Recorder::start().await, Recorder::start().await);
        let table = format!(
            "[server.notes]\ncommand = \"{OBLIGING}\"\nargs = [\"$W\"]\n\
             isolation.level = \"none\"\nupstream = \"user\"\n\
             env = {{ FORGE_URL = \"${{egress.base_url}}\", FORGE_TOKEN = \"${{egress.token}}\" }}\n\
             [server.notes.egress]\norigin = \"{}\"\n\
             [server.notes.egress.uploads]\norigin = \"{}\"\n",
            recorder.root(),
            uploads.root()
        );
        let deployment = Deployment::of(&["ada"], "", &table).await;
        let application = deployment.application("/notes/mcp").await;
        let mut browser = Browser::default();
        let tokens = deployment.sign_in_with(&mut browser, &application, "ada", &[]).await;
        let give = async |browser: &mut Browser, token| {
            let account = deployment.account_page(browser, "ada").await;
            let set = browser.press(&account, ("action", "set_token"), &[("token", token)]).await;
            assert!(set.answer.text().contains("token set"), "{}", set.seen());
        };
        give(&mut browser, "the-first-token").await;
        let session = application.with(&tokens).open().await;
        let (address, dummy) = given(&session).await;
        let bearer = format!("authorization: Bearer {dummy}\r\n");
        assert_eq!(status(&address, "/a", &bearer).await, 200);
        assert_eq!(recorder.requests().last().expect("it was asked").token(), "the-first-token");

        uploads.refuse("the-first-token");
        for _ in 0..2 {
            assert_eq!(status(&address, "/~uploads/a", &bearer).await, 401);
        }
        assert_eq!(status(&address, "/a", &bearer).await, 200, "it never took that token");

        recorder.refuse("the-first-token");
        assert_eq!(status(&address, "/a", &bearer).await, 401);
        assert_eq!(session.post(PING).await.status, 200, "one refusal may have another reason");
        assert_eq!(status(&address, "/b", &bearer).await, 401);
        let asked = recorder.requests().len();
        let refused = session.call("echo", serde_json::json!({})).await;
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(refused.text().contains("/account page, replace it"), "{}", refused.text());
        assert_eq!(refused.header("www-authenticate"), None, "no other sign-in helps");
        assert_eq!(recorder.requests().len(), asked);
        let account = deployment.account_page(&mut browser, "ada").await;
        assert!(account.answer.text().contains("no longer accepted"), "{}", account.seen());

        give(&mut browser, "the-second-token").await;
        let (address, dummy) = given(&session).await;
        let bearer = format!("authorization: Bearer {dummy}\r\n");
        assert_eq!(status(&address, "/a", &bearer).await, 200, "the same session goes on");
        assert_eq!(recorder.requests().last().expect("it was asked").token(), "the-second-token");
        let log = deployment.broker.log();
        assert!(!log.contains("-first-token") && !log.contains("-second-token"), "{log}");
    });
}
