//! Clients that open a session for each call, and the child that these share one after the other.

use serde_json::{Value, json};

use crate::{
    harness::{Harness, is_alive, until_so, with_timeout},
    wire::{Client, initialize},
};

/// The default, which the harness turns off.
const REUSE: &str = "server.main.reuse=true";

/// What shows whose process answers.
async fn pid(session: &Client) -> Value {
    session.call("echo", json!({})).await.json()["result"]["pid"].clone()
}

/// Opens a session, has the list of tools and calls one; what is left is idle.
async fn visit(client: &Client, number: u32) -> Client {
    let session = client.open().await;
    let list = r#"{"jsonrpc":"2.0","id":"list","method":"tools/list"}"#;
    assert_eq!(session.post(list).await.json()["id"], "list");
    let answer = session.call("echo", json!({ "number": number })).await.json();
    assert_eq!(answer["result"]["arguments"], json!({ "number": number }), "{answer}");
    session
}

#[test]
fn a_hundred_sessions_one_after_the_other_start_two_children_at_most() {
    with_timeout(async {
        let harness = Harness::start(&[REUSE]).await;
        let first = visit(&harness.client, 0).await;
        for number in 1..100 {
            visit(&harness.client, number).await;
        }
        let children = harness.witness.children().len();
        assert!(children <= 2, "{children} children");
        let read = harness.witness.read();
        assert_eq!(read.matches("notifications/initialized").count(), children, "told once each");
        assert!(first.is_alive().await, "the first one only sleeps");
    });
}

#[test]
fn a_child_goes_to_no_session_that_it_could_tell_from_the_one_before() {
    with_timeout(async {
        let harness = Harness::with_tokens(&["ada", "bob"], &[REUSE]).await;
        let (ada, bob) = (harness.of("ada"), harness.of("bob"));
        visit(&ada, 0).await;
        visit(&bob, 0).await;
        assert_eq!(harness.witness.children().len(), 2, "another person has another child");
        let older = ada.open_as("2025-06-18").await;
        assert_eq!(harness.witness.children().len(), 3, "and so has another handshake");
        let level =
            r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"debug"}}"#;
        assert_eq!(older.post(level).await.status, 200);
        ada.open_as("2025-06-18").await;
        assert_eq!(harness.witness.children().len(), 4, "the level would have to be taken back");
        let listening = ada.open().await;
        assert_eq!(harness.witness.children().len(), 4, "the idle one is enough");
        let stream = listening.listen().await;
        ada.open().await;
        assert_eq!(harness.witness.children().len(), 5, "a client that listens keeps its child");
        drop(stream);
    });
}

#[test]
fn no_session_gets_the_child_of_another_where_the_operator_says_so_or_state_is_in_the_process() {
    with_timeout(async {
        for setting in ["server.main.reuse=false", "server.main.stateful=true"] {
            let harness = Harness::start(&[REUSE, setting]).await;
            visit(&harness.client, 0).await;
            visit(&harness.client, 1).await;
            assert_eq!(harness.witness.children().len(), 2, "{setting}");
        }
    });
}

#[test]
fn a_session_whose_child_was_handed_on_goes_on_with_another() {
    with_timeout(async {
        let harness = Harness::start(&[REUSE]).await;
        let first = visit(&harness.client, 0).await;
        let second = visit(&harness.client, 1).await;
        let (first_pid, second_pid) = (pid(&first).await, pid(&second).await);
        assert_ne!(first_pid, second_pid, "they work side by side now");
        assert_eq!(first.delete().await.status, 204);
        assert_eq!(pid(&second).await, second_pid);
    });
}

#[test]
fn a_hundred_sessions_that_their_clients_end_start_one_child() {
    with_timeout(async {
        let harness = Harness::start(&[REUSE]).await;
        for number in 0..100 {
            let session = visit(&harness.client, number).await;
            // Some SDKs end the session before their stream.
            let stream = if number % 2 == 0 { Some(session.listen().await) } else { None };
            assert_eq!(session.delete().await.status, 204);
            assert_eq!(session.delete().await.status, 404, "to its client it is gone");
            drop(stream);
        }
        assert_eq!(harness.witness.children().len(), 1);
        let deleted = r#"mcp_broker_reaped_total{reason="deleted"}"#;
        until_so("each is counted", async || harness.metric(deleted).await == 100).await;
        for state in ["live", "stopping"] {
            let sessions = format!(r#"mcp_broker_sessions{{server="main",state="{state}"}}"#);
            assert_eq!(harness.metric(&sessions).await, 0, "{state}");
        }
    });
}

#[test]
fn clients_that_never_confirm_the_handshake_share_a_child_too() {
    with_timeout(async {
        let harness = Harness::start(&[REUSE]).await;
        for number in 0..10 {
            let opened = harness.client.post(initialize("1", "2025-11-25")).await;
            let id = opened.header("mcp-session-id").expect("an id");
            let session = harness.client.with("mcp-session-id", id);
            assert_eq!(session.call("echo", json!({})).await.status, 200);
            if number % 2 == 0 {
                assert_eq!(session.delete().await.status, 204);
            }
        }
        assert_eq!(harness.witness.children().len(), 1);
    });
}

#[test]
fn the_child_of_a_session_that_its_client_ended_ends_when_no_other_session_comes() {
    with_timeout(async {
        for keep in ["session.keep_ended=200ms", "session.keep_ended=0s", "server.main.reuse=false"]
        {
            let harness = Harness::start(&[REUSE, keep]).await;
            let session = visit(&harness.client, 0).await;
            let child = harness.witness.child();
            assert_eq!(session.delete().await.status, 204);
            until_so(keep, async || !is_alive(child)).await;
            visit(&harness.client, 1).await;
            assert_eq!(harness.witness.children().len(), 2, "{keep}");
        }
    });
}

#[test]
fn a_session_whose_client_goes_on_calling_keeps_its_child_when_another_one_is_opened() {
    with_timeout(async {
        let harness = Harness::start(&[REUSE]).await;
        let stays = harness.client.open().await;
        let its_own = pid(&stays).await;
        assert_eq!(pid(&stays).await, its_own);
        let other = harness.client.open().await;
        assert_ne!(pid(&other).await, its_own);
        assert_eq!(pid(&stays).await, its_own, "whatever it remembers is there");
        // One whose child has gone to another session has come back for more than a call as well.
        let third = harness.client.open().await;
        assert_eq!(harness.witness.children().len(), 2, "that one had called once");
        let again = pid(&other).await;
        harness.client.open().await;
        assert_eq!(pid(&other).await, again);
        drop(third);
    });
}

#[test]
fn a_child_that_was_kept_makes_room_for_any_session() {
    with_timeout(async {
        let settings = [REUSE, "session.max=1", "session.keep_ended=1h"];
        let harness = Harness::with_tokens(&["ada", "bob"], &settings).await;
        let session = visit(&harness.of("ada"), 0).await;
        assert_eq!(session.delete().await.status, 204);
        visit(&harness.of("bob"), 0).await;
        assert_eq!(harness.witness.children().len(), 2, "never another person's");
    });
}
