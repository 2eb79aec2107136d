//! What becomes of a client when its child misbehaves.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    harness::{HOPELESS, Harness, STUBBORN, until_so, with_timeout},
    wire::{Answer, call, initialize},
};

/// Enough for a busy machine, and far below the timeouts that would apply (20 s for `initialize`,
/// five minutes for a call).
const AT_ONCE: Duration = Duration::from_secs(15);
/// A place that is not given back makes the second attempt fail otherwise than the first.
const ONE_PLACE: &str = "session.max=1";

async fn open(harness: &Harness) -> Answer {
    harness.client.post(initialize("\"first\"", "2025-11-25")).await
}

/// Nothing of how the broker or its children are set up.
fn assert_discreet(answer: &Answer) {
    for secret in ["canary", "/", "server-", "SECRET", "exit"] {
        let text = answer.text().replace("tools/call", "").replace("application/json", "");
        assert!(!text.contains(secret), "{secret:?} in {text}");
    }
}

#[test]
fn a_missing_program_is_502_with_the_request_id() {
    with_timeout(async {
        let harness = Harness::start(&["server.main.command=/nonexistent/canary", ONE_PLACE]).await;
        for _ in 0..3 {
            let begun = Instant::now();
            let answer = open(&harness).await;
            assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
            assert_eq!(answer.error(), (502, -32603, json!("first")));
            assert_eq!(answer.header("mcp-session-id"), None);
            assert_discreet(&answer);
        }
        let failed = r#"mcp_broker_spawn_failures_total{server="main",reason="missing"}"#;
        assert_eq!(harness.metric(failed).await, 3);
    });
}

#[test]
fn a_file_that_cannot_run_is_502_with_the_request_id() {
    with_timeout(async {
        let harness = Harness::start(&["server.main.command=$W/canary", ONE_PLACE]).await;
        let file = Path::new(harness.witness.path()).join("canary");
        fs::write(&file, "#!/bin/sh\n").expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its mode");
        for _ in 0..3 {
            let answer = open(&harness).await;
            assert_eq!(answer.error(), (502, -32603, json!("first")));
            assert_discreet(&answer);
        }
    });
}

#[test]
fn a_child_that_dies_in_initialize_is_502_at_once_and_its_last_words_stay_here() {
    with_timeout(async {
        let secret = r#"server.main.env={SECRET="canary-in-environment"}"#;
        let dies = r#"server.main.args=["$W","dies"]"#;
        let harness = Harness::start(&[HOPELESS, dies, secret, ONE_PLACE]).await;
        for _ in 0..3 {
            let begun = Instant::now();
            let answer = open(&harness).await;
            assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
            assert_eq!(answer.error(), (502, -32603, json!("first")));
            assert_discreet(&answer);
        }
        harness.witness.all_gone().await;
    });
}

