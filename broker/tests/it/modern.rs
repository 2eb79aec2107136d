//! Clients of revision 2026-07-28, which have no session, in front of a server that knows only the
//! handshake.

mod asking;
mod crossing;
mod leaving;
mod notices;
mod parked;
mod refusals;
mod schemas;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    harness::{Harness, until, until_so, with_timeout},
    wire::{Answer, Client, Wire},
};

/// A server that knows no handshake.
const MODERN: &str = "server.main.env={MODERN=\"1\"}";

/// What a client can do that can be asked.
const ASKABLE: fn() -> Value = || json!({ "sampling": {} });

fn meta(capabilities: &Value) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "it", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    })
}

/// The client with the headers of such a request.
pub(crate) fn dressed(client: &Client, method: &str, name: Option<&str>) -> Client {
    let client = client.with("mcp-protocol-version", "2026-07-28").with("mcp-method", method);
    match name {
        Some(name) => client.with("mcp-name", name),
        None => client,
    }
}

pub(crate) fn body(id: &Value, method: &str, params: Value, capabilities: &Value) -> String {
    let mut params = params;
    params["_meta"] = meta(capabilities);
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

pub(crate) async fn ask(client: &Client, method: &str, params: Value) -> Answer {
    dressed(client, method, None).post(body(&json!(1), method, params, &json!({}))).await
}

/// Calls a tool; `more` goes into the parameters.
pub(crate) async fn tool(client: &Client, tool: &str, more: Value, capabilities: &Value) -> Answer {
    let mut params = more;
    params["name"] = tool.into();
    let body = body(&json!("call"), "tools/call", params, capabilities);
    dressed(client, "tools/call", Some(tool)).post(body).await
}

/// Has the server ask, and returns the state to come back with.
pub(crate) async fn parked(client: &Client, arguments: Value) -> String {
    let answer = tool(client, "ask", json!({ "arguments": arguments }), &ASKABLE()).await;
    let result = &answer.json()["result"];
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(result["resultType"], "input_required", "{result}");
    assert_eq!(result["inputRequests"]["q1"]["method"], "sampling/createMessage", "{result}");
    result["requestState"].as_str().expect("a state").to_owned()
}

/// The retry of the call that [`parked`] made, with the client's answer.
pub(crate) async fn retried(
    client: &Client,
    arguments: Value,
    state: &str,
    said: &Value,
) -> Answer {
    let retry = json!({
        "arguments": arguments, "requestState": state, "inputResponses": { "q1": said },
    });
    tool(client, "ask", retry, &ASKABLE()).await
}

#[test]
fn a_client_without_a_session_is_served_by_a_child_that_knows_only_the_handshake() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let found = ask(&harness.client, "server/discover", json!({})).await;
        assert_eq!(found.status, 200, "{found:?}");
        assert_eq!(found.header("mcp-session-id"), None);
        let found = found.json()["result"].clone();
        assert_eq!(found["supportedVersions"], json!(["2026-07-28"]));
        assert_eq!(found["capabilities"], json!({ "tools": {} }));
        let info = &found["_meta"]["io.modelcontextprotocol/serverInfo"];
        assert_eq!(info["name"], "obliging");

        let list = ask(&harness.client, "tools/list", json!({})).await.json()["result"].clone();
        assert_eq!((&list["cacheScope"], &list["ttlMs"]), (&json!("private"), &json!(0)));
        let mut pids = Vec::new();
        for _ in 0..3 {
            let echoed = json!({ "arguments": { "a": 1.5 } });
            let answer = tool(&harness.client, "echo", echoed, &json!({})).await;
            let answer = answer.json();
            assert_eq!(answer["id"], "call");
            assert_eq!(answer["result"]["resultType"], "complete", "{answer}");
            assert_eq!(answer["result"]["arguments"], json!({ "a": 1.5 }));
            pids.push(answer["result"]["pid"].clone());
        }
        pids.dedup();
        assert_eq!(pids.len(), 1, "all calls have one child");
        // One was asked what it is and thrown away.
        assert_eq!(harness.witness.children().len(), 2);
        assert!(!harness.witness.read().contains("clientCapabilities\":{}},\"name\""));
    });
}

#[test]
fn what_a_child_asks_parks_its_call_and_the_retry_goes_on_with_the_same_call() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let state = parked(&harness.client, json!({ "n": 1 })).await;
        // An answer is missing: it is asked for again, and the state is another.
        let nothing = json!({ "arguments": { "n": 1 }, "requestState": state });
        let again =
            tool(&harness.client, "ask", nothing, &ASKABLE()).await.json()["result"].clone();
        assert_eq!(again["resultType"], "input_required");
        assert!(again["inputRequests"]["q1"].is_object(), "{again}");
        let next = again["requestState"].as_str().expect("a state");
        assert_ne!(next, state);
        let said = json!({ "role": "assistant", "content": { "type": "text", "text": "42" } });
        let old = retried(&harness.client, json!({ "n": 1 }), &state, &said).await;
        assert_eq!(old.error(), (400, -32602, json!("call")), "a state serves once");
        let answer = retried(&harness.client, json!({ "n": 1 }), next, &said).await.json();
        assert_eq!(answer["result"]["said"], said, "{answer}");
        assert_eq!(answer["result"]["resultType"], "complete");
        let calls = harness.witness.read().matches("tools/call").count();
        assert_eq!(calls, 1, "the call was carried on and not repeated");
    });
}

