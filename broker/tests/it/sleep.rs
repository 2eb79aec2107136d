//! Sessions that outlive their process: they sleep, crash, and survive the broker itself.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use sqlx::{Executor, Row, SqliteConnection, query};

use crate::{
    harness::{Harness, is_alive, metric, until_so, with_timeout},
    program::Place,
    store_harness::stranger,
    wire::{Client, PING, call},
};

/// A client that a busy machine keeps from its next request for so long finds its session asleep.
const IDLE: [&str; 2] = ["session.idle=1s", "session.reap_interval=20ms"];

const ASLEEP: &str = "mcp_broker_sessions{server=\"main\",state=\"asleep\"}";

/// Which process answers.
async fn pid(session: &Client) -> u64 {
    let answer = session.call("echo", Value::Null).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["result"]["pid"].as_u64().unwrap_or_else(|| panic!("no process: {answer:?}"))
}

fn kill(pid: u64) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, Signal::KILL).expect("it is there");
}

/// The same session at a broker that was started anew.
fn moved(session: &Client, to: &Client) -> Client {
    to.with("mcp-session-id", session.session())
}

#[test]
fn an_idle_session_sleeps_and_the_next_call_wakes_it_under_the_same_id() {
    with_timeout(async {
        let harness = Harness::start(&IDLE).await;
        let session = harness.client.open().await;
        let before = pid(&session).await;
        harness.witness.all_gone().await;
        let after = pid(&session).await;
        assert_ne!(before, after);
        let told = harness.witness.read();
        // There are more than two where the machine kept this client waiting.
        let children = harness.witness.children().len();
        assert_eq!(told.matches("notifications/initialized").count(), children, "{told}");
    });
}

#[test]
fn a_stateful_session_ends_when_it_is_idle() {
    with_timeout(async {
        let harness = Harness::start(&[IDLE[0], IDLE[1], "server.main.stateful=true"]).await;
        let session = harness.client.open().await;
        harness.witness.all_gone().await;
        assert_eq!(session.post(PING).await.error(), (404, -32001, json!("ping")));
        assert_eq!(session.ask("GET", "").await.status, 404);
        assert_eq!(harness.witness.children().len(), 1);
    });
}

#[test]
fn a_stateful_session_ends_with_its_child() {
    with_timeout(async {
        let harness = Harness::start(&["server.main.stateful=true"]).await;
        let session = harness.client.open().await;
        kill(pid(&session).await);
        harness.witness.all_gone().await;
        until_so("it is over", async || session.post(PING).await.status == 404).await;
        assert_eq!(harness.witness.children().len(), 1);
    });
}

#[test]
fn a_killed_child_is_replaced_and_no_call_after_it_fails() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let before = pid(&session).await;
        kill(before);
        until_so("it is dead", async || !is_alive(before.try_into().expect("a pid"))).await;
        assert_ne!(pid(&session).await, before);
        assert_eq!(harness.witness.children().len(), 2);
    });
}

#[test]
fn calls_that_arrive_together_while_it_sleeps_wait_for_one_wake() {
    with_timeout(async {
        let harness = Harness::start(&IDLE).await;
        let session = harness.client.open().await;
        let before = pid(&session).await;
        harness.witness.all_gone().await;
        let (a, b, c) = tokio::join!(pid(&session), pid(&session), pid(&session));
        assert!(a != before && a == b && b == c, "{before} {a} {b} {c}");
    });
}

#[test]
fn a_session_that_sleeps_can_be_deleted_and_is_gone() {
    with_timeout(async {
        let harness =
            Harness::start(&[IDLE[0], IDLE[1], "server.other.command=/nonexistent"]).await;
        let session = harness.client.open().await;
        harness.witness.all_gone().await;
        let children = harness.witness.children().len();
        let elsewhere = session.at("/other/mcp");
        assert_eq!(elsewhere.delete().await.status, 404, "another server's id");
        assert_eq!(elsewhere.post(PING).await.status, 404);
        assert_eq!(session.delete().await.status, 204);
        assert_eq!(session.delete().await.status, 404);
        assert_eq!(session.post(PING).await.status, 404);
        assert_eq!(harness.witness.children().len(), children, "nothing woke for it");
    });
}

