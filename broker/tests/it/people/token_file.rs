//! A child that reads its user's token from a file keeps running when the token is renewed.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::PathBuf};

use serde_json::json;
use tokio::time::{Duration, Instant};

use super::{
    deployment::{Deployment, child, environment},
    forge::ForgeOptions,
};
use crate::{
    application::{Application, Tokens},
    browser::Browser,
    harness::{is_alive, until_so, with_timeout},
    wire::{Client, call},
};

/// Ada's session with a server that has her token in a file.
async fn at_work(access_ttl: i64, more: &str) -> (Deployment, Application, Tokens, Client) {
    let deployment =
        Deployment::at_forge_by_file(ForgeOptions { access_ttl, ..ForgeOptions::default() }, more)
            .await;
    let application = deployment.application("/mcp").await;
    let tokens = deployment.sign_in_with(&mut Browser::default(), &application, "ada", &[]).await;
    let session = application.with(&tokens).open().await;
    (deployment, application, tokens, session)
}

async fn file_of(session: &Client) -> PathBuf {
    let environment = environment(session).await;
    assert_eq!(environment["FORGE_TOKEN"], json!(null), "the token is in the file alone");
    environment["FORGE_TOKEN_FILE"].as_str().expect("its path").into()
}

#[test]
fn one_child_serves_while_tokens_of_four_seconds_come_and_go() {
    with_timeout(async {
        let begun = Instant::now();
        let (deployment, _, _, session) = at_work(4, "").await;
        let file = file_of(&session).await;
        let mode = fs::metadata(&file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (mut calls, mut children, mut tokens) = (0, BTreeSet::new(), BTreeSet::new());
        while tokens.len() < 4 {
            let who = session.call("who", json!({})).await;
            assert_eq!(who.status, 200, "after {calls} calls: {who:?}");
            assert_eq!(who.json()["result"]["login"], "ada", "after {calls} calls: {who:?}");
            children.insert(child(&session).await);
            tokens.insert(fs::read_to_string(&file).expect("it is there"));
            calls += 2;
        }
        assert_eq!(children.len(), 1, "a child was replaced");
        // None is renewed in the first half of its life.
        let took = begun.elapsed();
        assert!(took > Duration::from_secs(3), "four in {took:?}: they are renewed without need");
        session.delete().await;
        deployment.place.witness.all_gone().await;
        until_so("nothing of the token is left", async || !file.exists()).await;
    });
}

#[test]
fn a_long_call_gets_the_renewed_token_too() {
    with_timeout(async {
        let (deployment, _, _, session) = at_work(4, "").await;
        let file = file_of(&session).await;
        let mut waiting = session.send("POST", call("1", "wait", &json!({}))).await;
        for _ in 0..2 {
            let token = fs::read_to_string(&file).expect("it is there");
            let renewed = async || fs::read_to_string(&file).is_ok_and(|now| now != token);
            until_so("nobody calls, and the token is renewed", renewed).await;
        }
        deployment.place.witness.release();
        assert!(waiting.answer().await.text().contains("waited"));
    });
}

#[test]
fn a_token_of_the_users_own_replaces_the_one_in_the_file() {
    with_timeout(async {
        let more = "upstream = \"user\"\n";
        let deployment = Deployment::at_forge_by_file(ForgeOptions::default(), more).await;
        let application = deployment.application("/mcp").await;
        let mut browser = Browser::default();
        let tokens = deployment.sign_in_with(&mut browser, &application, "ada", &[]).await;
        let mut account = deployment.account_page(&mut browser, "ada").await;
        let set = ("action", "set_token");
        account = browser.press(&account, set, &[("token", "the-first-of-adas-own")]).await;
        let session = application.with(&tokens).open().await;
        let (file, before) = (file_of(&session).await, child(&session).await);
        let says = |token: &str| fs::read_to_string(&file).is_ok_and(|now| now == token);
        assert!(says("the-first-of-adas-own"));
        account = browser.press(&account, set, &[("token", "the-second-of-adas-own")]).await;
        assert!(account.answer.text().contains("Sessions use it from now on."));
        until_so("it is in the file", async || says("the-second-of-adas-own")).await;
        assert_eq!(child(&session).await, before);
        browser.press(&account, ("action", "remove_token"), &[]).await;
        until_so("the child is gone, and its file", async || !is_alive(before) && !file.exists())
            .await;
    });
}

#[test]
fn a_child_is_sent_the_signal_it_wants() {
    with_timeout(async {
        let (deployment, _, _, session) = at_work(4, "token_signal = \"SIGUSR1\"\n").await;
        let before = child(&session).await;
        // This one does not expect it: it ends, with whatever it does at that moment.
        let calling = async || session.call("echo", json!({})).await;
        until_so("it ends", async || calling().await.status == 200 && !is_alive(before)).await;
        // The line follows once the broker has reaped it, which may be after the process is gone.
        let logged = async || deployment.broker.log().contains("signal 10 (SIGUSR1)");
        until_so("the log says by which signal", logged).await;
    });
}
