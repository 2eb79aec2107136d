//! HTTP/1.1 by hand: a test needs to say exactly which bytes go out, and when.

use std::{fmt::Write as _, net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// How long a test waits for one thing before it fails. A guard against waiting in vain, and no
/// promise of the broker: a busy machine may need much of it.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection's two directions.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// One connection.
pub(crate) struct Wire {
    stream: BufStream<Box<dyn Duplex>>,
    /// Decoded body bytes that no event was cut from yet.
    decoded: Vec<u8>,
}

/// A response; its body only if it was read.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// One block of an event stream; a comment has neither id nor data.
#[derive(Debug, Default)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    pub(crate) data: Option<String>,
    pub(crate) text: String,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        stream.set_nodelay(true).expect("a socket option");
        Self::over(stream)
    }

    /// Of what is sent to it, the system keeps as little as it can.
    pub(crate) async fn with_small_buffer(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a socket option");
        Self::over(socket.connect(address).await.expect("somebody listens"))
    }

    pub(crate) fn over(stream: impl Duplex + 'static) -> Self {
        Self { stream: BufStream::new(Box::new(stream)), decoded: Vec::new() }
    }

    /// Sends; a peer that has closed already shows in what is read.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        let sent = self.stream.write_all(bytes.as_ref()).await;
        sent.is_ok() && self.stream.flush().await.is_ok()
    }

    /// The head of the next response.
    pub(crate) async fn head(&mut self) -> Answer {
        self.try_head().await.expect("a response")
    }

    /// The head of the next response, or `None` when the connection ends instead.
    pub(crate) async fn try_head(&mut self) -> Option<Answer> {
        let first = self.line().await?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let mut headers = Vec::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Some(Answer { status, headers, body: Vec::new() })
    }

    /// The next response, whole.
    pub(crate) async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        self.body_of(head).await
    }

    /// `head` together with its body.
    pub(crate) async fn body_of(&mut self, mut head: Answer) -> Answer {
        if head.header("transfer-encoding") == Some("chunked") {
            while self.chunk().await {}
            head.body = std::mem::take(&mut self.decoded);
        } else if let Some(length) = head.header("content-length") {
            head.body = vec![0; length.parse().expect("a length")];
            let read = self.stream.read_exact(&mut head.body);
            timeout(TIMEOUT, read).await.expect("in time").expect("the whole body");
        }
        head
    }

    /// Whether a body of this length comes whole.
    pub(crate) async fn has(&mut self, length: usize) -> bool {
        let mut body = vec![0; length];
        let read = self.stream.read_exact(&mut body);
        timeout(TIMEOUT, read).await.expect("in time").is_ok()
    }

    /// The next block of an event stream; `None` at its end.
    pub(crate) async fn event(&mut self) -> Option<Event> {
        loop {
            if let Some(at) = self.decoded.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.decoded.drain(..at + 2).collect();
                return Some(Event::of(&String::from_utf8(block).expect("text")));
            }
            if !self.chunk().await {
                return None;
            }
        }
    }

    /// The next event that carries a message.
    pub(crate) async fn message(&mut self) -> Option<(String, Value)> {
        loop {
            let event = self.event().await?;
            if let (Some(id), Some(data)) = (event.id, event.data.filter(|data| !data.is_empty())) {
                return Some((id, serde_json::from_str(&data).expect("JSON")));
            }
        }
    }

    /// Whether the peer closes the connection, whatever it sends before.
    pub(crate) async fn closes(&mut self) -> bool {
        let mut rest = Vec::new();
        timeout(TIMEOUT, self.stream.read_to_end(&mut rest)).await.is_ok()
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        loop {
            let byte = timeout(TIMEOUT, self.stream.read_u8()).await.expect("an answer in time");
            match byte.ok()? {
                b'\n' => return Some(String::from_utf8(line).expect("text")),
                b'\r' => {}
                byte => line.push(byte),
            }
        }
    }

    /// Reads one chunk; `false` after the last one.
    async fn chunk(&mut self) -> bool {
        let Some(size) = self.line().await else { return false };
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
        let start = self.decoded.len();
        self.decoded.resize(start + size, 0);
        let read = self.stream.read_exact(&mut self.decoded[start..]);
        if timeout(TIMEOUT, read).await.expect("in time").is_err() {
            return false;
        }
        let _ = self.line().await;
        size > 0
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The body as JSON, or the last message of the event stream that it is.
    pub(crate) fn json(&self) -> Value {
        if self.header("content-type") == Some("text/event-stream") {
            return self.messages().pop().expect("a message");
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// Every message of the event stream that the body is.
    pub(crate) fn messages(&self) -> Vec<Value> {
        let events = self.text().split_inclusive("\n\n").map(Event::of);
        let data = events.filter_map(|event| event.data).filter(|data| !data.is_empty());
        data.map(|data| serde_json::from_str(&data).expect("JSON")).collect()
    }

    /// Status, JSON-RPC error code and id.
    pub(crate) fn error(&self) -> (u16, i64, Value) {
        let body = self.json();
        let code = body["error"]["code"].as_i64();
        let code = code.unwrap_or_else(|| panic!("{} is no error: {body}", self.status));
        assert!(body["error"]["message"].is_string(), "{body}");
        (self.status, code, body["id"].clone())
    }

    pub(crate) fn assert_retry(&self) {
        let after = self.header("retry-after").and_then(|after| after.parse::<u32>().ok());
        assert!(after.is_some_and(|after| after > 0), "{self:?}");
    }
}

impl Event {
    fn of(text: &str) -> Self {
        let mut event = Self { text: text.to_owned(), ..Self::default() };
        for line in text.lines() {
            if let Some(id) = line.strip_prefix("id: ") {
                event.id = Some(id.to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                event.data = Some(data.to_owned());
            }
        }
        event
    }
}

/// Whom to ask, and as whom: the headers of every request. Every request has a connection of its
/// own.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    path: String,
    headers: Vec<(String, String)>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let client = Self { address, path: "/mcp".to_owned(), headers: Vec::new() };
        client
            .with("host", &address.to_string())
            .with("content-type", "application/json")
            .with("accept", "application/json, text/event-stream")
    }

    pub(crate) fn at(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }

    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.without(name);
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    pub(crate) fn without(&self, name: &str) -> Self {
        let mut client = self.clone();
        client.headers.retain(|(known, _)| known != name);
        client
    }

    pub(crate) fn bearer(&self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    /// The session this client is in.
    pub(crate) fn session(&self) -> &str {
        let id = self.headers.iter().find(|(name, _)| name == "mcp-session-id");
        &id.expect("a session").1
    }

    /// The head of a request as it goes out, `more` lines (each with its line end) included.
    pub(crate) fn head(&self, method: &str, more: &str) -> String {
        let mut head = format!("{method} {} HTTP/1.1\r\n", self.path);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head + more + "\r\n"
    }

    /// Sends a request on a new connection and leaves the answer to be read.
    pub(crate) async fn send(&self, method: &str, body: impl AsRef<[u8]>) -> Wire {
        let mut wire = Wire::connect(self.address).await;
        self.send_on(&mut wire, method, body).await;
        wire
    }

    pub(crate) async fn send_on(&self, wire: &mut Wire, method: &str, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let mut bytes = self.head(method, &format!("content-length: {}\r\n", body.len()));
        if body.is_empty() {
            bytes = self.head(method, "");
        }
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(body);
        wire.send(bytes).await;
    }

    pub(crate) async fn ask(&self, method: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send(method, body).await.answer().await
    }

    pub(crate) async fn post(&self, body: impl AsRef<[u8]>) -> Answer {
        self.ask("POST", body).await
    }

    pub(crate) async fn delete(&self) -> Answer {
        self.ask("DELETE", "").await
    }

    /// The standalone stream, its response's head read.
    pub(crate) async fn listen(&self) -> Wire {
        let mut wire = self.send("GET", "").await;
        let head = wire.head().await;
        assert_eq!(head.status, 200, "{head:?}");
        wire
    }

    /// A session of one's own; panics unless it opens.
    pub(crate) async fn open(&self) -> Self {
        self.open_as("2025-11-25").await
    }

    pub(crate) async fn open_as(&self, revision: &str) -> Self {
        let answer = self.post(initialize("\"open\"", revision)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["result"]["protocolVersion"], revision, "{answer:?}");
        let client = self.with("mcp-session-id", answer.header("mcp-session-id").expect("an id"));
        let ready = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert_eq!(client.post(ready).await.status, 202);
        // Whoever looks at what the child has read finds all of this there.
        assert!(client.is_alive().await);
        client
    }

    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Answer {
        self.post(call("1", tool, &arguments)).await
    }

    /// Whether the session answers a ping.
    pub(crate) async fn is_alive(&self) -> bool {
        self.post(PING).await.status == 200
    }
}

pub(crate) const PING: &str = r#"{"jsonrpc":"2.0","id":"ping","method":"ping"}"#;

/// An `initialize` with this raw id.
pub(crate) fn initialize(id: &str, revision: &str) -> String {
    let info = json!({ "name": "it", "version": "1" });
    let params = json!({ "protocolVersion": revision, "capabilities": {}, "clientInfo": info });
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"initialize","params":{params}}}"#)
}

/// A `tools/call` with this raw id.
pub(crate) fn call(id: &str, tool: &str, arguments: &Value) -> String {
    let params = json!({ "name": tool, "arguments": arguments });
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#)
}