#[test]
fn a_state_is_good_for_its_own_client_and_its_own_request_alone() {
    with_timeout(async {
        let harness = Harness::with_tokens(&["ada", "eve"], &[]).await;
        let (ada, eve) = (harness.of("ada"), harness.of("eve"));
        let state = parked(&ada, json!({ "n": 1 })).await;
        let said = json!({ "content": "stolen" });
        let flipped: String = state.chars().rev().collect();
        let mut other = state.clone();
        other.replace_range(0..1, if state.starts_with('0') { "1" } else { "0" });
        // Taken for none, the call would be made a second time.
        for no_text in [json!(1), json!({}), json!([state])] {
            let retry = json!({ "arguments": { "n": 1 }, "requestState": no_text });
            let answer = tool(&ada, "ask", retry, &ASKABLE()).await;
            assert_eq!(answer.error(), (400, -32602, json!("call")), "{no_text}");
        }
        for (client, arguments, state) in [
            (&eve, json!({ "n": 1 }), &*state),
            (&ada, json!({ "n": 2 }), &*state),
            (&ada, json!({ "n": 1 }), &*flipped),
            (&ada, json!({ "n": 1 }), &*other),
            (&ada, json!({ "n": 1 }), &state[..state.len() - 1]),
            (&ada, json!({ "n": 1 }), ""),
        ] {
            let answer = retried(client, arguments, state, &said).await;
            assert_eq!(answer.error(), (400, -32602, json!("call")), "{state}");
            assert!(!harness.witness.read().contains("stolen"));
        }
        let other = retried(&ada, json!({ "n": 1 }), &other, &said).await.json();
        let words = other["error"]["message"].as_str().expect("words").to_owned();
        assert!(words.contains("restarted"), "{words}");
        // None of that used it up.
        let said = json!({ "content": "mine" });
        let answer = retried(&ada, json!({ "n": 1 }), &state, &said).await.json();
        assert_eq!(answer["result"]["said"], said, "{answer}");
    });
}

#[test]
fn calls_that_may_ask_have_a_child_each_and_every_answer_reaches_its_own_call() {
    with_timeout(async {
        let harness = Harness::start(&["server.main.parallel=2", "session.max_per_owner=8"]).await;
        let mut states = Vec::new();
        for n in 0..4 {
            states.push((n, parked(&harness.client, json!({ "n": n })).await));
        }
        // Those that wait do not count towards the two; what asks nothing runs beside them.
        assert_eq!(harness.witness.children().len(), 1 + 4);
        let list = body(&json!(1), "tools/list", json!({}), &ASKABLE());
        let listed = dressed(&harness.client, "tools/list", None).post(list).await;
        assert_eq!(listed.status, 200, "{listed:?}");
        states.swap(0, 2);
        states.swap(1, 3);
        for (n, state) in states {
            let said = json!({ "content": n });
            let answer = retried(&harness.client, json!({ "n": n }), &state, &said).await.json();
            assert_eq!(answer["result"]["said"], said, "{answer}");
        }
        let free = parked(&harness.client, json!({ "n": 9 })).await;
        assert_eq!(harness.witness.children().len(), 1 + 4, "a child that is free is taken");
        drop(free);
    });
}

#[test]
fn a_person_whose_calls_all_wait_for_answers_gets_429_and_no_other_person_does() {
    with_timeout(async {
        let harness = Harness::with_tokens(
            &["ada", "bob"],
            &["session.max_per_owner=2", "session.place_wait=0s"],
        )
        .await;
        let ada = harness.of("ada");
        for n in 0..2 {
            parked(&ada, json!({ "n": n })).await;
        }
        let refused = tool(&ada, "ask", json!({ "arguments": {} }), &ASKABLE()).await;
        assert_eq!(refused.error(), (429, -32000, json!("call")));
        refused.assert_retry();
        parked(&harness.of("bob"), json!({})).await;
    });
}

#[test]
fn calls_that_find_no_place_do_not_wait_for_one_after_the_other() {
    with_timeout(async {
        let settings = ["session.max_per_owner=1", "session.place_wait=1s"];
        let harness = Harness::start(&settings).await;
        parked(&harness.client, json!({})).await;
        let begun = Instant::now();
        let mut calls = JoinSet::new();
        for _ in 0..8 {
            let client = harness.client.clone();
            calls.spawn(async move {
                tool(&client, "ask", json!({ "arguments": {} }), &ASKABLE()).await
            });
        }
        for refused in calls.join_all().await {
            assert_eq!(refused.error(), (429, -32000, json!("call")));
        }
        // Eight of these times, if each waited for its own.
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_client_that_leaves_cancels_its_call() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let params = json!({ "name": "hang", "arguments": {} });
        let hanging = body(&json!(1), "tools/call", params, &json!({}));
        let client = dressed(&harness.client, "tools/call", Some("hang"));
        let wire = client.send("POST", hanging).await;
        until_so("the child has the call", async || harness.witness.read().contains("hang")).await;
        drop(wire);
        let cancelled = async || harness.witness.read().contains("notifications/cancelled");
        until_so("the child hears of it", cancelled).await;
    });
}

