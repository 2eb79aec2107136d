//! What an operator sees first: the address, and how clients connect to it.

use std::{fmt::Write as _, path};

use super::{arguments::ConfigArgs, setup_link::SetupLink};
use crate::{
    config::{Config, Environment},
    shell_word::quoted,
};

/// How the operator calls this program again for the same data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnCommand {
    program: String,
    /// What follows a subcommand, each option with a blank before it.
    options: String,
}

impl OwnCommand {
    /// `program` is what the operator called. Only what leads to the data is repeated: other settings
    /// may be secret.
    pub(super) fn new(
        program: &str,
        args: &ConfigArgs,
        environment: &dyn Environment,
        config: &Config,
    ) -> Self {
        let mut options = String::new();
        if let Some(file) = &args.config {
            let file = path::absolute(file).unwrap_or_else(|_| file.clone());
            let _ = write!(options, " --config {}", quoted(&file.display().to_string()));
        }
        // Another terminal need not have the variables of this one.
        let leads_elsewhere =
            |name: &str| name.starts_with("MCP_BROKER_") || name == "STATE_DIRECTORY";
        let mut variables = environment.variables().into_iter();
        let is_set = !args.set.is_empty()
            || variables.any(|(name, _)| name.to_str().is_some_and(leads_elsewhere));
        if is_set {
            let own = &config.data_dir;
            let data = path::absolute(own).unwrap_or_else(|_| own.clone());
            let set = format!("data_dir={}", data.display());
            let _ = write!(options, " --set {}", quoted(&set));
        }
        Self { program: quoted(program).into_owned(), options }
    }

    /// The command line of a subcommand.
    fn line(&self, subcommand: &str) -> String {
        format!("{} {subcommand}{}", self.program, self.options)
    }
}

/// The lines printed when the broker runs without a configuration file. `base` is its address.
pub(super) fn text(
    config: &Config,
    base: &str,
    setup: Option<&SetupLink>,
    command: &OwnCommand,
) -> String {
    let endpoint = format!("{base}/mcp");
    let auth = &config.auth;
    let (open, signs_in) = (auth.verifies("none"), auth.signs_in());
    let name = "broker";
    let mut text = format!("\n  MCP endpoint   {endpoint}\n");
    let _ = match (open, signs_in) {
        (true, _) => {
            writeln!(text, "  Sign-in        none: every program on this machine can connect")
        }
        (false, true) => writeln!(text, "  Sign-in        in the browser, when a client connects"),
        (false, false) => {
            let line = command.line("token add NAME");
            writeln!(text, "  Sign-in        bearer token, made by `{line}`")
        }
    };
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
        (true, _) => String::new(),
        // Signing in takes a browser; a token made by hand takes none. Its name is another one each
        // time, so that the line works twice.
        (false, true) => {
            let line = command.line("token add curl-$(date +%s) --expires 1");
            format!(" -H \"Authorization: Bearer $({line})\"")
        }
        (false, false) => " -H \"Authorization: Bearer $TOKEN\"".to_owned(),
    };
    // Only curl connects to a Unix socket.
    let socket = base
        .strip_prefix("unix:")
        .map(|path| format!("--unix-socket {} http://localhost/mcp", quoted(path)));
    let target = socket.as_deref().unwrap_or(&endpoint);
    if socket.is_none() {
        let _ = write!(
            text,
            r#"
  Claude Code    claude mcp add --transport http {name} {endpoint}{header}
  VS Code        code --add-mcp '{{"name":"{name}","type":"http","url":"{endpoint}"{json_headers}}}'
  Cursor         in ~/.cursor/mcp.json:
                 {{"mcpServers":{{"{name}":{{"url":"{endpoint}"{json_headers}}}}}}}
"#
        );
    }
    let program = &command.program;
    let _ = write!(
        text,
        r#"  curl           curl -si {target}{curl_header} \
                   -H 'Content-Type: application/json' \
                   -H 'Accept: application/json, text/event-stream' \
                   -d '{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"2025-11-25","capabilities":{{}},"clientInfo":{{"name":"curl","version":"0"}}}}}}'

  Another server: {program} -- COMMAND ARG…     All settings: {program} config --example
"#
    );
    text
}
