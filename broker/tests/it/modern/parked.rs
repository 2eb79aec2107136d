//! Calls that wait for their client while something happens around them.

use rustix::process::Signal;
use serde_json::json;

use super::{ASKABLE, MODERN, parked, retried, tool};
use crate::{
    harness::{Harness, until_so, with_timeout},
    program::Place,
};

#[test]
fn after_a_restart_a_state_is_said_to_be_from_before_and_nothing_is_done_twice() {
    with_timeout(async {
        let place = Place::new();
        let said = json!({ "content": "after the restart" });
        for signal in [Signal::TERM, Signal::KILL] {
            let mut broker = place.serve(&[]).await;
            let state = parked(&broker.client, json!({ "n": 1 })).await;
            broker.signal(signal);
            broker.ends().await;
            place.witness.all_gone().await;
            let calls = place.witness.read().matches(r#""method":"tools/call""#).count();
            let mut after = place.serve(&[]).await;
            let answer = retried(&after.client, json!({ "n": 1 }), &state, &said).await;
            assert_eq!(answer.error(), (400, -32602, json!("call")), "{answer:?}");
            let words = answer.json()["error"]["message"].as_str().expect("words").to_owned();
            assert!(words.contains("restarted"), "{words}");
            let read = place.witness.read();
            assert_eq!(read.matches(r#""method":"tools/call""#).count(), calls, "{signal:?}");
            assert!(!read.contains("after the restart"), "no child heard the answer");
            // What the client is told to do.
            let again = parked(&after.client, json!({ "n": 1 })).await;
            let answer = retried(&after.client, json!({ "n": 1 }), &again, &json!({})).await;
            assert_eq!(answer.json()["result"]["resultType"], "complete", "{answer:?}");
            after.signal(Signal::TERM);
            after.ends().await;
        }
    });
}

#[test]
fn a_modern_childs_own_state_is_good_after_a_restart() {
    with_timeout(async {
        let harness = Harness::start(&[MODERN]).await;
        // The first that this broker hears of the server, so it does not know yet whose state that is.
        let said = json!({ "content": "mine" });
        let retry = json!({
            "arguments": {}, "requestState": "s", "inputResponses": { "k": said },
        });
        let answer = tool(&harness.client, "ask", retry, &ASKABLE()).await;
        assert_eq!(answer.json()["result"]["said"], said, "{answer:?}");
    });
}

#[test]
fn warm_children_leave_no_record_when_they_were_idle_or_the_broker_ends() {
    with_timeout(async {
        let place = Place::new();
        place.configure("[session]\nidle = \"200ms\"\nreap_interval = \"50ms\"\n");
        let mut broker = place.serve(&[]).await;
        assert_eq!(tool(&broker.client, "echo", json!({}), &json!({})).await.status, 200);
        let session = broker.client.open().await;
        place.witness.all_gone().await;
        until_so("the session's is left", async || records(&place).await == 1).await;
        assert!(session.is_alive().await);
        assert_eq!(tool(&broker.client, "echo", json!({}), &json!({})).await.status, 200);
        for signal in [Signal::TERM, Signal::KILL] {
            assert_eq!(tool(&broker.client, "echo", json!({}), &json!({})).await.status, 200);
            broker.signal(signal);
            broker.ends().await;
            place.witness.all_gone().await;
            broker = place.serve(&[]).await;
            assert_eq!(records(&place).await, 1, "the session's is left after {signal:?}");
        }
    });
}

async fn records(place: &Place) -> usize {
    let (code, list, told) = place.run(&["session", "list", "--json"]).await;
    assert_eq!(code, 0, "{told}");
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).expect("JSON");
    list.len()
}
