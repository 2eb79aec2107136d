//! The first exchange with a child, in the client's words (MCP lifecycle, "Initialization").

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use tokio::{sync::oneshot, time};

use crate::{
    admission::Admission,
    bridge::Bridge,
    envelope::member,
    error::{Closed, InitializeError},
    message::{Kind, Message},
    modern::{VERSION, discovery::is_modern_server, request_headers::is_modern_version},
    revision::Revision,
    rpc,
    server::Server,
    snapshot::Snapshot,
    table::{Pending, Sink},
};

/// A successful handshake.
#[derive(Debug, Clone)]
pub struct Welcome {
    /// The child's result as raw JSON on one line.
    pub result: Bytes,
    /// The revision agreed on; the newest known one if the child named another.
    pub revision: Revision,
}

impl Bridge {
    /// Sends the client's `initialize` and waits for the child's answer, at most `timeout`. A client that names
    /// a revision without a handshake means the last one with: a child that takes whatever it is offered
    /// would agree to what neither of them can speak then (MCP 2026-07-28, "Backward Compatibility").
    ///
    /// # Errors
    /// [`InitializeError`]; the bridge is of no use after one, and its child should be stopped.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the bridge half initialized: stop its child then.
    pub async fn initialize(
        &self,
        request: &Message,
        timeout: Duration,
    ) -> Result<Welcome, InitializeError> {
        let params = request.payload().map(negotiated_down);
        let params = params.as_deref();
        let result = self.exchange_initialize(params, timeout).await?;
        let server = Server::read(&result);
        let revision = self.set_revision(&server);
        let mut memory = Snapshot::of_handshake(params, server, &self.shared.limits);
        if let Some(memory) = &mut memory {
            memory.serves_calls = self.shared.serves_calls();
        }
        self.shared.table().memory = memory;
        self.shared.count_change();
        Ok(Welcome { result, revision })
    }

    /// Asks a child of the modern era what it is (MCP 2026-07-28, "Discovery"), and has it serve
    /// calls from then on. Waits at most `timeout`.
    ///
    /// # Errors
    /// [`InitializeError`]; a child of the legacy era should be stopped after one, since some are of
    /// no use after a message they do not expect.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the child's answer unread: stop it then.
    pub async fn discover(&self, timeout: Duration) -> Result<Bytes, InitializeError> {
        self.serve_calls();
        let params = format!(
            r#"{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"{VERSION}","io.modelcontextprotocol/clientInfo":{{"name":"mcp-broker","version":"{}"}},"io.modelcontextprotocol/clientCapabilities":{{}}}}}}"#,
            env!("CARGO_PKG_VERSION"),
        );
        let result = self.exchange_first("server/discover", Some(&params), timeout).await?;
        if !is_modern_server(&result) {
            let what = format!("it does not name {VERSION} among its supportedVersions");
            return Err(InitializeError::Unreadable { what });
        }
        let _ = self.shared.welcome.set(result.clone());
        self.shared.table().memory = Some(Box::new(Snapshot::of_modern()));
        self.shared.count_change();
        Ok(result)
    }

    /// What the child has said of itself, in the handshake or when it was asked: raw JSON on one line.
    /// `None` before.
    #[must_use]
    pub fn welcome(&self) -> Option<&Bytes> {
        self.shared.welcome.get()
    }

    /// Sends `initialize` with `params` and waits for the result, raw.
    pub(crate) async fn exchange_initialize(
        &self,
        params: Option<&str>,
        timeout: Duration,
    ) -> Result<Bytes, InitializeError> {
        let result = self.exchange_first("initialize", params, timeout).await?;
        let _ = self.shared.welcome.set(result.clone());
        Ok(result)
    }

    async fn exchange_first(
        &self,
        method: &'static str,
        params: Option<&str>,
        timeout: Duration,
    ) -> Result<Bytes, InitializeError> {
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut table = self.shared.table();
            if let Some(why) = table.closed {
                return Err(InitializeError::Closed(why));
            }
            table.initializing = true;
            let id = table.mint();
            let pending = Pending {
                admission: Admission::default(),
                // Only the bridge sees the answer.
                id: "null".into(),
                token: None,
                sink: Sink::Own(answer),
                deadline: None,
                switch_at: None,
                change: None,
            };
            table.pending.insert(id, pending);
            id
        };
        // A child that reads nothing shows as the deadline below.
        let _ = self.shared.outbox.send(rpc::line(rpc::own(Some(id), method, params)));
        let answered = time::timeout(timeout, answered).await;
        self.shared.table().initializing = false;
        let answer = match answered {
            Err(_) => return Err(InitializeError::TimedOut),
            Ok(Err(_)) => {
                let why = self.shared.table().closed.unwrap_or(Closed::Stopped);
                return Err(InitializeError::Closed(why));
            }
            Ok(Ok(Err(what))) => return Err(InitializeError::Unreadable { what: what.into() }),
            Ok(Ok(Ok(answer))) => answer,
        };
        let payload = Bytes::copy_from_slice(answer.payload().unwrap_or("null").as_bytes());
        if answer.kind() == Kind::Error {
            return Err(InitializeError::Refused(payload));
        }
        Ok(payload)
    }

    /// Adopts the revision that `server` named.
    pub(crate) fn set_revision(&self, server: &Server) -> Revision {
        let revision = server.revision().unwrap_or(Revision::LATEST);
        *self.shared.revision.get_or_init(|| revision)
    }
}

/// The parameters of `initialize`, with the newest revision of the legacy era in the place of a later one.
fn negotiated_down(params: &str) -> Cow<'_, str> {
    let Ok(Some(place)) = member(params, "protocolVersion") else { return params.into() };
    let named: Option<String> = serde_json::from_str(&params[place.clone()]).ok();
    if !named.is_some_and(|named| is_modern_version(&named)) {
        return params.into();
    }
    let latest = format!("\"{}\"", Revision::LATEST);
    [&params[..place.start], &latest, &params[place.end..]].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initialize_asks_a_child_for_no_revision_without_a_handshake() {
        let params = |version: &str| {
            format!(
                r#"{{"capabilities":{{}},"protocolVersion":{version},"clientInfo":{{"a":1.50}}}}"#
            )
        };
        for later in
            [r#""2026-07-28""#, r#""2026-07-29""#, r#""2099-01-01""#, r#""2026-0\u0037-28""#]
        {
            assert_eq!(negotiated_down(&params(later)), params(r#""2025-11-25""#), "{later}");
        }
        for own in [r#""2025-11-25""#, r#""2024-11-05""#, r#""1.0""#, r#""v999.0.0""#, "7", "null"]
        {
            assert_eq!(negotiated_down(&params(own)), params(own), "{own}");
        }
        assert_eq!(negotiated_down("{}"), "{}");
    }
}
