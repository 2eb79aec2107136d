//! Calls that ask a person something in their middle.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::tool;
use crate::{
    harness::{Harness, until_so, with_timeout},
    wire::Client,
};

/// What a client can do that can show a form.
fn shows_forms() -> Value {
    json!({ "elicitation": {} })
}

/// Calls the tool that asks for a number, and returns the state to come back with.
async fn asked(client: &Client, n: usize) -> String {
    let arguments = json!({ "arguments": { "form": format!("call {n}") } });
    let answer = tool(client, "ask", arguments, &shows_forms()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let result = &answer.json()["result"];
    assert_eq!(result["resultType"], "input_required", "{result}");
    let question = &result["inputRequests"]["q1"];
    assert_eq!(question["method"], "elicitation/create", "{result}");
    assert_eq!(question["params"]["message"], format!("call {n}"), "{result}");
    result["requestState"].as_str().expect("a state").to_owned()
}

/// What the call makes of the person's answer.
async fn answered(client: &Client, n: usize, state: &str) -> Value {
    let said = json!({ "action": "accept", "content": { "n": n } });
    let retry = json!({
        "arguments": { "form": format!("call {n}") },
        "requestState": state,
        "inputResponses": { "q1": said },
    });
    let answer = tool(client, "ask", retry, &shows_forms()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["result"].clone()
}

/// The numbers below `count` in an order that `seed` makes.
fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut state = seed;
    let mut order: Vec<_> = (0..count).collect();
    for last in (1..count).rev() {
        // Knuth's generator; the low digits are the poor ones.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let other = usize::try_from(state >> 33).expect("31 bits") % (last + 1);
        order.swap(last, other);
    }
    order
}

#[test]
fn ten_calls_that_ask_a_person_get_their_own_answers_in_whatever_order_these_come() {
    const ASKERS: usize = 10;
    with_timeout(async {
        let settings = ["server.main.parallel=3", "session.max_per_owner=16"];
        let harness = Harness::start(&settings).await;
        for seed in [1, 20_260_728, u64::MAX] {
            let order = shuffled(ASKERS, seed);
            let mut asking = JoinSet::new();
            for n in 0..ASKERS {
                let client = harness.client.clone();
                asking.spawn(async move { (n, asked(&client, n).await) });
            }
            // All ten come to their question, though three may run: those that wait do not count.
            let mut states = vec![String::new(); ASKERS];
            for (n, state) in asking.join_all().await {
                states[n] = state;
            }
            for n in order {
                let result = answered(&harness.client, n, &states[n]).await;
                assert_eq!(result["said"]["content"]["n"], n, "seed {seed}: {result}");
                assert_eq!(result["resultType"], "complete", "{result}");
            }
        }
        // One was asked what it is; the others served again and again.
        assert_eq!(harness.witness.children().len(), 1 + ASKERS);
        let calls = harness.witness.read().matches(r#""method":"tools/call""#).count();
        assert_eq!(calls, 3 * ASKERS, "each was made once");
    });
}

#[test]
fn a_person_is_not_asked_what_the_child_does_not_want_to_know_any_more() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let form = |id: &str| {
            json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create",
                "params": { "message": id, "requestedSchema": {} } })
        };
        let withdrawn = |id: &str| {
            let params = json!({ "requestId": id });
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params })
        };
        let says = |lines: &[Value]| {
            let lines: Vec<_> = lines.iter().map(Value::to_string).collect();
            json!({ "arguments": { "lines": lines } })
        };
        // Of two questions one is left.
        let lines = says(&[form("first"), form("second"), withdrawn("first")]);
        let asked = tool(&harness.client, "say-and-wait", lines, &shows_forms()).await.json();
        let questions = asked["result"]["inputRequests"].as_object().expect("questions");
        let questions: Vec<_> =
            questions.values().map(|question| &question["params"]["message"]).collect();
        assert_eq!(questions, ["second"], "{asked}");
        // And none, however long the call goes on.
        let client = harness.client.clone();
        let lines = says(&[form("third"), withdrawn("third")]);
        let mut calls = JoinSet::new();
        calls.spawn(async move { tool(&client, "say-and-wait", lines, &shows_forms()).await });
        let has_it = async || harness.witness.read().matches("say-and-wait").count() == 2;
        until_so("the child has the call", has_it).await;
        let a_while = json!({ "arguments": { "ms": 100 } });
        tool(&harness.client, "linger", a_while, &json!({})).await;
        harness.witness.release();
        let answers = calls.join_all().await;
        assert_eq!(answers[0].json()["result"]["waited"], true, "{answers:?}");
    });
}

#[test]
fn a_call_that_may_ask_waits_for_one_that_runs_and_not_for_one_that_waits_for_a_person() {
    with_timeout(async {
        let settings = ["server.main.parallel=2", "session.max_per_owner=16"];
        let harness = Harness::start(&settings).await;
        let mut states = Vec::new();
        for n in 0..3 {
            states.push(asked(&harness.client, n).await);
        }
        let mut running = JoinSet::new();
        for n in 0..6 {
            let client = harness.client.clone();
            let arguments = json!({ "arguments": { "n": n } });
            running.spawn(async move { tool(&client, "wait", arguments, &shows_forms()).await });
        }
        let two_run = async || harness.witness.read().matches(r#""name":"wait""#).count() == 2;
        until_so("two calls run beside those that wait for a person", two_run).await;
        // An answer is not held up by calls that wait for their turn.
        let first = answered(&harness.client, 0, &states[0]).await;
        assert_eq!(first["said"]["content"]["n"], 0, "{first}");
        harness.witness.release();
        for answer in running.join_all().await {
            assert_eq!(answer.json()["result"]["waited"], true, "{answer:?}");
        }
        for n in [2, 1] {
            let result = answered(&harness.client, n, &states[n]).await;
            assert_eq!(result["said"]["content"]["n"], n, "{result}");
        }
        // Three wait, two run, one was asked what it is; the other four calls started none.
        let children = harness.witness.children().len();
        assert!(children <= 1 + 3 + 2, "{children}");
    });
}

#[test]
fn children_that_are_left_of_calls_that_waited_let_no_more_calls_run_than_may() {
    with_timeout(async {
        let settings = ["server.main.parallel=2", "session.max_per_owner=16"];
        let harness = Harness::start(&settings).await;
        let mut states = Vec::new();
        for n in 0..4 {
            states.push(asked(&harness.client, n).await);
        }
        for (n, state) in states.iter().enumerate() {
            answered(&harness.client, n, state).await;
        }
        // Four are free now.
        let mut running = JoinSet::new();
        for n in 0..4 {
            let client = harness.client.clone();
            let arguments = json!({ "arguments": { "n": n } });
            running.spawn(async move { tool(&client, "wait", arguments, &shows_forms()).await });
        }
        let run = || harness.witness.read().matches(r#""name":"wait""#).count();
        until_so("two calls run", async || run() == 2).await;
        // It comes later than the other two, and waits for nobody.
        tool(&harness.client, "echo", json!({}), &json!({})).await;
        assert_eq!(run(), 2);
        harness.witness.release();
        for answer in running.join_all().await {
            assert_eq!(answer.json()["result"]["waited"], true, "{answer:?}");
        }
        assert_eq!(run(), 4);
    });
}
