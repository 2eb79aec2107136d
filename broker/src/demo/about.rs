//! The one resource and the one prompt.

use serde_json::{Value, json};

use super::rpc::{self, Error};

const URI: &str = "demo://about";

/// For the model, with the answer to `initialize`.
pub(super) const INSTRUCTIONS: &str = "The demo server of mcp-broker: a few harmless tools to try a connection with. Read \
     demo://about for what it is and how another server takes its place.";

const ABOUT: &str = "\
# mcp-broker demo server

You are talking to a small MCP server that is built into `mcp-broker`. The broker started it as a
process of its own, for your session alone, and carries the messages between your client's HTTP
requests and the process's standard input and output.

## What to try

- `time`, `uuid`, `hash`, `text_stats`: answers at once.
- `countdown`: takes a while, reports progress, can be cancelled.
- `greet`: without a name it asks you for one, if your client supports elicitation.
- the prompt `introduce`: has the model show you around.

## Your own server instead

Any MCP server that speaks over stdio will do. Put its command behind two dashes:

    mcp-broker serve -- npx -y @modelcontextprotocol/server-everything stdio

Or write it down, in `mcp-broker.toml`:

    [server.files]
    command = \"npx\"
    args    = [\"-y\", \"@modelcontextprotocol/server-filesystem\", \"/srv/shared\"]

`mcp-broker config --example` prints every setting with its meaning, and `mcp-broker check` tells
what is wrong with a configuration before it is used.
";

pub(super) fn resources() -> Value {
    json!({ "resources": [{
        "uri": URI,
        "name": "about",
        "title": "About this server",
        "description": "What the demo server is, and how to put your own server in its place.",
        "mimeType": "text/markdown",
        "size": ABOUT.len(),
    }] })
}

pub(super) fn read(params: &Value) -> Result<Value, Error> {
    let uri = rpc::text(params, "uri", "the resource to read")?;
    if uri != URI {
        let words = format!("there is no resource {uri:?}, but {URI}");
        return Err(Error::new(rpc::RESOURCE_NOT_FOUND, words).with(json!({ "uri": uri })));
    }
    Ok(json!({ "contents": [{ "uri": URI, "mimeType": "text/markdown", "text": ABOUT }] }))
}

pub(super) fn prompts() -> Value {
    json!({ "prompts": [{
        "name": "introduce",
        "title": "Show me around",
        "description": "Has the model introduce this server and try its tools.",
        "arguments": [{
            "name": "audience",
            "description": "whom the introduction is for, such as \"a system administrator\"",
            "required": false,
        }],
    }] })
}

pub(super) fn prompt(params: &Value) -> Result<Value, Error> {
    let name = rpc::text(params, "name", "the prompt to get")?;
    if name != "introduce" {
        let words = format!("there is no prompt {name:?}, but introduce");
        return Err(Error::new(rpc::INVALID_PARAMS, words));
    }
    let audience = match params.pointer("/arguments/audience") {
        None | Some(Value::Null) => "somebody who sees MCP for the first time",
        Some(Value::String(audience)) => audience,
        Some(_) => {
            let words = "the argument `audience` of introduce must be a string";
            return Err(Error::new(rpc::INVALID_PARAMS, words));
        }
    };
    let text = format!(
        "Introduce this MCP server to {audience}. Say in a few sentences what it is (the attached \
         document tells), then call `time`, `uuid` and a `countdown` from 3, show what came back, \
         and close with how to put another server in its place."
    );
    Ok(json!({
        "description": "Introduces the demo server.",
        "messages": [
            { "role": "user", "content": { "type": "text", "text": text } },
            { "role": "user", "content": {
                "type": "resource",
                "resource": { "uri": URI, "mimeType": "text/markdown", "text": ABOUT },
            } },
        ],
    }))
}
