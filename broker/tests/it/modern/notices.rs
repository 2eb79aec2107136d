//! What a child tells of itself, and who hears it.

use serde_json::{Value, json};

use super::{ASKABLE, ask, body, dressed, tool};
use crate::{
    harness::{Harness, until_so, with_timeout},
    wire::{Client, Wire},
};

/// A server that tells of its resources.
const WITH_RESOURCES: &str = r#"server.main.env={ RESOURCES = "1" }"#;

/// Opens a subscription under this id; its acknowledgement is left to be read.
async fn listens(client: &Client, id: &Value, notifications: Value) -> Wire {
    let params = json!({ "notifications": notifications });
    let text = body(id, "subscriptions/listen", params, &json!({}));
    let mut wire = dressed(client, "subscriptions/listen", None).send("POST", text).await;
    assert_eq!(wire.head().await.status, 200);
    wire
}

async fn message(wire: &mut Wire) -> Value {
    loop {
        let event = wire.event().await.expect("the stream goes on");
        if let Some(data) = event.data {
            return serde_json::from_str(&data).expect("JSON");
        }
    }
}

fn updated(uri: &str) -> Value {
    let params = json!({ "uri": uri });
    json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params })
}

/// Has the child write these lines.
async fn says(client: &Client, lines: &[Value]) {
    let lines: Vec<_> = lines.iter().map(Value::to_string).collect();
    let arguments = json!({ "arguments": { "lines": lines } });
    let answer = tool(client, "say", arguments, &json!({})).await;
    assert_eq!(answer.json()["result"]["resultType"], "complete", "{answer:?}");
}

#[test]
fn listeners_of_one_child_hear_what_each_asked_for_under_its_own_id() {
    with_timeout(async {
        let harness = Harness::start(&[WITH_RESOURCES]).await;
        let one = json!({ "resourceSubscriptions": ["notes://one"] });
        let both = json!({ "resourceSubscriptions": ["notes://one", "notes://two"] });
        // Ids of both types that look alike.
        let mut first = listens(&harness.client, &json!(7), one.clone()).await;
        let mut second = listens(&harness.client, &json!("7"), both).await;
        let acknowledged = message(&mut first).await;
        assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
        assert_eq!(acknowledged["params"]["notifications"], one);
        message(&mut second).await;
        let foreign = json!({
            "jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {},
        });
        let lines = [updated("notes://two"), foreign, updated("notes://one"), updated("notes://3")];
        says(&harness.client, &lines).await;
        let tag = |message: &Value| {
            message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"].clone()
        };
        let heard = message(&mut first).await;
        assert_eq!((&heard["params"]["uri"], tag(&heard)), (&json!("notes://one"), json!(7)));
        for uri in ["notes://two", "notes://one"] {
            let heard = message(&mut second).await;
            assert_eq!((&heard["params"]["uri"], tag(&heard)), (&json!(uri), json!("7")));
        }
        // The child has one subscription for each resource, until the last listener leaves.
        let count = |method: &str| harness.witness.read().matches(method).count();
        assert_eq!((count("resources/subscribe"), count("resources/unsubscribe")), (2, 0));
    });
}

#[test]
fn a_listener_hears_on_from_a_child_whose_notification_has_no_object_for_meta() {
    with_timeout(async {
        let harness = Harness::start(&[WITH_RESOURCES]).await;
        let one = json!({ "resourceSubscriptions": ["notes://one"] });
        let mut wire = listens(&harness.client, &json!("a"), one).await;
        message(&mut wire).await;
        for meta in [json!(5), json!("x"), json!([1]), json!(null)] {
            let mut line = updated("notes://one");
            line["params"]["_meta"] = meta.clone();
            says(&harness.client, &[line]).await;
            let heard = message(&mut wire).await;
            let named = &heard["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"];
            assert_eq!((&heard["params"]["uri"], named), (&json!("notes://one"), &json!("a")));
        }
    });
}

