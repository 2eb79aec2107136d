//! Just enough HTTP to open a session or to register: what a client does first, without a client.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::Context;
use serde_json::{Value, json};

/// What a client says first.
const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"xtask","version":"0"}}}"#;

/// Longer than the broker waits for a child's first answer. A server that downloads itself may be
/// silent for some minutes.
const TIMEOUT: Duration = Duration::from_mins(6);

/// Opens a session at `path` of the broker at `base` (`http://HOST:PORT`) and leaves it open.
pub(crate) fn open_session(base: &str, path: &str, token: &str) -> anyhow::Result<()> {
    let (mut stream, address) = connect(base)?;
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

/// Registers a public client that wants its codes at `redirect_uri` (RFC 7591) and returns its
/// identifier.
pub(crate) fn register(base: &str, path: &str, redirect_uri: &str) -> anyhow::Result<String> {
    let (mut stream, address) = connect(base)?;
    let body = json!({
        "client_name": "xtask",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    })
    .to_string();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Accept: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    let status = reply.lines().next().unwrap_or("no answer").to_owned();
    client_id(&reply).with_context(|| format!("{path} registered no client: {status}"))
}

/// The identifier in an answer, wherever its one JSON object stands: the body may be in chunks.
fn client_id(reply: &str) -> Option<String> {
    let (_, body) = reply.split_once("\r\n\r\n")?;
    let object = body.get(body.find('{')?..=body.rfind('}')?)?;
    let object: Value = serde_json::from_str(object).ok()?;
    object["client_id"].as_str().map(str::to_owned)
}

fn connect(base: &str) -> anyhow::Result<(TcpStream, &str)> {
    let address = base.strip_prefix("http://").context("the base URL is not http://")?;
    let stream = TcpStream::connect(address).with_context(|| format!("no {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok((stream, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identifier_is_found_in_a_whole_and_in_a_chunked_body() {
        let head = "HTTP/1.1 201 Created\r\nx: {}\r\n\r\n";
        let body = r#"{"client_id":"abc","n":{}}"#;
        assert_eq!(client_id(&format!("{head}{body}")).as_deref(), Some("abc"));
        assert_eq!(client_id(&format!("{head}1a\r\n{body}\r\n0\r\n\r\n")).as_deref(), Some("abc"));
        assert_eq!(client_id(&format!("{head}no")), None);
    }
}