#[test]
fn a_call_that_waits_is_cancelled_when_its_client_never_comes_back() {
    with_timeout(async {
        let harness = Harness::start(&["server.main.ask_timeout=50ms"]).await;
        let state = parked(&harness.client, json!({})).await;
        let cancelled = async || harness.witness.read().contains("notifications/cancelled");
        until_so("the child hears that nobody waits", cancelled).await;
        let late = retried(&harness.client, json!({}), &state, &json!({ "content": "late" })).await;
        assert_eq!(late.error(), (400, -32602, json!("call")));
        assert!(!harness.witness.read().contains("late"));
    });
}

#[test]
fn a_call_that_waits_while_its_child_crashes_is_answered_with_an_error() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let state = parked(&harness.client, json!({})).await;
        harness.witness.kill_all();
        harness.witness.all_gone().await;
        let answer = retried(&harness.client, json!({}), &state, &json!({ "content": "x" })).await;
        assert_eq!(answer.json()["error"]["code"], -32603, "{answer:?}");
        assert_eq!(answer.json()["id"], "call");
        let next = tool(&harness.client, "echo", json!({ "arguments": {} }), &ASKABLE()).await;
        assert_eq!(next.status, 200, "the next call has another child: {next:?}");
    });
}

#[test]
fn progress_comes_under_the_clients_own_token_before_the_answer() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let mut params = json!({ "name": "progress", "arguments": { "steps": 2 } });
        params["_meta"] = meta(&json!({}));
        params["_meta"]["progressToken"] = "mine".into();
        let text = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params });
        let client = dressed(&harness.client, "tools/call", Some("progress"));
        let answer = client.post(text.to_string()).await;
        let messages = answer.messages();
        let [first, second, last] = &messages[..] else { panic!("{messages:?}") };
        for progress in [first, second] {
            assert_eq!(progress["params"]["progressToken"], "mine", "{progress}");
        }
        assert_eq!(last["id"], 3);
        // Log messages are for those who ask for them.
        let flood = json!({ "arguments": { "count": 3, "bytes": 1 } });
        let quiet = tool(&harness.client, "flood", flood, &json!({})).await;
        assert_eq!(quiet.header("content-type"), Some("application/json"), "{quiet:?}");
    });
}

#[test]
fn each_person_has_children_of_their_own() {
    with_timeout(async {
        let settings = [r#"server.main.env={ OWNER = "${user.subject}" }"#];
        let harness = Harness::with_tokens(&["ada", "bob"], &settings).await;
        let mut asking = JoinSet::new();
        for n in 0..40 {
            let name = if n % 2 == 0 { "ada" } else { "bob" };
            let client = harness.of(name);
            asking.spawn(async move {
                let arguments = json!({ "arguments": { "n": n } });
                let answer = tool(&client, "mirror", arguments, &json!({})).await;
                (name, n, answer.json()["result"].clone())
            });
        }
        for (name, n, result) in asking.join_all().await {
            assert_eq!((&result["owner"], &result["arguments"]["n"]), (&json!(name), &json!(n)));
        }
        // The first of each may have been asked what it is.
        assert!(harness.witness.children().len() <= 4, "{:?}", harness.witness.children());
    });
}

#[test]
fn a_listener_is_acknowledged_first_and_hears_its_end() {
    with_timeout(async {
        // Its own tasks are all that the modern one tells of, and the other tells of nothing.
        for (settings, told) in
            [(&[][..], json!({})), (&[MODERN, "drain=1h"], json!({ "taskIds": [] }))]
        {
            let mut harness = Harness::start(settings).await;
            let wanted = json!({ "notifications": { "taskIds": [], "toolsListChanged": true } });
            let text = body(&json!("sub"), "subscriptions/listen", wanted, &json!({}));
            let client = dressed(&harness.client, "subscriptions/listen", None);
            let document = client.with("accept", "application/json").post(&text).await;
            assert_eq!(document.error().0, 406, "the answer is a stream: {document:?}");
            let mut wire: Wire = client.send("POST", text).await;
            let head = wire.head().await;
            assert_eq!(head.header("content-type"), Some("text/event-stream"));
            let next = async |wire: &mut Wire| -> Value {
                until("a message comes", async || {
                    let data = wire.event().await.expect("the stream goes on").data?;
                    Some(serde_json::from_str(&data).expect("JSON"))
                })
                .await
            };
            let first = next(&mut wire).await;
            assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
            let tag = &first["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
            assert_eq!((tag, &first["params"]["notifications"]), (&json!("sub"), &told));
            // A shutdown waits for no subscription.
            harness.stop();
            let last = next(&mut wire).await;
            assert_eq!(
                (&last["id"], &last["result"]["resultType"]),
                (&json!("sub"), &json!("complete"))
            );
            harness.stopped().await;
        }
    });
}
