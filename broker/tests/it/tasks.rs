//! Calls that go on as tasks, in front of a server whose processes all know the same tasks.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    harness::{Harness, with_timeout},
    modern::{body, dressed, tool},
    program::Place,
    wire::{Answer, Client, Wire},
};

const MODERN: &str = "server.main.env={MODERN=\"1\"}";
const METHODS: [&str; 3] = ["tasks/get", "tasks/update", "tasks/cancel"];

/// A client that takes tasks, and can do `more`.
fn able(more: &str) -> Value {
    let mut able = json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } });
    able[more] = json!({});
    able
}

/// Has a call become the task of this name. Returns the process that has it.
async fn begun(client: &Client, task: &str) -> Value {
    let answer = begin(client, task, "sampling").await;
    let result = &answer.json()["result"];
    assert_eq!((&result["resultType"], &result["taskId"]), (&json!("task"), &json!(task)));
    result["pid"].clone()
}

async fn begin(client: &Client, task: &str, more: &str) -> Answer {
    tool(client, "begin", json!({ "arguments": { "task": task } }), &able(more)).await
}

async fn about(client: &Client, method: &str, task: &str, able: &Value) -> Answer {
    let params = json!({ "taskId": task, "inputResponses": {} });
    dressed(client, method, Some(task)).post(body(&json!(7), method, params, able)).await
}

#[test]
fn a_task_of_another_person_is_as_one_that_never_was() {
    with_timeout(async {
        let harness = Harness::with_tokens(&["ada", "bob"], &[MODERN]).await;
        let (ada, bob) = (harness.of("ada"), harness.of("bob"));
        begun(&ada, "of-ada").await;
        let able = able("sampling");
        for method in METHODS {
            let (foreign, unknown) = (
                about(&bob, method, "of-ada", &able).await,
                about(&bob, method, "of-nobody", &able).await,
            );
            assert_eq!(foreign.error().1, -32602, "{method}: {foreign:?}");
            assert_eq!((foreign.status, foreign.json()), (unknown.status, unknown.json()));
        }
        let seen = about(&ada, "tasks/get", "of-ada", &able).await.json();
        assert_eq!(seen["result"]["status"], "working", "nobody cancelled it: {seen}");
        assert_eq!(about(&ada, "tasks/cancel", "of-ada", &able).await.status, 200);
        let seen = about(&ada, "tasks/get", "of-ada", &able).await.json();
        assert_eq!(seen["result"]["status"], "cancelled", "{seen}");
        let told = harness.witness.read().matches(r#""taskId":"of-ada""#).count();
        assert_eq!(told, 3, "no child heard of it from the other person");
    });
}

#[test]
fn a_client_that_takes_no_tasks_is_told_so_whatever_task_it_names() {
    with_timeout(async {
        let harness = Harness::start(&[MODERN]).await;
        begun(&harness.client, "one").await;
        for method in METHODS {
            for task in ["one", "of-nobody"] {
                let refused = about(&harness.client, method, task, &json!({})).await;
                assert_eq!((refused.status, refused.error().1), (400, -32021), "{method} {task}");
            }
        }
    });
}

#[test]
fn a_task_is_found_at_its_own_child_whatever_else_the_client_declares_by_then() {
    with_timeout(async {
        let harness = Harness::start(&[MODERN]).await;
        let child = begun(&harness.client, "one").await;
        let seen = about(&harness.client, "tasks/get", "one", &able("roots")).await.json();
        assert_eq!((&seen["id"], &seen["result"]["pid"]), (&json!(7), &child));
        assert_eq!(seen["result"]["taskId"], "one");
    });
}

#[test]
fn a_child_stays_awake_for_its_task_until_the_client_has_seen_the_end() {
    with_timeout(async {
        let harness = Harness::start(&[MODERN, "session.max_per_owner=1"]).await;
        let client = &harness.client;
        begun(client, "one").await;
        let refused = begin(client, "two", "roots").await;
        assert_eq!(refused.status, 429, "the only place is the task's: {refused:?}");
        let file = format!("{}/task-one", harness.witness.path());
        fs::write(file, "completed").expect("a file");
        let seen = about(client, "tasks/get", "one", &able("sampling")).await.json();
        assert_eq!(seen["result"]["status"], "completed");
        assert_eq!(begin(client, "two", "roots").await.status, 200);
    });
}

/// Listens to these tasks; the acknowledgement has come.
async fn listens(client: &Client, tasks: &[&str], able: &Value) -> (Wire, Value) {
    let params = json!({ "notifications": { "taskIds": tasks } });
    let text = body(&json!("mine"), "subscriptions/listen", params, able);
    let mut wire = dressed(client, "subscriptions/listen", None).send("POST", text).await;
    assert_eq!(wire.head().await.status, 200);
    let acknowledged = heard(&mut wire).await;
    (wire, acknowledged)
}

async fn heard(wire: &mut Wire) -> Value {
    loop {
        let event = wire.event().await.expect("the stream goes on");
        if let Some(data) = event.data {
            return serde_json::from_str(&data).expect("JSON");
        }
    }
}

#[test]
fn a_client_hears_of_its_own_tasks_from_the_child_that_has_them_and_of_no_others() {
    with_timeout(async {
        let harness = Harness::with_tokens(&["ada", "bob"], &[MODERN]).await;
        let (ada, bob) = (harness.of("ada"), harness.of("bob"));
        begun(&ada, "of-ada").await;
        begun(&bob, "of-bob").await;
        // What it declares by now is served by another child.
        let able = able("roots");
        let (mut stream, acknowledged) = listens(&ada, &["of-bob", "of-ada"], &able).await;
        assert_eq!(acknowledged["params"]["notifications"]["taskIds"], json!(["of-ada"]));
        for (client, task) in [(&bob, "of-bob"), (&ada, "of-ada")] {
            assert_eq!(about(client, "tasks/cancel", task, &able).await.status, 200);
        }
        let changed = heard(&mut stream).await;
        assert_eq!(changed["method"], "notifications/tasks", "{changed}");
        let params = &changed["params"];
        assert_eq!((&params["taskId"], &params["status"]), (&json!("of-ada"), &json!("cancelled")));
        assert_eq!(params["_meta"]["io.modelcontextprotocol/subscriptionId"], "mine");
        assert_eq!(harness.witness.children().len(), 2, "each has one child");
    });
}

#[test]
fn after_a_restart_a_client_is_told_that_its_task_may_have_ended_with_the_broker() {
    with_timeout(async {
        let place = Place::new();
        for signal in [Signal::TERM, Signal::KILL] {
            let mut broker = place.serve(&["--set", MODERN]).await;
            begun(&broker.client, "one").await;
            broker.signal(signal);
            broker.ends().await;
            place.witness.all_gone().await;
            let mut after = place.serve(&["--set", MODERN]).await;
            for method in METHODS {
                let answer = about(&after.client, method, "one", &able("sampling")).await;
                assert_eq!(answer.error().1, -32602, "{method}: {answer:?}");
                let words = answer.json()["error"]["message"].as_str().expect("words").to_owned();
                assert!(words.contains("not found") && words.contains("restarted"), "{words}");
            }
            let (_stream, acknowledged) = listens(&after.client, &["one"], &able("sampling")).await;
            assert_eq!(acknowledged["params"]["notifications"]["taskIds"], json!([]));
            // What the client is told to do.
            begun(&after.client, "two").await;
            after.signal(Signal::TERM);
            after.ends().await;
        }
    });
}
