//! The MCP endpoint: POST, GET and DELETE of the Streamable HTTP transport.

use std::{sync::Arc, time::SystemTime};

use auth::{Challenge, Denied, Verified};
use bridge::{Body, Incoming, Kind, Message, Outcome, rpc};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use session::{Lease, LeaseError, OpenError, Owner, SessionId, StopReason};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{
    body, causes,
    negotiate::{self, LAST_EVENT_ID, SESSION_ID},
    not_allowed,
    reply::{self, Refusal},
};
use crate::{
    app::{App, Counted, State},
    backend::{Ask, Live, SpawnFailure},
    metrics::{ReasonLabel, method_label},
    server::Server,
};

pub(super) async fn answer<B>(
    app: Arc<App>,
    server: Arc<Server>,
    state: Arc<State>,
    request: Request<B>,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let at_root = request.uri().path() == "/mcp";
    let exchange = Exchange { app, server, state, at_root };
    let result = match *request.method() {
        Method::POST => exchange.post(request).await,
        Method::GET => exchange.get(request.headers()).await,
        Method::DELETE => exchange.delete(request.headers()).await,
        _ => return not_allowed("GET, POST, DELETE"),
    };
    result.unwrap_or_else(Refusal::response)
}

/// One request to the endpoint of one server.
struct Exchange {
    app: Arc<App>,
    server: Arc<Server>,
    state: Arc<State>,
    /// Whether it was asked at `/mcp`, as the default server.
    at_root: bool,
}

