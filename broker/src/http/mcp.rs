//! The MCP endpoint: POST, GET and DELETE of the Streamable HTTP transport.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use auth::{Challenge, Denied, Refusal as Refused};
use bridge::{
    Accepts, Body, EventId, Incoming, Kind, ListenError, Message, Outcome, PostError,
    modern::{metadata::LastMetadata, request, request_headers::RequestHeaders},
    rpc,
};
use bytes::Bytes;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use session::{
    EndError, Lease, LeaseError, OpenError, Owner, Purpose, SessionId, StopReason, WakeError,
};
use tokio::{task::JoinSet, time::Instant};
use tracing::{debug, warn};

use super::{
    body,
    call::Call,
    caller::Caller,
    client_connection::ClientConnection,
    modern::Modern,
    negotiate::{self, LAST_EVENT_ID, SESSION_ID},
    reply::{self, Refusal},
    route::Endpoint,
};
use crate::{
    admissions::Withdrawn,
    calls::Counted,
    compose::{app::App, state::State},
    error_chain::error_chain,
    metrics::{AcceptLabel, ReasonLabel, method_label},
    server::Server,
    sessions::{
        acquire::AcquireError,
        child_session::ChildSession,
        spawn_failure::{SpawnFailure, error_code},
        spawner::{OpenRequest, Users},
    },
};

pub(super) async fn answer<B>(
    app: &Arc<App>,
    (endpoint, peer): (Endpoint<'_>, IpAddr),
    connection: &ClientConnection,
    state: &Arc<State>,
    request: Request<B>,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    // Once a request, so that all of it agrees on what time it is.
    let now = app.clock.now();
    let Endpoint { server, challenge } = endpoint;
    let last_metadata = &connection.last_metadata;
    let exchange = Exchange { app, server, state, challenge, peer, last_metadata, now };
    let result = match *request.method() {
        Method::POST => exchange.post(request).await,
        Method::GET => exchange.get(request.headers()).await,
        Method::DELETE => exchange.delete(request.headers()).await,
        _ => return reply::not_allowed("GET, POST, DELETE"),
    };
    result.unwrap_or_else(Refusal::response)
}

/// One request to the endpoint of one server.
struct Exchange<'a> {
    app: &'a App,
    server: Arc<Server>,
    state: &'a State,
    /// What those are told who are not let in.
    challenge: &'a Challenge,
    /// Where it came from, as far as the operator trusts what says so.
    peer: IpAddr,
    /// What earlier requests of its connection said of their client.
    last_metadata: &'a LastMetadata,
    /// The calendar, read once a request.
    now: SystemTime,
}

