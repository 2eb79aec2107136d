//! What clients without a session lose with their access.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::deployment::Deployment;
use crate::{
    application::{Application, Tokens},
    harness::{until_so, with_timeout},
    modern::{ask, body, dressed, parked, retried, tool},
    wire::{Client, TIMEOUT, Wire},
};

/// A subscription whose acknowledgement has come.
async fn listens(client: &Client) -> Wire {
    let wanted = json!({ "notifications": { "toolsListChanged": true } });
    let text = body(&json!("sub"), "subscriptions/listen", wanted, &json!({}));
    let client = dressed(client, "subscriptions/listen", None);
    let mut wire = client.send("POST", text).await;
    assert_eq!(wire.head().await.status, 200);
    let first = loop {
        let event = wire.event().await.expect("the acknowledgement");
        if let Some(data) = event.data {
            break serde_json::from_str::<Value>(&data).expect("JSON");
        }
    };
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    wire
}

/// The messages that are left of a stream.
async fn rest(wire: &mut Wire) -> Vec<Value> {
    let mut messages = Vec::new();
    while let Some(event) = wire.event().await {
        messages.extend(event.data.map(|data| serde_json::from_str(&data).expect("JSON")));
    }
    messages
}

/// A call that answers when the witness releases it, once a child has it.
async fn waits(deployment: &Deployment, client: &Client) -> Wire {
    let text = body(&json!("call"), "tools/call", json!({ "name": "wait" }), &json!({}));
    let call = dressed(client, "tools/call", Some("wait")).send("POST", text).await;
    let witness = &deployment.place.witness;
    until_so("the child has the call", async || witness.read().contains("\"wait\"")).await;
    call
}

/// An application of Ada's, and two sign-ins of hers with it.
async fn twice(deployment: &Deployment) -> (Application, Tokens, Tokens) {
    let application = deployment.application("/mcp").await;
    let own = deployment.sign_in(&application, "ada").await;
    let stolen = deployment.sign_in(&application, "ada").await;
    (application, own, stolen)
}

#[test]
fn a_subscription_ends_with_its_token_and_a_call_without_a_session_runs_to_its_answer() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "oauth.access_ttl = \"8s\"", "").await;
        let application = deployment.application("/mcp").await;
        let tokens = deployment.sign_in(&application, "ada").await;
        let client = application.with(&tokens);
        let mut call = waits(&deployment, &client).await;
        let mut stream = listens(&client).await;
        let begun = Instant::now();
        let last = rest(&mut stream).await;
        assert!(begun.elapsed() < TIMEOUT, "{:?}", begun.elapsed());
        assert_eq!(last.len(), 1, "{last:?}");
        assert_eq!(
            (&last[0]["id"], &last[0]["result"]["resultType"]),
            (&json!("sub"), &json!("complete"))
        );
        let refused = ask(&client, "tools/list", json!({})).await;
        assert_eq!(refused.status, 401, "it ended because the token expired");
        deployment.place.witness.release();
        let answer = call.answer().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let refreshed = Tokens::of(&application.refresh(&tokens.refresh).await);
        listens(&application.with(&refreshed)).await;
    });
}

#[test]
fn a_revoked_grant_leaves_no_subscription_and_no_call_without_a_session() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let (application, own, stolen) = twice(&deployment).await;
        let (ada, thief) = (application.with(&own), application.with(&stolen));
        let mut kept = listens(&ada).await;
        let mut stream = listens(&thief).await;
        let mut call = waits(&deployment, &thief).await;
        assert_eq!(application.revoke(&stolen.refresh).await.status, 200);
        assert_eq!(rest(&mut stream).await, [Value::Null; 0]);
        let answer = call.answer().await;
        assert_eq!(answer.status, 401, "{answer:?}");
        assert!(answer.header("www-authenticate").is_some(), "{answer:?}");
        assert_eq!(tool(&thief, "echo", json!({}), &json!({})).await.status, 401);
        let witness = &deployment.place.witness;
        let is_told = async || witness.read().contains("notifications/cancelled");
        until_so("the child hears of it", is_told).await;
        assert_eq!(tool(&ada, "echo", json!({}), &json!({})).await.status, 200);
        assert_eq!(application.revoke(&own.refresh).await.status, 200);
        assert_eq!(rest(&mut kept).await.len(), 0, "it was open until then");
    });
}

#[test]
fn a_call_that_waits_for_its_client_ends_with_the_grant_that_made_it() {
    with_timeout(async {
        let deployment = Deployment::of(&["ada"], "", "").await;
        let (application, own, stolen) = twice(&deployment).await;
        let (ada, thief) = (application.with(&own), application.with(&stolen));
        let state = parked(&thief, json!({})).await;
        assert_eq!(application.revoke(&stolen.refresh).await.status, 200);
        let said = json!({ "role": "assistant", "content": { "type": "text", "text": "yes" } });
        let answer = retried(&ada, json!({}), &state, &said).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.text().contains("requestState"), "{answer:?}");
        let state = parked(&ada, json!({})).await;
        let refreshed = Tokens::of(&application.refresh(&own.refresh).await);
        let newer = application.with(&refreshed);
        let answer = retried(&newer, json!({}), &state, &said).await;
        assert_eq!(answer.status, 200, "another token of the same grant: {answer:?}");
    });
}
