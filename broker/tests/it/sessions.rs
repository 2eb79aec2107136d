//! Whose a session is, how many there may be, and when they end.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    harness::{Harness, OBLIGING, until_so, with_timeout},
    wire::{PING, Wire, call, initialize},
};

const SESSION_NOT_FOUND: i64 = -32001;

#[test]
fn a_stolen_id_is_403_on_post_get_and_delete_and_the_victim_notices_nothing() {
    with_timeout(async {
        let harness = Harness::with_tokens(&["ada", "mallory"], &[]).await;
        let ada = harness.of("ada").open().await;
        let mallory = harness.of("mallory").with("mcp-session-id", ada.session());
        let before = harness.witness.read();
        let post = mallory.post(call("8", "crash", &json!({}))).await;
        assert_eq!(post.status, 403);
        assert_eq!(post.json()["id"], 8);
        assert_eq!(mallory.ask("GET", "").await.status, 403);
        assert_eq!(mallory.with("last-event-id", "1-1").ask("GET", "").await.status, 403);
        assert_eq!(mallory.delete().await.status, 403);
        assert_eq!(mallory.post("{").await.status, 403, "whose it is comes first");
        assert_eq!(harness.witness.read(), before, "the child saw no byte of it");
        assert!(ada.is_alive().await);
        let nobody = harness.client.with("mcp-session-id", ada.session());
        for method in ["POST", "GET", "DELETE"] {
            assert_eq!(nobody.ask(method, "").await.status, 401, "{method} without a token");
        }
    });
}

#[test]
fn a_thief_does_not_keep_the_session_from_being_idle() {
    with_timeout(async {
        let settings = ["session.idle=2s", "session.reap_interval=50ms"];
        let harness = Harness::with_tokens(&["ada", "mallory"], &settings).await;
        let ada = harness.of("ada").open().await;
        let mallory = harness.of("mallory").with("mcp-session-id", ada.session());
        assert_eq!(mallory.delete().await.status, 403);
        // She asks every few milliseconds; were that a touch, it would never end.
        let reaped = r#"mcp_broker_reaped_total{reason="idle"}"#;
        until_so("it is reaped", async || {
            let statuses = [
                mallory.post(PING).await.status,
                mallory.ask("GET", "").await.status,
                mallory.delete().await.status,
            ];
            assert_eq!(statuses, [403; 3]);
            harness.metric(reaped).await == 1
        })
        .await;
        harness.witness.all_gone().await;
        for method in ["POST", "GET", "DELETE"] {
            assert_eq!(mallory.ask(method, PING).await.status, 403, "{method} while it sleeps");
        }
        assert_eq!(harness.witness.children().len(), 1, "nothing wakes for a stranger");
        assert!(ada.is_alive().await);
    });
}

#[test]
fn an_id_nobody_was_given_is_404_with_the_request_id_and_ids_are_48_hex_digits() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let id = session.session();
        assert_eq!(id.len(), 48);
        assert!(id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{id}");
        let long = "a".repeat(5000);
        for id in ["0", "", &"0".repeat(48), &"z".repeat(48), &long, "../../etc", "ä"] {
            let stranger = harness.client.with("mcp-session-id", id);
            let answer = stranger.post(PING).await;
            assert_eq!(answer.error(), (404, SESSION_NOT_FOUND, json!("ping")), "{id}");
            assert_eq!(answer.json()["error"]["message"], "Session not found");
            assert_eq!(stranger.ask("GET", "").await.status, 404);
            assert_eq!(stranger.delete().await.status, 404);
        }
        assert_eq!(harness.witness.children().len(), 1);
    });
}

#[test]
fn a_deleted_session_is_404_and_its_child_is_gone() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let mut stream = session.listen().await;
        let mut call = session.send("POST", call("3", "hang", &json!({}))).await;
        until_so("the child has it", async || harness.witness.read().contains("hang")).await;
        let deleted = session.delete().await;
        assert_eq!((deleted.status, deleted.body.len()), (204, 0));
        let cut_off = call.answer().await.json();
        assert_eq!((&cut_off["id"], &cut_off["error"]["code"]), (&json!(3), &json!(-32603)));
        while stream.event().await.is_some() {}
        assert_eq!(session.post(PING).await.error(), (404, SESSION_NOT_FOUND, json!("ping")));
        assert_eq!(session.delete().await.status, 404);
        harness.witness.all_gone().await;
    });
}