impl Exchange<'_> {
    async fn post<B>(&self, request: Request<B>) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let begun = Instant::now();
        let (head, body) = request.into_parts();
        let headers = &head.headers;
        let caller = self.admit(headers).await.map_err(Refusal::closing)?;
        negotiate::single_valued(headers)?;
        negotiate::content_type(headers)?;
        let accepts = self.accepts(headers)?;
        if self.app.is_draining() {
            return Err(Refusal::draining().closing());
        }
        let http = &self.state.config.http;
        let body = body::read(headers, body, http.max_body, http).await?;
        let incoming = Incoming::parse(&body, bridge::Limits::default().max_batch);
        let only = incoming.as_ref().ok().and_then(Incoming::single);
        let request_headers = RequestHeaders::read(headers);
        if request::is_modern(&request_headers, only) {
            let exchange = Modern {
                app: self.app,
                server: &self.server,
                challenge: self.challenge,
                now: self.now,
                headers,
                last_metadata: self.last_metadata,
                request_headers: &request_headers,
                caller: &caller,
                begun,
                accepts,
            };
            return exchange.post(incoming).await;
        }
        // Whose session it is comes before what is wrong with the body.
        let id = incoming.as_ref().ok().and_then(Incoming::single).and_then(Message::id);
        let lease = match incoming.as_ref().is_ok_and(begins_a_session) {
            true => self.may_begin(headers, &caller.owner).await.map(|()| None),
            false => self.lease(headers, &caller, Purpose::Call).await,
        };
        let lease = lease.map_err(|refusal| refusal.to(id))?;
        let incoming = match incoming {
            Ok(incoming) => incoming,
            Err(malformed) => return Err(Refusal::malformed(malformed)),
        };
        let id = incoming.single().and_then(Message::id).map(ToOwned::to_owned);
        let answered = async {
            negotiate::version(headers)?;
            match lease {
                Some(lease) => self.call(lease, &caller, Posted { incoming, accepts, begun }).await,
                // Rare beside calls, which would be as large as it is.
                None => {
                    Box::pin(self.initialize(caller, Posted { incoming, accepts, begun })).await
                }
            }
        };
        answered.await.map_err(|refusal| refusal.to(id.as_deref()))
    }

    /// A message for a session that is there.
    async fn call(
        &self,
        mut lease: Lease<ChildSession>,
        caller: &Caller,
        posted: Posted,
    ) -> Result<Response<Body>, Refusal> {
        // A batch may have been sent in part.
        if posted.incoming.single().is_some() {
            match self.carry(lease, caller, posted.clone()).await {
                Carried::Answered(response) => return Ok(response),
                Carried::Refused(error) => return Err(self.not_posted(error)),
                // Nothing of it was sent. The child ended, or was replaced, just now.
                Carried::ChildEnded { id } => {
                    lease = self.acquire(&id, caller, Purpose::Call).await?;
                }
            }
        }
        match self.carry(lease, caller, posted).await {
            Carried::Answered(response) => Ok(response),
            Carried::Refused(error) => Err(self.not_posted(error)),
            Carried::ChildEnded { .. } => Err(Refusal::child_gone()),
        }
    }

    /// Carries a message to the child.
    async fn carry(&self, lease: Lease<ChildSession>, caller: &Caller, posted: Posted) -> Carried {
        let Posted { incoming, accepts, begun } = posted;
        let (id, owner) = (*lease.id(), lease.owner().clone());
        let bridge = lease.bridge.clone();
        let method = label(&incoming);
        if CALLS.contains(&method) {
            lease.visit.note_call();
        }
        // The other one may be given back before the answer is sent.
        let saving = changes_the_session(&incoming)
            .then(|| self.app.sessions.lease(&id, &owner).ok())
            .flatten();
        let call = Call {
            method,
            begun,
            _counted: Some(Counted::new(&self.app.calls)),
            lease,
            looks: self.app.looks.clone(),
        };
        let done = Box::new(move |outcome: Outcome| call.ended(outcome));
        let admission = caller.admission.clone();
        match bridge.post_by(admission, incoming, accepts, done).await {
            Ok(mut response) => {
                if let Some(lease) = saving {
                    self.save(&lease).await;
                }
                if response.status() == StatusCode::UNAUTHORIZED {
                    // What let the client in was withdrawn meanwhile.
                    let challenge = self.challenge.invalid_token();
                    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                }
                Carried::Answered(response)
            }
            Err(PostError::Closed(_)) => Carried::ChildEnded { id },
            Err(error) => Carried::Refused(error),
        }
    }

    /// Has the store hold what a later child must be told. The call was done in any case, and the
    /// session does not fall asleep before this has succeeded, so a failure is for the log.
    async fn save(&self, lease: &Lease<ChildSession>) {
        if let Err(error) = self.app.sessions.save(lease).await {
            let cause = error_chain(&error);
            let session = lease.id().short();
            warn!(%session, %error, %cause, "a change of the session is not stored yet");
        }
    }

    /// The first message of a session (MCP lifecycle, "Initialization").
    async fn initialize(
        &self,
        caller: Caller,
        Posted { incoming, accepts, begun }: Posted,
    ) -> Result<Response<Body>, Refusal> {
        let request = incoming.single().filter(|_| begins_a_session(&incoming));
        let Some(request) = request else {
            let words = "The Mcp-Session-Id header is missing: send initialize first, then the \
                         header it was answered with";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, rpc::SERVER_ERROR, words));
        };
        let id = request.id().expect("a request has an id");
        let sessions = &self.app.sessions;
        let idle_children = &self.app.idle_children;
        let idle = idle_children.take(&caller.owner, &self.server, request, self.now).await;
        let (slot, inherited) = idle.unzip();
        let ask = OpenRequest {
            server: Arc::clone(&self.server),
            initialize: request.clone(),
            users: Users::Session,
            inherited,
        };
        let counted = Counted::new(&self.app.calls);
        let opened = match slot {
            Some(slot) => sessions.open_in(slot, ask).await,
            None => sessions.open(caller.owner.clone(), ask).await,
        };
        drop(counted);
        let outcome = if opened.is_ok() { "ok" } else { "refused" };
        self.server.count("initialize", outcome, begun.elapsed());
        let lease = match opened {
            Ok(lease) => lease,
            Err(OpenError::Spawn(SpawnFailure::Initialize(bridge::InitializeError::Refused(
                error,
            )))) => {
                // Its words are the client's, and may repeat what that said.
                let code = error_code(&error);
                warn!(server = %self.server.name, code, "the server refused the client's initialize");
                return Ok(reply::answer(accepts, id, "error", &error));
            }
            Err(error) => {
                let cause = error_chain(&error);
                warn!(server = %self.server.name, %error, %cause, "no session was opened");
                return Err(Refusal::open(&error).challenged(self.challenge));
            }
        };
        if let Err(Withdrawn) = self.app.admissions.check(&caller.admission) {
            // No client learns of it.
            let (id, owner) = (*lease.id(), &caller.owner);
            let ended = self.app.sessions.end(&id, owner, &self.server.name, StopReason::Revoked);
            if let Err(error) = ended.await {
                let cause = error_chain(&error);
                warn!(server = %self.server.name, %error, %cause, "a session was not ended");
            }
            return Err(self.withdrawn());
        }
        let welcome = lease.take_welcome().ok_or_else(|| Refusal::open(&OpenError::Panicked))?;
        let mut response = reply::answer(accepts, id, "result", &welcome.result);
        let session = HeaderValue::from_str(&lease.id().to_string()).expect("hex digits");
        response.headers_mut().insert(SESSION_ID, session);
        Ok(response)
    }

    /// How the client takes the answer. Those that name one way only are counted.
    fn accepts(&self, headers: &HeaderMap) -> Result<Accepts, Refusal> {
        let accepts = negotiate::accepts(headers)?;
        let accept = match accepts {
            Accepts::Both => return Ok(accepts),
            Accepts::Json => "json",
            Accepts::Events => "events",
        };
        self.app.metrics.narrow_accepts.get_or_create(&AcceptLabel { accept }).inc();
        Ok(accepts)
    }

    /// The standalone stream, or a stream resumed.
    async fn get(&self, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
        let caller = self.admit(headers).await?;
        negotiate::single_valued(headers)?;
        modern_takes_post(headers)?;
        negotiate::accepts_events(headers)?;
        let lease =
            self.lease(headers, &caller, Purpose::Stream).await?.ok_or_else(no_session_id)?;
        negotiate::version(headers)?;
        // One that is none of ours says nothing, and the stream goes on with what is kept.
        let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.parse().ok());
        let id = *lease.id();
        let listening = match listen(lease, last.clone()) {
            Err(ListenError::Closed(_)) => {
                listen(self.acquire(&id, &caller, Purpose::Stream).await?, last)
            }
            listening => listening,
        };
        let response = listening.map_err(|error| Refusal::listen(&error))?;
        let until = caller.until(self.now);
        let entered = self.app.admissions.enter(caller.admission);
        let entered = entered.map_err(|Withdrawn| self.withdrawn())?;
        Ok(response.map(|body| body.while_admitted(until, entered.ended())))
    }

    /// The client is done with its session (MCP transports, "Session Management").
    async fn delete(&self, headers: &HeaderMap) -> Result<Response<Body>, Refusal> {
        let owner = self.admit(headers).await?.owner;
        negotiate::single_valued(headers)?;
        modern_takes_post(headers)?;
        let id = self.named(headers)?.ok_or_else(no_session_id)?;
        negotiate::version(headers)?;
        let unknown = self.state.config.session.unknown_status;
        self.app
            .sessions
            .retire(&id, &owner, &self.server.name, StopReason::Deleted)
            .await
            .map_err(|error| {
                if let EndError::Records(_) = &error {
                    warn!(server = %self.server.name, %error, cause = %error_chain(&error), "a session was not ended");
                }
                Refusal::end(&error, unknown)
            })?;
        Ok(reply::empty(StatusCode::NO_CONTENT))
    }

    /// Who is asking: known, meant for this server, and allowed to use it.
    async fn admit(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        let admitted = match self.app.access.gate.admit_from(headers, self.peer, self.now).await {
            Ok(verified) => {
                let may = self.app.access.may_use(&self.server.name, &verified);
                match self.app.blocked.contains(&verified.issuer, &verified.subject) {
                    true => Err(Denied::Refused(Refused::Blocked)),
                    false => may.map(|()| Caller::of(&verified)),
                }
            }
            Err(denied) => Err(denied),
        };
        admitted.map_err(|denied| {
            let reason = denied.reason();
            self.app.metrics.auth_failures.get_or_create(&ReasonLabel { reason }).inc();
            match &denied {
                Denied::VerifierUnavailable { verifier, source } => {
                    warn!(verifier, error = %source, "a token could not be judged");
                }
                Denied::NoCredentials
                | Denied::BadRequest(_)
                | Denied::Refused(_)
                | Denied::InsufficientScope { .. } => debug!(reason, "not admitted"),
            }
            Refusal::denied(&denied, self.challenge)
        })
    }

    /// The session the request names, if it names one.
    fn named(&self, headers: &HeaderMap) -> Result<Option<SessionId>, Refusal> {
        let Some(id) = headers.get(SESSION_ID) else { return Ok(None) };
        let id = id.to_str().ok().and_then(|id| id.parse::<SessionId>().ok());
        id.map(Some).ok_or_else(|| self.unknown())
    }

    fn unknown(&self) -> Refusal {
        Refusal::lease(LeaseError::Unknown, self.state.config.session.unknown_status)
    }

    /// Whether a client may open a session though it still sends the id of one from before: the id
    /// may be stale, or no id at all, and a session of the caller's stays beside the new one. Only
    /// with another person's there is something wrong (403).
    async fn may_begin(&self, headers: &HeaderMap, owner: &Owner) -> Result<(), Refusal> {
        let Ok(Some(id)) = self.named(headers) else { return Ok(()) };
        match self.app.sessions.is_anothers(&id, owner).await {
            Ok(false) => Ok(()),
            Ok(true) => {
                Err(Refusal::end(&EndError::Foreign, self.state.config.session.unknown_status))
            }
            Err(error) => {
                warn!(server = %self.server.name, %error, cause = %error_chain(&error), "a session was not looked up");
                Err(Refusal::end(
                    &EndError::Records(error),
                    self.state.config.session.unknown_status,
                ))
            }
        }
    }

    /// The session the request names, if it names one: known (404), the owner's (403), and awake.
    async fn lease(
        &self,
        headers: &HeaderMap,
        caller: &Caller,
        purpose: Purpose,
    ) -> Result<Option<Lease<ChildSession>>, Refusal> {
        match self.named(headers)? {
            Some(id) => self.acquire(&id, caller, purpose).await.map(Some),
            None => Ok(None),
        }
    }

    /// A lease on a session of this endpoint's server whose child is there.
    async fn acquire(
        &self,
        id: &SessionId,
        caller: &Caller,
        purpose: Purpose,
    ) -> Result<Lease<ChildSession>, Refusal> {
        let (owner, server) = (&caller.owner, &self.server.name);
        let acquired = self.app.acquirer.acquire(id, owner, server, purpose, self.now).await;
        // Before what became of the session, which may have ended for that reason.
        self.app.admissions.check(&caller.admission).map_err(|Withdrawn| self.withdrawn())?;
        acquired.map_err(|error| self.not_acquired(&error))
    }

    fn not_posted(&self, error: PostError) -> Refusal {
        Refusal::post(error).challenged(self.challenge)
    }

    /// The token was good when it was judged, and has been revoked since.
    fn withdrawn(&self) -> Refusal {
        Refusal::withdrawn(self.challenge)
    }

    fn not_acquired(&self, error: &AcquireError) -> Refusal {
        let is_usual = matches!(
            error,
            AcquireError::Wake(WakeError::Unknown | WakeError::Foreign | WakeError::Draining)
        );
        if !is_usual {
            let cause = error_chain(error);
            warn!(server = %self.server.name, %error, %cause, "no child for a session");
        }
        let unknown = self.state.config.session.unknown_status;
        Refusal::acquire(error, unknown).challenged(self.challenge)
    }
}

