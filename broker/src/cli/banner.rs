//! What a person sees in the first minute: where it runs, and how to connect to it.

use std::fmt::Write as _;

use crate::config::{Config, Verifier};

/// The lines printed when the broker runs without a configuration file. `base` is its address.
pub(super) fn text(config: &Config, base: &str) -> String {
    let endpoint = format!("{base}/mcp");
    let open = config.auth.verifiers.contains(&Verifier::None);
    let name = "broker";
    let mut text = format!("\n  MCP endpoint   {endpoint}\n");
    if open {
        text.push_str("  Sign-in        none: every program on this machine may connect\n");
    } else {
        text.push_str("  Sign-in        bearer token, made by `mcp-broker token add NAME`\n");
    }
    let header = if open { "" } else { " --header \"Authorization: Bearer $TOKEN\"" };
    let json_headers =
        if open { "" } else { r#","headers":{"Authorization":"Bearer ${env:TOKEN}"}"# };
    let curl_header = if open { "" } else { " -H \"Authorization: Bearer $TOKEN\"" };
    let _ = write!(
        text,
        r#"
  Claude Code    claude mcp add --transport http {name} {endpoint}{header}
  VS Code        code --add-mcp '{{"name":"{name}","type":"http","url":"{endpoint}"{json_headers}}}'
  Cursor         in ~/.cursor/mcp.json:
                 {{"mcpServers":{{"{name}":{{"url":"{endpoint}"{json_headers}}}}}}}
  curl           curl -si {endpoint}{curl_header} \
                   -H 'Content-Type: application/json' \
                   -H 'Accept: application/json, text/event-stream' \
                   -d '{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"curl","version":"0"}}}}}}'

  Another server: mcp-broker -- COMMAND ARG…     All settings: mcp-broker config --example
"#
    );
    text
}