#[test]
fn the_answer_to_an_unknown_id_may_be_410() {
    with_timeout(async {
        let harness = Harness::start(&["session.unknown_status=410"]).await;
        let session = harness.client.open().await;
        session.delete().await;
        assert_eq!(session.post(PING).await.error(), (410, SESSION_NOT_FOUND, json!("ping")));
        assert_eq!(session.ask("GET", "").await.status, 410);
        assert_eq!(session.delete().await.status, 410);
    });
}

#[test]
fn each_server_has_its_own_path_and_sessions_and_one_is_the_default() {
    with_timeout(async {
        let command = format!("server.second.command={OBLIGING}");
        let none = "server.second.isolation.level=none";
        let harness =
            Harness::start(&[&command, none, r#"server.second.args=["$W","extra"]"#]).await;
        let first = harness.client.at("/main/mcp").open().await;
        let second = harness.client.at("/second/mcp").open().await;
        for (session, arguments) in [(&first, json!([])), (&second, json!(["extra"]))] {
            let report = session.call("report", json!({})).await.json();
            assert_eq!(report["result"]["arguments"], arguments);
        }
        assert!(first.at("/mcp").is_alive().await, "the default server is at /mcp too");
        assert_eq!(second.at("/mcp").post(PING).await.status, 404, "another server's id");
        assert_eq!(first.at("/second/mcp").post(PING).await.status, 404);
        assert_eq!(first.at("/second/mcp").delete().await.status, 404);
        assert!(first.is_alive().await && second.is_alive().await);
        assert_eq!(harness.client.at("/third/mcp").post(PING).await.status, 404);
    });
}

#[test]
fn many_at_once_get_exactly_as_many_sessions_as_there_are_places() {
    with_timeout(async {
        let harness =
            Harness::start(&["session.max=4", "session.max_per_owner=0", "session.place_wait=0s"])
                .await;
        let mut openers = JoinSet::new();
        for number in 0..40 {
            let client = harness.client.clone();
            let body = initialize(&number.to_string(), "2025-11-25");
            openers.spawn(async move { (number, client.post(body).await) });
        }
        let (mut opened, mut refused) = (Vec::new(), 0);
        while let Some(answer) = openers.join_next().await {
            let (number, answer) = answer.expect("no panic");
            if answer.status == 200 {
                let id = answer.header("mcp-session-id").expect("an id");
                opened.push(harness.client.with("mcp-session-id", id));
            } else {
                assert_eq!(answer.error(), (503, -32000, json!(number)));
                answer.assert_retry();
                refused += 1;
            }
        }
        assert_eq!((opened.len(), refused), (4, 36));
        assert_eq!(harness.witness.children().len(), 4, "no child was started without a place");
        assert_eq!(harness.metric(r#"mcp_broker_children{server="main"}"#).await, 4);
        // A place comes back with the end of its child, and not earlier.
        assert_eq!(opened[0].delete().await.status, 204);
        until_so("there is room again", async || {
            harness.client.post(initialize("1", "2025-11-25")).await.status == 200
        })
        .await;
        let living =
            harness.witness.children().into_iter().filter(|pid| crate::harness::is_alive(*pid));
        assert_eq!(living.count(), 4);
    });
}

/// What the caller is told who opens one session too many, with two calls under way: the owner's
/// reason, also for those that wait, and to whoever tries again at once.
#[test]
fn an_owner_at_its_cap_is_429_and_others_still_get_in() {
    with_timeout(async {
        let harness = Harness::with_tokens(
            &["ada", "bob"],
            &["session.max_per_owner=2", "session.place_wait=200ms"],
        )
        .await;
        let ada = harness.of("ada");
        let mut calls = Vec::new();
        for _ in 0..2 {
            let session = ada.open().await;
            calls.push(session.send("POST", call("1", "wait", &json!({}))).await);
        }
        let both = async || harness.witness.read().matches("wait").count() == 2;
        until_so("the children have them", both).await;
        let mut openers = JoinSet::new();
        for number in 0..5 {
            let ada = ada.clone();
            openers.spawn(async move {
                (number, ada.post(initialize(&number.to_string(), "2025-11-25")).await)
            });
        }
        harness.of("bob").open().await;
        while let Some(refused) = openers.join_next().await {
            let (number, refused) = refused.expect("no panic");
            assert_eq!(refused.error(), (429, -32000, json!(number)), "{refused:?}");
            refused.assert_retry();
        }
        harness.witness.release();
        until_so("a session whose call has ended makes room", async || {
            ada.post(initialize("3", "2025-11-25")).await.status == 200
        })
        .await;
    });
}

#[test]
fn a_client_that_opens_a_session_for_every_call_and_never_says_goodbye_is_not_refused() {
    with_timeout(async {
        let harness = Harness::start(&["session.max_per_owner=3"]).await;
        let mut sessions = Vec::new();
        for number in 0..10 {
            let session = harness.client.open().await;
            let answer = session.call("echo", json!(number)).await;
            assert_eq!(answer.json()["result"]["arguments"], number);
            sessions.push(session);
        }
        assert!(sessions[0].is_alive().await, "it was asleep");
        let living =
            harness.witness.children().into_iter().filter(|pid| crate::harness::is_alive(*pid));
        assert!(living.count() <= 3);
    });
}

#[test]
fn at_the_owners_cap_a_session_that_only_listens_goes_last_and_its_stream_ends() {
    with_timeout(async {
        let settings = ["session.max_per_owner=2", "session.place_wait=0s"];
        let harness = Harness::start(&settings).await;
        let listening = harness.client.open().await;
        let of_listening = harness.witness.child();
        let mut stream = listening.listen().await;
        let idle = harness.client.open().await;
        let mut others = harness.witness.children();
        others.retain(|pid| *pid != of_listening);
        let [of_idle] = others[..] else { panic!("not one other child: {others:?}") };
        let first = harness.client.open().await;
        let mut busy = first.send("POST", call("1", "wait", &json!({}))).await;
        until_so("the child has it", async || harness.witness.read().contains("wait")).await;
        assert!(crate::harness::is_alive(of_listening), "the one that listens has made no room");
        assert!(!crate::harness::is_alive(of_idle), "the idle one has");
        assert!(idle.is_alive().await, "a call takes the place of the one that listens");
        while stream.event().await.is_some() {}
        drop(listening.listen().await);
        harness.witness.release();
        assert_eq!(busy.answer().await.status, 200);
    });
}

/// Clients keep an id of before a restart, or send what their language calls nothing.
#[test]
fn initialize_with_a_stale_session_id_opens_a_new_session() {
    with_timeout(async {
        let harness = Harness::with_tokens(&["ada", "bob"], &[]).await;
        let (ada, bob) = (harness.of("ada"), harness.of("bob"));
        let alive = ada.open().await;
        let stale = "deadbeef".repeat(6);
        for id in ["", "null", "undefined", "0", "../../etc", &stale, alive.session()] {
            let opened = ada.with("mcp-session-id", id).post(initialize("1", "2025-11-25")).await;
            assert_eq!(opened.status, 200, "{id}: {opened:?}");
            let fresh = opened.header("mcp-session-id").expect("an id");
            assert_ne!(fresh, id);
        }
        assert!(alive.is_alive().await, "the old one stays beside the new one");
        let children = harness.witness.children().len();
        let foreign = bob.with("mcp-session-id", alive.session());
        let refused = foreign.post(initialize("1", "2025-11-25")).await;
        assert_eq!(refused.status, 403, "{refused:?}");
        assert_eq!(harness.witness.children().len(), children, "no child was started");
    });
}

#[test]
fn at_the_cap_a_session_that_is_idle_makes_room() {
    with_timeout(async {
        let harness =
            Harness::start(&["session.max=1", "session.evict_idle=0s", "session.place_wait=0s"])
                .await;
        let first = harness.client.open().await;
        let call = first.send("POST", call("1", "wait", &json!({}))).await;
        until_so("the child has it", async || harness.witness.read().contains("wait")).await;
        let refused = harness.client.post(initialize("1", "2025-11-25")).await;
        assert_eq!(refused.status, 503, "a session with a call under way is not idle");
        harness.witness.release();
        drop(call);
        until_so("it makes room", async || {
            harness.client.post(initialize("1", "2025-11-25")).await.status == 200
        })
        .await;
        // It was put to sleep, and the other one is as idle.
        assert!(first.is_alive().await);
        let living =
            harness.witness.children().into_iter().filter(|pid| crate::harness::is_alive(*pid));
        assert_eq!(living.count(), 1);
    });
}

#[test]
fn a_drain_lets_calls_finish_and_refuses_what_is_new() {
    with_timeout(async {
        let mut harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let mut call = session.send("POST", call("1", "wait", &json!({}))).await;
        until_so("the child has it", async || harness.witness.read().contains("wait")).await;
        let mut open = harness.client.at("/readyz").send("GET", "").await;
        assert_eq!(open.answer().await.status, 200);
        harness.stop();
        until_so("it drains", async || {
            harness.client.at("/readyz").send_on(&mut open, "GET", "").await;
            open.answer().await.status == 503
        })
        .await;
        session.send_on(&mut open, "POST", initialize("2", "2025-11-25")).await;
        let refused = open.answer().await;
        assert_eq!((refused.status, refused.json()["error"]["code"].as_i64()), (503, Some(-32000)));
        refused.assert_retry();
        harness.witness.release();
        assert_eq!(call.answer().await.json()["result"], json!({ "waited": true }));
        harness.stopped().await;
        harness.witness.all_gone().await;
    });
}

#[test]
fn what_does_not_finish_within_the_drain_is_answered_with_an_error() {
    with_timeout(async {
        let mut harness = Harness::start(&["drain=1s"]).await;
        let session = harness.client.open().await;
        let mut stream = session.listen().await;
        let mut calls = Vec::new();
        for id in 0..20 {
            calls.push(session.send("POST", call(&id.to_string(), "hang", &json!({}))).await);
        }
        let all = async || harness.witness.read().matches("hang").count() == 20;
        until_so("the child has them", all).await;
        harness.stop();
        for (id, call) in calls.iter_mut().enumerate() {
            let answer = call.answer().await.json();
            assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(id), &json!(-32603)));
        }
        while stream.event().await.is_some() {}
        harness.stopped().await;
        harness.witness.all_gone().await;
    });
}

#[test]
fn a_session_with_a_call_or_a_stream_is_not_reaped_and_an_idle_one_is() {
    with_timeout(async {
        let harness = Harness::start(&["session.idle=2s", "session.reap_interval=30ms"]).await;
        let busy = harness.client.open().await;
        let listening = harness.client.open().await;
        let mut call = busy.send("POST", call("1", "wait", &json!({}))).await;
        let stream = listening.listen().await;
        // The idle one is the clock: it is younger than the others.
        harness.client.open().await;
        let reaped = r#"mcp_broker_reaped_total{reason="idle"}"#;
        until_so("the idle one is reaped", async || harness.metric(reaped).await == 1).await;
        harness.witness.release();
        assert_eq!(call.answer().await.status, 200);
        assert!(listening.is_alive().await);
        // T23: with the end of its stream its time begins.
        drop(stream);
        until_so("all are reaped", async || harness.metric(reaped).await == 3).await;
        harness.witness.all_gone().await;
    });
}

#[test]
fn every_session_has_a_child_of_its_own() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let mut pids = Vec::new();
        for _ in 0..3 {
            let answer = harness.client.open().await.call("echo", Value::Null).await;
            pids.push(answer.json()["result"]["pid"].clone());
        }
        pids.dedup();
        assert_eq!(pids.len(), 3);
    });
}

#[test]
fn a_connection_serves_many_requests() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let mut wire = Wire::connect(harness.client.address).await;
        for number in 0..100 {
            session.send_on(&mut wire, "POST", call("1", "echo", &json!(number))).await;
            assert_eq!(wire.answer().await.json()["result"]["arguments"], number);
        }
    });
}