#[test]
fn a_child_that_refuses_to_initialize_has_its_own_error_passed_on_and_no_session() {
    with_timeout(async {
        let harness =
            Harness::start(&[HOPELESS, r#"server.main.args=["$W","refuses"]"#, ONE_PLACE]).await;
        for _ in 0..2 {
            let answer = open(&harness).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("mcp-session-id"), None);
            let error = json!({ "code": -32099, "message": "not today" });
            assert_eq!(answer.json(), json!({ "jsonrpc": "2.0", "id": "first", "error": error }));
        }
        harness.witness.all_gone().await;
    });
}

#[test]
fn a_child_silent_in_initialize_is_504_and_killed() {
    with_timeout(async {
        let timeout = "server.main.initialize_timeout=300ms";
        let silent = r#"server.main.args=["$W","silent"]"#;
        let harness = Harness::start(&[HOPELESS, silent, timeout, ONE_PLACE]).await;
        for _ in 0..2 {
            let answer = open(&harness).await;
            assert_eq!(answer.error(), (504, -32603, json!("first")));
            assert!(!harness.witness.children().into_iter().any(crate::harness::is_alive));
        }
    });
}

#[test]
fn a_call_without_an_answer_is_504_and_the_child_is_told() {
    with_timeout(async {
        let harness = Harness::start(&["server.main.request_timeout=1s"]).await;
        let session = harness.client.open().await;
        let answer = session.call("hang", json!({})).await;
        assert_eq!(answer.error(), (504, -32603, json!(1)));
        until_so("the child is told", async || harness.witness.read().contains("cancelled")).await;
        until_so("the session goes on", async || session.is_alive().await).await;
    });
}

#[test]
fn on_an_open_stream_a_call_without_an_answer_is_an_error_event() {
    with_timeout(async {
        let settings = ["server.main.request_timeout=3s", "stream.after=100ms"];
        let harness = Harness::start(&settings).await;
        let session = harness.client.open().await;
        let answer = session.call("hang", json!({})).await;
        assert_eq!(answer.error(), (200, -32603, json!(1)));
    });
}

#[test]
fn a_crash_answers_every_call_with_an_error_and_the_session_goes_on_with_another_child() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let mut stream = session.listen().await;
        let mut waiting = Vec::new();
        for id in 0..10 {
            waiting.push(session.send("POST", call(&id.to_string(), "hang", &json!({}))).await);
        }
        let all = async || harness.witness.read().matches("hang").count() == 10;
        until_so("the child has them", all).await;
        let begun = Instant::now();
        let crashed = session.call("crash", json!({})).await;
        assert_eq!(crashed.json()["error"]["code"], -32603);
        assert_discreet(&crashed);
        for (id, wire) in waiting.iter_mut().enumerate() {
            let answer = wire.answer().await;
            assert_eq!(answer.json()["error"]["code"], -32603);
            assert_eq!(answer.json()["id"], id);
        }
        while stream.event().await.is_some() {}
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
        assert_eq!(harness.witness.children().len(), 1, "nothing is started until it is asked for");
        assert!(session.is_alive().await);
        assert_eq!(harness.witness.children().len(), 2);
        assert_eq!(harness.witness.read().matches("crash").count(), 1, "no call is repeated");
    });
}

#[test]
fn a_line_beyond_the_limit_fails_its_call_and_the_child_goes_on() {
    with_timeout(async {
        let harness = Harness::start(&["server.main.max_line=1MiB"]).await;
        let session = harness.client.open().await;
        let mut beside = session.send("POST", call("8", "wait", &json!({}))).await;
        let long =
            format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"x":"{}"}}}}"#, "x".repeat(2 << 20));
        let answer = session.call("say", json!({ "lines": [long] })).await;
        assert_eq!(answer.error(), (200, -32603, json!(1)));
        assert!(answer.text().contains("1048576 bytes"), "{}", answer.text());
        harness.witness.release();
        assert_eq!(beside.answer().await.json()["result"], json!({ "waited": true }));
        assert!(session.is_alive().await);
        assert_eq!(harness.witness.children().len(), 1, "it is the same child");
    });
}

#[test]
fn a_line_without_end_is_an_error_and_others_are_served() {
    with_timeout(async {
        let harness = Harness::start(&["server.main.max_line=1MiB"]).await;
        let session = harness.client.open().await;
        let other = harness.client.open().await;
        let answer = session.call("endless", json!({})).await;
        assert_eq!(answer.error(), (200, -32603, json!(1)));
        assert!(other.is_alive().await);
        assert_eq!(session.delete().await.status, 204);
        other.delete().await;
        harness.witness.all_gone().await;
    });
}

#[test]
fn an_answer_that_cannot_be_read_ends_its_call_at_once_and_is_counted() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let mut count = 0;
        for broken in [
            r#"{"jsonrpc":"1.0","id":$ID,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":$ID,"res"#,
            r#"{"jsonrpc":"2.0","id":$ID,"error":"it broke"}"#,
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"Invalid"}}"#,
        ] {
            // The tool's own answer comes behind it, to nothing.
            let answer = session.call("say", json!({ "lines": [broken] })).await;
            assert_eq!(answer.error(), (200, -32603, json!(1)), "{broken}");
            assert!(answer.text().contains("the server's answer could not be read"), "{broken}");
            count += 2;
            let dropped = r#"mcp_broker_child_lines_dropped_total{server="main"}"#;
            until_so("both are counted", async || harness.metric(dropped).await == count).await;
        }
        let outcome =
            r#"mcp_broker_requests_total{server="main",method="tools/call",outcome="unreadable"}"#;
        assert_eq!(harness.metric(outcome).await, 4);
        for lenient in [
            r#"{"jsonrpc":"2.0","id":"$ID","result":{"first":true},"error":null}"#,
            r#"[{"jsonrpc":"2.0","id":$ID,"result":{"first":true},"params":null}]"#,
            r#"debug: {"jsonrpc":"2.0","id":$ID,"result":{"first":true}}"#,
        ] {
            let answer = session.call("say", json!({ "lines": [lenient] })).await;
            assert_eq!(answer.json()["result"], json!({ "first": true }), "{lenient}");
        }
    });
}

