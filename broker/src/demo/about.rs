//! The one resource.

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

- `echo`: answers at once.
- `process`: tells the process id. Another session has another process.
- `countdown`: takes a while, reports progress, can be cancelled.

## Your own server instead

Any MCP server that speaks over stdio will do. Put its command behind two dashes:

    mcp-broker serve -- npx -y @modelcontextprotocol/server-everything stdio

Or write it down, in `mcp-broker.toml`:

    [server.files]
    command = \"npx\"
    args    = [\"-y\", \"@modelcontextprotocol/server-filesystem\", \"/srv/shared\"]

`mcp-broker config --example` prints every setting with its meaning, and `mcp-broker check` reports
every mistake in a configuration before it is used.
";

pub(super) fn list() -> Value {
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
        return Err(Error::new(rpc::RESOURCE_NOT_FOUND, words));
    }
    Ok(json!({ "contents": [{ "uri": URI, "mimeType": "text/markdown", "text": ABOUT }] }))
}
