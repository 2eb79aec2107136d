//! Calls that go on as tasks, in front of a server whose processes all know the same tasks.

use std::fs;

use serde_json::{Value, json};

use crate::{
    harness::{Harness, with_timeout},
    modern::{body, dressed, tool},
    wire::{Answer, Client},
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