#[test]
fn a_flood_from_one_child_leaves_other_sessions_alone() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let loud = harness.client.open().await;
        let quiet = harness.client.open().await;
        // Nobody listens, so nobody is told; what is kept is bounded.
        let flood = json!({ "count": 10_000, "bytes": 1000 });
        let wire = loud.send("POST", call("1", "flood", &flood)).await;
        until_so("the child has it", async || harness.witness.read().contains("flood")).await;
        drop(wire);
        let ended = r#"mcp_broker_requests_total{server="main",method="tools/call",outcome="ok"}"#;
        let mut slowest = Duration::ZERO;
        until_so("the flood is over", async || {
            let begun = Instant::now();
            assert!(quiet.is_alive().await);
            slowest = slowest.max(begun.elapsed());
            harness.metric(ended).await == 1
        })
        .await;
        assert!(slowest < AT_ONCE, "{slowest:?}");
        assert!(loud.is_alive().await);
    });
}

#[test]
fn lines_that_are_no_messages_are_skipped_and_counted() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let junk = [
            "Server listening!",
            "",
            "{",
            r#"Sending {"jsonrpc":"2.0","id":$ID,"res"#,
            "[]",
            "null",
            r#"{"jsonrpc":"1.0","id":424242,"result":{}}"#,
            "\u{1b}[31mred\u{1b}[0m",
        ];
        let answer = session.call("say", json!({ "lines": junk })).await;
        assert_eq!(answer.json(), json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
        assert_eq!(answer.header("content-type"), Some("application/json"), "none was passed on");
        assert!(session.is_alive().await);
        let dropped = r#"mcp_broker_child_lines_dropped_total{server="main"}"#;
        until_so("they are counted", async || harness.metric(dropped).await == 7).await;
    });
}

#[test]
fn an_answer_to_nothing_and_a_second_answer_are_dropped() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let lines = [
            r#"{"jsonrpc":"2.0","id":424242,"result":{"canary":1}}"#,
            r#"{"jsonrpc":"2.0","id":"424242","result":{"canary":2}}"#,
            r#"{"jsonrpc":"2.0","id":$ID,"result":{"first":true}}"#,
            r#"{"jsonrpc":"2.0","id":$ID,"result":{"canary":3}}"#,
        ];
        let answer = session.call("say", json!({ "lines": lines })).await;
        assert_eq!(answer.json()["result"], json!({ "first": true }));
        assert!(session.is_alive().await);
    });
}

#[test]
fn a_child_that_stops_reading_is_told_to_its_clients_and_others_are_served() {
    with_timeout(async {
        let harness =
            Harness::start(&["http.max_body=64KiB", "server.main.request_timeout=60s"]).await;
        let other = harness.client.open().await;
        let session = harness.client.open().await;
        assert_eq!(session.call("deafen", json!({})).await.status, 200);
        let params = json!({ "x": "y".repeat(60_000) });
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/x", "params": params });
        let note = note.to_string();
        let mut taken = 0;
        let refused = loop {
            let answer = session.post(&note).await;
            if answer.status != 202 {
                break answer;
            }
            taken += 1;
            assert!(taken < 30, "what waits for it is bounded");
        };
        assert_eq!(refused.error().0, 504);
        let begun = Instant::now();
        let large = call("1", "echo", &params);
        assert_eq!(session.post(large).await.error(), (504, -32603, json!(1)));
        assert!(begun.elapsed() < AT_ONCE, "it waited for its own timeout");
        assert!(other.is_alive().await);
        assert_eq!(session.delete().await.status, 204);
        let gone = async || harness.metric(r#"mcp_broker_children{server="main"}"#).await == 1;
        until_so("it is gone", gone).await;
    });
}

#[test]
fn a_flood_on_standard_error_blocks_nothing() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let session = harness.client.open().await;
        let answer = session.call("stderr", json!({ "bytes": 8 << 20 })).await;
        assert_eq!(answer.json(), json!({ "jsonrpc": "2.0", "id": 1, "result": {} }));
        assert!(session.is_alive().await);
    });
}

