//! A server without fault, and the means to put one in.

use std::{io, sync::Arc};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::TOKEN;

/// A request as a fake server sees it.
pub(crate) struct Asked {
    /// As in `GET /mcp`.
    pub(crate) what: String,
    pub(crate) authorization: Option<String>,
    pub(super) authorized: bool,
    pub(crate) body: String,
}

/// What a fake server says.
pub(crate) enum Said {
    /// And closes.
    Whole(String),
    /// And keeps the connection open.
    Held(String),
}

pub(crate) struct Fake {
    pub(crate) base: String,
    _tasks: JoinSet<()>,
}

impl Fake {
    pub(crate) async fn start(
        script: impl Fn(&Asked, &str) -> Said + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let script = Arc::new(script);
        let mut tasks = JoinSet::new();
        let own = base.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (script, base) = (Arc::clone(&script), own.clone());
                connections.spawn(async move {
                    // A client that only knocks sends nothing.
                    let Ok(asked) = read(&mut stream).await else { return };
                    let (text, held) = match script(&asked, &base) {
                        Said::Whole(text) => (text, false),
                        Said::Held(text) => (text, true),
                    };
                    let _ = stream.write_all(text.as_bytes()).await;
                    if held {
                        let _ = stream.read_u8().await;
                    }
                });
            }
        });
        Self { base, _tasks: tasks }
    }
}

async fn read(stream: &mut TcpStream) -> io::Result<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).expect("text");
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let length = header("content-length").map_or(0, |length| length.parse().expect("a number"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let what = head.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let authorization = header("authorization");
    let authorized = authorization == Some(format!("Bearer {TOKEN}"));
    Ok(Asked { what, authorization, authorized, body: String::from_utf8(body).expect("text") })
}

pub(crate) fn said(status: &str, headers: &str, body: &str) -> Said {
    let length = body.len();
    Said::Whole(format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ))
}

pub(crate) fn document(body: &Value) -> Said {
    said("200 OK", "content-type: application/json\r\n", &body.to_string())
}

pub(super) fn html(status: &str) -> Said {
    let page = "<!DOCTYPE html><html><head><title>Another Portal\u{1b}[2J</title></head></html>";
    said(status, "content-type: text/html; charset=utf-8\r\n", page)
}

pub(super) fn resource(base: &str) -> Value {
    json!({ "resource": format!("{base}/mcp"), "authorization_servers": [base] })
}

pub(super) fn server(base: &str) -> Value {
    json!({
        "issuer": base,
        "authorization_endpoint": format!("{base}/oauth/authorize"),
        "token_endpoint": format!("{base}/oauth/token"),
        "registration_endpoint": format!("{base}/oauth/register"),
        "code_challenge_methods_supported": ["S256"],
    })
}

/// A server without fault.
pub(super) fn good(asked: &Asked, base: &str) -> Said {
    match asked.what.as_str() {
        "POST /mcp" if !asked.authorized => {
            let link = format!("{base}/.well-known/oauth-protected-resource/mcp");
            let challenge = format!("www-authenticate: Bearer resource_metadata=\"{link}\"\r\n");
            said("401 Unauthorized", &challenge, "")
        }
        "POST /mcp" => {
            let message: Value = serde_json::from_str(&asked.body).expect("JSON");
            let result = |result: Value| {
                json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }).to_string()
            };
            match message["method"].as_str() {
                Some("initialize") => {
                    let result = result(json!({
                        "protocolVersion": "2025-06-18",
                        "capabilities": { "tools": {} },
                        "serverInfo": { "name": "good", "version": "1" },
                    }));
                    let head = "content-type: application/json\r\nmcp-session-id: s-1\r\n";
                    said("200 OK", head, &result)
                }
                // Something before the answer, as an event stream.
                Some("tools/list") => {
                    let other = json!({ "jsonrpc": "2.0", "method": "notifications/message" });
                    let answer = result(json!({ "tools": [{ "name": "a" }, { "name": "b" }] }));
                    let events =
                        format!(": ok\n\ndata: {other}\n\nid: 1\r\ndata: {answer}\r\n\r\n");
                    said("200 OK", "content-type: text/event-stream\r\n", &events)
                }
                Some("ping") => said("404 Not Found", "", ""),
                _ => said("202 Accepted", "", ""),
            }
        }
        "GET /mcp" => Said::Held(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: ok\n\n".to_owned(),
        ),
        "DELETE /mcp" => said("204 No Content", "", ""),
        "GET /.well-known/oauth-protected-resource"
        | "GET /.well-known/oauth-protected-resource/mcp" => document(&resource(base)),
        "GET /.well-known/oauth-authorization-server" => document(&server(base)),
        "GET /oauth/authorize" => said("400 Bad Request", "", ""),
        "POST /oauth/token" => said("400 Bad Request", "", ""),
        "POST /oauth/register" => said(
            "201 Created",
            "content-type: application/json\r\n",
            &json!({ "client_id": "c-1" }).to_string(),
        ),
        _ => said("404 Not Found", "", ""),
    }
}
