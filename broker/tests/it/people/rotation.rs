//! A child's credential ends before its session does: another child takes its place.

use std::collections::BTreeSet;

use serde_json::json;
use tokio::time::{Duration, Instant};

use super::{
    deployment::{Deployment, child},
    forge::ForgeOptions,
};
use crate::{
    application::{Application, Tokens},
    browser::Browser,
    harness::{is_alive, until, until_so, with_timeout},
    wire::{Client, PING, call},
};

/// Ada's session at a forge whose tokens live this many seconds.
async fn at_work(access_ttl: i64) -> (Deployment, Application, Tokens, Client) {
    let deployment =
        Deployment::at_forge(ForgeOptions { access_ttl, ..ForgeOptions::default() }, "", "").await;
    let application = deployment.application("/mcp").await;
    let tokens = deployment.sign_in_with(&mut Browser::default(), &application, "ada", &[]).await;
    let session = application.with(&tokens).open().await;
    (deployment, application, tokens, session)
}

#[test]
fn no_call_fails_while_tokens_of_four_seconds_come_and_go() {
    with_timeout(async {
        let begun = Instant::now();
        let (_house, _, _, session) = at_work(4).await;
        let (mut calls, mut children) = (0, BTreeSet::new());
        while children.len() < 4 {
            let who = session.call("who", json!({})).await;
            assert_eq!(who.status, 200, "after {calls} calls: {who:?}");
            assert_eq!(who.json()["result"]["login"], "ada", "after {calls} calls: {who:?}");
            children.insert(child(&session).await);
            calls += 2;
        }
        // No token is renewed in the first half of its life.
        let took = begun.elapsed();
        assert!(took > Duration::from_secs(3), "four in {took:?}: they are replaced without need");
    });
}

#[test]
fn an_open_stream_does_not_keep_an_old_token_in_use() {
    with_timeout(async {
        let (_house, _, _, session) = at_work(4).await;
        let before = child(&session).await;
        let mut stream = session.listen().await;
        let replaced = async || child(&session).await != before;
        until_so("the child is replaced", replaced).await;
        while stream.event().await.is_some() {}
        until_so("the old one is gone", async || !is_alive(before)).await;
        session.listen().await;
    });
}

#[test]
fn a_client_that_only_listens_keeps_its_child_past_the_end_of_its_token() {
    with_timeout(async {
        let (deployment, _, _, session) = at_work(2).await;
        let before = child(&session).await;
        let children = deployment.place.witness.children().len();
        let begun = Instant::now();
        let ended = async || begun.elapsed() > Duration::from_millis(2100);
        let mut stream = session.listen().await;
        until_so("the token has ended", ended).await;
        drop(stream);
        stream = until("it listens again", async || {
            let mut stream = session.send("GET", "").await;
            (stream.head().await.status == 200).then_some(stream)
        })
        .await;
        let now = deployment.place.witness.children().len();
        assert_eq!(now, children, "a child was replaced while no call needed it");
        let replaced = async || child(&session).await != before;
        until_so("a call replaces it", replaced).await;
        while stream.event().await.is_some() {}
    });
}

#[test]
fn a_grant_taken_back_at_the_forge_is_a_401_with_a_challenge_and_the_child_is_gone() {
    with_timeout(async {
        let (deployment, _, _, session) = at_work(2).await;
        let before = child(&session).await;
        deployment.forge().state().revoke(7, None);
        until_so("the upstream is asked", async || session.post(PING).await.status == 401).await;
        let refused = session.post(PING).await;
        assert_eq!(refused.status, 401);
        let challenge = refused.header("www-authenticate").expect("a challenge");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        until_so("the child is gone", async || !is_alive(before)).await;
    });
}

#[test]
fn a_session_that_sleeps_is_shown_on_the_account_page_and_ended_there() {
    with_timeout(async {
        let idle = "session.idle = \"200ms\"\nsession.reap_interval = \"20ms\"";
        let deployment = Deployment::of(&["ada"], idle, "").await;
        let application = deployment.application("/mcp").await;
        let mut browser = Browser::default();
        let tokens = deployment.sign_in_with(&mut browser, &application, "ada", &[]).await;
        let session = application.with(&tokens).open().await;
        let account = until("the page says that it sleeps", async || {
            let account = deployment.account_page(&mut browser, "ada").await;
            account.answer.text().contains("asleep").then_some(account)
        })
        .await;
        let children = deployment.place.witness.children().len();
        let ended = browser.press(&account, ("action", "end"), &[]).await;
        assert!(ended.answer.text().contains("The session has ended."), "{}", ended.seen());
        assert_eq!(session.post(PING).await.status, 404);
        assert_eq!(deployment.place.witness.children().len(), children, "nothing woke for it");
    });
}

#[test]
fn a_revoked_grant_takes_a_session_that_sleeps_along() {
    with_timeout(async {
        let idle = "session.idle = \"200ms\"\nsession.reap_interval = \"20ms\"";
        let deployment = Deployment::of(&["ada"], idle, "").await;
        let application = deployment.application("/mcp").await;
        let tokens =
            deployment.sign_in_with(&mut Browser::default(), &application, "ada", &[]).await;
        let session = application.with(&tokens).open().await;
        deployment.place.witness.all_gone().await;
        assert_eq!(application.revoke(&tokens.refresh).await.status, 200);
        let kept = async || {
            let (code, out, told) = deployment.place.run(&["session", "list", "--json"]).await;
            assert_eq!(code, 0, "{told}");
            out.trim() != "[]"
        };
        until_so("its record is gone", async || !kept().await).await;
        assert_eq!(session.post(PING).await.status, 401);
    });
}

#[test]
fn an_answer_that_was_not_fetched_yet_survives_that_its_child_is_replaced() {
    with_timeout(async {
        let options = ForgeOptions { access_ttl: 4, ..ForgeOptions::default() };
        let deployment = Deployment::at_forge(options, "stream.after = \"50ms\"", "").await;
        let application = deployment.application("/mcp").await;
        let tokens = deployment.sign_in(&application, "ada").await;
        let session = application.with(&tokens).open().await;
        let before = child(&session).await;
        let mut cut_off = session.send("POST", call("7", "wait", &json!({}))).await;
        cut_off.head().await;
        let last = until("an event to come back to", async || cut_off.event().await?.id).await;
        drop(cut_off);
        deployment.place.witness.release();
        let replaced = async || child(&session).await != before;
        until_so("the child is replaced", replaced).await;
        let mut resumed = session.with("last-event-id", &last).send("GET", "").await;
        resumed.head().await;
        let (_, answer) = resumed.message().await.expect("the answer");
        assert_eq!((&answer["id"], &answer["result"]["waited"]), (&json!(7), &json!(true)));
    });
}
