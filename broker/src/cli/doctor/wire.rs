//! Requests of the doctor: each on a connection of its own, which is what a bad proxy shows in.

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use auth::oauth::FetchError;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use rustls::ClientConfig;
use serde_json::Value;
use tokio::time::timeout;
use url::{Position, Url};

use crate::fetch::{
    Roots,
    exchange::Exchange,
    network::{DialError, System, Transport, addresses, dial},
    target::Target,
};

/// The longest answer that is read.
pub(super) const MAX_BODY: usize = 4 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the address cannot be asked")]
    Address,
    #[error("no connection")]
    Dial(#[source] DialError),
    #[error("no HTTP")]
    Http(#[source] hyper::Error),
    #[error("the body did not arrive")]
    Body(#[source] FetchError),
    #[error("no answer in time")]
    TimedOut,
}

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// How the doctor asks.
pub(super) struct Wire {
    network: Arc<dyn Transport>,
    tls: Arc<ClientConfig>,
    pub(super) patience: Duration,
}

impl Wire {
    /// Waits `patience` for each answer.
    pub(super) fn new(roots: &Roots, patience: Duration) -> Self {
        let tls = Arc::new(roots.client(&[b"http/1.1"]));
        Self { network: Arc::new(System), tls, patience }
    }

    /// Connects and says nothing; where to.
    pub(super) async fn knock(&self, url: &Url) -> Result<SocketAddr, WireError> {
        let target = Target::of_url(url).ok_or(WireError::Address)?;
        let knocking = async {
            let all = addresses(&*self.network, &target).await.map_err(WireError::Dial)?;
            let dialled = dial(&*self.network, &target, &all, &self.tls, self.patience).await;
            dialled.map(|(_, address)| address).map_err(WireError::Dial)
        };
        timeout(self.patience, knocking).await.unwrap_or(Err(WireError::TimedOut))
    }

    /// Sends `request`, whose address is replaced by `url`, and waits for the head of the answer.
    pub(super) async fn begin(
        &self,
        url: &Url,
        request: Request<Bytes>,
    ) -> Result<Exchange, WireError> {
        let target = Target::of_url(url).ok_or(WireError::Address)?;
        let (mut head, body) = request.into_parts();
        let path = &url[Position::BeforePath..Position::AfterQuery];
        head.uri = path.parse().map_err(|_| WireError::Address)?;
        let host = HeaderValue::from_str(&target.authority()).map_err(|_| WireError::Address)?;
        head.headers.insert(header::HOST, host);
        let agent = concat!("mcp-broker-doctor/", env!("CARGO_PKG_VERSION"));
        head.headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
        let identity = HeaderValue::from_static("identity");
        head.headers.insert(header::ACCEPT_ENCODING, identity);
        let request = Request::from_parts(head, Full::new(body));
        let begun = async {
            let all = addresses(&*self.network, &target).await.map_err(WireError::Dial)?;
            let dialled = dial(&*self.network, &target, &all, &self.tls, self.patience).await;
            let (stream, _) = dialled.map_err(WireError::Dial)?;
            Exchange::begin(stream, request).await.map_err(WireError::Http)
        };
        timeout(self.patience, begun).await.unwrap_or(Err(WireError::TimedOut))
    }

    /// As [`begin`](Self::begin), and reads the body, too.
    pub(super) async fn ask(
        &self,
        url: &Url,
        request: Request<Bytes>,
    ) -> Result<Answer, WireError> {
        let exchange = self.begin(url, request).await?;
        self.finish(exchange).await
    }

    /// Reads the body of an answer.
    pub(super) async fn finish(&self, exchange: Exchange) -> Result<Answer, WireError> {
        let read = timeout(self.patience, exchange.whole(MAX_BODY)).await;
        let answer = read.unwrap_or(Err(FetchError::TimedOut)).map_err(|error| match error {
            FetchError::TimedOut => WireError::TimedOut,
            other => WireError::Body(other),
        })?;
        let (head, body) = answer.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// A GET for a document.
    pub(super) async fn get(&self, url: &Url) -> Result<Answer, WireError> {
        let request = Request::get("/")
            .header(header::ACCEPT, "application/json")
            .body(Bytes::new())
            .expect("a request of constants");
        self.ask(url, request).await
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Answer {
    /// The media type, in lower case, without parameters.
    pub(super) fn media_type(&self) -> String {
        media_type(&self.headers)
    }

    /// The body as JSON, whatever it is called.
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    pub(super) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether this is a page for people.
    pub(super) fn is_html(&self) -> bool {
        let start = self.body.trim_ascii_start();
        self.media_type() == "text/html"
            || start.get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"<html"))
            || start.get(..9).is_some_and(|start| start.eq_ignore_ascii_case(b"<!doctype"))
    }

    /// What stands between `<title>` and `</title>`.
    pub(super) fn title(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(64 * 1024)]);
        let lower = text.to_ascii_lowercase();
        let from = lower.find("<title")?;
        let from = from + lower[from..].find('>')? + 1;
        let to = from + lower[from..].find("</title")?;
        Some(text[from..to].trim().to_owned()).filter(|title| !title.is_empty())
    }
}

pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