#[test]
fn a_child_that_ignores_everything_is_killed_with_its_grandchild() {
    with_timeout(async {
        let settings = [STUBBORN, "server.main.stop_grace=200ms", ONE_PLACE];
        let harness = Harness::start(&settings).await;
        let session = harness.client.open().await;
        let both = async || harness.witness.children().len() == 2;
        until_so("both are there", both).await;
        assert_eq!(session.delete().await.status, 204);
        let first = harness.witness.children();
        assert_eq!(open(&harness).await.status, 200);
        let left = first.into_iter().filter(|pid| crate::harness::is_alive(*pid)).count();
        assert_eq!(left, 0, "a session that still stops keeps its place");
    });
}

#[test]
fn a_client_that_leaves_during_initialize_leaves_nothing_behind() {
    with_timeout(async {
        // Long enough for a child on a busy machine to say that it is there.
        let timeout = "server.main.initialize_timeout=2s";
        let silent = r#"server.main.args=["$W","silent"]"#;
        let harness = Harness::start(&[HOPELESS, silent, timeout, ONE_PLACE]).await;
        let wire = harness.client.send("POST", initialize("1", "2025-11-25")).await;
        until_so("there is a child", async || harness.witness.children().len() == 1).await;
        drop(wire);
        harness.witness.all_gone().await;
        until_so("the place is free", async || open(&harness).await.status == 504).await;
    });
}

#[test]
fn a_child_has_a_private_directory_and_three_descriptors_and_the_directory_goes_with_it() {
    with_timeout(async {
        for level in ["none", "sandbox"] {
            a_child_is_given_what_is_its_own(level).await;
        }
    });
}

async fn a_child_is_given_what_is_its_own(level: &str) {
    let level = format!("server.main.isolation.level={level}");
    let harness = Harness::start(&[&level]).await;
    let mut directories = Vec::new();
    for _ in 0..2 {
        let session = harness.client.open().await;
        let report = session.call("report", json!({})).await.json()["result"].clone();
        let cwd = report["cwd"].as_str().expect("text").to_owned();
        assert_eq!(report["mode"], 0o700, "{report}");
        assert_eq!(report["environment"]["HOME"], cwd);
        assert_eq!(report["environment"]["TMPDIR"], cwd);
        let own = |fd: &&Value| {
            let fd = fd.as_str().expect("text");
            // The listing itself, and the fixture's record.
            !fd.contains("/proc/") && !fd.contains(harness.witness.path())
        };
        let fds: Vec<_> = report["fds"].as_array().expect("fds").iter().filter(own).collect();
        assert_eq!(fds.len(), 3, "{fds:?}");
        fs::write(Path::new(&cwd).join("note"), "x").expect("a file");
        directories.push((session, cwd));
    }
    assert_ne!(directories[0].1, directories[1].1);
    for (session, directory) in &directories {
        session.delete().await;
        until_so("it is gone", async || !Path::new(directory).exists()).await;
    }
}

#[test]
fn arguments_pass_as_they_are_and_no_shell_sees_them() {
    with_timeout(async {
        let args = r#"server.main.args=["$W","$(touch canary)","a b;c","*","'"]"#;
        let harness = Harness::start(&[args]).await;
        let session = harness.client.open().await;
        let report = session.call("report", json!({})).await.json()["result"].clone();
        assert_eq!(report["arguments"], json!(["$(touch canary)", "a b;c", "*", "'"]));
    });
}
