//! A session from its first message to its end.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use serde_json::json;
use url::Url;

use super::{
    messages::{Posted, REVISION, Reply, SESSION, VERSION, first_byte, initialize, post},
    outcome::{Fault, Outcome, shown},
    trouble::{unexpected, unreachable},
    wire::{Wire, WireError, media_type},
};

const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", REVISION];

/// A session that is open.
#[derive(Debug)]
pub(super) struct Session {
    /// What every later request carries.
    headers: HeaderMap,
    has_id: bool,
    has_tools: bool,
}

/// Opens a session with these credentials; `reply` is the answer to `initialize` if there was one
/// already.
pub(super) async fn open(
    wire: &Wire,
    url: &Url,
    credentials: &HeaderMap,
    reply: Option<Reply>,
) -> Outcome<Session> {
    let reply = match reply {
        Some(reply) => reply,
        None => match post(wire, url, credentials, &initialize()).await {
            Ok(Posted::Reply(reply)) => reply,
            Ok(Posted::Other(answer)) => return unexpected(url, &answer, "200").into(),
            Err(fault) => return fault.into(),
        },
    };
    if let Some(error) = refused(&reply) {
        return Fault::new(
            format!("initialize is refused: {error}"),
            "look into the log of the broker: did the MCP server start?",
        )
        .into();
    }
    let result = &reply.message["result"];
    let (mut faults, mut notes) = (Vec::new(), Vec::new());
    let version = result["protocolVersion"].as_str().unwrap_or_default();
    if !REVISIONS.contains(&version) {
        faults.push(Fault::new(
            format!("the server answers with protocol version {:?}", shown(version)),
            "clients know the revisions of the protocol by their dates; update the MCP server",
        ));
    }
    let mut headers = credentials.clone();
    if let Ok(version) = HeaderValue::from_str(version) {
        headers.insert(HeaderName::from_static(VERSION), version);
    }
    let id = reply.headers.get(SESSION);
    if let Some(id) = id {
        // MCP transports, "Session Management": visible ASCII, 0x21 to 0x7E.
        if id.is_empty() || !id.as_bytes().iter().all(u8::is_ascii_graphic) {
            faults.push(Fault::new(
                "the session id has characters other than visible ASCII",
                "clients may drop it; does something before the broker change headers?",
            ));
        }
        headers.insert(HeaderName::from_static(SESSION), id.clone());
    } else {
        notes.push(
            "there is no session id; if the server keeps sessions, a proxy drops the header \
                    Mcp-Session-Id"
                .to_owned(),
        );
    }
    let name = shown(result["serverInfo"]["name"].as_str().unwrap_or("a server without a name"));
    let session = Session {
        headers,
        has_id: id.is_some(),
        has_tools: result["capabilities"].get("tools").is_some(),
    };
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    match post(wire, url, &session.headers, &ready).await {
        Ok(Posted::Other(answer)) if answer.status == StatusCode::ACCEPTED => {}
        Ok(Posted::Other(answer)) if answer.status.is_success() => {
            notes.push(format!(
                "a notification is answered with {}, not 202",
                answer.status.as_u16()
            ));
        }
        Ok(Posted::Other(answer)) => faults.push(unexpected(url, &answer, "202")),
        Ok(Posted::Reply(_)) => notes.push("a notification is answered with a message".to_owned()),
        Err(fault) => faults.push(fault),
    }
    Outcome::ok(session, format!("{name}, protocol {}", shown(version))).with(faults, notes)
}

impl Session {
    pub(super) async fn tools(&self, wire: &Wire, url: &Url) -> Outcome<()> {
        if !self.has_tools {
            return Outcome::not_checked("the server has no tools");
        }
        let list = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" });
        let reply = match post(wire, url, &self.headers, &list).await {
            Ok(Posted::Reply(reply)) => reply,
            Ok(Posted::Other(answer)) if answer.status == StatusCode::NOT_FOUND => {
                return Fault::new(
                    "the session is unknown at its second request (status 404)",
                    "do several brokers stand behind one address? The requests of a session must \
                     reach the same one, by the header Mcp-Session-Id",
                )
                .into();
            }
            Ok(Posted::Other(answer)) => return unexpected(url, &answer, "200").into(),
            Err(fault) => return fault.into(),
        };
        match (refused(&reply), reply.message["result"]["tools"].as_array()) {
            (Some(error), _) => Fault::new(
                format!("tools/list is refused: {error}"),
                "look into the log of the broker, and of the MCP server",
            )
            .into(),
            (None, Some(tools)) => Outcome::ok((), format!("{} tools", tools.len())),
            (None, None) => Fault::new(
                "the answer to tools/list has no list of tools",
                "update the MCP server; its answer is passed on as it is",
            )
            .into(),
        }
    }