#[test]
fn an_operator_sees_which_sessions_sleep_and_ends_them() {
    with_timeout(async {
        let place = Place::new();
        let args = ["--set", IDLE[0], "--set", IDLE[1]];
        let broker = place.serve(&args).await;
        let session = broker.client.open().await;
        place.witness.all_gone().await;
        let asleep = async || metric(&broker.client, ASLEEP).await;
        until_so("it is asleep", async || asleep().await == 1).await;
        assert!(session.is_alive().await);
        let wakes = "mcp_broker_wakes_total{reason=\"idle\"}";
        assert_eq!(metric(&broker.client, wakes).await, 1);
        place.witness.all_gone().await;
        let line = async || place.run(&["session", "list"]).await.1;
        until_so("the list says so", async || line().await.contains("  asleep (idle)  ")).await;
        let (code, listed, _) = place.run(&["session", "list", "--json"]).await;
        assert_eq!(code, 0);
        let listed: Value = serde_json::from_str(&listed).expect("JSON");
        assert_eq!((&listed[0]["kind"], &listed[1]), (&json!("main"), &Value::Null), "{listed}");
        let (code, _, told) =
            place.run(&["session", "kill", listed[0]["key"].as_str().unwrap()]).await;
        assert_eq!(code, 0, "{told}");
        assert_eq!(session.post(PING).await.status, 404);
        until_so("it is no longer counted", async || asleep().await == 0).await;
    });
}

#[test]
fn an_operator_ends_a_session_in_the_middle_of_a_call_and_its_child_is_gone() {
    with_timeout(async {
        let place = Place::new();
        let broker = place.serve(&[]).await;
        let session = broker.client.open().await;
        let other = broker.client.open().await;
        let child = pid(&session).await;
        let (_, listed, _) = place.run(&["session", "list", "--json"]).await;
        let listed: Value = serde_json::from_str(&listed).expect("JSON");
        let listed = listed.as_array().expect("a list");
        assert_eq!(listed.len(), 2);
        assert!(listed.iter().all(|each| each["state"] == "awake"), "{listed:?}");
        let id: session::SessionId = session.session().parse().expect("an id");
        let mut calling = session.send("POST", call("9", "hang", &json!({}))).await;
        until_so("it calls", async || place.witness.read().contains("hang")).await;
        let key = id.key().short().to_string();
        let (code, said, told) = place.run(&["session", "kill", &key]).await;
        assert_eq!((code, said.contains("ended")), (0, true), "{said}{told}");
        let cut_off = calling.answer().await;
        assert!(cut_off.text().contains("-32603"), "{cut_off:?}");
        assert_eq!(session.post(PING).await.status, 404);
        until_so("its child is gone", async || !is_alive(child.try_into().expect("a pid"))).await;
        assert!(other.is_alive().await, "it was another one");
    });
}

#[test]
fn at_the_cap_on_sessions_the_one_asleep_longest_makes_room() {
    with_timeout(async {
        let cap = "session.max_records_per_owner=2";
        let harness = Harness::start(&[IDLE[0], IDLE[1], cap]).await;
        let first = harness.client.open().await;
        harness.witness.all_gone().await;
        let second = harness.client.open().await;
        let third = harness.client.open().await;
        assert_eq!(first.post(PING).await.status, 404);
        assert!(second.is_alive().await && third.is_alive().await);
    });
}

#[test]
fn a_store_that_does_not_answer_is_a_wait_and_never_a_lost_session() {
    with_timeout(async {
        let place = Place::new();
        let broker = place.serve(&["--set", IDLE[0], "--set", IDLE[1]]).await;
        let session = broker.client.open().await;
        place.witness.all_gone().await;
        let asleep = async || metric(&broker.client, ASLEEP).await == 1;
        until_so("it is asleep", asleep).await;
        let mut stranger = stranger(&place.path().join("data")).await;
        stranger.execute("ALTER TABLE sessions RENAME TO aside").await.unwrap();
        let refused = session.post(PING).await;
        assert_eq!(refused.error(), (503, -32000, json!("ping")));
        refused.assert_retry();
        assert_eq!(session.delete().await.status, 503, "nothing is confirmed that was not done");
        stranger.execute("ALTER TABLE aside RENAME TO sessions").await.unwrap();
        assert!(session.is_alive().await);
    });
}

