//! What an operator sees first: the address, and how clients connect to it.

use std::fmt::Write as _;

use crate::config::Config;

/// The lines printed when the broker runs without a configuration file. `base` is its address.
pub(super) fn text(config: &Config, base: &str, setup: Option<&str>) -> String {
    let endpoint = format!("{base}/mcp");
    let auth = &config.auth;
    let (open, signs_in) = (auth.verifies("none"), auth.signs_in());
    let name = "broker";
    let mut text = format!("\n  MCP endpoint   {endpoint}\n");
    text.push_str(match (open, signs_in) {
        (true, _) => "  Sign-in        none: every program on this machine can connect\n",
        (false, true) => "  Sign-in        in the browser, when a client connects\n",
        (false, false) => "  Sign-in        bearer token, made by `mcp-broker token add NAME`\n",
    });
    if let Some(link) = setup {
        let _ = write!(
            text,
            "\n  First, make an account for yourself (the link works once, within a day):\n  \
             {link}\n"
        );
    }
    let bare = open || signs_in;
    let header = if bare { "" } else { " --header \"Authorization: Bearer $TOKEN\"" };
    let json_headers =
        if bare { "" } else { r#","headers":{"Authorization":"Bearer ${env:TOKEN}"}"# };
    let curl_header = match (open, auth.verifies("static")) {
        (true, _) => "",
        // Signing in takes a browser; a token made by hand takes none.
        (false, true) => " -H \"Authorization: Bearer $(mcp-broker token add curl)\"",
        (false, false) => " -H \"Authorization: Bearer $TOKEN\"",
    };
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