    /// The standalone stream: a proxy that buffers shows in its first byte.
    pub(super) async fn stream(
        &self,
        wire: &Wire,
        url: &Url,
        patience: std::time::Duration,
    ) -> Outcome<()> {
        let buffered = || {
            Fault::new(
                format!("the stream opens, and nothing arrives within {patience:?}"),
                "the proxy buffers: switch it off for this path (nginx: proxy_buffering off, and \
                 proxy_cache off; Apache: flushpackets=on; a CDN may not be able to at all). This \
                 broker begins every stream at once; another server may just be silent",
            )
        };
        let mut request = Request::get("/").body(Bytes::new()).expect("a request of constants");
        *request.headers_mut() = self.headers.clone();
        let accept = HeaderValue::from_static("text/event-stream");
        request.headers_mut().insert(header::ACCEPT, accept);
        let begun = tokio::time::timeout(patience, wire.begin(url, request)).await;
        let mut exchange = match begun {
            Err(_) | Ok(Err(WireError::TimedOut)) => return buffered().into(),
            Ok(Err(error)) => return unreachable(url, &error).into(),
            Ok(Ok(exchange)) => exchange,
        };
        let status = exchange.head.status;
        if status == StatusCode::METHOD_NOT_ALLOWED {
            return Outcome::ok((), "the server offers none (405)");
        }
        if status != StatusCode::OK || media_type(&exchange.head.headers) != "text/event-stream" {
            return match wire.finish(exchange).await {
                Ok(answer) => unexpected(url, &answer, "an event stream").into(),
                Err(error) => unreachable(url, &error).into(),
            };
        }
        match first_byte(&mut exchange, patience).await {
            Some(true) => Outcome::ok((), "begins at once"),
            Some(false) => Fault::new(
                "the stream ends as soon as it begins",
                "does a proxy cut connections that stay open?",
            )
            .into(),
            None => buffered().into(),
        }
    }

    /// Ends the session, and looks whether it has ended.
    pub(super) async fn end(&self, wire: &Wire, url: &Url) -> Outcome<()> {
        if !self.has_id {
            return Outcome::not_checked("without a session id there is nothing to end");
        }
        let request = Request::builder().method(Method::DELETE).body(Bytes::new());
        let mut request = request.expect("a request of constants");
        *request.headers_mut() = self.headers.clone();
        let answer = match wire.ask(url, request).await {
            Ok(answer) => answer,
            Err(error) => return unreachable(url, &error).into(),
        };
        if answer.status == StatusCode::METHOD_NOT_ALLOWED {
            let note =
                "the server lets no client end a session; the doctor's is idle now".to_owned();
            return Outcome::ok((), "not offered (405)").with(Vec::new(), vec![note]);
        }
        if !answer.status.is_success() {
            return unexpected(url, &answer, "success").into();
        }
        let mut notes = Vec::new();
        let ping = json!({ "jsonrpc": "2.0", "id": 3, "method": "ping" });
        match post(wire, url, &self.headers, &ping).await {
            Ok(Posted::Other(answer)) if answer.status == StatusCode::NOT_FOUND => {}
            Ok(Posted::Other(answer)) if answer.status == StatusCode::GONE => notes.push(
                "an ended session is answered with 410; clients begin anew after 404 only \
                 (`session.unknown_status`)"
                    .to_owned(),
            ),
            Ok(Posted::Other(answer)) => notes.push(format!(
                "an ended session is answered with {}, not 404",
                answer.status.as_u16()
            )),
            Ok(Posted::Reply(_)) => notes.push("the session answers after its end".to_owned()),
            Err(fault) => notes.push(fault.what),
        }
        Outcome::ok((), "the session has ended").with(Vec::new(), notes)
    }
}

fn refused(reply: &Reply) -> Option<String> {
    let error = reply.message.get("error")?;
    let words = error["message"].as_str().unwrap_or("without a message");
    Some(format!("{} ({})", shown(words), shown(&error["code"].to_string())))
}
