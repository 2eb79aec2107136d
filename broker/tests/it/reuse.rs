//! Clients that open a session for each call, and the child that these share one after the other.

use serde_json::json;

use crate::{
    harness::{Harness, with_timeout},
    wire::Client,
};

const REUSE: &str = "server.main.reuse=true";

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
        let pid = async |session: &Client| {
            session.call("echo", json!({})).await.json()["result"]["pid"].clone()
        };
        let (first_pid, second_pid) = (pid(&first).await, pid(&second).await);
        assert_ne!(first_pid, second_pid, "they work side by side now");
        assert_eq!(first.delete().await.status, 204);
        assert_eq!(pid(&second).await, second_pid);
    });
}
