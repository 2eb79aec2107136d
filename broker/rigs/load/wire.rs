//! One client connection, and the requests of an MCP session on it.

use std::{fmt::Write as _, net::SocketAddr};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    client::conn::http1::{SendRequest, handshake},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use memchr::memmem;
use tokio::{net::TcpStream, task::JoinSet};

/// What opens a session.
pub(crate) const INITIALIZE: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"load","version":"1"}}}"#;
pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// What a request of 2026-07-28 carries beside its parameters.
const META: &str = r#","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"load","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;

/// Headers of one session's requests, ready to be cloned.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) headers: HeaderMap,
    /// What goes into the parameters of each request.
    meta: &'static str,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Where to ask, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) headers: HeaderMap,
}

impl Endpoint {
    pub(crate) fn new(address: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, address.to_string().try_into()?);
        headers.insert(AUTHORIZATION, format!("Bearer {token}").try_into()?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        Ok(Self { address, headers })
    }

    /// Requests that carry `id` as their session.
    pub(crate) fn session(&self, id: HeaderValue) -> Session {
        let mut headers = self.headers.clone();
        headers.insert("mcp-session-id", id);
        headers.insert("mcp-protocol-version", HeaderValue::from_static("2025-11-25"));
        Session { headers, meta: "" }
    }

    /// Calls that belong to no session (2026-07-28).
    pub(crate) fn no_session(&self) -> Session {
        let mut headers = self.headers.clone();
        headers.insert("mcp-protocol-version", HeaderValue::from_static("2026-07-28"));
        headers.insert("mcp-method", HeaderValue::from_static("tools/call"));
        headers.insert("mcp-name", HeaderValue::from_static("echo"));
        Session { headers, meta: META }
    }
}

/// A connection that is kept alive, with one request in flight.
#[derive(Debug)]
pub(crate) struct Wire {
    sender: SendRequest<Full<Bytes>>,
    next_id: u64,
    // Ends the connection when the wire is dropped.
    _driver: JoinSet<()>,
}

impl Wire {
    pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // An error here is also the error of the request that met it.
            let _ = connection.await;
        });
        Ok(Self { sender, next_id: 1, _driver: driver })
    }

    /// Whether the server has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Opens a session as a client does.
    pub(crate) async fn open(&mut self, endpoint: &Endpoint) -> anyhow::Result<Session> {
        let session = self.initialize(endpoint).await?;
        let (status, body) = self.post(&session.headers, INITIALIZED.into()).await?;
        ensure!(status == StatusCode::ACCEPTED, "initialized: {}", described(status, &body));
        Ok(session)
    }

    /// Only the request that opens a session.
    pub(crate) async fn initialize(&mut self, endpoint: &Endpoint) -> anyhow::Result<Session> {
        let reply = self.ask(Method::POST, &endpoint.headers, INITIALIZE).await?;
        ensure!(
            reply.status == StatusCode::OK && carries(&reply.body, 0),
            "initialize: {}",
            described(reply.status, &reply.body)
        );
        let id = reply.headers.get("mcp-session-id").context("no session id was given")?;
        Ok(endpoint.session(id.clone()))
    }

    /// One `tools/call`, whose answer carries its id.
    pub(crate) async fn call(&mut self, session: &Session) -> anyhow::Result<()> {
        let (status, body, id) = self.send_call(session).await?;
        if status != StatusCode::OK || !carries(&body, id) {
            bail!("call {id}: {}", described(status, &body));
        }
        Ok(())
    }

    /// One `tools/call`, whose answer is `fixed`.
    pub(crate) async fn call_fixed(
        &mut self,
        session: &Session,
        fixed: &[u8],
    ) -> anyhow::Result<()> {
        let (status, body, id) = self.send_call(session).await?;
        if status != StatusCode::OK || body != fixed {
            bail!("call {id}: {}", described(status, &body));
        }
        Ok(())
    }

    async fn send_call(&mut self, session: &Session) -> anyhow::Result<(StatusCode, Bytes, u64)> {
        let id = self.next_id;
        self.next_id += 1;
        let mut body = String::with_capacity(192 + session.meta.len());
        let meta = session.meta;
        write!(
            body,
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"echo","arguments":{{"text":"forty characters of text, to be precise."}}{meta}}}}}"#
        )?;
        let (status, body) = self.post(&session.headers, body.into()).await?;
        Ok((status, body, id))
    }

    /// Ends a session.
    pub(crate) async fn end(&mut self, session: &Session) -> anyhow::Result<()> {
        let (status, body) =
            self.exchange(request(Method::DELETE, "/mcp", &session.headers, Bytes::new())).await?;
        ensure!(status == StatusCode::NO_CONTENT, "DELETE: {}", described(status, &body));
        Ok(())
    }

    /// The sum of a metric over its labels; 0 when it was never set.
    pub(crate) async fn metric(&mut self, endpoint: &Endpoint, name: &str) -> anyhow::Result<f64> {
        let mut sum = 0.0;
        for line in self.metrics(endpoint).await?.lines() {
            let Some(rest) = line.strip_prefix(name) else { continue };
            if !rest.starts_with([' ', '{']) {
                continue;
            }
            let (_, value) = rest.rsplit_once(' ').context("a metric without a value")?;
            sum += value.parse::<f64>().with_context(|| format!("strange metric: {line}"))?;
        }
        Ok(sum)
    }

    /// The page of metrics.
    pub(crate) async fn metrics(&mut self, endpoint: &Endpoint) -> anyhow::Result<String> {
        let (status, body) = self
            .exchange(request(Method::GET, "/metrics", &endpoint.headers, Bytes::new()))
            .await?;
        ensure!(status == StatusCode::OK, "/metrics: {}", described(status, &body));
        Ok(String::from_utf8(body.into())?)
    }

    /// Any request to the endpoint.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        headers: &HeaderMap,
        body: impl Into<Bytes>,
    ) -> anyhow::Result<Reply> {
        self.sender.ready().await?;
        let request = request(method, "/mcp", headers, body.into());
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body })
    }

    async fn post(
        &mut self,
        headers: &HeaderMap,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        self.exchange(request(Method::POST, "/mcp", headers, body)).await
    }

    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

fn request(
    method: Method,
    path: &'static str,
    headers: &HeaderMap,
    body: Bytes,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = hyper::Uri::from_static(path);
    *request.headers_mut() = headers.clone();
    request
}

/// Whether an answer, bare or as an event, is the one to `id`.
fn carries(body: &[u8], id: u64) -> bool {
    let mut needle = String::with_capacity(24);
    write!(needle, r#""id":{id}"#).expect("a string takes what is written");
    memmem::find(body, needle.as_bytes())
        .is_some_and(|at| !body.get(at + needle.len()).is_some_and(u8::is_ascii_digit))
        && memmem::find(body, br#""result":"#).is_some()
}

pub(crate) fn described(status: StatusCode, body: &[u8]) -> String {
    format!("{status} {}", String::from_utf8_lossy(&body[..body.len().min(300)]))
}
