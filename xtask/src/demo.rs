//! `cargo xtask demo`: a broker to talk to by hand, with a token.

use std::os::unix::process::CommandExt;

use anyhow::Context;
use xshell::{Shell, cmd};

use crate::{
    broker,
    cargo::{self, root},
    flags, process,
    tally::Tally,
};

pub(crate) fn run(sh: &Shell, flags: flags::Demo) -> anyhow::Result<Tally> {
    let listen = flags.listen.as_deref().unwrap_or("127.0.0.1:8080");
    cargo::build_broker(sh)?;
    let dir = root().join("target/demo");
    // A new token each time, so the old ones need not stay.
    sh.remove_path(&dir)?;
    sh.create_dir(&dir)?;
    let config = dir.join("mcp-broker.toml");
    sh.write_file(
        &config,
        format!(
            "listen = {listen:?}\ndata_dir = {:?}\n\n[auth]\nverifiers = [\"static\"]\n\n\
             [server.fixture]\ncommand = {:?}\ndefault = true\n",
            dir.join("data").display().to_string(),
            root().join("target/debug/examples/everything").display().to_string()
        ),
    )?;
    let binary = broker::binary();
    let cmd = cmd!(sh, "{binary} token add demo --config {config}");
    let token = cmd.quiet().read().context("no token")?;
    print!("{}", lines_to_try(listen, &token));

    let cmd = cmd!(sh, "{binary} serve --config {config}");
    process::announce(&[], &cmd);
    // The broker takes this process's place: Ctrl-C is its own then, and so is the exit code.
    let error = std::process::Command::from(cmd).exec();
    Err(error).context("the broker does not start")
}

/// A session from the first to the last word, for a shell.
fn lines_to_try(listen: &str, token: &str) -> String {
    format!(
        r#"
In another terminal:

TOKEN={token}
mcp() {{ curl -sS -w '\n' http://{listen}/mcp -H "Authorization: Bearer $TOKEN" -H 'Accept: application/json, text/event-stream' -H 'Content-Type: application/json' "$@"; }}
# Open a session and remember its id.
SESSION=$(mcp -D - -o /dev/null -d '{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"curl","version":"0"}}}}}}' | tr -d '\r' | sed -n 's/^mcp-session-id: //Ip')
mcp -H "Mcp-Session-Id: $SESSION" -d '{{"jsonrpc":"2.0","method":"notifications/initialized"}}'
# What can it do, and does it?
mcp -H "Mcp-Session-Id: $SESSION" -d '{{"jsonrpc":"2.0","id":2,"method":"tools/list"}}'
mcp -H "Mcp-Session-Id: $SESSION" -d '{{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{{"name":"echo","arguments":{{"text":"hello"}}}}}}'
# An answer that takes its time comes as a stream.
mcp -N -H "Mcp-Session-Id: $SESSION" -d '{{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{{"name":"test_tool_with_progress","arguments":{{}},"_meta":{{"progressToken":"p"}}}}}}'
# End it.
mcp -X DELETE -H "Mcp-Session-Id: $SESSION" -o /dev/null -w '%{{http_code}}\n'

Ctrl-C stops the broker.

"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_to_try_name_the_address_and_the_token_and_hold_whole_messages() {
        let lines = lines_to_try("127.0.0.1:1", "mcpb_x");
        assert!(lines.contains("http://127.0.0.1:1/mcp") && lines.contains("TOKEN=mcpb_x\n"));
        let quoted = lines.split("-d '").filter_map(|rest| rest.split('\'').next());
        let bodies: Vec<_> = quoted.filter(|body| body.starts_with('{')).collect();
        assert_eq!(bodies.len(), 5);
        for body in bodies {
            serde_json::from_str::<serde_json::Value>(body).expect(body);
        }
    }
}