#[test]
fn a_listener_that_reads_too_slowly_hears_of_the_end_all_the_same() {
    with_timeout(async {
        let mut harness = Harness::start(&[WITH_RESOURCES, "drain=5s"]).await;
        let text = json!({ "resourceSubscriptions": ["notes://one"] });
        let params = json!({ "notifications": text });
        let text = body(&json!("slow"), "subscriptions/listen", params, &json!({}));
        let client = dressed(&harness.client, "subscriptions/listen", None);
        let mut wire = Wire::with_small_buffer(client.address).await;
        client.send_on(&mut wire, "POST", text).await;
        assert_eq!(wire.head().await.status, 200);
        assert_eq!(message(&mut wire).await["method"], "notifications/subscriptions/acknowledged");
        // Far more than the system's buffers and the queue hold together.
        let mut long = updated("notes://one");
        long["params"]["title"] = "x".repeat(16 << 10).into();
        let lines = vec![long; 100];
        for _ in 0..8 {
            says(&harness.client, &lines).await;
        }
        harness.stop();
        let mut heard = 0;
        let last = loop {
            let next = message(&mut wire).await;
            if next["method"].is_null() {
                break next;
            }
            heard += 1;
        };
        assert!(heard < 800, "it was too slow for all of them");
        assert_eq!(
            (&last["id"], &last["result"]["resultType"]),
            (&json!("slow"), &json!("complete"))
        );
        harness.stopped().await;
    });
}

#[test]
fn what_a_child_asks_and_tells_beside_a_call_reaches_no_client() {
    with_timeout(async {
        let harness = Harness::start(&[]).await;
        let log = json!({
            "jsonrpc": "2.0", "method": "notifications/message",
            "params": { "level": "error", "data": "unasked" },
        });
        let ping = json!({ "jsonrpc": "2.0", "id": "d", "method": "ping", "params": {} });
        let lines = [log, ping, updated("notes://one")];
        let arguments = json!({ "arguments": { "lines": lines.map(|line| line.to_string()) } });
        let answer = tool(&harness.client, "say", arguments, &json!({})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let document = answer.header("content-type") == Some("application/json");
        assert!(document, "nothing came before the answer: {answer:?}");
        // What it asks when no call is under way is refused, also where the client could be asked.
        for capabilities in [json!({}), ASKABLE()] {
            let answer = tool(&harness.client, "ask-after", json!({}), &capabilities).await;
            assert_eq!(answer.json()["result"]["resultType"], "complete", "{answer:?}");
        }
        let refused =
            async || harness.witness.read().matches(r#""id":"late","error""#).count() == 2;
        until_so("what the children asked is refused", refused).await;
        let read = harness.witness.read();
        assert!(read.contains(r#""id":"d","result""#), "its ping is answered: {read}");
    });
}

/// The acknowledgement names what the server agreed to tell of (MCP 2026-07-28, "Subscriptions").
#[test]
fn a_listener_is_not_promised_what_its_child_refuses_to_tell() {
    with_timeout(async {
        let harness = Harness::start(&[WITH_RESOURCES]).await;
        let both = json!({ "resourceSubscriptions": ["notes://one", "refused://two"] });
        let mut wire = listens(&harness.client, &json!(1), both).await;
        let promised = message(&mut wire).await["params"]["notifications"].clone();
        assert_eq!(promised, json!({ "resourceSubscriptions": ["notes://one"] }));
        // Nor is the next one, who might have thought that the child tells of it already.
        let refused = json!({ "resourceSubscriptions": ["refused://two"] });
        let mut next = listens(&harness.client, &json!(2), refused).await;
        assert_eq!(message(&mut next).await["params"]["notifications"], json!({}));
        says(&harness.client, &[updated("refused://two"), updated("notes://one")]).await;
        assert_eq!(message(&mut wire).await["params"]["uri"], "notes://one");
    });
}

#[test]
fn a_filter_that_cannot_be_read_is_refused_and_not_taken_for_an_empty_one() {
    with_timeout(async {
        let harness = Harness::start(&[WITH_RESOURCES]).await;
        for filter in [
            json!({ "toolsListChanged": "yes", "resourceSubscriptions": ["notes://one"] }),
            json!({ "resourceSubscriptions": "notes://one" }),
            json!({ "resourceSubscriptions": [1] }),
            json!("all"),
            json!([]),
            json!([true, true, true, ["notes://one"]]),
            json!(null),
        ] {
            let params = json!({ "notifications": filter });
            let answer = ask(&harness.client, "subscriptions/listen", params).await;
            assert_eq!(answer.error(), (400, -32602, json!(1)), "{filter}");
        }
        let none = ask(&harness.client, "subscriptions/listen", json!({})).await;
        assert_eq!(none.error(), (400, -32602, json!(1)), "a filter is required");
        // What this revision does not know is left out of the acknowledgement.
        let mut wire = listens(&harness.client, &json!(1), json!({ "moonChanged": true })).await;
        assert_eq!(message(&mut wire).await["params"]["notifications"], json!({}));
    });
}
