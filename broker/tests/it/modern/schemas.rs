//! Arguments of tools that headers repeat, as far as the child's list of tools says so.

use serde_json::{Value, json};

use super::{ask, body, dressed};
use crate::{
    harness::{Harness, until, with_timeout},
    wire::{Answer, Client},
};

/// A server with two pages of tools; on either page one has an argument that a header repeats.
fn with_pages() -> String {
    let tool = |name: &str, header: &str| {
        let property = json!({ "type": "string", "x-mcp-header": header });
        json!({ "name": name, "inputSchema": { "type": "object", "properties": { "a": property } } })
    };
    let pages = json!([
        { "tools": [tool("echo", "First")], "nextCursor": "1" },
        { "tools": [tool("mirror", "Second")] },
    ]);
    let pages = Value::from(pages.to_string());
    format!("server.main.env={{ TOOLS = {pages} }}")
}

async fn call(client: &Client, tool: &str, header: Option<(&str, &str)>) -> Answer {
    let params = json!({ "name": tool, "arguments": { "a": "x" } });
    let mut client = dressed(client, "tools/call", Some(tool));
    if let Some((name, value)) = header {
        client = client.with(name, value);
    }
    client.post(body(&json!(1), "tools/call", params, &json!({}))).await
}

#[test]
fn a_list_of_tools_leaves_no_moment_in_which_headers_are_not_compared_with_arguments() {
    with_timeout(async {
        let harness = Harness::start(&[&with_pages()]).await;
        let client = &harness.client;
        for round in 0..3 {
            for (tool, header) in [("echo", "mcp-param-first"), ("mirror", "mcp-param-second")] {
                let missing = call(client, tool, None).await;
                assert_eq!(missing.error(), (400, -32020, json!(1)), "{tool} {round}");
                let wrong = call(client, tool, Some((header, "y"))).await;
                assert_eq!(wrong.error(), (400, -32020, json!(1)), "{tool} {round}");
                let padded = call(client, tool, Some((header, "=?base64?eA?="))).await;
                assert_eq!(padded.error(), (400, -32020, json!(1)), "bad padding");
                for good in ["x", "=?base64?eA==?="] {
                    let answer = call(client, tool, Some((header, good))).await;
                    assert_eq!(answer.status, 200, "{tool} {round}: {answer:?}");
                }
            }
            // A client reads the first page alone, and another one the second.
            let page = match round {
                0 => json!({}),
                _ => json!({ "cursor": "1" }),
            };
            assert_eq!(ask(client, "tools/list", page).await.status, 200);
        }
        let lists = harness.witness.read().matches(r#""method":"tools/list""#).count();
        assert_eq!(lists, 2 + 3, "both pages once, and what the clients asked for");
    });
}

#[test]
fn a_server_that_was_upgraded_is_described_and_its_calls_are_checked_as_it_is_now() {
    with_timeout(async {
        let harness = Harness::start(&[&with_pages()]).await;
        let client = &harness.client;
        assert_eq!(call(client, "echo", None).await.error(), (400, -32020, json!(1)));
        // It can do more, and then less: the one takes the place of the child before, and the other
        // does not.
        for (version, capabilities) in [
            ("2", json!({ "tools": {}, "prompts": { "listChanged": true } })),
            ("3", json!({ "tools": {} })),
        ] {
            let tools = json!([{ "tools": [] }]);
            let upgrade =
                json!({ "version": version, "capabilities": capabilities, "tools": tools });
            harness.witness.upgrade(&upgrade);
            harness.witness.kill_all();
            harness.witness.all_gone().await;
            let called = until("the new child is there", async || {
                let answer = call(client, "echo", None).await;
                (answer.status == 200).then_some(answer)
            });
            let result = called.await.json()["result"].clone();
            let info = &result["_meta"]["io.modelcontextprotocol/serverInfo"];
            assert_eq!(info["version"], version, "{result}");
            let found = ask(client, "server/discover", json!({})).await.json();
            assert_eq!(found["result"]["capabilities"], capabilities, "{found}");
        }
    });
}

#[test]
fn a_child_that_says_its_tools_changed_is_asked_for_them_before_the_next_call() {
    with_timeout(async {
        let harness = Harness::start(&[&with_pages()]).await;
        let good = Some(("mcp-param-first", "x"));
        assert_eq!(call(&harness.client, "echo", good).await.status, 200);
        let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
        let params = json!({ "name": "say", "arguments": { "lines": [changed] } });
        let says = dressed(&harness.client, "tools/call", Some("say"));
        says.post(body(&json!(1), "tools/call", params, &json!({}))).await;
        let lists = || harness.witness.read().matches(r#""method":"tools/list""#).count();
        assert_eq!(lists(), 2);
        assert_eq!(call(&harness.client, "echo", good).await.status, 200);
        assert_eq!(lists(), 4);
        assert_eq!(call(&harness.client, "echo", None).await.status, 400);
        assert_eq!(lists(), 4, "once");
    });
}