impl Exchange {
    async fn post<B>(&self, request: Request<B>) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let begun = Instant::now();
        let (head, body) = request.into_parts();
        let headers = &head.headers;
        let owner = self.admit(headers).await.map_err(Refusal::closing)?;
        negotiate::content_type(headers)?;
        negotiate::accepts_both(headers)?;
        if self.app.is_draining() {
            return Err(Refusal::draining().closing());
        }
        let http = &self.state.config.http;
        let body = body::read(body, http.max_body, http).await?;
        let incoming = Incoming::parse(&body, bridge::Limits::default().max_batch);
        // Whose session it is comes before what is wrong with the body.
        let id = incoming.as_ref().ok().and_then(Incoming::single).and_then(Message::id);
        let lease = self.lease(headers, &owner).map_err(|refusal| refusal.to(id))?;
        let incoming = match incoming {
            Ok(incoming) => incoming,
            Err(malformed) => return Err(Refusal::malformed(malformed)),
        };
        let id = incoming.single().and_then(Message::id).map(ToOwned::to_owned);
        let answered = async {
            negotiate::version(headers)?;
            match lease {
                Some(lease) => self.call(lease, incoming, begun).await,
                None => self.initialize(owner, incoming, begun).await,
            }
        };
        answered.await.map_err(|refusal| refusal.to(id.as_deref()))
    }

    /// A message for a session that is there.
    async fn call(
        &self,
        lease: Lease<Live>,
        incoming: Incoming,
        begun: Instant,
    ) -> Result<Response<Body>, Refusal> {
        let bridge = lease.bridge.clone();
        let call = Call {
            method: label(&incoming),
            begun,
            _counted: Counted::new(Arc::clone(&self.app)),
            lease,
        };
        let done = Box::new(move |outcome: Outcome| call.ended(outcome.as_str()));
        let unknown = self.state.config.session.unknown_status;
        bridge.post(incoming, done).await.map_err(|error| Refusal::post(error, unknown))
    }

    /// The first message of a session (MCP lifecycle, "Initialization").
    async fn initialize(
        &self,
        owner: Owner,
        incoming: Incoming,
        begun: Instant,
    ) -> Result<Response<Body>, Refusal> {
        let request = incoming
            .single()
            .filter(|message| message.kind() == Kind::Request && message.method() == "initialize");
        let Some(request) = request else {
            let words = "The Mcp-Session-Id header is missing: send initialize first, then the \
                         header it was answered with";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, rpc::SERVER_ERROR, words));
        };
        let id = request.id().expect("a request has an id");
        let ask = Ask { server: Arc::clone(&self.server), initialize: request.clone() };
        let counted = Counted::new(Arc::clone(&self.app));
        let opened = self.app.sessions.open(owner, ask).await;
        drop(counted);
        let outcome = if opened.is_ok() { "ok" } else { "refused" };
        self.server.count("initialize", outcome, begun.elapsed());
        let lease = match opened {
            Ok(lease) => lease,
            Err(OpenError::Spawn(SpawnFailure::Initialize(bridge::InitializeError::Refused(
                error,
            )))) => return Ok(reply::refused_by_child(id, &error)),
            Err(error) => {
                let cause = causes(&error);
                warn!(server = %self.server.name, %error, %cause, "no session was opened");
                return Err(Refusal::open(&error).challenged(self.challenge()));
            }
        };
        let welcome = lease.take_welcome().ok_or_else(|| Refusal::open(&OpenError::Panicked))?;
        let mut body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"#).into_bytes();
        body.extend_from_slice(&welcome.result);
        body.push(b'}');
        let mut response = reply::json(StatusCode::OK, body);
        let session = HeaderValue::from_str(&lease.id().to_string()).expect("hex digits");
        response.headers_mut().insert(SESSION_ID, session);
        Ok(response)
    }

    /// The standalone stream, or a stream resumed.
    async fn get(&self, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
        let owner = self.admit(headers).await?;
        negotiate::accepts_events(headers)?;
        let lease = self.lease(headers, &owner)?.ok_or_else(no_session_id)?;
        negotiate::version(headers)?;
        let unknown = self.state.config.session.unknown_status;
        let last = match headers.get(LAST_EVENT_ID) {
            None => None,
            Some(id) => {
                let id = id.to_str().ok().and_then(|id| id.parse().ok());
                let id = id.ok_or(bridge::ListenError::Unknown(bridge::UnknownEvent));
                Some(id.map_err(|error| Refusal::listen(&error, unknown))?)
            }
        };
        let bridge = lease.bridge.clone();
        bridge.listen(last, Box::new(lease)).map_err(|error| Refusal::listen(&error, unknown))
    }

    /// The client is done with its session (MCP transports, "Session Management").
    async fn delete(&self, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
        let owner = self.admit(headers).await?;
        let lease = self.lease(headers, &owner)?.ok_or_else(no_session_id)?;
        negotiate::version(headers)?;
        let id = *lease.id();
        drop(lease);
        let unknown = self.state.config.session.unknown_status;
        self.app
            .sessions
            .end(&id, &owner, StopReason::Deleted)
            .await
            .map_err(|error| Refusal::end(&error, unknown))?;
        Ok(reply::empty(StatusCode::NO_CONTENT))
    }

    /// Who is asking: known, meant for this server, and allowed to use it.
    async fn admit(&self, headers: &HeaderMap) -> Result<Owner, Refusal> {
        #[expect(clippy::disallowed_methods, reason = "calendar time is read here, once a request")]
        let now = SystemTime::now();
        let admitted = match self.app.access.gate.admit(headers, now).await {
            Ok(verified) => {
                let may = self.app.access.may_use(&self.server.name, &verified);
                may.map(|()| owner_of(&verified))
            }
            Err(denied) => Err(denied),
        };
        admitted.map_err(|denied| {
            let reason = denied.reason();
            self.app.metrics.auth_failures.get_or_create(&ReasonLabel { reason }).inc();
            match &denied {
                Denied::Undecided { verifier, source } => {
                    warn!(verifier, error = %source, "a token could not be judged");
                }
                Denied::NoCredentials
                | Denied::BadRequest(_)
                | Denied::Refused(_)
                | Denied::InsufficientScope { .. } => debug!(reason, "not admitted"),
            }
            Refusal::denied(&denied, self.challenge())
        })
    }

    fn challenge(&self) -> &Challenge {
        self.app.access.challenge(&self.server.name, self.at_root)
    }

    /// The session the request names, if it names one: known (404), and the owner's (403).
    fn lease(&self, headers: &HeaderMap, owner: &Owner) -> Result<Option<Lease<Live>>, Refusal> {
        let Some(id) = headers.get(SESSION_ID) else { return Ok(None) };
        let unknown = self.state.config.session.unknown_status;
        let refuse = |error| Refusal::lease(error, unknown);
        let id = id.to_str().ok().and_then(|id| id.parse::<SessionId>().ok());
        let id = id.ok_or_else(|| refuse(LeaseError::Unknown))?;
        let lease = self.app.sessions.lease(&id, owner).map_err(refuse)?;
        // Another server's session is none of this endpoint's, nor is one whose child has gone.
        if !Arc::ptr_eq(&lease.server, &self.server) || lease.bridge.closed().is_some() {
            return Err(refuse(LeaseError::Unknown));
        }
        Ok(Some(lease))
    }
}

/// A POST that waits for its answers. Lives as long as that takes, also without its client.
struct Call {
    method: &'static str,
    begun: Instant,
    _counted: Counted,
    /// A session with a call under way is not idle.
    lease: Lease<Live>,
}

impl Call {
    fn ended(self, outcome: &'static str) {
        self.lease.server.count(self.method, outcome, self.begun.elapsed());
    }
}

fn label(incoming: &Incoming) -> &'static str {
    incoming.single().map_or("batch", |message| method_label(&message.method()))
}

fn owner_of(verified: &Verified) -> Owner {
    let shared = |part: &Arc<str>| Arc::clone(part);
    Owner::new(shared(&verified.issuer), shared(&verified.subject), shared(&verified.client))
        .with_grant(verified.family.clone())
}

fn no_session_id() -> Refusal {
    let words = "The Mcp-Session-Id header is missing";
    Refusal::new(StatusCode::BAD_REQUEST, rpc::SERVER_ERROR, words)
}
