//! The stdio server behind broker and floor: one thread, blocking reads and writes, no state.

use std::{
    borrow::Cow,
    io::{self, BufRead, Write},
};

use serde::Deserialize;
use serde_json::value::RawValue;

const INITIALIZED: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"load","version":"1"}}"#;
const CALLED: &str =
    r#"{"content":[{"type":"text","text":"forty characters of text, to be precise."}]}"#;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
}

/// Answers lines until standard input ends.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    let (mut line, mut answer) = (Vec::new(), Vec::new());
    while input.read_until(b'\n', &mut line)? > 0 {
        let message: Message<'_> = serde_json::from_slice(&line)?;
        if let (Some(id), Some(method)) = (message.id, message.method) {
            let (kind, payload) = match &*method {
                "tools/call" => ("result", CALLED),
                "initialize" => ("result", INITIALIZED),
                "ping" => ("result", "{}"),
                _ => ("error", r#"{"code":-32601,"message":"Method not found"}"#),
            };
            answer.clear();
            writeln!(answer, r#"{{"jsonrpc":"2.0","id":{},"{kind}":{payload}}}"#, id.get())?;
            output.write_all(&answer)?;
            output.flush()?;
        }
        line.clear();
    }
    Ok(())
}