/// What a client posted.
#[derive(Debug, Clone)]
struct Posted {
    incoming: Incoming,
    accepts: Accepts,
    begun: Instant,
}

/// What became of a message for a child.
enum Carried {
    Answered(Response<Body>),
    Refused(PostError),
    /// The child had ended before; nothing of the message was sent.
    ChildEnded {
        id: SessionId,
    },
}

/// Opens a stream of a session; it is in use for as long. When the child is to be replaced, the
/// stream ends as soon as no call is under way, and the client comes back to the next one.
fn listen(
    lease: Lease<ChildSession>,
    last: Option<EventId>,
) -> Result<Response<Body>, ListenError> {
    let (bridge, leaving) = (lease.bridge.clone(), lease.asked_to_leave());
    let mut watch = JoinSet::new();
    let closing = bridge.clone();
    watch.spawn(async move {
        leaving.await;
        closing.close_when_idle().await;
    });
    lease.visit.note_stream();
    bridge.listen(last, Box::new((lease, watch)))
}

/// Whether this is the first message of a session (MCP lifecycle, "Initialization").
fn begins_a_session(incoming: &Incoming) -> bool {
    let is_initialize =
        |message: &Message| message.kind() == Kind::Request && message.method() == "initialize";
    incoming.single().is_some_and(is_initialize)
}

/// What a session is opened for, by its label; a batch holds one of them or more.
const CALLS: [&str; 2] = ["tools/call", BATCH];

const BATCH: &str = "batch";

/// Whether a message is about what a later child has to be told again.
fn changes_the_session(incoming: &Incoming) -> bool {
    const CHANGES: [&str; 4] = [
        "notifications/initialized",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
    ];
    incoming.messages().iter().any(|message| CHANGES.contains(&&*message.method()))
}

fn label(incoming: &Incoming) -> &'static str {
    incoming.single().map_or(BATCH, |message| method_label(&message.method()))
}

/// There is no stream to get and no session to delete in the modern era (MCP 2026-07-28 transports,
/// "Earlier Streamable HTTP Revisions").
fn modern_takes_post(headers: &HeaderMap) -> Result<(), Refusal> {
    if !RequestHeaders::read(headers).names_modern() {
        return Ok(());
    }
    let words = "This revision of the protocol has POST alone";
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Err(Refusal::new(status, rpc::SERVER_ERROR, words).allowing("POST"))
}

fn no_session_id() -> Refusal {
    let words = "The Mcp-Session-Id header is missing";
    Refusal::new(StatusCode::BAD_REQUEST, rpc::SERVER_ERROR, words)
}
