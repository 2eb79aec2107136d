//! Just enough HTTP to open a session: what a client does first, without a client.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::Context;

/// What a client says first.
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"xtask","version":"0"}}}"#;

/// Longer than the broker waits for a child's first answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens a session at `path` of the broker at `base` (`http://HOST:PORT`) and leaves it open.
pub(crate) fn open_session(base: &str, path: &str, token: &str) -> anyhow::Result<()> {
    let address = base.strip_prefix("http://").context("the base URL is not http://")?;
    let mut stream = TcpStream::connect(address).with_context(|| format!("no {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{INITIALIZE}",
        INITIALIZE.len()
    )?;
    let head: Vec<_> = BufReader::new(stream)
        .lines()
        .take_while(|line| line.as_ref().is_ok_and(|line| !line.is_empty()))
        .collect::<Result<_, _>>()?;
    let status = head.first().map_or("no answer", String::as_str);
    let has_id = head.iter().any(|line| line.to_ascii_lowercase().starts_with("mcp-session-id:"));
    anyhow::ensure!(status.contains(" 200 ") && has_id, "{path} opened no session: {status}");
    Ok(())
}