#[test]
fn a_session_written_by_a_newer_broker_is_503_and_works_again_after_the_rollback() {
    with_timeout(async {
        let place = Place::new();
        let broker = place.serve(&["--set", IDLE[0], "--set", IDLE[1]]).await;
        let session = broker.client.open().await;
        place.witness.all_gone().await;
        let asleep = async || metric(&broker.client, ASLEEP).await == 1;
        until_so("it is asleep", asleep).await;
        let mut stranger = stranger(&place.path().join("data")).await;
        let read = async |db: &mut SqliteConnection| -> Vec<u8> {
            query("SELECT snapshot FROM sessions").fetch_one(db).await.unwrap().get("snapshot")
        };
        let write = async |db: &mut SqliteConnection, snapshot: &[u8]| {
            let written = query("UPDATE sessions SET snapshot = $1").bind(snapshot).execute(db);
            assert_eq!(written.await.unwrap().rows_affected(), 1);
        };
        let before = read(&mut stranger).await;
        let newer = br#"{"v":1000,"of":"a version to come"}"#;
        write(&mut stranger, newer).await;
        // More often than a failing server is tried before wakes pause.
        for _ in 0..6 {
            let refused = session.post(PING).await;
            assert_eq!(refused.error(), (503, -32000, json!("ping")));
            assert!(refused.text().contains("newer version of the broker"), "{refused:?}");
            refused.assert_retry();
        }
        assert!(broker.log().contains("a newer version of the broker"), "{}", broker.log());
        assert_eq!(read(&mut stranger).await, newer, "it was not touched");
        assert_eq!(place.witness.children().len(), 1, "nothing was started for it");
        write(&mut stranger, &before).await;
        assert!(session.is_alive().await);
    });
}

#[test]
fn a_stranger_is_refused_and_wakes_nothing() {
    with_timeout(async {
        let harness = Harness::with_tokens(&["ada", "bob"], &IDLE).await;
        let ada = harness.of("ada").open().await;
        harness.witness.all_gone().await;
        let children = harness.witness.children().len();
        let bob = harness.of("bob").with("mcp-session-id", ada.session());
        assert_eq!(bob.post(PING).await.status, 403);
        assert_eq!(bob.ask("GET", "").await.status, 403);
        assert_eq!(bob.delete().await.status, 403);
        assert_eq!(harness.witness.children().len(), children);
        assert!(ada.is_alive().await);
    });
}

#[test]
fn a_session_survives_that_the_broker_is_stopped_and_started() {
    with_timeout(async {
        let place = Place::new();
        let mut broker = place.serve(&[]).await;
        let session = broker.client.open().await;
        let before = pid(&session).await;
        broker.signal(Signal::TERM);
        assert_eq!(broker.ends().await, Some(0), "{}", broker.log());
        place.witness.all_gone().await;
        let again = place.serve(&[]).await;
        assert_ne!(pid(&moved(&session, &again.client)).await, before);
    });
}

#[test]
fn a_session_survives_that_the_broker_is_killed() {
    with_timeout(async {
        let place = Place::new();
        let mut broker = place.serve(&[]).await;
        let session = broker.client.open().await;
        let before = pid(&session).await;
        broker.signal(Signal::KILL);
        broker.ends().await;
        let again = place.serve(&[]).await;
        let listed = place.run(&["session", "list"]).await.1;
        assert!(listed.contains("  asleep (shutdown)  "), "{listed}");
        assert_ne!(pid(&moved(&session, &again.client)).await, before);
        let wakes = "mcp_broker_wakes_total{reason=\"restart\"}";
        assert_eq!(metric(&again.client, wakes).await, 1);
    });
}

#[test]
fn a_stateful_session_does_not_survive_the_broker() {
    with_timeout(async {
        let place = Place::new();
        let stateful = ["--set", "server.main.stateful=true"];
        let mut broker = place.serve(&stateful).await;
        let session = broker.client.open().await;
        broker.signal(Signal::TERM);
        assert_eq!(broker.ends().await, Some(0), "{}", broker.log());
        let again = place.serve(&stateful).await;
        assert_eq!(moved(&session, &again.client).post(PING).await.status, 404);
    });
}
